"""Multilayer perceptrons of growing width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from widthwise.errors import InputError
from widthwise.families.base import Width
from widthwise.families.layers import activation, linear, require_drawn, weight_generator
from widthwise.theory.parameterization import READOUT_GAIN, init_variance


@dataclass(frozen=True, kw_only=True)
class MLPFamily:
    """input → [width → activation] × depth → classes; every hidden layer is base_width·w wide.

    Source: Park et al. (2019), section 3 (fully connected networks).

    Attributes:
        input_shape: shape of one example; flattened by the first layer.
        num_classes: width of the readout, which does not widen.
        base_width: units of each hidden layer at widening factor 1.
        depth: number of hidden layers, at least 1.
        parameterization: "standard" or "ntk".
        bias: whether layers have biases (they start at 0).
        activation: a key of :data:`widthwise.families.layers.ACTIVATIONS`.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    base_width: int = 16
    depth: int = 1
    parameterization: str = "standard"
    bias: bool = True
    activation: str = "relu"

    def __post_init__(self) -> None:
        require_drawn(self.parameterization)
        activation(self.activation)
        for name in ("base_width", "depth", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.input_shape or min(self.input_shape) < 1:
            raise InputError(f"input_shape must hold positive sizes, got {self.input_shape}")

    @property
    def name(self) -> str:
        return f"mlp-{self.depth}x{self.base_width}w-{self.activation}"

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² with the gain of the hidden layers."""
        _, gain = activation(self.activation)
        return float(init_variance(self.parameterization, widening_factor, gain))

    def build(self, widening_factor: float, seed: int = 0) -> nn.Sequential:
        """The network at this width, as an ordinary module with (batch, num_classes) logits.

        Raises:
            InputError: if base_width × widening_factor is not a whole number.
        """
        width = Width(self.base_width).at(widening_factor)
        generator = weight_generator(seed)
        fan_ins = [math.prod(self.input_shape), *[width] * self.depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in in fan_ins[:-1]:
            nonlinearity, gain = activation(self.activation)
            hidden = linear(
                self.parameterization,
                fan_in,
                width,
                gain=gain,
                bias=self.bias,
                generator=generator,
            )
            layers += [hidden, nonlinearity]
        readout = linear(
            self.parameterization,
            width,
            self.num_classes,
            gain=READOUT_GAIN,
            bias=self.bias,
            generator=generator,
        )
        return nn.Sequential(*layers, readout)


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    base_width: int = 16,
    depth: int = 1,
    parameterization: str = "standard",
    bias: bool = True,
    activation: str = "relu",
) -> MLPFamily:
    """A family of multilayer perceptrons; the arguments are :class:`MLPFamily`'s.

    >>> family = mlp(input_shape=(28, 28), num_classes=10, base_width=8, parameterization="ntk")
    >>> family.build(widening_factor=4, seed=0)[1]
    ScaledLinear(in_features=784, out_features=32, bias=True, multiplier=0.0357143)
    """
    return MLPFamily(
        input_shape=tuple(input_shape),
        num_classes=num_classes,
        base_width=base_width,
        depth=depth,
        parameterization=parameterization,
        bias=bias,
        activation=activation,
    )
