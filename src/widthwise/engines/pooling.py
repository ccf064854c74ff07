"""2×2 max-pooling of all replicas, with the bias before it and the rectifier beside it.

max-pool(x + b) = max-pool(x) + b and max-pool(relu(x)) = relu(max-pool(x)), gradients included: a
quarter of the numbers to add to and to cut, and to sum for the gradient of b. On a CPU, where there
is the compiled library, all three are one pass of it; elsewhere they are PyTorch's operations.
``compiled/pooling.c`` says how.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from widthwise.engines.compiled.library import (
    VARIABLE,
    Images,
    PoolingFunctions,
    pooling_functions,
)
from widthwise.engines.modules import NotPackableError
from widthwise.engines.values import Run, merge, split

SIZE = 2


@dataclass(frozen=True)
class FusedPool:
    """In a program: windows of 2×2 without overlap or padding.

    Attributes:
        bias: name of what is added, (R, C); None: nothing.
        rectify: whether a rectifier follows.
    """

    bias: str | None
    rectify: bool

    def __call__(self, run: Run, value: Tensor) -> Tensor:
        """(B, R, C, H, W) → (B, R, C, H // 2, W // 2).

        Raises:
            NotPackableError: if one network's value is no (B, C, H, W).
        """
        if value.ndim != 5:
            raise NotPackableError(f"2d pooling of a value with {value.ndim - 1} axes")
        return max_pool(value, run.find(self.bias), rectify=self.rectify)


def max_pool(value: Tensor, bias: Tensor | None, *, rectify: bool) -> Tensor:
    """Largest of every 2×2 pixels, plus the bias, cut at zero if ``rectify``.

    Args:
        value: (B, R, C, H, W).
        bias: (R, C).

    Returns:
        (B, R, C, H // 2, W // 2).
    """
    replicas, image = value.shape[1], merge(value)
    flat = None if bias is None else bias.flatten()
    passes = _passes(image)
    if passes is not None:
        added = None if flat is None else flat.to(image.dtype)
        assert added is None or len(added) == image.shape[1], "C reads a bias for each channel"
        image = image.contiguous(memory_format=torch.channels_last)
        out: Tensor = _CompiledPool.apply(image, added, rectify, passes)  # type: ignore[no-untyped-call]
    else:
        out = functional.max_pool2d(image, SIZE)
        if flat is not None:
            out = out + flat.view(-1, 1, 1).to(out.dtype)
        out = functional.relu(out) if rectify else out
    return split(out, replicas)


def passes_of(dtype: torch.dtype) -> PoolingFunctions | None:
    """The compiled passes; None where there are none, or the environment says so."""
    return _found(dtype, os.environ.get(VARIABLE))


@cache
def _found(dtype: torch.dtype, wanted: str | None) -> PoolingFunctions | None:
    """Looked for once for each value of the environment's variable."""
    try:
        return pooling_functions(dtype)
    except NotPackableError:
        return None


def _passes(image: Tensor) -> PoolingFunctions | None:
    """Those that serve this image, (B, N, H, W). They run on one core: with several threads
    PyTorch's operations are left to use them."""
    if image.device.type != "cpu" or torch.get_num_threads() != 1 or min(image.shape[2:]) < SIZE:
        return None
    passes = passes_of(image.dtype)
    return None if passes is None or image.shape[1] < passes.min_channels else passes


class _CompiledPool(torch.autograd.Function):
    """On (B, N, H, W) in channels-last memory. The derivative has no derivative."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, bias: Tensor | None, rectify: bool, passes: PoolingFunctions
    ) -> Tensor:
        batch, channels, height, width = image.shape
        sizes = Images(batch, height, width, channels)
        shape = (batch, height // SIZE, width // SIZE, channels)
        out, chosen = image.new_empty(shape), image.new_empty(shape, dtype=torch.uint8)
        added = None if bias is None else bias.contiguous()
        passes.forward(
            sizes,
            image.data_ptr(),
            None if added is None else added.data_ptr(),
            rectify,
            out.data_ptr(),
            chosen.data_ptr(),
        )
        ctx.save_for_backward(chosen)
        ctx.sizes, ctx.passes = sizes, passes
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (chosen,) = ctx.saved_tensors
        sizes = ctx.sizes
        image = (sizes.batch, sizes.height, sizes.width, sizes.channels)
        to_image = gradient.new_empty(image)
        to_bias = gradient.new_empty((2, sizes.channels))
        gradients = gradient.permute(0, 2, 3, 1).contiguous()
        ctx.passes.backward(
            sizes,
            gradients.data_ptr(),
            chosen.data_ptr(),
            to_image.data_ptr(),
            to_bias.data_ptr(),
        )
        of_bias = to_bias[0] if ctx.needs_input_grad[1] else None
        return to_image.permute(0, 3, 1, 2), of_bias, None, None
