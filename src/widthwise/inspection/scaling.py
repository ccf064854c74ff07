"""The parameterization that takes a network to a wider one, read off both.

Two widths show how scales change with the fan-in n:
the standard deviation as n^−a and the multiplier as n^−b.

| a | b | |
|---|---|---|
| 1/2 | 0 | standard (and PyTorch's default) |
| 0 | 1/2 | NTK |
| a + b = 1, readout only | | µP, if hidden layers are standard: its readout is n^(−1/2) smaller |

Source: Park et al. (2019), arXiv:1905.03776, section 2; µP: Yang et al. (2022), arXiv:2203.03466,
table 8.
"""

import math
from dataclasses import dataclass

from widthwise.inspection.inspection import Inspection
from widthwise.inspection.rows import ParameterRow

# An interval reaches one of the exponents 0, 1/2, 1 if it comes this close: Xavier's scheme, with
# its fan-out in the sum, is not exactly 1/2.
EXPONENT_TOLERANCE = 0.1
# A law is read off exponents alone only if some weight's interval is no wider than ± this; laws
# between the known ones would pass otherwise.
WIDEST_INTERVAL = 0.1
_EXACT = 1e-6

# (a, b) of std ∝ fan_in^−a and multiplier ∝ fan_in^−b → what a weight of this law belongs to.
_LAWS: dict[tuple[float, float], str] = {
    (0.5, 0.0): "standard",
    (0.0, 0.5): "ntk",
    (0.0, 1.0): "mup readout",
    (0.5, 0.5): "mup readout",
    (1.0, 0.0): "mup readout",
    (0.0, 0.0): "fixed",
}

# Parameterization → laws of (hidden weights, readout).
_NETWORKS: dict[str, tuple[str, str]] = {
    "standard": ("standard", "standard"),
    "ntk": ("ntk", "ntk"),
    "mup": ("standard", "mup readout"),
    "fixed": ("fixed", "fixed"),
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A parameterization, or why there is none.

    Attributes:
        parameterization: "standard", "default", "ntk", "mup", or None if unknown or mixed.
        reason: what decided, or what was missing, in words.
    """

    parameterization: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class LayerScaling:
    """How one weight's scale changes with its fan-in.

    Attributes:
        path: of the parameter.
        readout: whether its fan-out did not widen.
        std_exponent: a in std ∝ fan_in^−a, with its interval; None if either weight is constant.
        multiplier_exponent: b in c ∝ fan_in^−b; exact.
    """

    path: str
    readout: bool
    std_exponent: tuple[float, float, float] | None
    multiplier_exponent: float

    @property
    def kinds(self) -> frozenset[str]:
        """What it may be: of "standard", "ntk", "mup readout" and "fixed" (std and multiplier do
        not depend on the fan-in); empty if it is none of them. With few values several are left.
        """
        if self.std_exponent is None:
            return frozenset() if self.silent else frozenset({"mup readout"})
        _, low, high = self.std_exponent
        return frozenset(
            kind
            for (std, multiplier), kind in _LAWS.items()
            if low - EXPONENT_TOLERANCE <= std <= high + EXPONENT_TOLERANCE
            and _equal(self.multiplier_exponent, multiplier)
            and (self.readout or kind != "mup readout")
        )

    @property
    def silent(self) -> bool:
        """Whether nothing can be read: the weight starts at 0. A µP readout has its multiplier."""
        by_multiplier = self.readout and _equal(self.multiplier_exponent, 1.0)
        return self.std_exponent is None and not by_multiplier

    @property
    def sharp(self) -> bool:
        """Whether its own interval is narrow enough to decide."""
        if self.std_exponent is None:
            return not self.silent
        _, low, high = self.std_exponent
        return high - low <= 2.0 * WIDEST_INTERVAL

    def sentence(self) -> str:
        """What was measured, for people."""
        if self.std_exponent is None:
            scale = "std is 0"
        else:
            value, low, high = self.std_exponent
            scale = f"std ∝ fan-in^{-value:.2f} [{-high:.2f}, {-low:.2f}]"
        multiplier = self.multiplier_exponent
        times = "" if _equal(multiplier, 0.0) else f", multiplier ∝ fan-in^{-multiplier:.2f}"
        return f"{self.path}: {scale}{times}"


def read_scalings(base: Inspection, target: Inspection) -> tuple[LayerScaling, ...]:
    """The scaling of every weight that both networks have and whose fan-in widened.

    Transposed convolutions are left out: PyTorch's fan-in of theirs is not what they sum over.
    """
    found = []
    for row in base.rows:
        other = counterpart(row, target)
        if other is None or row.role != "weight" or other.role != "weight" or row.transposed:
            continue
        if row.fan_in is None or other.fan_in is None or row.fan_in == other.fan_in:
            continue
        log_ratio = math.log(other.fan_in / row.fan_in)
        found.append(
            LayerScaling(
                path=row.path,
                readout=row.fan_out == other.fan_out,
                std_exponent=_std_exponent(row, other, log_ratio, base.confidence),
                multiplier_exponent=-math.log(other.multiplier / row.multiplier) / log_ratio,
            )
        )
    return tuple(found)


def _why_nothing_to_read(base: Inspection, target: Inspection) -> str:
    for row in base.rows:
        other = counterpart(row, target)
        if row.transposed and row.role == "weight" and other and other.summands != row.summands:
            return (
                "only transposed convolutions widened, which PyTorch draws by the number of their "
                "outputs"
            )
    return "no weight's fan-in widened"


def read_parameterization(base: Inspection, target: Inspection) -> Reading:
    """The parameterization that takes the one network to the other.

    The one whose laws no weight contradicts. If several are left, or no weight has values enough
    to decide, the one that both networks show alone, if it is among them.
    """
    layers = read_scalings(base, target)
    if not layers:
        return Reading(parameterization=None, reason=_why_nothing_to_read(base, target))
    evidence = "; ".join(layer.sentence() for layer in layers[:3])
    if len(layers) > 3:
        evidence += f"; and {len(layers) - 3} more"
    drawn = [layer for layer in layers if not layer.silent]
    if not drawn:
        return Reading(parameterization=None, reason="all weights whose fan-in widened start at 0")
    possible = [
        name
        for name, (hidden, readout) in _NETWORKS.items()
        if all((readout if layer.readout else hidden) in layer.kinds for layer in drawn)
        and (hidden == readout or any(layer.readout for layer in drawn))
    ]
    alone = base.parameterization if base.parameterization == target.parameterization else None
    if possible and (len(possible) > 1 or not any(layer.sharp for layer in drawn)):
        shown = "standard" if alone == "default" else alone
        if shown not in possible:
            reason = f"too few values to tell {' from '.join(possible)} or another: {evidence}"
            return Reading(parameterization=None, reason=reason)
        possible = [shown]
        evidence += "; the schemes of either network alone agree"
    if not possible:
        odd = [layer.sentence() for layer in drawn if not layer.kinds]
        reason = f"in no known way: {'; '.join(odd[:3])}" if odd else f"layers differ: {evidence}"
        return Reading(parameterization=None, reason=reason)
    (name,) = possible
    if name == "fixed":
        reason = f"scales do not depend on the fan-in: {evidence}"
        return Reading(parameterization=None, reason=reason)
    if name == "standard" and alone == "default":
        name = "default"
    if name == "standard" and alone == "mup" and not any(layer.readout for layer in drawn):
        # Its readout shares the embedding's weight, so that its multiplier is not a weight's own.
        name = "mup"
    return Reading(parameterization=name, reason=evidence)


def counterpart(row: ParameterRow, other: Inspection) -> ParameterRow | None:
    """The row of the same path in another network."""
    for candidate in other.rows:
        if set(candidate.names) & set(row.names):
            return candidate
    return None


def _std_exponent(
    base: ParameterRow, target: ParameterRow, log_ratio: float, confidence: float
) -> tuple[float, float, float] | None:
    if not (base.std > 0.0 and target.std > 0.0):
        return None
    from scipy import special  # SciPy is slow to import

    value = -math.log(target.std / base.std) / log_ratio
    error = math.hypot(base.std_error / base.std, target.std_error / target.std) / abs(log_ratio)
    half = -float(special.ndtri((1.0 - confidence) / 2.0)) * error
    return value, value - half, value + half


def _equal(a: float, b: float) -> bool:
    return abs(a - b) < _EXACT
