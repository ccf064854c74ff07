"""2×2 max-pooling with a bias and a rectifier, compiled by Numba: one pass forward, one backward.

Importing this module needs Numba. Bytes of a pass, for n numbers before pooling in float32: 4n read
and 1¼n written forward, 1¼n read and 4n written backward. PyTorch's operations write indices of
eight bytes, fill with zeros what the backward pass then adds to, and read all of it once more for
the gradient of the bias.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]

# Of a 2×2 window, row by row, the element that was the largest; or none, where the rectifier cut.
_CUT = 4


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Kept on disk for the next process, if there is a place for it."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no place that can be written to
        return numba.njit(nogil=True, error_model="numpy")(function)


# Each innermost loop is one that LLVM turns into vector instructions: over channels, which lie
# together, and with few arrays, so that it can tell them apart.


@_compiled
def pool(image: _Array, bias: _Array, rectify: bool, out: _Array, chosen: _Array) -> None:
    """out ← max-pool(image) + bias, then its positive part if ``rectify``.

    NaN wins, as in PyTorch; among equals the first.

    Args:
        image: (B, H, W, N) with H, W at least 2; an odd last row or column takes no part.
        bias: (N,).
        out: (B, H // 2, W // 2, N).
        chosen: the same, uint8: which of the four, or 4 where the rectifier cut.
    """
    zero = bias.dtype.type(0)
    batch, height, width, channels = out.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                first, second = image[b, 2 * i, 2 * j], image[b, 2 * i, 2 * j + 1]
                third, fourth = image[b, 2 * i + 1, 2 * j], image[b, 2 * i + 1, 2 * j + 1]
                largest, which = out[b, i, j], chosen[b, i, j]
                for n in range(channels):
                    best, index = first[n], np.int32(0)
                    other = second[n]
                    better = (other > best) | (other != other)
                    best, index = (other, np.int32(1)) if better else (best, index)
                    other = third[n]
                    better = (other > best) | (other != other)
                    best, index = (other, np.int32(2)) if better else (best, index)
                    other = fourth[n]
                    better = (other > best) | (other != other)
                    best, index = (other, np.int32(3)) if better else (best, index)
                    best += bias[n]
                    cut = rectify & (best <= zero)
                    largest[n] = zero if cut else best
                    which[n] = np.int32(_CUT) if cut else index


@_compiled
def pool_backward(gradient: _Array, chosen: _Array, to_image: _Array, to_bias: _Array) -> None:
    """The transpose of :func:`pool`'s derivative.

    Args:
        gradient: (B, H // 2, W // 2, N).
        chosen: of the forward pass.
        to_image: (B, H, W, N), overwritten but for an odd last row or column.
        to_bias: (N,), to which its gradient is added.
    """
    zero = to_bias.dtype.type(0)
    batch, height, width, channels = gradient.shape
    of_image = np.empty_like(to_bias)  # sums of sums: a long sum in float32 loses digits
    for b in range(batch):
        of_image[:] = zero
        for i in range(height):
            for j in range(width):
                p, which = gradient[b, i, j], chosen[b, i, j]
                first, second = to_image[b, 2 * i, 2 * j], to_image[b, 2 * i, 2 * j + 1]
                third, fourth = to_image[b, 2 * i + 1, 2 * j], to_image[b, 2 * i + 1, 2 * j + 1]
                for n in range(channels):
                    first[n] = p[n] if which[n] == 0 else zero
                for n in range(channels):
                    second[n] = p[n] if which[n] == 1 else zero
                for n in range(channels):
                    third[n] = p[n] if which[n] == 2 else zero
                for n in range(channels):
                    fourth[n] = p[n] if which[n] == 3 else zero
                for n in range(channels):
                    of_image[n] += p[n] if which[n] < _CUT else zero
        for n in range(channels):
            to_bias[n] += of_image[n]
