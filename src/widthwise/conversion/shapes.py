"""By how much every parameter's sides widened since the base network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from widthwise.errors import InputError

# A base network, or the shapes of its parameters by name.
Base = nn.Module | Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Widened:
    """One parameter.

    Attributes:
        fan_in_factor: of its second axis; 1 if that did not widen or there is none.
        fan_out_factor: of its first axis.
        other_factor: of the one later axis that widened (a position embedding's, say), else 1.
    """

    fan_in_factor: float
    fan_out_factor: float
    other_factor: float = 1.0

    @property
    def factors(self) -> tuple[float, ...]:
        """Those that are not 1."""
        every = (self.fan_out_factor, self.fan_in_factor, self.other_factor)
        return tuple(factor for factor in every if factor != 1.0)


def base_shapes(base: Base) -> dict[str, tuple[int, ...]]:
    """The shapes of the base network's parameters by name."""
    if isinstance(base, nn.Module):
        return {name: tuple(parameter.shape) for name, parameter in base.named_parameters()}
    return {name: tuple(shape) for name, shape in base.items()}


def widened_by(module: nn.Module, base: Base) -> dict[str, Widened]:
    """Every parameter's factors, by name.

    Raises:
        InputError: if names, or numbers of axes, are not the base network's, or if axes widened
            for which µP has no rule.
    """
    shapes = base_shapes(base)
    own = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    missing = sorted(set(shapes) ^ set(own))
    if missing:
        where = "base network" if missing[0] in own else "module"
        raise InputError(
            "the base network must be the same network at another width, but the "
            f"{where} has no parameter {missing[0]!r}; build both with one function"
        )
    return {name: _compare(name, own[name], shapes[name]) for name in own}


def _compare(name: str, shape: tuple[int, ...], base: tuple[int, ...]) -> Widened:
    if len(shape) != len(base):
        raise InputError(
            f"parameter {name!r} must have as many axes as in the base network, got shapes "
            f"{shape} and {base}; build both with one function"
        )
    factors = [size / of_base for size, of_base in zip(shape, base, strict=True)]
    later = [factor for factor in factors[2:] if factor != 1.0]
    widened = sum(factor != 1.0 for factor in factors)
    if widened > 2 or (widened == 2 and later):
        raise InputError(
            f"µP has a rule for parameters that widen along their first two axes, or along one; "
            f"{name!r} went from {base} to {shape}; change width only"
        )
    return Widened(
        fan_out_factor=factors[0] if factors else 1.0,
        fan_in_factor=factors[1] if len(factors) > 1 else 1.0,
        other_factor=later[0] if later else 1.0,
    )
