"""Initialization schemes that are known: one row each.

A scheme draws independent values with mean 0, a distribution and a variance gain / n, where n is
a number read off the layer (its fan-in, its fan-out, …) or 1. A new scheme is a new row.
"""

import math
from dataclasses import dataclass
from typing import Literal

Distribution = Literal["normal", "uniform", "truncated"]
Per = Literal["fan_in", "fan_out", "fan_out_per_group", "fan_average", "default_fan", "one"]
Role = Literal["weight", "bias", "embedding", "normalization", "other"]

# Standard deviation of N(0, 1) cut at ±2: what variance-scaling initializers of Keras, JAX and
# timm divide by.
TRUNCATED_STD = 0.87962566103423978

_RELU, _LINEAR, _TANH = 2.0, 1.0, (5.0 / 3.0) ** 2  # squares of torch.nn.init.calculate_gain


@dataclass(frozen=True, kw_only=True)
class Fans:
    """The numbers of one parameter that schemes scale with.

    PyTorch's convention (``torch.nn.init``): fan_in = size(1) times the receptive field, fan_out =
    size(0) times it. Hence for grouped convolutions fan_in is that of one group and fan_out that of
    all, and for transposed convolutions the two are those of the transposed map.

    Attributes:
        fan_in, fan_out: at least 1; None for parameters of one dimension without a layer's weight.
            A bias has its weight's.
        default_fan: the n of U(±1/√n), from which PyTorch draws; fan_in, except for recurrent
            layers (the hidden size) and ``nn.Bilinear`` (the first input's size).
        groups: of a convolution.
    """

    fan_in: float | None = None
    fan_out: float | None = None
    default_fan: float | None = None
    groups: int = 1

    def number(self, per: Per) -> float | None:
        """What a scheme of this kind divides its gain by; None if the parameter has no such."""
        if per == "one":
            return 1.0
        if per == "fan_average":
            if self.fan_in is None or self.fan_out is None:
                return None
            return (self.fan_in + self.fan_out) / 2.0
        if per == "fan_out_per_group":
            return None if self.fan_out is None or self.groups == 1 else self.fan_out / self.groups
        number: float | None = getattr(self, per)
        return number


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A known initialization.

    Attributes:
        name: unique; the call that draws it, where PyTorch has one.
        distribution: "normal"; "uniform"; "truncated" (a normal one cut at ±2 of its own σ).
        gain: variance × n, after truncation.
        per: which n.
        roles: kinds of parameters for which anybody uses it.
        ntk: True for rows that need a forward multiplier of 1/√fan_in.
        source: who draws so.
    """

    name: str
    distribution: Distribution
    gain: float
    per: Per
    roles: frozenset[Role]
    source: str
    ntk: bool = False

    def std(self, fans: Fans) -> float | None:
        """Standard deviation for a parameter with these fans; None if it does not apply."""
        number = fans.number(self.per)
        return None if number is None else math.sqrt(self.gain / number)


_WEIGHT: frozenset[Role] = frozenset({"weight", "embedding"})
_WITH_BIAS: frozenset[Role] = frozenset({"weight", "bias"})
_TABLES: frozenset[Role] = frozenset({"weight", "embedding", "other"})
_SMALL: frozenset[Role] = frozenset({"bias", "other"})
_ANY: frozenset[Role] = frozenset({"weight", "bias", "embedding", "other"})


def _row(
    name: str,
    distribution: Distribution,
    gain: float,
    per: Per,
    roles: frozenset[Role],
    source: str,
    ntk: bool = False,
) -> Scheme:
    return Scheme(
        name=name,
        distribution=distribution,
        gain=gain,
        per=per,
        roles=roles,
        source=source,
        ntk=ntk,
    )


DEFAULT = "pytorch_default"
_HE = "He et al. (2015), arXiv:1502.01852"
_GLOROT = "Glorot & Bengio (2010)"
_KERAS = "Keras, JAX and timm: variance scaling, cut at ±2σ and divided by 0.8796"

SCHEMES: tuple[Scheme, ...] = (
    _row(
        DEFAULT,
        "uniform",
        1.0 / 3.0,
        "default_fan",
        _WITH_BIAS,
        "torch.nn: U(±1/√fan_in), the same as kaiming_uniform_(a=√5); recurrent layers 1/√hidden",
    ),
    _row("kaiming_normal(fan_in, relu)", "normal", _RELU, "fan_in", _WEIGHT, _HE),
    _row("kaiming_normal(fan_out, relu)", "normal", _RELU, "fan_out", _WEIGHT, _HE),
    _row("kaiming_normal(fan_out, linear)", "normal", _LINEAR, "fan_out", _WEIGHT, _HE),
    _row(
        "kaiming_normal(fan_out/groups, relu)",
        "normal",
        _RELU,
        "fan_out_per_group",
        _WEIGHT,
        "timm: convolutions of EfficientNet and its kin",
    ),
    _row(
        "lecun_normal",
        "normal",
        _LINEAR,
        "fan_in",
        _WEIGHT,
        "LeCun et al. (1998); the same as kaiming_normal_(fan_in, linear)",
    ),
    _row("kaiming_uniform(fan_in, relu)", "uniform", _RELU, "fan_in", _WEIGHT, _HE),
    _row("kaiming_uniform(fan_out, relu)", "uniform", _RELU, "fan_out", _WEIGHT, _HE),
    _row("kaiming_uniform(fan_out, linear)", "uniform", _LINEAR, "fan_out", _WEIGHT, _HE),
    _row(
        "lecun_uniform",
        "uniform",
        _LINEAR,
        "fan_in",
        _WEIGHT,
        "LeCun et al. (1998); the same as kaiming_uniform_(fan_in, linear)",
    ),
    _row(
        "uniform(1/√fan_out)",
        "uniform",
        1.0 / 3.0,
        "fan_out",
        _WEIGHT,
        "heads of EfficientNet in timm and torchvision",
    ),
    _row("xavier_normal", "normal", _LINEAR, "fan_average", _WEIGHT, _GLOROT),
    _row("xavier_normal(relu)", "normal", _RELU, "fan_average", _WEIGHT, _GLOROT),
    _row("xavier_normal(tanh)", "normal", _TANH, "fan_average", _WEIGHT, _GLOROT),
    _row(
        "xavier_uniform",
        "uniform",
        _LINEAR,
        "fan_average",
        _WEIGHT,
        f"{_GLOROT}; Keras' default, glorot_uniform",
    ),
    _row("xavier_uniform(relu)", "uniform", _RELU, "fan_average", _WEIGHT, _GLOROT),
    _row("xavier_uniform(tanh)", "uniform", _TANH, "fan_average", _WEIGHT, _GLOROT),
    _row("keras lecun_normal", "truncated", _LINEAR, "fan_in", _WEIGHT, _KERAS),
    _row("keras he_normal", "truncated", _RELU, "fan_in", _WEIGHT, _KERAS),
    _row("keras glorot_normal", "truncated", _LINEAR, "fan_average", _WEIGHT, _KERAS),
    _row(
        "ntk(σ0²=1)",
        "normal",
        1.0,
        "one",
        _WEIGHT,
        "Jacot et al. (2018), arXiv:1806.07572: N(0, 1), multiplier 1/√fan_in",
        ntk=True,
    ),
    _row(
        "ntk(σ0²=2)",
        "normal",
        2.0,
        "one",
        _WEIGHT,
        "the same with the gain before a rectifier: N(0, 2), multiplier 1/√fan_in",
        ntk=True,
    ),
    _row(
        "normal(0.02)",
        "normal",
        0.02**2,
        "one",
        _TABLES,
        "GPT-2 and many transformers; trunc_normal_(std=0.02) of PyTorch and timm, cut at ±2, "
        "which is 100σ",
    ),
    _row(
        "truncated_normal(0.02)",
        "truncated",
        (0.02 * TRUNCATED_STD) ** 2,
        "one",
        _TABLES,
        "TensorFlow and JAX (BERT): N(0, 0.02²) cut at ±0.04",
    ),
    _row("normal(0.01)", "normal", 0.01**2, "one", _WEIGHT, "heads of VGG and MobileNet"),
    _row("normal(1e-6)", "normal", 1e-12, "one", _SMALL, "biases and class tokens of ViT"),
    _row("normal(1)", "normal", 1.0, "one", _ANY, "nn.Embedding, torch.randn"),
    _row(
        "uniform(0.05)",
        "uniform",
        0.05**2 / 3.0,
        "one",
        frozenset({"embedding"}),
        "Keras' Embedding",
    ),
)

SCHEME: dict[str, Scheme] = {scheme.name: scheme for scheme in SCHEMES}

# The prefix of a scheme whose scale the mup package has changed with the width.
MUP = "mup "
# The prefix of a scheme that a layer's multiplier c times its values follow: the values are those
# of the scheme over c.
SCALED = "scaled "


def scheme_of(name: str) -> Scheme | None:
    """The row behind a name in a list of matches, with or without a prefix."""
    return SCHEME.get(name.removeprefix(MUP).removeprefix(SCALED))
