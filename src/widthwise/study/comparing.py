"""Did the optima move between two studies that differ only in how they were computed?"""

from typing import Literal

from widthwise.analysis.comparison import OptimumShift, compare_optima
from widthwise.errors import InputError
from widthwise.study.spec import differences
from widthwise.study.study import Study

# Keys of a specification that say how something is computed, not what.
_HOW = ("hardware", "packing", "title", "training.precision")
_IDENTITIES: tuple[Literal["data", "family"], ...] = ("data", "family")
_OWN = (".seeds",)  # independent runs are what the comparison assumes


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
