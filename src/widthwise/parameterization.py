"""How initial weights and forward passes depend on fan-in: one row a parameterization.

A layer computes y = fan_in**forward_exponent · W x + b with W drawn from
N(0, gain · fan_in**(2·init_exponent)) and b = 0. ``gain`` is σ0²: 2 before a ReLU, 1 for a readout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from widthwise.errors import InputError
from widthwise.noise import FloatOrArray

RELU_GAIN = 2.0
READOUT_GAIN = 1.0


@dataclass(frozen=True)
class WidthRule:
    """Exponents of the fan-in for one parameterization.

    Attributes:
        init_exponent: the standard deviation of initial weights is ∝ fan_in**init_exponent.
        forward_exponent: pre-activations are multiplied by fan_in**forward_exponent.
    """

    init_exponent: float
    forward_exponent: float


# Park et al. (2019), section 2; NTK: Jacot et al. (2018), arXiv:1806.07572.
PARAMETERIZATIONS: dict[str, WidthRule] = {
    "standard": WidthRule(init_exponent=-0.5, forward_exponent=0.0),
    "ntk": WidthRule(init_exponent=0.0, forward_exponent=-0.5),
}


def width_rule(parameterization: str) -> WidthRule:
    """The row of this name.

    Raises:
        InputError: if there is none.
    """
    if parameterization not in PARAMETERIZATIONS:
        raise InputError(
            f"parameterization must be one of {', '.join(PARAMETERIZATIONS)}, "
            f"got {parameterization!r}"
        )
    return PARAMETERIZATIONS[parameterization]


def init_std(parameterization: str, fan_in: ArrayLike, gain: ArrayLike = 1.0) -> FloatOrArray:
    """Standard deviation of a layer's initial weights.

    >>> init_std("standard", 50, gain=2.0)
    0.2
    >>> init_std("ntk", 50, gain=4.0)
    2.0
    """
    return _power(gain, 0.5) * _power(fan_in, width_rule(parameterization).init_exponent)


def forward_multiplier(parameterization: str, fan_in: ArrayLike) -> FloatOrArray:
    """Factor on W x in the forward pass.

    >>> forward_multiplier("ntk", 4), forward_multiplier("standard", 4)
    (0.5, 1.0)
    """
    return _power(fan_in, width_rule(parameterization).forward_exponent)


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
    exponent = 2.0 * width_rule(parameterization).init_exponent
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


def _power(base: ArrayLike, exponent: float) -> FloatOrArray:
    array = np.asarray(base, dtype=np.float64)
    if np.any(~(array > 0.0)):
        raise InputError(f"fan-in, gain and widening factor must be positive, got {base!r}")
    power = array**exponent
    return float(power) if power.ndim == 0 else power
