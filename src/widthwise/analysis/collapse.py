"""Does only the noise scale matter? Settings of equal noise scale, set against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis._pairs import Pair, SettingTable, find_pairs, moderated
from widthwise.analysis.collapse_result import (
    Collapse,
    CollapseFinding,
    CollapseLevel,
    Outcome,
    SettingComparison,
)
from widthwise.analysis.settings import SAME_SETTING
from widthwise.errors import InputError

FloatArray = NDArray[np.float64]

# One percentage point: small beside what accuracy loses over the range of a study.
MARGIN = 0.01
# A level agrees only if at least this share of its comparisons agrees one by one.
AGREEING_SHARE = 0.5
# The variance of a level's mean is at least this part of what independent settings would give it:
# seeds that tie, or cancel by chance, do not make it certain.
_LEAST_PART = 0.25


def measure_collapse(
    widening_factor: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    momentum: ArrayLike,
    noise_scale: ArrayLike,
    scores: ArrayLike,
    *,
    ran: ArrayLike | None = None,
    margin: float = MARGIN,
    tolerance: float = SAME_SETTING,
    confidence: float = 0.95,
) -> Collapse:
    """Compare settings of equal noise scale and different learning rate, batch size or momentum.

    Within a width, every setting is set against the smallest learning rate / (1 - momentum) that
    was run at its noise scale (or that can be interpolated there), seed by seed where both have
    the seeds. The rules, and what to doubt, are in docs/statistics.md.

    Args:
        widening_factor, learning_rate, batch_size, momentum, noise_scale: shape (K,), of settings
            of all widths in any order.
        scores: shape (K, S), a column a seed; NaN = diverged.
        ran: shape (K, S), False where a run was not made (and so did not diverge).
        margin: difference that counts as agreement, in units of the scores, positive.
        tolerance: largest difference of the logarithms of equal noise scales.
        confidence: of the intervals.

    Raises:
        InputError: if shapes disagree or values are out of range.

    >>> seeds = np.array([-0.002, 0.0, 0.002, 0.001])
    >>> found = measure_collapse(
    ...     [1, 1], [0.1, 0.4], [4, 16], [0, 0], [0.025, 0.025],
    ...     0.78 + np.array([seeds, seeds[::-1]]))
    >>> found.verdict, found.overall.agrees_up_to
    ('collapses', 0.4)
    """
    widths, table = _checked(
        widening_factor, learning_rate, batch_size, momentum, noise_scale, scores, ran
    )
    if not 0.0 < margin < np.inf:
        raise InputError(f"margin must be a positive difference, got {margin}; try {MARGIN}")
    if not 0.0 <= tolerance < 1.0:
        raise InputError(f"tolerance must lie in [0, 1), got {tolerance}; try {SAME_SETTING}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    found: dict[float, tuple[SettingTable, list[Pair]]] = {}
    for width in sorted(set(widths.tolist())):
        rows = np.flatnonzero(widths == width)
        own = SettingTable(
            **{name: getattr(table, name)[rows] for name in SettingTable.__dataclass_fields__}
        )
        found[width] = own, find_pairs(own, tolerance)
    num_pairs = sum(len(pairs) for _, pairs in found.values())
    num_levels = sum(len(_group(own, pairs)) for own, pairs in found.values())
    # Half of what may go wrong for single settings, half for the means of levels.
    pair_alpha = (1.0 - confidence) / 2.0 / max(num_pairs, 1)
    level_alpha = (1.0 - confidence) / 2.0 / max(num_levels, 1)
    judge = _Judge(
        margin=margin, alpha=1.0 - confidence, pair_alpha=pair_alpha, level_alpha=level_alpha
    )
    findings, comparisons, by_level = [], [], []
    for width, (own, pairs) in found.items():
        compared, levels = judge.width(width, own, pairs)
        findings.append(_finding(width, [level for level, _, _ in levels], compared))
        comparisons += compared
        by_level += levels
    overall = _finding(None, judge.together(by_level), comparisons)
    return Collapse(
        overall=overall,
        widths=tuple(findings),
        comparisons=tuple(comparisons),
        margin=margin,
        tolerance=tolerance,
        confidence=confidence,
    )


# A level with the variance of its mean and the degrees of freedom of that.
_Measured = tuple[CollapseLevel, float, float]


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Intervals and outcomes at the error rates of one test."""

    margin: float
    alpha: float
    pair_alpha: float
    level_alpha: float

    def width(
        self, width: float, table: SettingTable, pairs: Sequence[Pair]
    ) -> tuple[list[SettingComparison], list[_Measured]]:
        """Comparisons and levels of one width."""
        alive = [i for i, pair in enumerate(pairs) if pair.difference is not None]
        own = np.array([np.sum(pairs[i].errors ** 2) for i in alive])
        pooled, degrees = moderated(
            own,
            np.array([float(pairs[i].degrees) for i in alive]),
            np.array([np.log(table.noise_scale[pairs[i].setting]) for i in alive]),
        )
        errors = dict(zip(alive, zip(np.sqrt(pooled), degrees, strict=True), strict=True))
        compared = [
            self._comparison(width, table, pair, *errors.get(i, (0.0, 0.0)))
            for i, pair in enumerate(pairs)
        ]
        levels = []
        for members in _group(table, pairs):
            counted = [i for i in members if i in errors]
            level, variance, freedom = self._level(
                float(table.effective_rate[pairs[members[0]].setting]),
                [compared[i] for i in members],
                [pairs[i] for i in counted],
                np.array([errors[i][0] for i in counted]),
            )
            levels.append((level, variance, freedom))
        return compared, levels

    def together(self, levels: Sequence[_Measured]) -> list[CollapseLevel]:
        """Levels of all widths at one learning rate, combined."""
        merged = []
        rest = sorted(levels, key=lambda entry: entry[0].effective_rate)
        while rest:
            rate = rest[0][0].effective_rate
            same = [x for x in rest if np.log(x[0].effective_rate / rate) < SAME_SETTING]
            rest = rest[len(same) :]
            measured = [(x, v, d) for x, v, d in same if x.difference is not None]
            difference, interval = None, (-np.inf, np.inf)
            if measured:
                # A variance from two seeds may be tiny by chance: no width may outweigh the rest.
                variances = np.array([v for _, v, _ in measured])
                typical = float(np.median(variances))
                # Without any scatter at most widths, they count alike.
                bounded = (
                    np.maximum(variances / typical, 1.0) if typical else np.ones_like(variances)
                )
                weight = 1.0 / bounded
                weight /= weight.sum()
                difference = float(
                    sum(
                        w * (x.difference or 0.0)
                        for w, (x, _, _) in zip(weight, measured, strict=True)
                    )
                )
                parts = weight**2 * variances
                total = float(np.sum(parts))
                # Satterthwaite's degrees of freedom of a sum of variances.
                spread = float(np.sum(parts**2 / np.array([d for _, _, d in measured])))
                degrees = total**2 / spread if spread > 0.0 else 1.0
                interval = _interval(difference, np.sqrt(total), degrees, self.alpha, 0.0)
            num, agreeing = (
                sum(getattr(x, name) for x, _, _ in same)
                for name in ("num_comparisons", "num_agreeing")
            )
            differs = any(x.outcome == "differs" for x, _, _ in same)
            merged.append(
                CollapseLevel(
                    effective_rate=rate,
                    difference=difference,
                    interval=interval,
                    num_comparisons=num,
                    num_agreeing=agreeing,
                    outcome=self._level_outcome(interval, agreeing / num, differs),
                )
            )
        return merged

    def _comparison(
        self, width: float, table: SettingTable, pair: Pair, error: float, degrees: float
    ) -> SettingComparison:
        k, rows = pair.setting, pair.reference
        interval = simultaneous = (-np.inf, np.inf)
        outcome: Outcome = "differs" if pair.chance <= self.pair_alpha else "undecided"
        if pair.difference is not None:
            interval = _interval(pair.difference, error, degrees, self.alpha, pair.bias)
            simultaneous = _interval(pair.difference, error, degrees, self.pair_alpha, pair.bias)
            outcome = _outcome(interval, simultaneous, self.margin)
        return SettingComparison(
            widening_factor=width,
            noise_scale=float(table.noise_scale[k]),
            learning_rate=float(table.learning_rate[k]),
            batch_size=int(table.batch_size[k]),
            momentum=float(table.momentum[k]),
            reference_learning_rate=float(table.learning_rate[rows[0]]),
            reference_momentum=float(table.momentum[rows[0]]),
            reference_batch_size=int(table.batch_size[rows[0]]) if len(rows) == 1 else None,
            difference=pair.difference,
            interval=interval,
            simultaneous=simultaneous,
            outcome=outcome,
        )

    def _level(
        self,
        effective_rate: float,
        compared: Sequence[SettingComparison],
        pairs: Sequence[Pair],
        errors: FloatArray,
    ) -> _Measured:
        difference, interval, simultaneous = None, (-np.inf, np.inf), (-np.inf, np.inf)
        variance, degrees = np.inf, 0.0
        if pairs:
            bias = np.array([pair.bias for pair in pairs])
            noise = errors**2 + bias**2
            # Equal scores of all seeds have no noise: then every pair counts alike.
            largest = float(noise.max()) or 1.0
            weight = 1.0 / np.maximum(noise / largest, 1e-12)
            weight /= weight.sum()
            difference = float(
                sum(w * (p.difference or 0.0) for w, p in zip(weight, pairs, strict=True))
            )
            # Seed by seed, so that what a seed does to all settings of a level is not averaged out.
            parts = np.sum([w * pair.errors for w, pair in zip(weight, pairs, strict=True)], axis=0)
            variance = max(
                float(np.sum(parts**2)), _LEAST_PART * float(np.sum((weight * errors) ** 2))
            )
            degrees = float(min(pair.degrees for pair in pairs))
            slack = float(weight @ bias)
            error = float(np.sqrt(variance))
            interval = _interval(difference, error, degrees, self.alpha, slack)
            simultaneous = _interval(difference, error, degrees, self.level_alpha, slack)
            variance += slack**2
        agreeing = sum(x.outcome == "agrees" for x in compared)
        differs = (
            any(x.outcome == "differs" for x in compared)
            or _outcome(interval, simultaneous, self.margin) == "differs"
        )
        level = CollapseLevel(
            effective_rate=effective_rate,
            difference=difference,
            interval=interval,
            num_comparisons=len(compared),
            num_agreeing=agreeing,
            outcome=self._level_outcome(interval, agreeing / len(compared), differs),
        )
        return level, variance, degrees

    def _level_outcome(
        self, interval: tuple[float, float], agreeing_share: float, differs: bool
    ) -> Outcome:
        if differs:
            return "differs"
        within = _outcome(interval, (-np.inf, np.inf), self.margin) == "agrees"
        return "agrees" if within and agreeing_share >= AGREEING_SHARE else "undecided"


def _outcome(
    interval: tuple[float, float], simultaneous: tuple[float, float], margin: float
) -> Outcome:
    if -margin <= interval[0] and interval[1] <= margin:
        return "agrees"
    return "differs" if simultaneous[0] > 0.0 or simultaneous[1] < 0.0 else "undecided"


def _interval(
    center: float, error: float, degrees: float, alpha: float, slack: float
) -> tuple[float, float]:
    from scipy import special  # SciPy is slow to import

    half = float(special.stdtrit(degrees, 1.0 - alpha / 2.0)) * float(error) + slack
    return center - half, center + half


def _group(table: SettingTable, pairs: Sequence[Pair]) -> list[list[int]]:
    """Indices of the pairs of each learning rate / (1 - momentum), ascending."""
    rates = np.array([table.effective_rate[pair.setting] for pair in pairs])
    groups: list[list[int]] = []
    for i in np.argsort(rates, kind="stable").tolist():
        if groups and np.log(rates[i] / rates[groups[-1][0]]) < SAME_SETTING:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _finding(
    width: float | None, levels: Sequence[CollapseLevel], compared: Sequence[SettingComparison]
) -> CollapseFinding:
    differs_from = min((x.effective_rate for x in levels if x.outcome == "differs"), default=None)
    agreeing = [
        x.effective_rate
        for x in levels
        if x.outcome == "agrees" and (differs_from is None or x.effective_rate < differs_from)
    ]
    bounded = [x for x in compared if x.outcome != "differs" and x.difference is not None]
    finding = CollapseFinding(
        widening_factor=width,
        verdict="not tested",
        agrees_up_to=max(agreeing, default=None),
        differs_from=differs_from,
        reference_rate=min(
            (x.reference_learning_rate / (1.0 - x.reference_momentum) for x in compared),
            default=None,
        ),
        missed=max((max(-x.simultaneous[0], x.simultaneous[1]) for x in bounded), default=np.inf),
        levels=tuple(levels),
    )
    if not levels:
        return finding
    if agreeing:
        return replace(finding, verdict="collapses")
    return replace(finding, verdict="inconclusive" if differs_from is None else "broken")


def _checked(
    widening_factor: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    momentum: ArrayLike,
    noise_scale: ArrayLike,
    scores: ArrayLike,
    ran: ArrayLike | None,
) -> tuple[FloatArray, SettingTable]:
    table = np.asarray(scores, dtype=np.float64)
    columns = {
        "widening_factor": np.asarray(widening_factor, dtype=np.float64),
        "learning_rate": np.asarray(learning_rate, dtype=np.float64),
        "batch_size": np.asarray(batch_size, dtype=np.float64),
        "momentum": np.asarray(momentum, dtype=np.float64),
        "noise_scale": np.asarray(noise_scale, dtype=np.float64),
    }
    if table.ndim != 2 or any(x.shape != table.shape[:1] for x in columns.values()):
        raise InputError(
            "settings must have shape (K,) and scores (K, S), got "
            f"{', '.join(f'{name} {x.shape}' for name, x in columns.items())} and scores "
            f"{table.shape}; give one value and one row of scores for each setting"
        )
    rates = columns.pop("momentum")
    if not np.all((rates >= 0.0) & (rates < 1.0)):
        raise InputError(f"momentum must lie in [0, 1), got {rates.tolist()}; use 0 for none")
    for name, values in columns.items():
        if not np.all(np.isfinite(values) & (values > 0.0)):
            raise InputError(
                f"{name} must be positive and finite, got {values.tolist()}; leave out settings "
                "that were not run"
            )
    if np.any(np.isinf(table)):
        raise InputError("scores must be finite, or NaN for diverged runs, got inf; pass NaN")
    was_run = np.ones(table.shape, dtype=bool) if ran is None else np.asarray(ran, dtype=bool)
    if was_run.shape != table.shape:
        raise InputError(
            f"ran must have the shape of scores {table.shape}, got {was_run.shape}; "
            "mark each run True (it ended or diverged) or False (not run yet)"
        )
    width = columns.pop("widening_factor")
    return width, SettingTable(
        **columns, momentum=rates, scores=np.where(was_run, table, np.nan), ran=was_run
    )
