"""Elementwise activations with their derivatives, for backward passes written out by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_aten = torch.ops.aten


@dataclass(frozen=True)
class ActivationRule:
    """y = forward(x) and the product of a gradient with dy/dx.

    Attributes:
        forward: x → y; overwrites x unless ``saves_input``.
        backward: (gradient with respect to y, saved) → gradient with respect to x, written into
            the first argument where the operation allows it.
        saves_input: whether ``saved`` is x (then forward must not overwrite it) or y.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    saves_input: bool


def _relu_backward(gradient: Tensor, output: Tensor) -> Tensor:
    _aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
    return gradient


def _tanh_backward(gradient: Tensor, output: Tensor) -> Tensor:
    _aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)
    return gradient


def _sigmoid_backward(gradient: Tensor, output: Tensor) -> Tensor:
    _aten.sigmoid_backward.grad_input(gradient, output, grad_input=gradient)
    return gradient


def _gelu_backward(approximate: str) -> Callable[[Tensor, Tensor], Tensor]:
    def backward(gradient: Tensor, saved: Tensor) -> Tensor:
        return _aten.gelu_backward(gradient, saved, approximate=approximate)  # type: ignore[no-any-return]

    return backward


RELU = ActivationRule(torch.relu_, _relu_backward, saves_input=False)
TANH = ActivationRule(torch.tanh_, _tanh_backward, saves_input=False)
SIGMOID = ActivationRule(torch.sigmoid_, _sigmoid_backward, saves_input=False)
SILU = ActivationRule(functional.silu, _aten.silu_backward, saves_input=True)
GELU = {
    approximate: ActivationRule(
        lambda x, a=approximate: functional.gelu(x, approximate=a),  # type: ignore[misc]
        _gelu_backward(approximate),
        saves_input=True,
    )
    for approximate in ("none", "tanh")
}

# Exact types only: a subclass may compute something else.
MODULE_RULES: dict[type[nn.Module], Callable[[nn.Module], ActivationRule]] = {
    nn.ReLU: lambda module: RELU,
    nn.Tanh: lambda module: TANH,
    nn.Sigmoid: lambda module: SIGMOID,
    nn.SiLU: lambda module: SILU,
    nn.GELU: lambda module: GELU[str(module.approximate)],
}

FUNCTION_RULES: dict[object, ActivationRule] = {
    torch.relu: RELU,
    functional.relu: RELU,
    torch.tanh: TANH,
    torch.sigmoid: SIGMOID,
    functional.silu: SILU,
    "relu": RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
}
