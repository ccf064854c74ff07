"""Layers and their multipliers: y = c·W x + d·β, read off and set anew."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from widthwise.errors import InputError
from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.parameterization import Multipliers


class BiasScaledLinear(nn.Linear):
    """Linear layer with fixed factors on product and bias: y = multiplier · x Wᵀ + bias_multiplier
    · b. Shapes as ``nn.Linear``; there is always a bias.
    """

    def __init__(
        self, in_features: int, out_features: int, *, multiplier: float, bias_multiplier: float
    ) -> None:
        super().__init__(in_features, out_features, bias=True)
        self.multiplier = multiplier
        self.bias_multiplier = bias_multiplier

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Linear uses
        # Activations are scaled, not parameters: packs keep their parameters as they are.
        scaled = input * (self.multiplier / self.bias_multiplier)
        return functional.linear(scaled, self.weight, self.bias) * self.bias_multiplier

    def extra_repr(self) -> str:
        factors = f"multiplier={self.multiplier:g}, bias_multiplier={self.bias_multiplier:g}"
        return f"{super().extra_repr()}, {factors}"


class BiasScaledConv2d(nn.Conv2d):
    """Convolution with fixed factors on product and bias: y = multiplier · (W ∗ x) +
    bias_multiplier · b. Shapes and options as ``nn.Conv2d``; there is always a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        multiplier: float,
        bias_multiplier: float,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=True, **options)
        self.multiplier = multiplier
        self.bias_multiplier = bias_multiplier

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Conv2d uses
        scaled = input * (self.multiplier / self.bias_multiplier)
        output: Tensor = self._conv_forward(scaled, self.weight, self.bias) * self.bias_multiplier
        return output

    def extra_repr(self) -> str:
        ordinary = super().extra_repr()  # type: ignore[no-untyped-call]
        factors = f"multiplier={self.multiplier:g}, bias_multiplier={self.bias_multiplier:g}"
        return f"{ordinary}, {factors}"


_LINEAR = (nn.Linear, ScaledLinear, BiasScaledLinear)
_CONV = (nn.Conv2d, ScaledConv2d, BiasScaledConv2d)
# Tensors without a fan-in: they enter every form as they are.
_WITHOUT_FAN_IN = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.Embedding, nn.PReLU)

Layer = nn.Linear | nn.Conv2d


def scalable_layers(module: nn.Module) -> Iterator[tuple[str, Layer]]:
    """The layers whose multipliers can be read and set, by name.

    Raises:
        InputError: if another layer has weights too, or one has hooks, which would be
            lost.
    """
    for name, layer in module.named_modules():
        if type(layer) in (*_LINEAR, *_CONV):
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
                raise InputError(
                    f"layer {name or 'module'!r} must have no hooks to be converted (old-style "
                    "weight_norm and spectral_norm are hooks); remove them and add them afterwards"
                )
            yield name, layer
        elif not isinstance(layer, _WITHOUT_FAN_IN):
            own = [n for n, p in layer.named_parameters(recurse=False) if p.ndim > 1]
            if own:
                raise InputError(
                    "layers with weights must be Linear, Conv2d, ScaledLinear or ScaledConv2d to "
                    f"be converted, got {type(layer).__name__} {name or 'module'!r} with "
                    f"{own[0]!r}; replace it by one of them"
                )


def fan_in_of(layer: Layer) -> int:
    """Inputs of one output.

    >>> fan_in_of(nn.Conv2d(4, 8, 3, groups=2))
    18
    """
    return layer.weight[0].numel()


def multipliers_of(layer: Layer) -> Multipliers:
    """The factors with which weights and bias enter the layer's forward."""
    weight = getattr(layer, "multiplier", 1.0)
    return Multipliers(weight, getattr(layer, "bias_multiplier", 1.0))


def with_multipliers(layer: Layer, multipliers: Multipliers) -> Layer:
    """A layer with these multipliers and the very same parameters, not rescaled."""
    with torch.device("meta"):  # nothing is allocated or drawn
        twin = (
            _linear(layer, multipliers)
            if isinstance(layer, nn.Linear)
            else _conv(layer, multipliers)
        )
    twin.weight, twin.bias = layer.weight, layer.bias
    return twin.train(layer.training)


def _linear(layer: nn.Linear, multipliers: Multipliers) -> nn.Linear:
    sizes, has_bias = (layer.in_features, layer.out_features), layer.bias is not None
    if has_bias and multipliers.bias != 1.0:
        return BiasScaledLinear(
            *sizes, multiplier=multipliers.weight, bias_multiplier=multipliers.bias
        )
    if multipliers.weight != 1.0:
        return ScaledLinear(*sizes, bias=has_bias, multiplier=multipliers.weight)
    return nn.Linear(*sizes, bias=has_bias)


def _conv(layer: nn.Conv2d, multipliers: Multipliers) -> nn.Conv2d:
    assert len(layer.kernel_size) == 2
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size)
    names = ("stride", "padding", "dilation", "groups", "padding_mode")
    options = {name: getattr(layer, name) for name in names}
    has_bias = layer.bias is not None
    if has_bias and multipliers.bias != 1.0:
        return BiasScaledConv2d(
            *sizes, multiplier=multipliers.weight, bias_multiplier=multipliers.bias, **options
        )
    if multipliers.weight != 1.0:
        return ScaledConv2d(*sizes, bias=has_bias, multiplier=multipliers.weight, **options)
    return nn.Conv2d(*sizes, bias=has_bias, **options)
