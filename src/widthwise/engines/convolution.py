"""The convolutions of all replicas, by the faster of two algorithms."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.engines import winograd
from widthwise.engines.values import merge, split

_Sizes = int | Sequence[int]


def convolution(
    value: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    convolve: Callable[..., Tensor],
    groups: int,
    **options: Any,
) -> Tensor:
    """One convolution with R times as many groups, or Winograd's algorithm where that pays.

    Args:
        value: (B, R, n_in, *size).
        weight: (R, n_out, n_in, *kernel).
        bias: (R, n_out).
        convolve: one of ``torch.nn.functional``'s convolutions.
        groups: of one replica.
        options: stride, padding, dilation.

    Returns:
        (B, R, n_out, *size).
    """
    if _winograd_pays(value, weight, groups, **options):
        return winograd.convolution3x3(value, weight, bias)
    value, options = _without_stride(value, weight, options)
    replicas = value.shape[1]
    x = _channels_last(value) if value.ndim == 5 else merge(value)
    kernels, groups = weight.flatten(0, 1), replicas * groups
    if bias is None:
        out = convolve(x, kernels, groups=groups, **options)
    else:
        flat = bias.flatten()
        out = convolve(x, kernels, flat.detach(), groups=groups, **options)
        out = _BiasGradient.apply(out, flat)  # type: ignore[no-untyped-call]
    return split(out, replicas)


def _without_stride(
    value: Tensor, weight: Tensor, options: dict[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """A convolution of single pixels with a stride, as one without it on the pixels that count.

    For the gradient of its weights on channels-last images with less than 8 channels (16 with
    AVX-512), oneDNN 3.12, and so PyTorch 2.13 and 2.14, writes beyond the end of its scratch
    memory: numbers elsewhere change, or the process dies.
    Source: https://github.com/uxlfoundation/oneDNN/issues/6035.
    """
    kernel, padding = weight.shape[3:], options.get("padding", 0)
    steps = _along(kernel, options.get("stride", 1))
    padded = padding == "same" or (padding != "valid" and any(_along(kernel, padding)))
    if any(side > 1 for side in kernel) or padded or max(steps) == 1:
        return value, options
    every: list[Any] = [..., *(slice(None, None, step) for step in steps)]
    value = value[tuple(every)]
    return value, {**options, "stride": 1}


def _along(axes: Sequence[int], sizes: Any) -> list[int]:
    """One size an axis; PyTorch takes 2 or [2] for [2, 2]."""
    each = list(sizes) if isinstance(sizes, Sequence) else [sizes]
    return each * (len(axes) // len(each))


class _BiasGradient(torch.autograd.Function):
    """The identity on (B, n, *size), with the derivative by a bias (n,) that was added before.

    On a CPU a convolution's own gradient of its bias can take as long as that of its weights.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, bias: Tensor) -> Tensor:
        ctx.dtype = bias.dtype
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient.sum((0, *range(2, gradient.ndim)), dtype=ctx.dtype)


def _channels_last(value: Tensor) -> Tensor:
    """(B, R, C, H, W) → (B, R·C, H, W) in channels-last memory.

    What is there already is not copied; images that lie one replica after the other are copied
    twice, by rows and then pixels by channels, which is faster than once in pieces of C numbers.
    """
    return merge(value).contiguous(memory_format=torch.channels_last)


def transformed_floats(layer: nn.Conv2d, height: int, width: int) -> tuple[int, int]:
    """What Winograd's algorithm keeps for the backward pass beside the layer's output (height ×
    width): floats of tiles, an example, and of kernels. Zeros where it never pays."""
    outputs, inputs = layer.out_channels, layer.in_channels
    options = (layer.groups, layer.stride, layer.padding, layer.dilation)
    if not _is_winograds(layer.kernel_size, *options):
        return 0, 0
    return winograd.kept_floats(outputs, inputs, height, width)


def _winograd_pays(value: Tensor, weight: Tensor, groups: int, **options: Any) -> bool:
    """On CUDA the library chooses among such algorithms itself; in bfloat16 this one would lose
    digits."""
    return (
        value.device.type == "cpu"
        and value.dtype == weight.dtype
        and value.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and _is_winograds(weight.shape[3:], groups, **options)
        and winograd.pays(value.shape[0], *weight.shape[1:3], *value.shape[3:])
    )


def _is_winograds(
    kernel: Sequence[int],
    groups: int,
    stride: _Sizes = 1,
    padding: _Sizes | str = 0,
    dilation: _Sizes = 1,
) -> bool:
    """Whether it is a 3×3 convolution as :mod:`widthwise.engines.winograd` has it."""
    ones: tuple[Any, ...] = (1, (1, 1), [1, 1])
    return (
        tuple(kernel) == (3, 3)
        and groups == 1
        and stride in ones
        and padding in (*ones, "same")
        and dilation in ones
    )
