"""3×3 convolutions of all replicas with a quarter of the multiplications: Winograd's F(4×4, 3×3).

A tile of 4×4 outputs depends on 6×6 inputs, and is Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A: 36 multiplications
a pair of channels where the direct way takes 144. The sum over channels turns them into 36 matrix
products. Bᵀ, G and Aᵀ evaluate polynomials at six points and interpolate; on a tile as a vector,
they act as Kronecker products (36×36, 36×9, 16×36), and the backward pass is their transposes.
Source: Lavin & Gray (2016), arXiv:1509.09308. Points 0, ±1, 1/2, −2, ∞: Barabasz et al. (2020),
arXiv:1803.10986; with ±1/2 or ±2 instead, float32 errors are 1.6 times as large.

Rounding is not that of a direct convolution. In float32, with 64 channels and inputs after a
rectifier, outputs are off by 1.0e-6 of their root mean square, a direct convolution's by 3e-7.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_KERNEL, _OUT, _IN = 3, 4, 6  # sides of the kernel and of a tile's outputs and inputs
_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity
# When it pays, in training, measured on an AMD Zen 3 against grouped channels-last convolutions:
# with fewer channels, transforms cost more than the products save; with fewer tiles, the kernels'
# transforms do; and what tiles compute beyond the edge of an image is lost.
_CHANNELS, _TILES, _OUTPUTS_A_TILE = 40, 32, 12
# The element of a transformed tile that belongs to the point (1, 1): what is added there is
# added to all outputs of the tile, because all powers of 1 are 1.
_ONE = _POINTS.index(1.0) * (_IN + 1)


def convolution3x3(value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Each replica's convolution with stride 1 and a border of one zero, as ``conv2d`` defines it.

    The derivative has no derivative: differentiating twice raises.

    Args:
        value: (B, R, C, H, W), best in channels-last memory.
        weight: (R, O, C, 3, 3).
        bias: (R, O).

    Returns:
        (B, R, O, H, W) in channels-last memory.
    """
    images = value.permute(0, 3, 4, 1, 2)
    out: Tensor = _Convolution.apply(images, weight, bias)  # type: ignore[no-untyped-call]
    return out.permute(0, 3, 4, 1, 2)


def pays(batch: int, outputs: int, inputs: int, height: int, width: int) -> bool:
    """Whether it is expected to be faster than a direct convolution, in training on a CPU.

    Args:
        batch: examples.
        outputs, inputs: channels of one replica; what counts is their harmonic mean.
        height, width: of the image.

    >>> pays(32, 128, 64, 16, 16), pays(32, 64, 32, 16, 16), pays(1, 128, 64, 16, 16)
    (True, False, False)
    """
    tiles = _num_tiles(height, width)
    return (
        outputs * inputs >= _CHANNELS * (outputs + inputs)
        and batch * tiles >= _TILES
        and height * width >= _OUTPUTS_A_TILE * tiles
    )


def kept_floats(outputs: int, inputs: int, height: int, width: int) -> tuple[int, int]:
    """What one replica keeps for the backward pass: floats of tiles, an example, and of kernels;
    zeros for sizes at which it does not pay whatever the batch.

    >>> kept_floats(128, 64, 16, 16)
    (36864, 294912)
    """
    if not pays(_TILES, outputs, inputs, height, width):
        return 0, 0
    return _IN**2 * _num_tiles(height, width) * inputs, _IN**2 * outputs * inputs


def _num_tiles(height: int, width: int) -> int:
    return -(-height // _OUT) * -(-width // _OUT)


@cache
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of inputs (36, 36), of kernels (36, 9), and back to outputs (16, 36)."""
    points = np.array(_POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    finite = np.vander(points, _OUT, increasing=True)
    back = np.vstack([finite, np.eye(_OUT)[-1]]).T
    products = np.array([np.prod(p - rest) for p, rest in zip(points, others, strict=True)])
    kernel = np.vstack([finite[:, :_KERNEL] / products[:, None], np.eye(_KERNEL)[-1]])
    # Coefficients, in ascending order, of the polynomials that vanish at all points but one.
    vanishing = [np.append(np.poly(rest)[::-1], 0.0) for rest in others]
    tile = np.vstack([*vanishing, np.poly(points)[::-1]])
    input_of, kernel_of, output_of = (
        torch.from_numpy(np.kron(matrix, matrix)).to(dtype) for matrix in (tile, kernel, back)
    )
    return input_of, kernel_of, output_of


class _Convolution(torch.autograd.Function):
    """On (B, H, W, R, C). Tiles are (tiles, 36 or 16, R, channels) and kernels (R, O, 36 or 9, C):
    what belongs to a tile lies together, so that its transforms happen in the cache."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch, height, width, replicas, _ = value.shape
        channels = weight.shape[1]
        input_of, kernel_of, output_of = _transforms(value.dtype)
        # A view of weights in channels-last memory.
        kernels = _each(kernel_of, weight.permute(0, 1, 3, 4, 2).flatten(0, 1).flatten(1, 2))
        kernels = torch.unflatten(kernels, 0, (replicas, channels))
        tiles = _each(input_of, _cut(value))
        products = tiles.new_empty(len(tiles), _IN**2, replicas, channels)
        for r in range(replicas):
            torch.bmm(
                tiles[:, :, r].transpose(0, 1),
                kernels[r].permute(1, 2, 0),
                out=products[:, :, r].transpose(0, 1),
            )
        if bias is not None:
            products[:, _ONE] += bias
        ctx.save_for_backward(tiles, kernels)
        ctx.has_bias = bias is not None
        grid = (batch, -(-height // _OUT), -(-width // _OUT), _OUT, _OUT, replicas, channels)
        return _joined(_each(output_of, products).view(grid), height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tiles, kernels = ctx.saved_tensors
        batch, height, width, replicas, _ = gradient.shape
        rows, columns = -(-height // _OUT), -(-width // _OUT)
        input_of, kernel_of, output_of = (t.T.contiguous() for t in _transforms(gradient.dtype))
        if height % _OUT or width % _OUT:
            beyond = (0, _OUT * columns - width, 0, _OUT * rows - height)
            gradient = functional.pad(gradient, (0, 0, 0, 0, *beyond))
        gradients = gradient.reshape(
            batch, rows, _OUT, columns, _OUT, *gradient.shape[3:]
        ).transpose(2, 3)
        gradients = _each(output_of, gradients.reshape(-1, _OUT**2, *gradient.shape[3:]))
        to_value = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_tiles = torch.empty_like(tiles)
            for r in range(replicas):
                torch.bmm(
                    gradients[:, :, r].transpose(0, 1),
                    kernels[r].transpose(0, 1),
                    out=to_tiles[:, :, r].transpose(0, 1),
                )
            grid = (batch, rows, columns, _IN, _IN, *tiles.shape[2:])
            to_value = _overlapped(_each(input_of, to_tiles).view(grid), height, width)
        if ctx.needs_input_grad[1]:
            to_kernels = torch.empty_like(kernels)
            for r in range(replicas):
                torch.bmm(
                    gradients[:, :, r].permute(1, 2, 0),
                    tiles[:, :, r].transpose(0, 1),
                    out=to_kernels[r].transpose(0, 1),
                )
            to_weight = _each(kernel_of, to_kernels.flatten(0, 1))
            grid = (*kernels.shape[:2], _KERNEL, _KERNEL, -1)
            to_weight = to_weight.view(grid).permute(0, 1, 4, 2, 3)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            to_bias = gradients[:, _ONE].sum(0)
        return to_value, to_weight, to_bias


def _cut(value: Tensor) -> Tensor:
    """(B, H, W, R, C) → (tiles, 36, R, C): the inputs of each tile, which overlap by two."""
    height, width, *channels = value.shape[1:]
    rows, columns = -(-height // _OUT), -(-width // _OUT)
    beyond = (1, _OUT * columns + 1 - width, 1, _OUT * rows + 1 - height)
    padded = functional.pad(value, (0, 0, 0, 0, *beyond))
    windows = padded.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT)
    return windows.permute(0, 1, 2, 5, 6, 3, 4).reshape(-1, _IN**2, *channels)


def _joined(tiles: Tensor, height: int, width: int) -> Tensor:
    """(B, rows, columns, 4, 4, R, C) → (B, H, W, R, C)."""
    image = tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return image[:, :height, :width]


def _overlapped(tiles: Tensor, height: int, width: int) -> Tensor:
    """(B, rows, columns, 6, 6, R, C) → (B, H, W, R, C): the transpose of :func:`_cut`.

    The inner 4×4 of a tile lie where its outputs are; the frame belongs to its neighbours, and is
    added to them, first sideways, then up and down. Overwrites ``tiles``.
    """
    tiles[:, :, 1:, :, 1] += tiles[:, :, :-1, :, -1]
    tiles[:, :, :-1, :, -2] += tiles[:, :, 1:, :, 0]
    tiles[:, 1:, :, 1, 1:-1] += tiles[:, :-1, :, -1, 1:-1]
    tiles[:, :-1, :, -2, 1:-1] += tiles[:, 1:, :, 0, 1:-1]
    return _joined(tiles[:, :, :, 1:-1, 1:-1], height, width)


def _each(transform: Tensor, values: Tensor) -> Tensor:
    """(m, n) times every (many, n, …) → (many, m, …)."""
    out = torch.bmm(transform.expand(len(values), -1, -1), values.flatten(2))
    return out.view(*out.shape[:2], *values.shape[2:])
