"""What is written beside a place in a figure that a reader points at: as the tables write it."""

from widthwise.runs.tables import OptimumRow, PlacedOptimum, SettingRow
from widthwise.text import MISSING, exact, interval, number, percent


def with_error(mean: float | None, error: float | None) -> str:
    """An accuracy in percent with its standard error.

    >>> with_error(0.781, 0.0007), with_error(0.781, None), with_error(None, None)
    ('78.10 ± 0.07 %', '78.10 %', '—')
    """
    if mean is None:
        return MISSING
    return f"{percent(mean)} %" if error is None else f"{percent(mean)} ± {percent(error)} %"


def setting_values(row: SettingRow, accuracy: str) -> str:
    """A setting and what is drawn of it."""
    return (
        f"w = {exact(row.widening_factor)}, ḡ = {number(row.normalized_noise_scale, 4)}: "
        f"{accuracy} (ε = {exact(row.learning_rate)}, B = {row.batch_size}, "
        f"m = {exact(row.momentum)})"
    )


def optimum_values(row: PlacedOptimum, name: str = "ḡ", width: str = "w") -> str:
    """The optimum of a width with its interval."""
    ends = interval(*row.optimum.interval)
    shown = "not bounded" if ends == MISSING else f"95 %: {ends}"
    return (
        f"{width} = {exact(row.widening_factor)}: best {name} {row.relation} "
        f"{number(row.optimum.noise_scale)} ({shown})"
    )


def batch_size_values(row: OptimumRow) -> str:
    """The batch size at the optimum with its interval."""
    relation = {"=": "=", "≥": "≤", "≤": "≥"}[row.relation]
    ends = interval(*row.batch_size_interval)
    shown = "not bounded" if ends == MISSING else f"95 %: {ends}"
    return (
        f"w = {exact(row.widening_factor)}: B {relation} {number(row.batch_size)} ({shown}) at "
        f"ε = {exact(row.nearest.learning_rate)}, m = {exact(row.nearest.momentum)}"
    )
