"""The parameterization of one network alone, from the schemes that its weights match."""

from collections.abc import Iterable

from widthwise.inspection.rows import ParameterRow
from widthwise.inspection.schemes import DEFAULT, SCALED, scheme_of


def parameterization_of(rows: Iterable[ParameterRow]) -> str | None:
    """The parameterization of one network alone; None if its weights do not agree on one.

    "mup": it carries the mup package's tags. "ntk": every weight has a multiplier of 1/√fan_in.
    "default": every weight can be PyTorch's default, and one cannot be anything else. "standard":
    every weight can be a scheme whose variance is a gain over a fan, and one cannot be anything
    else. Where a weight has another multiplier c, as in the µP forms of
    :func:`widthwise.conversion.convert`, c·W counts. Values too few to decide, and weights that
    start at 0, settle nothing. What scales with the width is better read off two widths:
    :func:`widthwise.inspection.compare`.
    """
    weights = [row for row in rows if row.role == "weight"]
    if any(row.mup_dims for row in weights):
        return "mup"
    drawn = [row for row in weights if row.recognition.status != "constant"]
    if any(row.is_ntk for row in drawn):
        # The multiplier of a single input is 1.
        return "ntk" if all(row.is_ntk or _one_input(row) for row in drawn) else None
    decided = [row for row in drawn if row.recognition.status in ("matched", "ambiguous")]
    if not decided:
        return None
    if all(DEFAULT in _matches(row) for row in drawn):
        return "default" if any(_matches(row) == (DEFAULT,) for row in decided) else None
    possible = all(any(_over_fans(row)) for row in drawn)
    return "standard" if possible and any(all(_over_fans(row)) for row in decided) else None


def _one_input(row: ParameterRow) -> bool:
    return row.fan_in == 1 and row.multiplier == 1.0


def _matches(row: ParameterRow) -> tuple[str, ...]:
    """The schemes that c·W matches."""
    if row.multiplier == 1.0:
        return row.matches
    return tuple(name.removeprefix(SCALED) for name in row.matches if name.startswith(SCALED))


def _over_fans(row: ParameterRow) -> list[bool]:
    """Of each scheme that c·W matches, whether its variance is a gain over a fan."""
    schemes = [scheme_of(name) for name in _matches(row)]
    return [scheme is not None and scheme.per != "one" for scheme in schemes] or [False]
