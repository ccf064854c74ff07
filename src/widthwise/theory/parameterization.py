"""How initial weights and forward passes depend on fan-in: one row a parameterization.

A layer computes y = fan_in**forward_exponent · W x + b with W drawn from
N(0, gain · fan_in**(2·init_exponent)) and b = 0. ``gain`` is σ0²: 2 before a ReLU, 1 for a readout.

The second half is about one network under several names: :class:`TensorForm` says what a tensor's
multiplier, initial scale, learning rate and weight decay become when another multiplier is chosen,
:data:`FORMS` which multipliers each form has, :data:`MUP_RULES` what µP prescribes. The algebra is
worked out in docs/parameterizations.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from widthwise.errors import InputError, perhaps
from widthwise.theory.noise import FloatOrArray

RELU_GAIN = 2.0
READOUT_GAIN = 1.0


# Park et al. (2019): the best normalized noise scale is proportional to the widening factor.
PAPER_EXPONENT = 1.0


@dataclass(frozen=True, kw_only=True)
class WidthRule:
    """Exponents of the fan-in for one parameterization.

    Attributes:
        init_exponent: the standard deviation of initial weights is ∝ fan_in**init_exponent.
        forward_exponent: pre-activations are multiplied by fan_in**forward_exponent.
        meaning: what the parameterization is, in a few words.
        drawn: whether the built-in families can draw networks in it; the others are recognized in
            networks of one's own.
    """

    init_exponent: float
    forward_exponent: float
    meaning: str
    drawn: bool = False

    @property
    def variance_exponent(self) -> float:
        """e in σ_init² ∝ w^e, of the layers whose fan-in widens."""
        return 2.0 * self.init_exponent


# The one table. Standard and NTK: Park et al. (2019), section 2; NTK: Jacot et al. (2018),
# arXiv:1806.07572.
PARAMETERIZATIONS: dict[str, WidthRule] = {
    "standard": WidthRule(
        init_exponent=-0.5,
        forward_exponent=0.0,
        meaning="initial weights of variance ∝ 1/fan-in (Kaiming, Xavier, LeCun)",
        drawn=True,
    ),
    "ntk": WidthRule(
        init_exponent=0.0,
        forward_exponent=-0.5,
        meaning="initial weights of a variance that does not depend on width, and a forward "
        "pass divided by √fan-in",
        drawn=True,
    ),
    "default": WidthRule(
        init_exponent=-0.5,
        forward_exponent=0.0,
        meaning="PyTorch's default initialization, U(±1/√fan-in), of variance 1/(3 fan-in)",
    ),
    # Layer by layer: hidden weights have σ² ∝ 1/w at rate ε; input weights, biases and the
    # readout have σ² constant at rate ε·w (MuSGD of the mup package, arXiv:2203.03466). Either
    # way ḡ of a layer grows in proportion to w at constant ε, B and m.
    "mup": WidthRule(
        init_exponent=-0.5,
        forward_exponent=0.0,
        meaning="maximal update parametrization with the layer-wise rates of MuSGD",
    ),
}


# What others call them.
_OTHER_NAMES = {
    **dict.fromkeys(("sp", "kaiming", "he", "xavier", "glorot", "lecun", "fanin"), "standard"),
    **dict.fromkeys(("pytorch", "torch", "pytorchdefault"), "default"),
    **dict.fromkeys(("neuraltangent", "neuraltangentkernel", "ntp"), "ntk"),
    **dict.fromkeys(("maximalupdate", "maximalupdateparametrization"), "mup"),
}


def width_rule(parameterization: str, *, drawn: bool = False) -> WidthRule:
    """The row of this name.

    Args:
        parameterization: its name.
        drawn: only those that the built-in families can draw networks in.

    Raises:
        InputError: if there is none.
    """
    names = [name for name, rule in PARAMETERIZATIONS.items() if rule.drawn or not drawn]
    if parameterization not in names:
        raise InputError(
            f"parameterization must be one of {', '.join(names)}, got {parameterization!r}"
            f"{perhaps(parameterization, names, _OTHER_NAMES)}",
            fields=("parameterization",),
        )
    return PARAMETERIZATIONS[parameterization]


def noise_growth(
    parameterization: str, widening_factor: float, exponent: float = PAPER_EXPONENT
) -> float:
    """Factor w^(s+e) by which ε/(B(1−m)) must grow so that ḡ grows by w^s.

    With σ_init² ∝ w^e, ḡ = ε/(B(1−m))/σ_init² grows by w^s if ε/(B(1−m)) grows by w^(s+e).

    >>> noise_growth("standard", 4), noise_growth("ntk", 4), noise_growth("ntk", 4, 0.5)
    (1.0, 4.0, 2.0)
    """
    return float(widening_factor ** (exponent + width_rule(parameterization).variance_exponent))


def init_std(parameterization: str, fan_in: ArrayLike, gain: ArrayLike = 1.0) -> FloatOrArray:
    """Standard deviation of a layer's initial weights.

    >>> init_std("standard", 50, gain=2.0)
    0.2
    >>> init_std("ntk", 50, gain=4.0)
    2.0
    """
    return _power(gain, 0.5) * _power(
        fan_in, width_rule(parameterization, drawn=True).init_exponent
    )


def forward_multiplier(parameterization: str, fan_in: ArrayLike) -> FloatOrArray:
    """Factor on W x in the forward pass.

    >>> forward_multiplier("ntk", 4), forward_multiplier("standard", 4)
    (0.5, 1.0)
    """
    return _power(fan_in, width_rule(parameterization, drawn=True).forward_exponent)


def init_variance(
    parameterization: str, widening_factor: ArrayLike, gain: ArrayLike = RELU_GAIN
) -> FloatOrArray:
    """Family-level σ_init²: gain/w (standard) or gain (NTK).

    Constants such as the base fan-in are dropped, so that the normalized noise scale compares
    widths inside a family, not different families.

    >>> init_variance("standard", [1, 4])
    array([2. , 0.5])
    >>> init_variance("ntk", 4)
    2.0
    """
    exponent = width_rule(parameterization).variance_exponent
    return gain * _power(widening_factor, exponent)


def standard_weight_learning_rate(
    parameterization: str, learning_rate: ArrayLike, fan_in: ArrayLike
) -> FloatOrArray:
    """Learning rate of a layer's weights that gives the same trajectory in standard form.

    With c = fan_in**forward_exponent, the layer c·W x + b at rate ε for W and b follows the same
    outputs as W' x + b with W' = c·W at rate ε·c² for W' and ε for b: the gradient of W is c times
    that of W', and W' moves c times as far as W. Exact up to rounding, momentum included.

    >>> standard_weight_learning_rate("ntk", 1.0, fan_in=4)
    0.25
    """
    multiplier = forward_multiplier(parameterization, fan_in)
    return learning_rate * multiplier**2


@dataclass(frozen=True, kw_only=True)
class TensorForm:
    """A trained tensor W that enters the forward pass as multiplier · W.

    Under SGD (momentum, Nesterov's too, and L2 weight decay added to the gradient) multiplier · W
    follows the same path for every multiplier, if three products stay: multiplier·init_scale,
    multiplier²·learning_rate and learning_rate·weight_decay. Exact up to rounding. It does not
    hold for Adam, nor for clipping by the norm of the gradient.

    Attributes:
        multiplier: c > 0.
        init_scale: standard deviation of the initial values, in any unit.
        learning_rate: ε ≥ 0 of this tensor.
        weight_decay: λ ≥ 0 of this tensor, coupled as in ``torch.optim.SGD``.

    >>> ntk = TensorForm(multiplier=0.5, init_scale=1.0, learning_rate=0.8, weight_decay=0.01)
    >>> ntk.with_multiplier(1.0)
    TensorForm(multiplier=1.0, init_scale=0.5, learning_rate=0.2, weight_decay=0.04)
    """

    multiplier: float
    init_scale: float
    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.multiplier < np.inf:
            raise InputError(f"multiplier must lie in (0, ∞), got {self.multiplier}")
        for name in ("init_scale", "learning_rate", "weight_decay"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name} must lie in [0, ∞), got {getattr(self, name)}")

    def with_multiplier(self, multiplier: float) -> "TensorForm":
        """The same tensor under another multiplier c': W' = (c/c')·W at ε' = ε·(c/c')², and
        λ' = λ·ε/ε', so that the share ε·λ by which a step shrinks it stays.

        Raises:
            InputError: if the multiplier is not positive.
        """
        if not 0.0 < multiplier < np.inf:
            raise InputError(f"multiplier must lie in (0, ∞), got {multiplier}")
        ratio = self.multiplier / multiplier
        return replace(
            self,
            multiplier=multiplier,
            init_scale=self.init_scale * ratio,
            learning_rate=self.learning_rate * ratio**2,
            weight_decay=self.weight_decay / ratio**2,
        )


@dataclass(frozen=True, kw_only=True)
class LayerWidths:
    """What a form may depend on.

    Attributes:
        fan_in: inputs of one output; k²·C_in/groups of a convolution.
        fan_in_factor: how many times the fan-in of the base network's layer; 1 if it did not widen.
        fan_out_factor: the same of its outputs.
    """

    fan_in: float
    fan_in_factor: float = 1.0
    fan_out_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fan_in", "fan_in_factor", "fan_out_factor"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} must lie in (0, ∞), got {getattr(self, name)}")


Role = Literal["fixed", "input", "hidden", "readout"]


def role_of(fan_in_factor: float, fan_out_factor: float) -> Role:
    """A weight's role, by which of its sides widened: outputs only (input), both (hidden), inputs
    only (readout), none (fixed). Biases and norms' scales have outputs only.

    >>> role_of(1.0, 4.0), role_of(4.0, 4.0), role_of(4.0, 1.0)
    ('input', 'hidden', 'readout')
    """
    if fan_in_factor == 1.0:
        return "fixed" if fan_out_factor == 1.0 else "input"
    return "readout" if fan_out_factor == 1.0 else "hidden"


@dataclass(frozen=True, kw_only=True)
class MupFactors:
    """What µP does to one tensor, relative to standard parameterization at the same width.

    Attributes:
        multiplier: in the forward pass.
        init_scale: on the initial values.
        learning_rate: on the learning rate of SGD; weight decay is divided by it.
    """

    multiplier: float = 1.0
    init_scale: float = 1.0
    learning_rate: float = 1.0


# Yang et al. (2022), arXiv:2203.03466, as the package mup 1.0 has it (MuReadout and MuSGD). The
# base network is where every factor is 1. Arguments: fan-in factor, fan-out factor.
MUP_RULES: dict[Role, Callable[[float, float], MupFactors]] = {
    "fixed": lambda into, out: MupFactors(),
    "input": lambda into, out: MupFactors(learning_rate=out),
    "hidden": lambda into, out: MupFactors(learning_rate=out / into),
    "readout": lambda into, out: MupFactors(
        multiplier=1.0 / into, init_scale=into**0.5, learning_rate=into
    ),
}


def mup_factors_of(fan_in_factor: float, fan_out_factor: float) -> MupFactors:
    """µP's factors for a layer's weight; for its bias or a norm's scale the fan-in factor is 1.

    >>> mup_factors_of(4.0, 1.0)
    MupFactors(multiplier=0.25, init_scale=2.0, learning_rate=4.0)
    """
    role = role_of(fan_in_factor, fan_out_factor)
    return MUP_RULES[role](fan_in_factor, fan_out_factor)


@dataclass(frozen=True)
class Multipliers:
    """A layer computes y = weight · W x + bias · β."""

    weight: float
    bias: float = 1.0


def _mup_multipliers(widths: LayerWidths) -> Multipliers:
    return Multipliers(mup_factors_of(widths.fan_in_factor, widths.fan_out_factor).multiplier)


def _one_rate_multipliers(widths: LayerWidths) -> Multipliers:
    """µP's multipliers times the square roots of its rates, which brings every rate to one."""
    weight = mup_factors_of(widths.fan_in_factor, widths.fan_out_factor)
    bias = mup_factors_of(1.0, widths.fan_out_factor)
    return Multipliers(weight.multiplier * weight.learning_rate**0.5, bias.learning_rate**0.5)


# The multipliers of each form. "mup-one-rate" is µP with a single learning rate.
FORMS: dict[str, Callable[[LayerWidths], Multipliers]] = {
    "standard": lambda widths: Multipliers(float(forward_multiplier("standard", widths.fan_in))),
    "ntk": lambda widths: Multipliers(float(forward_multiplier("ntk", widths.fan_in))),
    "mup": _mup_multipliers,
    "mup-one-rate": _one_rate_multipliers,
}


def form_multipliers(form: str, widths: LayerWidths) -> Multipliers:
    """The multipliers of a layer in this form.

    Raises:
        InputError: if there is no form of this name.

    >>> form_multipliers("mup-one-rate", LayerWidths(fan_in=784, fan_out_factor=4))
    Multipliers(weight=2.0, bias=2.0)
    """
    if form not in FORMS:
        raise InputError(f"a form must be one of {', '.join(FORMS)}, got {form!r}")
    return FORMS[form](widths)


def _power(base: ArrayLike, exponent: float) -> FloatOrArray:
    array = np.asarray(base, dtype=np.float64)
    if np.any(~(array > 0.0)):
        raise InputError(f"fan-in, gain and widening factor must be positive, got {base!r}")
    power = array**exponent
    return float(power) if power.ndim == 0 else power
