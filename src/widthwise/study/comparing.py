"""Did the optima move between two studies that differ only in how they were computed?"""

import warnings
from pathlib import Path
from typing import Any, Literal, overload

from torch import nn

from widthwise.analysis.comparison import OptimumShift, compare_optima
from widthwise.errors import InputError
from widthwise.inspection import Widening, inspect
from widthwise.study.spec import differences
from widthwise.study.study import Study

# Keys of a specification that say how something is computed, or where it lies, not what.
_HOW = ("hardware", "packing", "title", "training.precision", "data.path")
_IDENTITIES: tuple[Literal["data", "family"], ...] = ("data", "family")
_OWN = (".seeds",)  # independent runs are what the comparison assumes


@overload
def compare(first: Study | str | Path, second: Study | str | Path) -> tuple[OptimumShift, ...]: ...


@overload
def compare(first: nn.Module, second: nn.Module, **options: Any) -> Widening: ...


@overload
def compare(*, base: nn.Module, target: nn.Module, **options: Any) -> Widening: ...


def compare(
    first: Any = None, second: Any = None, **options: Any
) -> tuple[OptimumShift, ...] | Widening:
    """Did the optima move between two studies that differ in precision, device or packing?

    Two networks are looked at by :func:`widthwise.inspect`; here they, also as ``base`` and
    ``target``, and its options work until 0.3, with a warning.

    Args:
        first, second: studies, or their directories.

    Returns:
        A shift for each width that both ran.

    Raises:
        InputError: if the studies differ in more, or a directory holds none.
        FitError: if one of them has no results.
    """
    base, target = options.get("base", first), options.get("target", second)
    if isinstance(base, nn.Module) and isinstance(target, nn.Module):
        warnings.warn(
            "compare is for two studies; two networks are compared by inspect(base, target)",
            DeprecationWarning,
            stacklevel=2,
        )
        options = {name: options[name] for name in options if name not in ("base", "target")}
        return inspect(base, target, **options)
    if options:
        raise TypeError(f"compare of two studies takes no {', '.join(options)}")
    return compare_studies(_study(first), _study(second))


def _study(given: Any) -> Study:
    if isinstance(given, Study):
        return given
    if isinstance(given, str | Path):
        return Study.open(given)
    raise InputError(
        f"compare needs two studies or their directories, got {type(given).__name__}; "
        "two networks are compared by inspect(base, target)"
    )


def compare_studies(first: Study, second: Study) -> tuple[OptimumShift, ...]:
    """Compare the optima of two studies, width by width, as
    :func:`widthwise.analysis.comparison.compare_optima` does.

    Raises:
        InputError: if the studies differ in more than precision, device or packing.
        FitError: if one of them has no results.
    """
    other = [
        difference
        for difference in differences(first.spec, second.spec)
        if not difference.startswith(_HOW) and not difference.partition(":")[0].endswith(_OWN)
    ]
    for what in _IDENTITIES:
        if first.identity(what) != second.identity(what):
            other.append(f"the {what} itself")
    if other:
        raise InputError(
            "studies that are compared may differ in precision, device and packing only, got "
            f"{'; '.join(other)}; run the second with the specification of the first"
        )
    return compare_optima(first.optima(), second.optima())
