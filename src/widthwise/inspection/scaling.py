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

from scipy import special

from widthwise.inspection.inspection import Inspection
from widthwise.inspection.rows import ParameterRow

# An exponent counts as one of 0, 1/2, 1 if its interval lies within this distance of it.
EXPONENT_TOLERANCE = 0.2
_EXACT = 1e-6


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
    def kind(self) -> str | None:
        """ "standard", "ntk", "mup readout", or None: another law, or too few values."""
        b = self.multiplier_exponent
        if self.std_exponent is None:  # a readout that starts at 0 has a multiplier all the same
            return "mup readout" if self.readout and _equal(b, 1.0) else None
        a = self._exponent()
        if a is None:
            return None
        if a == 0.5 and _equal(b, 0.0):
            return "standard"
        if a == 0.0 and _equal(b, 0.5):
            return "ntk"
        return "mup readout" if self.readout and _equal(a + b, 1.0) else None

    def _exponent(self) -> float | None:
        """The one of 0, 1/2 and 1 round which the whole interval lies."""
        if self.std_exponent is None:
            return None
        _, low, high = self.std_exponent
        for exponent in (0.0, 0.5, 1.0):
            if exponent - EXPONENT_TOLERANCE <= low and high <= exponent + EXPONENT_TOLERANCE:
                return exponent
        return None

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


def read_parameterization(base: Inspection, target: Inspection) -> Reading:
    """The parameterization that takes the one network to the other."""
    layers = read_scalings(base, target)
    if not layers:
        return Reading(parameterization=None, reason="no weight's fan-in widened")
    decided = [layer for layer in layers if layer.kind is not None]
    # Weights that start at 0 in both networks have no scale to read.
    others = [layer for layer in layers if layer.kind is None and layer.std_exponent is not None]
    if others:
        shown = "; ".join(layer.sentence() for layer in others[:3])
        return Reading(
            parameterization=None,
            reason=f"{len(others)} of {len(layers)} weights scale in no known way, or have too few "
            f"values to say: {shown}",
        )
    hidden = {layer.kind for layer in decided if not layer.readout}
    readout = {layer.kind for layer in decided if layer.readout}
    evidence = "; ".join(layer.sentence() for layer in decided[:3])
    if not decided:
        return Reading(parameterization=None, reason="all weights whose fan-in widened start at 0")
    if readout == {"mup readout"} and hidden <= {"standard"}:
        return Reading(parameterization="mup", reason=evidence)
    kinds = hidden | readout
    if kinds == {"ntk"}:
        return Reading(parameterization="ntk", reason=evidence)
    if kinds == {"standard"}:
        both = (base.parameterization, target.parameterization)
        name = "default" if both == ("default", "default") else "standard"
        return Reading(parameterization=name, reason=evidence)
    return Reading(
        parameterization=None,
        reason=f"layers differ: {', '.join(sorted(str(kind) for kind in kinds))}; {evidence}",
    )


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
    value = -math.log(target.std / base.std) / log_ratio
    error = math.hypot(base.std_error / base.std, target.std_error / target.std) / abs(log_ratio)
    half = -float(special.ndtri((1.0 - confidence) / 2.0)) * error
    return value, value - half, value + half


def _equal(a: float, b: float) -> bool:
    return abs(a - b) < _EXACT
