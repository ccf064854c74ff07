"""Layers that families are built from: ordinary ``torch.nn.Module``s."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.parameterization import (
    READOUT_GAIN,
    RELU_GAIN,
    forward_multiplier,
    init_std,
)

# Activation → (module, gain σ0² of the layer before it). He et al. (2015) for the rectifier; 1
# for the others, which pass small signals unchanged (or nearly so).
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "relu": (nn.ReLU, RELU_GAIN),
    "tanh": (nn.Tanh, READOUT_GAIN),
    "gelu": (nn.GELU, RELU_GAIN),
    "silu": (nn.SiLU, RELU_GAIN),
}


def activation(name: str) -> tuple[nn.Module, float]:
    """The activation of this name and the gain of the layer before it.

    Raises:
        InputError: if there is none.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    build, gain = ACTIVATIONS[name]
    return build(), gain


class ScaledLinear(nn.Linear):
    """Linear layer with a fixed factor on its product: y = multiplier · x Wᵀ + b.

    The NTK parameterization's layer, with multiplier = 1/√fan_in. Shapes as ``nn.Linear``.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, multiplier: float
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.multiplier = multiplier

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Linear uses
        return functional.linear(input * self.multiplier, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, multiplier={self.multiplier:g}"


def linear(
    parameterization: str,
    fan_in: int,
    fan_out: int,
    *,
    gain: float,
    bias: bool,
    generator: torch.Generator,
) -> nn.Linear:
    """A dense layer in this parameterization, drawn from ``generator``; the bias starts at 0."""
    multiplier = forward_multiplier(parameterization, fan_in)
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws weights that nobody uses
        layer = (
            nn.Linear(fan_in, fan_out, bias)
            if multiplier == 1.0
            else ScaledLinear(fan_in, fan_out, bias, multiplier=multiplier)
        )
    std = init_std(parameterization, fan_in, gain)
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer
