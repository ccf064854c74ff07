"""How the noise that SGD should have changes with width: one row a parameterization.

ḡ = ε/(B(1−m)) / σ_init², and the ḡ that generalizes best is ∝ w^s (s = 1: Park et al. 2019,
arXiv:1905.03776). With σ_init² ∝ w^e that asks for ε/(B(1−m)) ∝ w^(s+e).
"""

from dataclasses import dataclass

from widthwise.errors import InputError

# Park et al. (2019): the best normalized noise scale is proportional to the widening factor.
PAPER_EXPONENT = 1.0


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How initial weights scale with width under one parameterization.

    Attributes:
        variance_exponent: e in σ_init² ∝ w^e, of the layers whose fan-in widens.
        gain: σ_init² at w = 1 with the base fan-in dropped, so that ḡ compares widths inside a
            family, not different families.
        meaning: what the parameterization is, in a few words.
        rule: what ḡ_opt ∝ w asks of ε/(B(1−m)), in words.
    """

    variance_exponent: float
    gain: float
    meaning: str
    rule: str

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² = gain · w^e.

        >>> SCALINGS["standard"].init_variance(4)
        0.25
        """
        return float(self.gain * widening_factor**self.variance_exponent)


SCALINGS: dict[str, Scaling] = {
    "standard": Scaling(
        variance_exponent=-1.0,
        gain=1.0,
        meaning="initial weights of variance ∝ 1/fan-in (Kaiming, Xavier, LeCun)",
        rule="ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w",
    ),
    "ntk": Scaling(
        variance_exponent=0.0,
        gain=1.0,
        meaning="initial weights of a variance that does not depend on width, and a forward "
        "pass divided by √fan-in",
        rule="ε/(B(1−m)) grows in proportion to w, because σ_init² does not change",
    ),
    "default": Scaling(
        variance_exponent=-1.0,
        gain=1.0 / 3.0,
        meaning="PyTorch's default initialization, U(±1/√fan-in), of variance 1/(3 fan-in)",
        rule="ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w",
    ),
    # Layer by layer: hidden weights have σ² ∝ 1/w at rate ε; input weights, biases and the
    # readout have σ² constant at rate ε·w (MuSGD of the mup package, arXiv:2203.03466). Either
    # way ḡ of a layer grows in proportion to w at constant ε, B and m.
    "mup": Scaling(
        variance_exponent=-1.0,
        gain=1.0,
        meaning="maximal update parametrization with the layer-wise rates of MuSGD",
        rule="ε, B and m stay as they are: under µP every layer's ḡ grows in proportion to w "
        "by itself",
    ),
}


def scaling_of(parameterization: str) -> Scaling:
    """The row of this name.

    Raises:
        InputError: if there is none.
    """
    if parameterization not in SCALINGS:
        raise InputError(
            f"parameterization must be one of {', '.join(SCALINGS)}, got {parameterization!r}"
        )
    return SCALINGS[parameterization]


def noise_growth(parameterization: str, widening_factor: float, exponent: float) -> float:
    """Factor w^(s+e) by which ε/(B(1−m)) must grow so that ḡ grows by w^s.

    >>> noise_growth("standard", 4, 1.0), noise_growth("ntk", 4, 1.0), noise_growth("ntk", 4, 0.5)
    (1.0, 4.0, 2.0)
    """
    return float(widening_factor ** (exponent + scaling_of(parameterization).variance_exponent))
