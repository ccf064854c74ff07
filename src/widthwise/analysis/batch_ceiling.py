"""How large the best batch may be: a bound on the learning rate bounds the batch size."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis.law import ZONES, Law, fit_law
from widthwise.analysis.optimum import Censoring, Optimum
from widthwise.errors import FitError, InputError
from widthwise.text import estimate

CeilingVerdict = Literal[
    "falls as 1/w or faster", "falls more slowly", "falls", "does not fall", "inconclusive"
]
FloatArray = NDArray[np.float64]

# As near to an exponent as the verdict on the optimum asks.
_ZONE = ZONES["constant"][1]


@dataclass(frozen=True, kw_only=True, eq=False)
class LargestRate:
    """The largest stable learning rate of one width, as the ceiling needs it.

    Attributes:
        value: the rate, positive.
        samples: draws of its logarithm, (D,); None takes the value as exact.
        is_bound: whether nothing larger was seen to fail, so that the value is a lower bound.
    """

    value: float
    samples: FloatArray | None = field(default=None, repr=False)
    is_bound: bool = False


@dataclass(frozen=True, kw_only=True)
class CeilingPoint:
    """Largest batch size of one width that can have its best noise scale.

    Attributes:
        widening_factor: w.
        batch_size: the ceiling, not rounded.
        interval: 0.0 or infinity marks an open end.
        relation: "=", or "≤" / "≥" where optimum or rate are bounds, or "?" where both are and
            nothing is known.
    """

    widening_factor: float
    batch_size: float
    interval: tuple[float, float]
    relation: Literal["=", "≤", "≥", "?"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchCeiling:
    """Ceiling of the batch size at the optimum = constant * widening_factor ** exponent.

    Attributes:
        points: one a width.
        exponent, interval: None and (-inf, inf) where it could not be fitted.
        problem: why not.
        verdict: by the interval, with a tolerance of a quarter in the exponent.
        num_widths: of the fit.
        momentum, confidence: of the ceiling and its intervals.
    """

    points: tuple[CeilingPoint, ...]
    exponent: float | None
    interval: tuple[float, float]
    problem: str | None
    verdict: CeilingVerdict
    num_widths: int
    momentum: float
    confidence: float
    _law: Law | None = field(repr=False, default=None)

    def predict(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """The fitted ceiling at a widening factor, with its band.

        Raises:
            FitError: if there is no fit.
        """
        if self._law is None:
            raise FitError(f"the ceiling has no fit: {self.problem}")
        value, (low, high) = self._law.predict(widening_factor)
        with np.errstate(divide="ignore"):
            return 1.0 / value, (float(1.0 / np.float64(high)), float(1.0 / np.float64(low)))

    def sentence(self) -> str:
        """The finding in one sentence."""
        if self.exponent is None or np.all(np.isinf(self.interval)):
            why = self.problem or f"its exponent is not bounded at {100 * self.confidence:g} %"
            return (
                "How the largest batch at the best noise scale changes with width is not known: "
                f"{why}."
            )
        return (
            f"{_FINDINGS[self.verdict]}: it goes as w^p with "
            f"p = {estimate(self.exponent, self.interval)} ({100 * self.confidence:g} % interval), "
            f"from {self.num_widths} widths."
        )


_FINDINGS: dict[CeilingVerdict, str] = {
    "falls as 1/w or faster": "The largest batch that can have the best noise scale falls as 1/w "
    "or faster, B_opt ≤ const/w",
    "falls more slowly": "The largest batch that can have the best noise scale falls with width, "
    "but more slowly than 1/w",
    "falls": "The largest batch that can have the best noise scale falls with width, how fast is "
    "not decided",
    "does not fall": "The largest batch that can have the best noise scale does not fall with "
    "width",
    "inconclusive": "The data do not decide whether the largest batch at the best noise scale "
    "falls with width",
}


def ceiling_verdict(interval: tuple[float, float]) -> CeilingVerdict:
    """What the interval of the exponent says.

    >>> [ceiling_verdict(x) for x in ((-1.2, -0.8), (-0.6, -0.3), (-1.1, -0.5), (-0.2, 0.1))]
    ['falls as 1/w or faster', 'falls more slowly', 'falls', 'does not fall']
    """
    low, high = interval
    if high <= _ZONE - 1.0:
        return "falls as 1/w or faster"
    if low >= -_ZONE:
        return "does not fall"
    if high < 0.0:
        return "falls more slowly" if low > _ZONE - 1.0 else "falls"
    return "inconclusive"


def measure_batch_ceiling(
    widening_factors: ArrayLike,
    optima: Sequence[Optimum],
    stable_rates: Sequence[LargestRate],
    *,
    init_variances: ArrayLike,
    momentum: float = 0.0,
    confidence: float = 0.95,
) -> BatchCeiling:
    """B_opt ≤ ε_max / ((1 - m) σ² ḡ_opt), and how it goes with width.

    Source: Park et al. (2019), arXiv:1905.03776, section 4: ε is bounded by ε_max(w), and
    ḡ = ε / (B (1 - m) σ²). Optima and rates are independent measurements. Optima that are bounds
    enter the fit as inequalities; so do rates.

    Args:
        widening_factors: shape (W,), positive and different.
        optima: of the normalized noise scale, one a width.
        stable_rates: one a width, at this momentum.
        init_variances: shape (W,), σ² of the initial weights, positive.
        momentum: m, in [0, 1).
        confidence: of the intervals.

    Raises:
        InputError: if lengths disagree or a number is out of range.
    """
    factors = np.asarray(widening_factors, dtype=np.float64)
    variances = np.asarray(init_variances, dtype=np.float64)
    if not factors.shape == variances.shape == (len(optima),) == (len(stable_rates),):
        raise InputError(
            "a ceiling needs an optimum, a stable rate and a variance for each widening factor, "
            f"got {factors.size} factors, {len(optima)} optima, {len(stable_rates)} rates and "
            f"{variances.size} variances; give lists of equal length"
        )
    positive = [*factors, *variances, *(rate.value for rate in stable_rates)]
    if not all(0.0 < x < np.inf for x in positive) or not 0.0 <= momentum < 1.0:
        raise InputError(
            "factors, variances and rates must be positive and momentum in [0, 1), got "
            f"{factors.tolist()}, {variances.tolist()}, {[r.value for r in stable_rates]} and "
            f"{momentum}; leave out widths that were not measured"
        )
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    inverse = [
        _inverse(optimum, rate, float(variance) * (1.0 - momentum), index, confidence)
        for index, (optimum, rate, variance) in enumerate(
            zip(optima, stable_rates, variances, strict=True)
        )
    ]
    law, problem = None, None
    try:
        law = fit_law(factors, [o for o, _ in inverse], confidence=confidence)
    except FitError:
        problem = "the optimum and the largest stable rate must both be known at 2 widths or more"
    interval = (-np.inf, np.inf) if law is None else (-law.interval[1], -law.interval[0])
    return BatchCeiling(
        points=tuple(
            _point(float(w), o, certain) for w, (o, certain) in zip(factors, inverse, strict=True)
        ),
        exponent=None if law is None else -law.exponent,
        interval=interval,
        problem=problem,
        verdict=ceiling_verdict(interval),
        num_widths=0 if law is None else law.num_widths,
        momentum=momentum,
        confidence=confidence,
        _law=law,
    )


def _inverse(
    optimum: Optimum, rate: LargestRate, damping: float, index: int, confidence: float
) -> tuple[Optimum, bool]:
    """1 / ceiling = (1 - m) σ² ḡ_opt / ε_max as if it were an optimum, and whether its bounds
    leave it known at all: the fit of optima then serves, inequalities included."""
    shift = float(np.log(damping))
    log_rate = np.full(optimum.samples.size, np.log(rate.value))
    if rate.samples is not None and not rate.is_bound:
        # Measured apart from the optima: shuffled, so that draw d of one says nothing of the other.
        shuffled = np.random.default_rng([index, 1]).permutation(np.asarray(rate.samples))
        log_rate = np.resize(shuffled, optimum.samples.size)
    samples = optimum.samples + shift - log_rate
    censoring: Censoring = optimum.censoring
    at = float(np.exp(np.log(optimum.noise_scale) + shift - np.log(rate.value)))
    low, high = (
        optimum.interval[0] * damping / rate.value,
        optimum.interval[1] * damping / rate.value,
    )
    certain = True
    if rate.is_bound:
        # ε_max is at least this, so 1 / ceiling is at most that.
        certain = censoring != "high"
        samples = np.full(samples.size, -np.inf if certain else np.nan)
        censoring, low = "low", 0.0
        measured = (at, np.inf)
    else:
        tail = (1.0 - confidence) / 2.0
        if not np.any(np.isnan(samples)):
            drawn = np.quantile(samples, [tail, 1.0 - tail], method="inverted_cdf")
            low = 0.0 if low == 0.0 else float(np.exp(drawn[0]))
            high = np.inf if np.isinf(high) else float(np.exp(drawn[1]))
        measured = (
            optimum.measured[0] * damping / rate.value,
            optimum.measured[1] * damping / rate.value,
        )
    return replace(
        optimum,
        noise_scale=at,
        interval=(low, high),
        censoring=censoring,
        samples=samples,
        measured=measured,
        cliff=None,
    ), certain


def _reciprocal(value: float) -> float:
    """
    >>> _reciprocal(0.0), _reciprocal(float("inf")), _reciprocal(4.0)
    (inf, 0.0, 0.25)
    """
    return float(np.inf) if value == 0.0 else 1.0 / value


def _point(factor: float, inverse: Optimum, certain: bool) -> CeilingPoint:
    low, high = inverse.interval
    relation: Literal["=", "≤", "≥", "?"] = "="
    edges = {"low": inverse.measured[0], "high": inverse.measured[1]}
    edge = edges.get(inverse.censoring)
    if not certain:
        relation = "?"
    elif edge is not None and np.isclose(edge, inverse.noise_scale, rtol=1e-6):
        relation = "≥" if inverse.censoring == "low" else "≤"
    return CeilingPoint(
        widening_factor=factor,
        batch_size=1.0 / inverse.noise_scale,
        interval=(_reciprocal(high), _reciprocal(low)),
        relation=relation,
    )
