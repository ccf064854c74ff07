"""Kernels of infinitely wide rectifier MLPs in the NTK parameterization.

Source: Jacot, Gabriel & Hongler (2018), arXiv:1806.07572, sections 2 and 4; the expectations over
rectifiers: Cho & Saul (2009), Kernel Methods for Deep Learning, equations 1 to 6.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import InputError
from widthwise.theory.parameterization import READOUT_GAIN, RELU_GAIN


@dataclass(frozen=True)
class Kernels:
    """Of the outputs of one class; classes are independent of each other.

    Attributes:
        initial: (n, m), covariance of the outputs of fresh networks (NNGP).
        tangent: (n, m), by how much a gradient step on one example moves the output of another
            (NTK).
    """

    initial: NDArray[np.float64]
    tangent: NDArray[np.float64]


def mlp_kernels(a: ArrayLike, b: ArrayLike, *, depth: int = 1, bias: bool = True) -> Kernels:
    """Kernels between two sets of inputs for ``widthwise.families.mlp`` in the NTK
    parameterization, at infinite width.

    A layer computes W x/√fan_in + b, with W ~ N(0, 2) before a rectifier, N(0, 1) in the readout,
    and b = 0 at first.

    Args:
        a, b: (n, *shape) and (m, *shape).
        depth: hidden layers, at least 1.
        bias: whether layers have biases.

    Raises:
        InputError: if depth is not positive or the inputs' sizes differ.

    >>> x = np.eye(2)
    >>> mlp_kernels(x, x, bias=False).tangent  # 1/2 + 1/4; 1/(2π) at right angles
    array([[0.75      , 0.15915494],
           [0.15915494, 0.75      ]])
    """
    if depth < 1:
        raise InputError(f"depth must be at least 1, got {depth}")
    left, right = (np.asarray(x, dtype=np.float64) for x in (a, b))
    left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"inputs must be of one size, got {left.shape[1]} and {right.shape[1]} numbers each"
        )
    size, trained_bias = left.shape[1], float(bias)
    outer = left @ right.T / size
    variances = [RELU_GAIN * np.square(x).sum(1) / size for x in (left, right)]
    covariance, tangent = RELU_GAIN * outer, outer + trained_bias
    for gain in [RELU_GAIN] * (depth - 1) + [READOUT_GAIN]:
        active, slopes = _rectified(covariance, *variances)
        covariance = gain * active
        tangent = active + trained_bias + gain * slopes * tangent
        variances = [gain * variance / 2 for variance in variances]
    return Kernels(covariance, tangent)


def initial_variance(inputs: ArrayLike) -> NDArray[np.float64]:
    """(n,), variances of the outputs of fresh networks: the diagonal of ``Kernels.initial``.

    Rectifiers halve what the gain of 2 doubles, so it is |x|²/size at any depth.

    >>> initial_variance([[1.0, 1.0]])
    array([1.])
    """
    flat = np.asarray(inputs, dtype=np.float64).reshape(len(np.asarray(inputs)), -1)
    variances: NDArray[np.float64] = np.square(flat).mean(1)
    return variances


def _rectified(
    covariance: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """E[max(u, 0) max(v, 0)] and P(u > 0, v > 0) of jointly normal u, v of mean 0."""
    scale = np.sqrt(np.outer(left, right))
    cosine = np.divide(covariance, scale, out=np.ones_like(covariance), where=scale > 0)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    slopes = (np.pi - angle) / (2 * np.pi)
    return scale * (np.sin(angle) / (2 * np.pi) + slopes * np.cos(angle)), slopes
