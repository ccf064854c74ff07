"""How the optimum moves with width: a power law or a bent one, its exponent with an interval, and a
verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis._bends import bend_of
from widthwise.analysis._draws import interval_of, spreads_of, stretch_of
from widthwise.analysis._too_few import num_widths, too_few
from widthwise.analysis.curve import Curve, least_squares
from widthwise.analysis.optimum import Optimum
from widthwise.deprecated import old_name
from widthwise.errors import FitError, InputError
from widthwise.text import estimate, exact, exact_list, html_table

Verdict = Literal["proportional", "constant", "other", "inconclusive"]
FloatArray = NDArray[np.float64]

# Equivalence zones of the exponent: inside one is a finding, outside both is another.
ZONES: dict[Verdict, tuple[float, float]] = {
    "proportional": (0.75, 1.25),
    "constant": (-0.25, 0.25),
}
# A law is fitted to widths whose optimum more often than not lies inside what was run.
INFORMATIVE_SHARE = 0.5
# So many widths can show a bend.
LEAST_WIDTHS_TO_BEND = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """Best normalized noise scale = exp(intercept) * widening_factor ** exponent, or a bent curve.

    `exponent`, `interval` and `verdict` are those of a straight line through the widths that were
    measured. `bend` is what the local exponent loses from the narrowest to the widest of them: 0
    unless the evidence, of four widths or more, is for a bend; what is not excluded is in
    `bend_interval` (None with two widths). `predict`, `growth` and `local_exponent` follow the
    curve that was chosen, `curve` (None: straight). Their intervals hold lines and bent curves
    unless the evidence tells them apart, and beyond the widest width whatever lies between flat
    and straight on.

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
    bend: float = 0.0
    bend_interval: tuple[float, float] | None = None
    curve: Curve | None = field(default=None, repr=False)
    curve_samples: Curve | None = field(default=None, repr=False)

    def predict(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """Best noise scale at a widening factor, with its band at `confidence`."""
        at = _log_factor(widening_factor)
        band = self._open(lambda curve: curve.possible_values(at))
        return _exp(float(self._chosen().value(at)), band)

    def growth(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """Best noise scale over that at widening factor 1, with its interval at `confidence`."""
        at, chosen = _log_factor(widening_factor), self._chosen()
        ends = self._open(lambda curve: curve.possible_values(at) - curve.possible_values(0.0))
        return _exp(float(chosen.value(at) - chosen.value(0.0)), ends)

    def local_exponent(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """Slope of log(best noise scale) there, with its interval at `confidence`."""
        at = _log_factor(widening_factor)
        ends = self._open(lambda curve: curve.possible_slopes(at))
        return float(self._chosen().slope(at)), ends

    def relative_to(self, base: float) -> "Law":
        """The same law in widening factors relative to this one, for a network tuned there."""
        shift = _log_factor(base)
        return replace(
            self,
            widening_factors=tuple(factor / base for factor in self.widening_factors),
            intercept=self.intercept + self.exponent * shift,
            intercept_samples=self.intercept_samples + self.samples * shift,
            curve=self.curve and self.curve.relative_to(shift),
            curve_samples=self.curve_samples and self.curve_samples.relative_to(shift),
        )

    def _chosen(self) -> Curve:
        return self.curve or self._line(self.intercept, self.exponent)

    def _open(self, quantity: Callable[[Curve], FloatArray]) -> tuple[float, float]:
        """The interval of a quantity of the draws; where the evidence does not tell a line from a
        bent curve, from the lower end of either to the higher of either."""
        line = self._line(self.intercept_samples, self.samples)
        drawn = [self.curve_samples] if self.curve else [line, self.curve_samples or line]
        ends = [interval_of(quantity(curve), self.confidence) for curve in drawn if curve]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _line(self, intercept: float | FloatArray, exponent: float | FloatArray) -> Curve:
        logs = [_log_factor(factor) for factor in self.widening_factors]
        end = max(logs)
        return Curve(
            level=intercept + exponent * end,
            exponent=exponent,
            fall=0.0 * exponent,
            start=min(logs),
            end=end,
        )

    def _repr_html_(self) -> str:
        """In a notebook."""
        widths = exact_list(self.widening_factors)
        rows = [("exponent", estimate(self.exponent, self.interval)), ("verdict", self.verdict)]
        rows += [("widths", widths), *(("doubt", doubt) for doubt in self.doubts[:1])]
        return html_table("Best normalized noise scale ∝ width to the power of", rows)

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self) -> str:
        """The finding in one sentence."""
        known = (
            f"at {self.num_censored} of which the optimum is only bounded"
            if self.num_censored
            else "with the optimum located at all of them"
        )
        if self.num_cut_off:
            known += f", bounded from above by divergence at {self.num_cut_off}"
        ends = f"w = {exact(min(self.widening_factors))} to {exact(max(self.widening_factors))}"
        return (
            f"{self._finding()}: {self._exponent()} from {self.num_widths} widths ({ends}), "
            f"{known}.{self._bend()}"
        )

    def _bend(self) -> str:
        if self.curve is None:
            return ""
        ends = [
            f"{estimate(*self.local_exponent(width))} at w = {exact(width)}"
            for width in (min(self.widening_factors), max(self.widening_factors))
        ]
        return f" The law bends: its local exponent is {ends[0]} and {ends[1]}."

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
    """Fit log(best noise scale) = intercept + exponent * log(widening factor), and a bent curve.

    One weighted line per draw, and one curve whose local exponent nears zero, evenly or at a
    corner. Locate all optima with the same `seed`: draw d then leans to the same shape at every
    width, whose bias cancels from the exponent. Censored draws enter as inequalities; scatter
    beyond what the draws allow widens the interval.

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
    if num_widths(factors[informative]) < 2:
        raise FitError(
            "a law needs the optima of at least 2 widths, got "
            + too_few(factors, optima, informative)
        )
    used = [not np.any(np.isnan(o.samples)) for o in optima]
    log_factors = np.log(factors[used])
    num_draws = min(o.samples.size for o in drawn)
    draws = np.stack([o.samples[:num_draws] for o in drawn], axis=1)
    bounds = np.array([[np.log(b) for b in o.measured] for o in drawn])
    spread = spreads_of(draws)
    center = float(np.average(log_factors, weights=1.0 / spread**2))
    line = np.stack([np.ones_like(log_factors), log_factors - center], axis=1)
    fits, _ = least_squares(line, log_factors, draws, bounds, spread)
    levels, exponents = fits.T
    level, exponent = float(np.nanmedian(levels)), float(np.nanmedian(exponents))
    stretch, chance = stretch_of(drawn, spread, level + exponent * (log_factors - center), 2)
    exponents = exponent + stretch * (exponents - exponent)
    levels = level + stretch * (levels - level)
    interval = interval_of(exponents, confidence)
    curve, curves = None, None
    if num_widths(factors[informative]) > 2:
        bend = bend_of(log_factors, drawn, draws, bounds, spread, exponent)
        curves = bend.curves
        if bend.seen and num_widths(factors[informative]) >= LEAST_WIDTHS_TO_BEND:
            curve, chance = bend.middle, bend.lack_of_fit
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
        bend=0.0 if curve is None else float(curve.loss()),
        bend_interval=None if curves is None else interval_of(curves.loss(), confidence),
        curve=curve,
        curve_samples=curves,
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


def _log_factor(widening_factor: float) -> float:
    if not (np.isfinite(widening_factor) and widening_factor > 0):
        raise InputError(f"widening_factor must be positive, got {widening_factor}; try 2")
    return float(np.log(widening_factor))


def _exp(value: float, ends: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    with np.errstate(over="ignore"):
        return float(np.exp(value)), (float(np.exp(ends[0])), float(np.exp(ends[1])))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
