"""The measured settings of one width: checked, sorted, merged, with their noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import InputError

FloatArray = NDArray[np.float64]

# A setting counts if at least this share of its runs did not diverge: the definition of stability.
STABLE_SHARE = 0.9
# Noise scales closer than this (in log) are one setting: far below any interval we can give.
SAME_SETTING = 0.01
# Largest and smallest size of scores whose squares, and the inverse of these, are still numbers.
LARGEST_SCORE, SMALLEST_SCORE = 1e140, 1e-140
# Scores that differ by less than this part of the largest tie: the rest is rounding.
SAME_SCORE = 1e-12
# More settings than CROWDED are averaged over neighbors, so that FEWEST are left: of many, the best
# owes its rank to chance, and others look clearly worse by chance.
CROWDED, FEWEST = 48, 30
# Why nothing bounds an optimum from below, although settings with less noise were run.
NOT_ARRIVED = "settings with less noise had not arrived at late times"
# Training diverges at a setting, and not by accident, if at least this share of its runs did.
CLIFF_SHARE = 0.5
# NumPy's kinds of types that hold real numbers, or objects that may be some.
_REAL_KINDS = "biufO"


@dataclass(frozen=True)
class Scatter:
    """How noisy one run is, told otherwise than by seeds: its variance, and with how many degrees
    of freedom that is known (:func:`widthwise.analysis.scatter.measure_scatter`).
    """

    variance: float
    degrees: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """Usable settings of one width, in rising order of noise scale."""

    log_noise_scale: FloatArray  # (K,)
    means: FloatArray  # (K,) over surviving seeds
    residuals: FloatArray  # (K, S), zero where a run is missing
    present: NDArray[np.bool_]  # (K, S)
    counts: FloatArray  # (K,) surviving seeds
    best_member: list[int]  # (K,) index, in the input order, of the best setting merged here
    limits: tuple[str | None, str | None]  # what binds at the lowest and highest setting
    unstable_above: bool  # a setting above the highest usable one diverged
    cliff: float | None  # log noise scale of the lowest at which noise makes training diverge
    num_seeds: int
    resolution: float  # what one seed's score cannot tell apart: 1 / test examples; 0 if unknown
    late_below: int = 0  # settings below all usable ones that had not arrived at late times
    scatter: Scatter | None = None  # the noise of one run, if it is not the seeds that tell

    @property
    def noise_known(self) -> bool:
        """Whether anything tells how noisy a run is."""
        return self.num_seeds > 1 or self.scatter is not None

    @property
    def num_usable(self) -> int:
        return self.log_noise_scale.size

    @cached_property
    def seed_variances(self) -> FloatArray:
        """Variance (K,) of one seed, apart from what all settings share; pooled over neighbors.

        What is shared is the median over settings. A seed that few settings ran has a median near
        zero there: nothing is then taken off, and the variance errs on the large side.
        """
        if self.scatter is not None:
            return np.full(self.num_usable, self.scatter.variance)
        own = np.where(self.present, self.residuals - np.median(self.residuals, axis=0), 0.0)
        level = own.sum(axis=1) / self.counts
        squares = np.sum(own**2, axis=1) - self.counts * level**2
        pooled = _over_neighbors(squares) / np.maximum(_over_neighbors(self.counts - 1.0), 1.0)
        least = np.where(self.seeds_tie, self.resolution**2, 0.0)
        return np.asarray(np.maximum(pooled, least))

    @property
    def seeds_tie(self) -> NDArray[np.bool_]:
        """Settings (K,) whose seeds all have one score: their spread is finer than it can show."""
        return np.asarray(np.max(np.abs(self.residuals), axis=1) <= self._rounding)

    @property
    def ties(self) -> NDArray[np.bool_]:
        """Settings (K,) that score like the best, seed by seed, or as far as can be told."""
        rows = self.means[:, None] + self.residuals
        best = int(np.argmax(self.means))
        if self.saturated[best]:
            return self.saturated
        both = self.present & self.present[best]
        apart = np.where(both, np.abs(rows - rows[best]), 0.0)
        enough = both.sum(axis=1) >= min(2, both.shape[1])
        return np.asarray((apart.max(axis=1) <= self._rounding) & enough)

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """Settings (K,) at which no seed gets more than one test example wrong."""
        lowest = self.means + np.min(self.residuals, axis=1)
        return np.asarray(
            (self.resolution > 0.0) & (lowest >= 1.0 - self.resolution - self._rounding)
        )

    @property
    def _rounding(self) -> float:
        return SAME_SCORE * float(np.max(np.abs(self.means), initial=0.0))

    @property
    def variances(self) -> FloatArray:
        """Variance (K,) of each mean, apart from what all settings share."""
        return self.seed_variances / self.counts

    def draw_means(self, num_draws: int, rng: np.random.Generator) -> FloatArray:
        """Draws (D, K) of the means: a smooth bootstrap over seeds, Student t in its tails."""
        if self.scatter is not None:
            return self._draw_apart(self.scatter, num_draws, rng)
        degrees = self.num_seeds - 1
        weights = rng.standard_normal((num_draws, self.num_seeds))
        weights *= np.sqrt(degrees / rng.chisquare(degrees, size=(num_draws, 1)))
        scale = np.sqrt(self.counts * np.maximum(self.counts - 1.0, 1.0))
        draws = self.means + weights @ (self.residuals / scale[:, None]).T
        if self.resolution > 0.0 and np.any(self.seeds_tie):
            # No spread between seeds is no certainty: no test set shows less than one example.
            spread = np.where(self.seeds_tie, self.resolution / np.sqrt(self.counts), 0.0)
            draws = draws + rng.standard_normal(draws.shape) * spread
        return np.asarray(draws)

    def _draw_apart(self, scatter: Scatter, num_draws: int, rng: np.random.Generator) -> FloatArray:
        """Draws (D, K) of the means, each setting by itself; Student t in the tails."""
        factor = np.sqrt(scatter.degrees / rng.chisquare(scatter.degrees, size=(num_draws, 1)))
        apart = rng.standard_normal((num_draws, self.num_usable)) * np.sqrt(self.variances)
        return np.asarray(self.means + factor * apart)

    def edge_reason(self, side: Literal["low", "high"]) -> str:
        """Why nothing was measured beyond the lowest or highest usable setting."""
        if side == "low" and self.late_below:
            return NOT_ARRIVED
        limit = self.limits[0 if side == "low" else 1]
        if limit is not None:
            return limit
        return "stability" if side == "high" and self.unstable_above else "edge of the grid"


def merge_settings(
    noise_scale: ArrayLike,
    scores: ArrayLike,
    *,
    limits: Sequence[str | None] | None,
    ran: ArrayLike | None,
    effective_rate: ArrayLike | None = None,
    num_test: int | None = None,
    late: ArrayLike | None = None,
    scatter: Scatter | None = None,
) -> Settings:
    """Check the input, drop settings that diverged or lose to the best only because they had not
    arrived, merge equal noise scales seed by seed.

    With `scatter`, one run is enough for a setting to count, and what a seed is does not matter.
    """
    if any(np.ma.is_masked(given) for given in (noise_scale, scores, ran, effective_rate)):
        raise InputError(
            "noise scales, scores, ran and rates must not be masked, got a masked array; pass "
            "scores.filled(numpy.nan) and ran=~scores.mask for runs that were not made"
        )
    for what, given in (("noise scales", noise_scale), ("scores", scores)):
        kind = np.asarray(given).dtype
        if kind.kind not in _REAL_KINDS:
            raise InputError(f"{what} must be real numbers, got dtype {kind}; convert them first")
    scale = np.asarray(noise_scale, dtype=np.float64)
    table = np.asarray(scores, dtype=np.float64)
    if scale.ndim != 1 or table.ndim != 2 or table.shape[0] != scale.size or table.shape[1] < 1:
        raise InputError(
            "noise_scale must have shape (K,) and scores (K, S) with S >= 1, "
            f"got {scale.shape} and {table.shape}; give one row of scores for each noise scale"
        )
    if not np.all(np.isfinite(scale) & (scale > 0.0)):
        raise InputError(
            f"noise scales must be positive and finite, got {scale.tolist()}; "
            "a setting that was not run does not belong in the list"
        )
    if np.any(np.isinf(table)):
        raise InputError("scores must be finite, or NaN for diverged runs, got inf; pass NaN")
    size = float(np.max(np.abs(table), initial=0.0, where=np.isfinite(table)))
    if not (size == 0.0 or SMALLEST_SCORE <= size <= LARGEST_SCORE):
        raise InputError(
            f"the largest score must be 0 or of a size between {SMALLEST_SCORE:g} and "
            f"{LARGEST_SCORE:g}, got {size:g}; multiply all scores by one number"
        )
    if limits is not None and len(limits) != scale.size:
        raise InputError(
            f"limits must name one limit (or None) for each of the {scale.size} noise scales, "
            f"got {len(limits)}; pad with None"
        )
    was_run = np.ones(table.shape, dtype=bool) if ran is None else np.asarray(ran, dtype=bool)
    if was_run.shape != table.shape:
        raise InputError(
            f"ran must have the shape of scores {table.shape}, got {was_run.shape}; "
            "mark each run True (it ended or diverged) or False (not run yet)"
        )
    rate = None if effective_rate is None else np.asarray(effective_rate, dtype=np.float64)
    if rate is not None and (
        rate.shape != scale.shape or not np.all(np.isfinite(rate) & (rate > 0))
    ):
        raise InputError(
            "effective_rate must give one positive, finite rate ε/(1 − m) for each of the "
            f"{scale.size} noise scales, got {rate.tolist()}"
        )
    table = np.where(was_run, table, np.nan)
    survived = np.sum(np.isfinite(table), axis=1)
    planned = np.sum(was_run, axis=1)
    enough = min(2, table.shape[1]) if scatter is None else 1
    usable = (survived >= STABLE_SHARE * planned) & (survived >= enough)
    diverged = (planned > 0) & (survived < STABLE_SHARE * planned)

    losing_by_time = _losing_by_time(scale, table, usable, late)
    usable &= ~losing_by_time

    order = [int(k) for k in np.argsort(scale, kind="stable") if usable[k]]
    groups: list[list[int]] = []
    for k in order:
        with np.errstate(over="ignore"):  # from 1e-300 to 1e300: not the same setting
            apart = np.log(scale[k] / scale[groups[-1][-1]]) if groups else np.inf
        if apart < SAME_SETTING:
            groups[-1].append(k)
        else:
            groups.append([k])
    rows = np.array([_mean_over_members(table[group]) for group in groups]).reshape(
        len(groups), table.shape[1]
    )
    present = np.isfinite(rows)
    counts = present.sum(axis=1).astype(np.float64)
    filled = np.where(present, rows, 0.0)
    means = filled.sum(axis=1) / np.maximum(counts, 1.0)
    member_means = np.where(usable, np.nansum(table, axis=1) / np.maximum(survived, 1), -np.inf)
    top = max((scale[k] for k in order), default=0.0)
    residuals = np.where(present, rows - means[:, None], 0.0)
    if scatter is not None:  # runs of one setting are repetitions, whatever their seeds
        residuals, present = np.zeros((len(groups), 1)), np.ones((len(groups), 1), dtype=bool)
    return Settings(
        log_noise_scale=np.array([np.mean(np.log(scale[group])) for group in groups]),
        means=means,
        residuals=residuals,
        present=present,
        counts=counts,
        best_member=[max(group, key=lambda k: float(member_means[k])) for group in groups],
        limits=(
            _first_limit(limits, groups[0] if groups else []),
            _first_limit(limits, groups[-1] if groups else []),
        ),
        unstable_above=bool(np.any(diverged & (scale > top))),
        cliff=_cliff(scale, rate, usable, planned - survived, planned, alone=scatter is None),
        num_seeds=table.shape[1],
        resolution=1.0 / num_test if num_test else 0.0,
        late_below=int(
            np.sum(losing_by_time & (scale < min((scale[k] for k in order), default=0)))
        ),
        scatter=scatter,
    )


def thinned(settings: Settings) -> Settings:
    """Settings few enough for a fit: of a crowded grid, means over groups of neighbors."""
    if settings.num_usable <= CROWDED:
        return settings
    rows = np.where(settings.present, settings.means[:, None] + settings.residuals, np.nan)
    groups = np.array_split(np.arange(settings.num_usable), FEWEST)
    merged = np.array([_mean_over_members(rows[group]) for group in groups])
    present = np.isfinite(merged)
    counts = present.sum(axis=1).astype(np.float64)
    means = np.where(present, merged, 0.0).sum(axis=1) / counts
    if settings.scatter is not None:
        counts = np.array([settings.counts[group].sum() for group in groups])
    best = [group[int(np.argmax(settings.means[group]))] for group in groups]
    return replace(
        settings,
        log_noise_scale=np.array([np.mean(settings.log_noise_scale[g]) for g in groups]),
        means=means,
        residuals=np.where(present, merged - means[:, None], 0.0),
        present=present,
        counts=counts,
        best_member=[settings.best_member[k] for k in best],
    )


def _losing_by_time(
    scale: FloatArray, table: FloatArray, usable: NDArray[np.bool_], late: ArrayLike | None
) -> NDArray[np.bool_]:
    """Settings (K,) with less noise than the best that had not arrived: that they are worse is no
    evidence. Nor is the place of the best then, if it had not arrived either."""
    if late is None or not np.any(usable):
        return np.zeros(scale.shape, dtype=np.bool_)
    moving = np.asarray(late, dtype=bool)
    if moving.shape != scale.shape:
        raise InputError(
            f"late must give one truth value for each of the {scale.size} noise scales, got shape "
            f"{moving.shape}"
        )
    with np.errstate(invalid="ignore"):
        sums = np.nansum(table, axis=1) / np.maximum(np.isfinite(table).sum(axis=1), 1)
    best = int(np.argmax(np.where(usable, sums, -np.inf)))
    not_arrived = usable & moving
    below = np.asarray(not_arrived & (scale < scale[best]))
    if np.any(below) and not_arrived[best]:
        return np.asarray(not_arrived & (scale <= scale[best]))
    return below


def _cliff(
    scale: FloatArray,
    rate: FloatArray | None,
    usable: NDArray[np.bool_],
    num_diverged: NDArray[np.intp],
    num_runs: NDArray[np.intp],
    *,
    alone: bool,
) -> float | None:
    """Lowest log noise scale above the usable ones at which the noise makes training diverge.

    The noise, and not the rate: a usable setting has as large a rate. At least two runs must tell,
    of that setting `alone`, or of it and those between it and the usable ones.
    """
    if rate is None or not np.any(usable):
        return None
    lost = (num_diverged >= 1) & (num_diverged >= CLIFF_SHARE * num_runs)
    lost &= (scale > scale[usable].max()) & (rate <= rate[usable].max() * (1.0 + 1e-9))
    telling = num_diverged
    if not alone:
        telling = np.array([np.sum(num_diverged[lost & (scale <= here)]) for here in scale])
    lost &= telling >= 2
    return float(np.log(scale[lost].min())) if np.any(lost) else None


def _over_neighbors(values: FloatArray) -> FloatArray:
    """A setting's value (K,) counts twice as much as that of either neighbor."""
    padded = np.pad(values, 1, mode="edge")
    return np.asarray((padded[:-2] + 2.0 * padded[1:-1] + padded[2:]) / 4.0)


def _mean_over_members(rows: FloatArray) -> FloatArray:
    """Mean (S,) of equal settings, seed by seed; NaN where no member has the seed."""
    present = np.isfinite(rows)
    total = np.where(present, rows, 0.0).sum(axis=0)
    count = present.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _first_limit(limits: Sequence[str | None] | None, members: list[int]) -> str | None:
    if limits is None:
        return None
    return next((limits[k] for k in members if limits[k] is not None), None)
