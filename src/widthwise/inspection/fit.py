"""Whether values can have come from a distribution: four exact tests, at a stated level.

Under the hypothesis the values are independent with a known distribution function F and mean 0.
Then F(x) is uniform, z = Φ⁻¹(F(x)) is standard normal, and whatever the number of values n

- Σz² has the χ² distribution with n degrees of freedom (the scale),
- Σz/√n is standard normal (the mean),
- the largest |2F − 1| has the distribution function vⁿ (the bounds),
- Kolmogorov's distance of F(x) from uniform has its known distribution (the shape).

A distribution fits if none of the four rejects at a quarter of the level (Bonferroni), so a true
one is rejected with a probability of at most 1 − confidence.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.inspection.schemes import TRUNCATED_STD, Distribution

Values = NDArray[np.float64]

_TESTS = 4
# Probability of one step of the generator behind a float32 uniform value; what lies at a bound
# counts as half a step inside it.
_GRAIN = 2.0**-25
_ROOT_3 = math.sqrt(3.0)
_CUT = 2.0
_CUT_MASS = math.erf(_CUT / math.sqrt(2.0))


@dataclass(frozen=True)
class Sample:
    """Values of one parameter, with what several tests need of them.

    Attributes:
        ordered: shape (n,), ascending, finite.
        rounding: relative rounding error of the stored values.
    """

    ordered: Values
    rounding: float
    largest: float
    total: float
    total_of_squares: float

    @classmethod
    def of(cls, values: Values, rounding: float) -> "Sample":
        ordered = np.sort(values)
        return cls(
            ordered=ordered,
            rounding=rounding,
            largest=float(max(abs(ordered[0]), abs(ordered[-1]))),
            total=float(ordered.sum()),
            total_of_squares=float(ordered @ ordered),
        )


def fits(sample: Sample, distribution: Distribution, std: float, confidence: float) -> bool:
    """Whether values of this distribution, mean 0 and standard deviation are compatible.

    Args:
        sample: n ≥ 1 values.
        distribution, std: the hypothesis; std > 0.
        confidence: a true hypothesis is kept with at least this probability.
    """
    from scipy import special  # SciPy is slow to import

    level = (1.0 - confidence) / _TESTS
    n = len(sample.ordered)
    if _bounds_p(sample, distribution, std) < level:
        return False
    if distribution == "normal":  # z is x/σ: two tests without a look at every value
        squares = sample.total_of_squares / std**2
        mean = sample.total / std / math.sqrt(n)
        if _two_sided(special.chdtr(n, squares), special.chdtrc(n, squares)) < level:
            return False
        if 2.0 * special.ndtr(-abs(mean)) < level:
            return False
        probability = special.ndtr(sample.ordered / std)
    else:
        probability = _distribution_function(sample, distribution, std)
        z = special.ndtri(probability)
        squares = float(z @ z)
        if _two_sided(special.chdtr(n, squares), special.chdtrc(n, squares)) < level:
            return False
        if 2.0 * special.ndtr(-abs(float(z.sum())) / math.sqrt(n)) < level:
            return False
    return bool(_shape_p(probability) >= level)


def resolution(n: int, distribution: Distribution, confidence: float) -> float:
    """How far off, relatively, a standard deviation must be to be rejected, roughly.

    Normal: z/√(2n) from the test of scale. Uniform: 1 − p^(1/n) from the test of bounds. Both with
    the level of one side of one test.

    >>> round(resolution(1000, "normal", 0.999), 3), round(resolution(1000, "uniform", 0.999), 3)
    (0.082, 0.009)
    """
    from scipy import special  # SciPy is slow to import

    level = (1.0 - confidence) / (2 * _TESTS)
    if distribution == "uniform":
        return -math.expm1(math.log(level) / n)
    return -float(special.ndtri(level)) / math.sqrt(2.0 * n)


def _bounds_p(sample: Sample, distribution: Distribution, std: float) -> float:
    """Two-sided probability of a largest magnitude as extreme as this one."""
    from scipy import special  # SciPy is slow to import

    largest = sample.largest
    bound = _bound(distribution, std)
    if largest > bound * (1.0 + 2.0 * sample.rounding):
        return 0.0
    largest = min(largest, 2.0 * bound - largest)
    if distribution == "normal":
        beyond = 2.0 * float(special.ndtr(-largest / std))
    elif distribution == "uniform":
        beyond = 1.0 - largest / bound
    else:
        tail = special.ndtr(-largest / _parent(std)) - special.ndtr(-_CUT)
        beyond = 2.0 * float(tail) / _CUT_MASS
    if distribution != "normal":
        beyond = max(beyond, _GRAIN)
    log_smaller = len(sample.ordered) * math.log1p(-min(beyond, 1.0 - 1e-16))
    return _two_sided(math.exp(log_smaller), -math.expm1(log_smaller))


def _distribution_function(sample: Sample, distribution: Distribution, std: float) -> Values:
    from scipy import special  # SciPy is slow to import

    # What rounding carried over a bound came from as far inside it.
    bound = _bound(distribution, std)
    inside = np.clip(sample.ordered, -bound, bound)
    inside = np.sort(2.0 * inside - sample.ordered) if sample.largest > bound else inside
    if distribution == "uniform":
        probability = (inside / bound + 1.0) / 2.0
    else:
        scaled = inside / _parent(std)
        probability = (special.ndtr(scaled) - special.ndtr(-_CUT)) / _CUT_MASS
    return np.asarray(np.clip(probability, _GRAIN, 1.0 - _GRAIN))


def _shape_p(probability: Values) -> float:
    n = len(probability)
    steps = np.arange(n + 1) / n
    distance = max(float(np.max(steps[1:] - probability)), float(np.max(probability - steps[:-1])))
    from scipy import stats  # SciPy's distributions are slow to import

    survival: Any = stats.kstwo.sf(distance, n)
    return float(survival)


def _bound(distribution: Distribution, std: float) -> float:
    """The largest magnitude there can be."""
    if distribution == "normal":
        return math.inf
    return _ROOT_3 * std if distribution == "uniform" else _CUT * _parent(std)


def _parent(std: float) -> float:
    return std / TRUNCATED_STD


def _two_sided(low: float, high: float) -> float:
    return 2.0 * min(float(low), float(high))
