"""How the optimum moves with width: a power law, its exponent with an interval, and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis.optimum import Optimum
from widthwise.deprecated import old_name
from widthwise.errors import FitError, InputError
from widthwise.text import estimate, exact_list, html_table
from widthwise.theory.power_law import stretch_for_scatter

Verdict = Literal["proportional", "constant", "other", "inconclusive"]
FloatArray = NDArray[np.float64]

# Equivalence zones of the exponent: inside one is a finding, outside both is another.
ZONES: dict[Verdict, tuple[float, float]] = {
    "proportional": (0.75, 1.25),
    "constant": (-0.25, 0.25),
}
# A law is fitted to widths whose optimum more often than not lies inside what was run.
INFORMATIVE_SHARE = 0.5
# Widening factors closer than this (in log) are one width: an exponent from them would be noise.
SAME_WIDTH = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """Best normalized noise scale = exp(intercept) * widening_factor ** exponent.

    Draws that leave the exponent undetermined (fewer than two widths inside their grids) are NaN
    in `samples`; they open the interval on both sides. `num_cut_off` widths have an optimum that
    noise which makes training diverge bounds from above. `doubts` says what the intervals do not
    hold, of the runs behind the optima: few seeds, training that had not arrived. `init_variance`
    is the family-level σ_init² at widening factor 1 in which the noise scales are normalized; None
    where that is not known.
    """

    exponent: float
    interval: tuple[float, float]
    intercept: float
    verdict: Verdict
    num_widths: int
    num_censored: int
    widening_factors: tuple[float, ...]
    confidence: float
    lack_of_fit: float | None  # chance of so large a scatter under the law; None for two widths
    samples: FloatArray = field(repr=False)
    intercept_samples: FloatArray = field(repr=False)
    num_cut_off: int = 0
    doubts: tuple[str, ...] = ()
    init_variance: float | None = None

    def predict(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """Best noise scale at a widening factor, with its band at `confidence`."""
        if not (np.isfinite(widening_factor) and widening_factor > 0):
            raise InputError(f"widening_factor must be positive, got {widening_factor}; try 2")
        log_factor = float(np.log(widening_factor))
        low, high = _interval(self.intercept_samples + self.samples * log_factor, self.confidence)
        value = float(np.exp(self.intercept + self.exponent * log_factor))
        return value, (float(np.exp(low)), float(np.exp(high)))

    def _repr_html_(self) -> str:
        """In a notebook."""
        widths = exact_list(self.widening_factors)
        rows = [("exponent", estimate(self.exponent, self.interval)), ("verdict", self.verdict)]
        rows += [("widths", widths), *(("doubt", doubt) for doubt in self.doubts[:1])]
        return html_table("Best normalized noise scale ∝ width to the power of", rows)

    def sentence(self) -> str:
        """The finding in one sentence."""
        known = (
            f"at {self.num_censored} of which the optimum is only bounded"
            if self.num_censored
            else "with the optimum located at all of them"
        )
        if self.num_cut_off:
            known += f", bounded from above by divergence at {self.num_cut_off}"
        return f"{self._finding()}: {self._exponent()} from {self.num_widths} widths, {known}."

    def _finding(self) -> str:
        """What is excluded is worth saying even where the verdict is open."""
        low, high = self.interval
        if self.verdict == "inconclusive":
            if low > ZONES["constant"][1]:
                grows = "The best normalized noise scale grows with the widening factor"
                if low <= 1.0 <= high:
                    return f"{grows}, whether in proportion is not decided"
                least, most = ZONES["proportional"]
                how = "less" if high < 1.0 else "faster"
                return (
                    f"{grows}, {how} than in exact proportion; near proportion "
                    f"({least:g} to {most:g}) is not excluded"
                )
            if high < ZONES["proportional"][0] and low > ZONES["constant"][0]:
                return (
                    "The best normalized noise scale grows by less than in proportion to the "
                    f"widening factor{'' if low > 0.0 else ', if at all'}"
                )
        if self.verdict == "other":
            if high < ZONES["constant"][0]:
                return "The best normalized noise scale falls as the widening factor grows"
            how = "less" if high < ZONES["proportional"][0] else "faster"
            return (
                "The best normalized noise scale grows with the widening factor, "
                f"{how} than in proportion"
            )
        return _FINDINGS[self.verdict]

    def _exponent(self) -> str:
        """A point estimate is worth saying only where something bounds it on both sides."""
        low, high = self.interval
        at = f"at {100 * self.confidence:g} %"
        if np.isfinite(low) and np.isfinite(high):
            return (
                f"exponent {self.exponent:.2f} "
                f"({100 * self.confidence:g} % interval {low:.2f} to {high:.2f})"
            )
        if np.isfinite(low):
            return f"exponent at least {low:.2f} {at}"
        if np.isfinite(high):
            return f"exponent at most {high:.2f} {at}"
        return f"no exponent is excluded {at}"


_FINDINGS: dict[Verdict, str] = {
    "proportional": "The best normalized noise scale grows in proportion to the widening factor",
    "constant": "The best normalized noise scale does not change with the widening factor",
    "inconclusive": "The data do not decide how the best normalized noise scale changes with width",
}


def fit_law(
    widening_factors: ArrayLike, optima: Sequence[Optimum], *, confidence: float = 0.95
) -> Law:
    """Fit log(best noise scale) = intercept + exponent * log(widening factor).

    One weighted line per draw. Locate all optima with the same `seed`: draw d then leans to the
    same shape at every width, whose bias cancels from the exponent. Censored draws enter as
    inequalities; scatter about the line beyond what the draws allow widens the interval.

    Args:
        widening_factors: shape (W,).
        optima: one per widening factor. Those from one seed have no draws and are left out.
        confidence: of the interval of the exponent and of the bands of `predict`.

    Raises:
        InputError: if lengths disagree or a factor is not positive.
        FitError: if fewer than two widths have their optimum more often than not inside the grid.
    """
    factors = np.asarray(widening_factors, dtype=np.float64)
    if factors.shape != (len(optima),):
        raise InputError(
            "widening_factors must name one factor for each optimum, got shape "
            f"{factors.shape} for {len(optima)} optima; give two lists of equal length"
        )
    if not np.all(np.isfinite(factors) & (factors > 0)):
        raise InputError(f"widening factors must be positive, got {factors.tolist()}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    drawn = [o for o in optima if not np.any(np.isnan(o.samples))]
    informative = [bool(np.mean(np.isfinite(o.samples)) >= INFORMATIVE_SHARE) for o in optima]
    if _num_widths(factors[informative]) < 2:
        raise FitError(
            "a law needs the optima of at least 2 widths, got "
            + _too_few(factors, optima, informative)
        )
    used = [not np.any(np.isnan(o.samples)) for o in optima]
    log_factors = np.log(factors[used])
    num_draws = min(o.samples.size for o in drawn)
    draws = np.stack([o.samples[:num_draws] for o in drawn], axis=1)
    bounds = np.array([[np.log(b) for b in o.measured] for o in drawn])
    spread = _spreads(draws)
    exponents, levels, center = _fit_draws(log_factors, draws, bounds, spread)
    exponent = float(np.nanmedian(exponents))
    level = float(np.nanmedian(levels))
    stretch, chance = _stretch(log_factors, drawn, spread, exponent, level, center)
    exponents = exponent + stretch * (exponents - exponent)
    levels = level + stretch * (levels - level)
    interval = _interval(exponents, confidence)
    return Law(
        exponent=exponent,
        interval=interval,
        intercept=level - exponent * center,
        verdict=verdict_of(interval),
        num_widths=len(drawn),
        num_censored=sum(o.censoring != "none" for o in drawn),
        widening_factors=tuple(factors[used].tolist()),
        confidence=confidence,
        lack_of_fit=chance,
        samples=exponents,
        intercept_samples=levels - exponents * center,
        num_cut_off=sum(o.cliff is not None for o in drawn),
    )


def verdict_of(interval: tuple[float, float]) -> Verdict:
    """Equivalence test: which zone holds the whole interval, if any.

    >>> verdict_of((0.8, 1.2)), verdict_of((0.3, 0.7)), verdict_of((0.1, 0.8))
    ('proportional', 'other', 'inconclusive')
    """
    low, high = interval
    for verdict, (zone_low, zone_high) in ZONES.items():
        if zone_low <= low and high <= zone_high:
            return verdict
    apart = all(high < zone_low or low > zone_high for zone_low, zone_high in ZONES.values())
    return "other" if apart else "inconclusive"


def _fit_draws(
    log_factors: FloatArray, draws: FloatArray, bounds: FloatArray, spread: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Exponent (D,), level at the center (D,), and the center, for draws (D, W).

    An infinite draw says only that the optimum lies beyond the measured range: it pulls on the
    line only where the line would contradict it.
    """
    found = np.isfinite(draws)
    target = np.where(found, draws, np.where(draws < 0, bounds[:, 0], bounds[:, 1]))
    weight = 1.0 / spread**2
    center = float(np.sum(weight * log_factors) / np.sum(weight))
    x = log_factors - center
    active = found.copy()
    determined = np.array([np.unique(log_factors[row]).size >= 2 for row in found])
    for _ in range(2 * draws.shape[1] + 2):
        w = weight * active
        sw, sx, sxx = w.sum(1), w @ x, w @ x**2
        sy, sxy = np.sum(w * target, 1), np.sum(w * target * x, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            exponent = (sw * sxy - sx * sy) / (sw * sxx - sx**2)
            level = (sy - exponent * sx) / sw
            line = level[:, None] + exponent[:, None] * x
            contradicts = np.where(draws < 0, line > target, line < target)
        previous = active
        active = found | (contradicts & ~found)
        if np.array_equal(active, previous):
            break
    blank = np.where(determined, 0.0, np.nan)
    return exponent + blank, level + blank, center


def _spreads(draws: FloatArray) -> FloatArray:
    """Standard deviation of the draws of each width (W,), infinite ones held at the extremes.

    A width without a finite draw is given the typical spread of the others.
    """
    spreads = np.full(draws.shape[1], np.nan)
    for i, column in enumerate(draws.T):
        finite = column[np.isfinite(column)]
        if finite.size:
            spreads[i] = max(float(np.std(np.clip(column, finite.min(), finite.max()))), 1e-6)
    return np.where(np.isnan(spreads), np.nanmedian(spreads), spreads)


def _stretch(
    log_factors: FloatArray,
    optima: Sequence[Optimum],
    spread: FloatArray,
    exponent: float,
    level: float,
    center: float,
) -> tuple[float, float | None]:
    """Factor by which the draws must widen for the scatter of the widths about the line."""
    found = np.array([o.censoring == "none" for o in optima])
    line = level + exponent * (log_factors - center)
    # The middle of the draws, to which the line was fitted: an optimum's own estimate has one
    # shape, the draws lean to all, and the difference is no scatter of the widths.
    middle = np.array(
        [np.median(o.samples) if ok else 0.0 for o, ok in zip(optima, found, strict=True)]
    )
    residual = middle - line
    chi_square = float(np.sum((residual[found] / spread[found]) ** 2))
    return stretch_for_scatter(chi_square, int(found.sum()) - 2)


def _interval(draws: FloatArray, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    unknown = np.isnan(draws)
    low = np.quantile(np.where(unknown, -np.inf, draws), tail, method="inverted_cdf")
    high = np.quantile(np.where(unknown, np.inf, draws), 1.0 - tail, method="inverted_cdf")
    return float(low), float(high)


def _num_widths(factors: FloatArray) -> int:
    """How many of them differ by so much that a power law could show."""
    logs = np.sort(np.log(factors))
    return int(np.sum(np.diff(logs, prepend=-np.inf) > SAME_WIDTH))


def _too_few(factors: FloatArray, optima: Sequence[Optimum], informative: Sequence[bool]) -> str:
    """How many widths have an optimum, why the others have none, and what would help."""
    if not optima:
        return "none; run the study at 2 widths or more"
    known = factors[list(informative)]
    if all(informative):
        if _num_widths(factors) == 1 and len(set(known.tolist())) > 1:
            listed = ", ".join(f"{factor:.12g}" for factor in np.unique(known))
            return (
                f"widening factors that differ by less than {100 * SAME_WIDTH:g} %, {listed}; "
                "run one twice as wide"
            )
        return (
            f"{len(optima)} of {len(optima)}: all at one widening factor, {known[0]:g}; "
            "run another width"
        )
    return (
        f"{sum(informative)} of {len(optima)}: {_describe(factors, optima, informative)}; "
        "extend the grid of noise scales there, or run more seeds"
    )


_SIDES = {"low": "below a bound", "high": "above a bound", "none": "uncertain"}


def _describe(factors: FloatArray, optima: Sequence[Optimum], informative: Sequence[bool]) -> str:
    parts = []
    for factor, optimum, counts in zip(factors, optima, informative, strict=True):
        if not counts:
            parts.append(f"widening factor {factor:g} ({_why(optimum)})")
    return ", ".join(parts)


def _why(optimum: Optimum) -> str:
    """Why an optimum cannot carry a law."""
    if optimum.is_flat:
        return "flat: the best settings tie, up to an edge of what was run"
    if np.any(np.isnan(optimum.samples)):
        return "one seed only"
    return f"known only to be {_SIDES[optimum.censoring]}: {optimum.reason}"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
