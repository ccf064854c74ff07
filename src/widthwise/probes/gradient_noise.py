"""The gradient noise scale tr(Σ)/|G|² of McCandlish et al. (2018), measured on a module.

G is the mean and Σ the covariance of single examples' gradients, at the parameters as they are.
Not to be confused with our noise scales (:mod:`widthwise.theory.noise`); see
:data:`HOW_IT_DIFFERS`.

Source: An Empirical Model of Large-Batch Training, arXiv:1812.06162, section 2.2 and appendix A.1.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from widthwise.data import Dataset
from widthwise.errors import FitError, InputError
from widthwise.probes.gradients import GradientSource, Loss
from widthwise.text import plain

HOW_IT_DIFFERS = (
    "The gradient noise scale tr(Σ)/|G|² is measured from the gradients at one moment of training "
    "and says, in examples, up to about which batch size averaging more of them still speeds up "
    "training; the normalized noise scale ḡ is made of hyper-parameters and says how strongly SGD "
    "is shaken, on which test accuracy depends."
)
MIN_GRADIENTS = 8
DEFAULT_NUM_EXAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class GradientNoiseScale:
    """tr(Σ)/|G|², with both parts estimated without bias.

    Attributes:
        value: in examples, a batch size; infinite if the estimate of |G|² is not positive.
        interval: at ``confidence``; its upper end is infinite if |G|² cannot be told from 0.
        trace: tr(Σ), the sum of the variances of a single example's gradient; loss²/parameter².
        squared_norm: |G|², same units; its unbiased estimate can be negative.
        squared_norm_interval: of |G|², at ``confidence``.
        num_examples: used.
        batch_size: examples a gradient; 1 unless batch norm mixes examples.
        confidence: of the intervals.
    """

    value: float
    interval: tuple[float, float]
    trace: float
    squared_norm: float
    squared_norm_interval: tuple[float, float]
    num_examples: int
    batch_size: int
    confidence: float

    @property
    def bounded(self) -> bool:
        """Whether |G|² can be told from 0, so that the interval has an upper end."""
        return math.isfinite(self.interval[1])

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self) -> str:
        """The result in words, and how it differs from ḡ."""
        low, high = self.interval
        percent = f"{100 * self.confidence:g} %"
        if self.bounded:
            measured = f"{self.value:.3g} examples ({percent} interval {low:.3g} to {high:.3g})"
        else:
            measured = (
                f"at least {low:.3g} examples ({percent}; the mean gradient of {self.num_examples} "
                "examples cannot be told from 0, which leaves the upper end open: measure on more)"
            )
        return f"Gradient noise scale: {measured}. {HOW_IT_DIFFERS}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite number becomes None."""
        content: dict[str, Any] = plain(self)
        return content | {"bounded": self.bounded, "how_it_differs": HOW_IT_DIFFERS}


def gradient_noise_scale(
    module: nn.Module,
    inputs: Dataset | ArrayLike,
    targets: ArrayLike | None = None,
    *,
    loss: Loss = "cross-entropy",
    num_examples: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> GradientNoiseScale:
    """Measure tr(Σ)/|G|² of a module as it is, on examples drawn without replacement.

    The module computes in the mode in which it is (dropout draws its masks from ``seed``) and is
    not changed; the caller's random state is restored. Gradients are per example, by
    ``torch.func.vmap`` where that can go, else one after the other. Batch norm in training mode
    mixes examples: then gradients are of batches, and their covariance is taken as Σ/batch_size,
    the two-batch-size estimator of appendix A.1 (the small batch is one batch, the large one their
    union). The data are read twice; memory is a few chunks of gradients, not one an example.

    The interval is for the distribution that the examples were drawn from, not for just these
    examples; it is Fieller's, with the jackknife's covariance over examples, see
    :func:`estimate`.

    Args:
        module: maps inputs (n, *shape) to logits (n, classes), or to what ``loss`` takes.
        inputs: (N, *shape), or a data set, of which the training examples are taken.
        targets: (N, …); only with arrays.
        loss: "cross-entropy", "mean-squared-error" (against one-hot targets), or a function of
            (output, targets) that returns the mean over its examples.
        num_examples: to use; None takes 1,024, or all if there are fewer.
        batch_size: examples a gradient; None is 1, or 32 where batch norm mixes examples.
        seed: decides which examples, and masks of dropout.
        confidence: of the interval, in (0, 1).

    Raises:
        InputError: if an argument is out of range, or batch norm mixes examples and batch_size is
            1.
        FitError: if a gradient is not finite, or all of them are 0.

    >>> module = nn.Linear(2, 1, bias=False)  # the gradient of its mean output is the mean input
    >>> x = np.array([[3, 1], [3, -1]] * 50, dtype=np.float32)  # G = (3, 0), Σ = diag(0, 1)
    >>> measured = gradient_noise_scale(module, x, np.zeros(100), loss=lambda y, _: y.mean())
    >>> round(measured.value, 2)
    0.11
    """
    source = GradientSource.prepare(
        module, inputs, targets, loss=loss, batch_size=batch_size, seed=seed
    )
    available = source.num_examples
    wanted = min(DEFAULT_NUM_EXAMPLES, available) if num_examples is None else num_examples
    least = MIN_GRADIENTS * source.batch_size
    if not least <= wanted <= available:
        raise InputError(
            f"num_examples must lie in [{least}, {available}] ({MIN_GRADIENTS} gradients of "
            f"{source.batch_size} examples up to all there are), got {wanted}; change it or "
            "bring more examples"
        )
    squared_norms, products = source.squared_norms_and_products(wanted)
    return estimate(squared_norms, products, batch_size=source.batch_size, confidence=confidence)


def estimate(
    squared_norms: ArrayLike, products: ArrayLike, *, batch_size: int = 1, confidence: float = 0.95
) -> GradientNoiseScale:
    """The estimate from n gradients g_i that are independent and alike.

    With A = |Σ_i g_i|² and Q = Σ_i |g_i|², |G|² is estimated by (A − Q)/(n(n − 1)), the mean of
    g_i·g_j over pairs, and tr(Σ) by batch_size times (Q − A/n)/(n − 1): appendix A.1 with a small
    batch of one gradient and a large one of n. Leaving gradient i out turns A into
    A − 2 g_i·Σ_j g_j + |g_i|², so the jackknife needs no more than the arguments. The interval
    holds every θ for which tr(Σ) − θ|G|² cannot be told from 0 by Student's t (Fieller 1954): it
    is open above exactly if |G|² cannot be told from 0. Among 2,000 planted Gaussian sets each
    (5 to 100 parameters, 50 to 1,000 gradients) 95 % intervals held the truth in 94 to 97 %; where
    few examples carry most of tr(Σ) (log-normal norms, shape 1) only in 83 to 87 %.

    Args:
        squared_norms: |g_i|², shape (n,), n ≥ 8.
        products: g_i·Σ_j g_j, shape (n,).
        batch_size: examples of which each g_i is the mean.
        confidence: in (0, 1).

    Raises:
        InputError: if there are too few, or an argument is out of range.
        FitError: if a number is not finite, or all gradients are 0.
    """
    from scipy import special  # SciPy is slow to import

    norms = np.asarray(squared_norms, dtype=np.float64)
    dots = np.asarray(products, dtype=np.float64)
    _check(norms, dots, batch_size, confidence)
    n, total, sum_of_norms = len(norms), float(dots.sum()), float(norms.sum())
    trace, squared_norm = _parts(total, sum_of_norms, n)
    without = np.stack(_parts(total - 2.0 * dots + norms, sum_of_norms - norms, n - 1))
    covariance = np.cov(without, ddof=0) * (n - 1)
    quantile = float(special.stdtrit(n - 1, 0.5 + confidence / 2.0))
    low, high = _fieller(trace, squared_norm, quantile**2 * covariance)
    half_width = quantile * float(covariance[1, 1]) ** 0.5
    return GradientNoiseScale(
        value=batch_size * max(trace, 0.0) / squared_norm if squared_norm > 0.0 else math.inf,
        interval=(batch_size * low, batch_size * high),
        trace=batch_size * trace,
        squared_norm=squared_norm,
        squared_norm_interval=(max(0.0, squared_norm - half_width), squared_norm + half_width),
        num_examples=n * batch_size,
        batch_size=batch_size,
        confidence=confidence,
    )


def _parts(total: Any, sum_of_norms: Any, n: int) -> tuple[Any, Any]:
    """(trace, |G|²) from A and Q, of numbers or of arrays."""
    squared_norm = (total - sum_of_norms) / (n * (n - 1))
    return sum_of_norms / n - squared_norm, squared_norm


def _fieller(
    numerator: float, denominator: float, spread: NDArray[np.float64]
) -> tuple[float, float]:
    """{θ ≥ 0: (numerator − θ·denominator)² ≤ spread of that difference}, denominator ≥ 0 known.

    Args:
        spread: (2, 2), the covariance times the squared quantile.
    """
    denominator = max(denominator, 0.0)
    a = denominator**2 - float(spread[1, 1])
    b = numerator * denominator - float(spread[0, 1])
    c = numerator**2 - float(spread[0, 0])
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0.0:
        return max(0.0, (b - root) / a), max(0.0, (b + root) / a)
    # The denominator may be 0. If the numerator may be as well, anything is possible.
    if c <= 0.0:
        return 0.0, math.inf
    # c/(b + root) is the positive root, also where a = 0.
    return (c / (b + root) if b + root > 0.0 else 0.0), math.inf


def _check(
    norms: NDArray[np.float64], dots: NDArray[np.float64], batch_size: int, confidence: float
) -> None:
    if norms.ndim != 1 or norms.shape != dots.shape or len(norms) < MIN_GRADIENTS:
        raise InputError(
            f"squared_norms and products must have one shape (n,) with n ≥ {MIN_GRADIENTS}, got "
            f"{norms.shape} and {dots.shape}; measure more gradients"
        )
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; 0.95 is usual")
    if not (np.all(np.isfinite(norms)) and np.all(np.isfinite(dots))):
        raise FitError(
            "every gradient must be finite to have a noise scale, but at least one is not; has "
            "training diverged?"
        )
    if not np.any(norms):
        raise FitError(
            "every gradient is 0, so that tr(Σ)/|G|² is 0/0; measure before training has ended, "
            "or another loss"
        )
