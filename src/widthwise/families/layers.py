"""Layers that families are built from: ordinary ``torch.nn.Module``s."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from widthwise.errors import InputError, perhaps
from widthwise.families.base import require_seed
from widthwise.theory.parameterization import (
    PARAMETERIZATIONS,
    READOUT_GAIN,
    RELU_GAIN,
    Multipliers,
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


# Normalization → the layers that come with it; a table, so that a new one is a new row.
NORMALIZATIONS: dict[str, Callable[[int], tuple[nn.Module, ...]]] = {
    "none": lambda channels: (),
    "batch": lambda channels: (nn.BatchNorm2d(channels),),
}

POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}

# Parameterizations that these layers are drawn in.
DRAWN = tuple(name for name, rule in PARAMETERIZATIONS.items() if rule.drawn)
_ELSEWHERE = {
    "default": ": built-in families draw their own weights; for PyTorch's initialization use a "
    "function of your own that builds the network",
    "mup": ": for µP see widthwise.conversion.mup_family, or use a function of your own",
}

_STREAM = 0x7765_6967  # keeps these draws apart from anything else seeded by the same number
_AT_A_TIME = 1 << 20  # bounds the float64 temporaries

_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)
_Row = TypeVar("_Row")


def require_drawn(parameterization: str) -> None:
    """Make sure that networks of these layers can be drawn in a parameterization.

    Raises:
        InputError: if they cannot.
    """
    if parameterization not in DRAWN:
        raise InputError(
            f"parameterization must be one of {', '.join(DRAWN)}, got {parameterization!r}"
            f"{perhaps(parameterization, DRAWN)}{_ELSEWHERE.get(parameterization, '')}"
        )


def activation(name: str) -> tuple[nn.Module, float]:
    """The activation of this name and the gain of the layer before it.

    Raises:
        InputError: if there is none.
    """
    build, gain = _row(ACTIVATIONS, "activation", name)
    return build(), gain


def norm(normalization: str, channels: int) -> tuple[nn.Module, ...]:
    """The layers that normalize this many channels: none or one.

    Raises:
        InputError: if there is no normalization of this name.
    """
    return _row(NORMALIZATIONS, "normalization", normalization)(channels)


def pool(pooling: str, size: int) -> nn.Module:
    """Pooling over squares of size × size that do not overlap.

    Raises:
        InputError: if there is no pooling of this name.
    """
    return _row(POOLINGS, "pooling", pooling)(size)


def as_image(input_shape: Sequence[int]) -> tuple[nn.Module, ...]:
    """The layers that make (batch, *input_shape) images of (batch, channels, height, width): none,
    or one that gives (height, width) its one channel.
    """
    if len(input_shape) == 3:
        return ()
    return (nn.Unflatten(1, (1, input_shape[0])),)


def _row(table: Mapping[str, _Row], what: str, name: str) -> _Row:
    if name not in table:
        raise InputError(
            f"{what} must be one of {', '.join(table)}, got {name!r}{perhaps(name, table)}"
        )
    return table[name]


def weight_generator(seed: int) -> np.random.Generator:
    """What the weights of a network are drawn from, its layers one after the other.

    NumPy's generator, not PyTorch's, whose normal numbers may differ with the processor's
    instructions.

    Args:
        seed: in [0, 2^64); a negative one stands for seed + 2^64.

    Raises:
        InputError: if it is another.
    """
    return np.random.default_rng([_STREAM, require_seed(seed)])


def _drawn(layer: _Layer, std: float, generator: np.random.Generator) -> _Layer:
    """The layer with weights from N(0, std²), drawn in float64 and rounded to float32, and biases
    at 0."""
    with torch.no_grad():
        flat = layer.weight.view(-1)
        for start in range(0, len(flat), _AT_A_TIME):
            part = flat[start : start + _AT_A_TIME]
            values = std * generator.standard_normal(len(part))
            part.copy_(torch.from_numpy(values.astype(np.float32)))
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


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


class ScaledConv2d(nn.Conv2d):
    """Convolution with a fixed factor on its product: y = multiplier · (W ∗ x) + b.

    The NTK parameterization's layer, with multiplier = 1/√fan_in and fan_in = k²·C_in/groups.
    Shapes and options as ``nn.Conv2d``. The weights are multiplied, not the images: of the three
    tensors whose scaling gives the same y, they are the smallest in all but the widest layers on
    the smallest images.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *args: Any,
        multiplier: float,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, *args, **options)
        self.multiplier = multiplier

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Conv2d uses
        # nn.Conv2d's own: it knows about padding modes.
        output: Tensor = self._conv_forward(input, self.weight * self.multiplier, self.bias)
        return output

    def extra_repr(self) -> str:
        ordinary = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{ordinary}, multiplier={self.multiplier:g}"


def linear(
    parameterization: str,
    fan_in: int,
    fan_out: int,
    *,
    gain: float,
    bias: bool,
    generator: np.random.Generator,
) -> nn.Linear:
    """A dense layer in this parameterization, drawn from ``generator``; the bias starts at 0."""
    multiplier = forward_multiplier(parameterization, fan_in)
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws weights that nobody uses
        layer = (
            nn.Linear(fan_in, fan_out, bias)
            if multiplier == 1.0
            else ScaledLinear(fan_in, fan_out, bias, multiplier=multiplier)
        )
    return _drawn(layer, init_std(parameterization, fan_in, gain), generator)


def conv(
    parameterization: str,
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    gain: float,
    bias: bool,
    generator: np.random.Generator,
) -> nn.Conv2d:
    """A square convolution in this parameterization, drawn from ``generator``; the bias starts at
    0. fan_in = kernel_size²·in_channels; odd kernels are padded by half their size, so that
    stride 1 keeps the image's size.
    """
    fan_in = kernel_size**2 * in_channels
    multiplier = forward_multiplier(parameterization, fan_in)
    sizes = (in_channels, out_channels, kernel_size, stride, kernel_size // 2)
    with torch.random.fork_rng(devices=[]):  # nn.Conv2d draws weights that nobody uses
        layer = (
            nn.Conv2d(*sizes, bias=bias)
            if multiplier == 1.0
            else ScaledConv2d(*sizes, bias=bias, multiplier=multiplier)
        )
    return _drawn(layer, init_std(parameterization, fan_in, gain), generator)


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
