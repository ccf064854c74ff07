"""2×2 max-pooling of all replicas, with the bias before it and the rectifier beside it.

max-pool(x + b) = max-pool(x) + b and max-pool(relu(x)) = relu(max-pool(x)), gradients included: a
quarter of the numbers to add to and to cut, and to sum for the gradient of b. Where Numba is
installed, a CPU does all three in one compiled pass; elsewhere they are PyTorch's operations.
"""

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

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
    if _compiled_serves(image):
        image = image.contiguous(memory_format=torch.channels_last)
        added = image.new_zeros(image.shape[1]) if flat is None else flat
        out: Tensor = _CompiledPool.apply(image, added, rectify)  # type: ignore[no-untyped-call]
    else:
        out = functional.max_pool2d(image, SIZE)
        if flat is not None:
            out = out + flat.view(-1, 1, 1).to(out.dtype)
        out = functional.relu(out) if rectify else out
    return split(out, replicas)


@cache
def kernels() -> ModuleType | None:
    """The compiled passes; None without Numba, or where it is told not to compile."""
    try:
        import numba

        from widthwise.engines import pooling_kernels
    except ImportError:
        return None
    return None if getattr(numba.config, "DISABLE_JIT", False) else pooling_kernels


def _compiled_serves(image: Tensor) -> bool:
    """A kernel runs on one core: with several threads PyTorch's operations are left to use them."""
    return (
        image.device.type == "cpu"
        and image.dtype in (torch.float32, torch.float64)
        and torch.get_num_threads() == 1
        and min(image.shape[2:]) >= SIZE
        and kernels() is not None
    )


class _CompiledPool(torch.autograd.Function):
    """On (B, N, H, W) in channels-last memory. The derivative has no derivative."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, bias: Tensor, rectify: bool) -> Tensor:
        batch, channels, height, width = image.shape
        shape = (batch, height // SIZE, width // SIZE, channels)
        out, chosen = image.new_empty(shape), image.new_empty(shape, dtype=torch.uint8)
        images, added = image.detach().permute(0, 2, 3, 1), bias.detach().contiguous()
        _kernels().pool(images.numpy(), added.numpy(), rectify, out.numpy(), chosen.numpy())
        ctx.save_for_backward(chosen)
        ctx.shape = (batch, height, width, channels)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (chosen,) = ctx.saved_tensors
        _, height, width, channels = ctx.shape
        to_image, to_bias = gradient.new_empty(ctx.shape), gradient.new_zeros(channels)
        if height % SIZE:
            to_image[:, -1] = 0.0
        if width % SIZE:
            to_image[:, :, -1] = 0.0
        gradients = gradient.permute(0, 2, 3, 1).contiguous()
        _kernels().pool_backward(
            gradients.numpy(), chosen.numpy(), to_image.numpy(), to_bias.numpy()
        )
        return to_image.permute(0, 3, 1, 2), to_bias, None


def _kernels() -> ModuleType:
    compiled = kernels()
    assert compiled is not None, "asked for without them"
    return compiled
