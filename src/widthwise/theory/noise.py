"""Noise-scale formulas: how strongly minibatch sampling shakes SGD, and how to hold that fixed.

Sources: Smith & Le (2018), arXiv:1710.06451 (noise scale); Smith et al. (2018), arXiv:1711.00489
(momentum); Park et al. (2019), arXiv:1905.03776, section 2 (normalization by the initial variance).

Not to be confused with the *gradient noise scale* tr(Σ)/|G|² of McCandlish et al. (2018),
arXiv:1812.06162, which is a property of the gradients, not of the hyper-parameters.

Every function broadcasts over arrays and returns a float for scalar input.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import InputError

FloatOrArray = Any  # float for scalar arguments, NDArray[np.float64] otherwise


def noise_scale(
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    momentum: ArrayLike = 0.0,
    num_train: ArrayLike | None = None,
) -> FloatOrArray:
    """Noise scale of SGD: ε/(B(1−m)), or εN/(B(1−m)) if ``num_train`` is given.

    Valid for batches much smaller than the training set. Use the form with N only to compare data
    sets of different size (arXiv:1710.06451, equation 3; momentum: arXiv:1711.00489, section 4).

    Args:
        learning_rate: ε > 0, for a loss averaged over the batch.
        batch_size: B ≥ 1, examples per step.
        momentum: heavy-ball coefficient m in [0, 1).
        num_train: N, examples in the training set; at least the batch size.

    Returns:
        The noise scale, in the units of the learning rate; the arguments' broadcast shape.

    Raises:
        InputError: if an argument is out of range.

    >>> noise_scale(0.1, 50, momentum=0.5)
    0.004
    >>> noise_scale(0.1, [50, 100], num_train=1000)
    array([2., 1.])
    """
    rate = _checked("learning_rate", learning_rate, low=0.0)
    batch = _checked("batch_size", batch_size, low=1.0, low_included=True)
    damping = 1.0 - _checked("momentum", momentum, low=0.0, low_included=True, high=1.0)
    scale = rate / (batch * damping)
    if num_train is not None:
        examples = _checked("num_train", num_train, low=1.0, low_included=True)
        if np.any(batch > examples):
            raise InputError(
                f"batch_size must not exceed num_train={num_train!r}, got {batch_size!r}; "
                "use a smaller batch",
                fields=("batch_size", "num_train"),
            )
        scale = scale * examples
    return _plain(scale)


def normalized_noise_scale(
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    momentum: ArrayLike = 0.0,
    *,
    init_variance: ArrayLike,
    num_train: ArrayLike | None = None,
) -> FloatOrArray:
    """Normalized noise scale ḡ = ε/(B(1−m)) · 1/σ_init² (Park et al. 2019, equation 4).

    Test accuracy depends on (ε, B, m, initialization) through ḡ alone while ε is small, and the ḡ
    that maximises it grows in proportion to the widening factor.

    Args:
        learning_rate, batch_size, momentum, num_train: as for :func:`noise_scale`.
        init_variance: σ_init² > 0, variance of the initial weights; see
            :func:`widthwise.theory.parameterization.init_variance` for the family-level convention.

    >>> normalized_noise_scale(0.1, 50, init_variance=0.01)
    0.2
    """
    variance = _checked("init_variance", init_variance, low=0.0)
    return _plain(
        np.asarray(noise_scale(learning_rate, batch_size, momentum, num_train)) / variance
    )


def learning_rate_for(
    normalized_noise_scale: ArrayLike,
    batch_size: ArrayLike,
    momentum: ArrayLike = 0.0,
    *,
    init_variance: ArrayLike,
) -> FloatOrArray:
    """The learning rate that gives this ḡ: ε = ḡ σ_init² B (1−m).

    >>> learning_rate_for(0.2, 50, init_variance=0.01)
    0.1
    """
    scale = _checked("normalized_noise_scale", normalized_noise_scale, low=0.0)
    batch = _checked("batch_size", batch_size, low=1.0, low_included=True)
    damping = 1.0 - _checked("momentum", momentum, low=0.0, low_included=True, high=1.0)
    variance = _checked("init_variance", init_variance, low=0.0)
    return _plain(scale * variance * batch * damping)


def batch_size_for(
    normalized_noise_scale: ArrayLike,
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.0,
    *,
    init_variance: ArrayLike,
) -> FloatOrArray:
    """The batch size that gives this ḡ, as a real number: B = ε/(ḡ σ_init² (1−m)).

    Not rounded and not bounded: below 1 means that no batch is small enough at this learning rate.

    >>> batch_size_for(0.2, 0.1, init_variance=0.01)
    50.0
    """
    scale = _checked("normalized_noise_scale", normalized_noise_scale, low=0.0)
    rate = _checked("learning_rate", learning_rate, low=0.0)
    damping = 1.0 - _checked("momentum", momentum, low=0.0, low_included=True, high=1.0)
    variance = _checked("init_variance", init_variance, low=0.0)
    return _plain(rate / (scale * variance * damping))


def momentum_for(
    normalized_noise_scale: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    *,
    init_variance: ArrayLike,
) -> FloatOrArray:
    """The momentum that gives this ḡ: m = 1 − ε/(ḡ σ_init² B).

    Raises:
        InputError: if no momentum in [0, 1) does, because plain SGD is already noisier.

    >>> round(momentum_for(0.2, 0.01, 50, init_variance=0.01), 12)
    0.9
    """
    scale = _checked("normalized_noise_scale", normalized_noise_scale, low=0.0)
    variance = _checked("init_variance", init_variance, low=0.0)
    without = np.asarray(noise_scale(learning_rate, batch_size)) / variance
    # Ratios within rounding of 1 are plain SGD.
    momentum = np.where(
        np.isclose(without, scale, rtol=1e-12, atol=0.0), 0.0, 1.0 - without / scale
    )
    if np.any(momentum < 0.0):
        raise InputError(
            f"no momentum in [0, 1) gives normalized_noise_scale={normalized_noise_scale!r}: "
            f"without momentum it is already {without}; lower the learning rate or raise the "
            "batch size",
            fields=("normalized_noise_scale",),
        )
    return _plain(momentum)


def _checked(
    name: str,
    value: ArrayLike,
    *,
    low: float,
    low_included: bool = False,
    high: float = np.inf,
) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except OverflowError:
        raise InputError(f"{name} must be a number that a float holds", fields=(name,)) from None
    above = array >= low if low_included else array > low
    if not np.all(above & (array < high)):
        bracket = "[" if low_included else "("
        top = f"{high:g}" if np.isfinite(high) else "∞"
        raise InputError(
            f"{name} must lie in {bracket}{low:g}, {top}), got {value!r}", fields=(name,)
        )
    return array


def _plain(array: Any) -> FloatOrArray:
    return float(array) if np.ndim(array) == 0 else np.asarray(array)
