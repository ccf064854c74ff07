"""Did the optima move between two studies that differ only in how they were computed?"""

from widthwise.analysis.comparison import OptimumShift, compare_optima
from widthwise.errors import InputError
from widthwise.study.spec import differences
from widthwise.study.study import Study

# Keys of a specification that say how something is computed, not what.
_HOW = ("hardware", "packing", "title", "training.precision")


def compare_studies(first: Study, second: Study) -> tuple[OptimumShift, ...]:
    """Compare the optima of two studies, width by width, as
    :func:`widthwise.analysis.comparison.compare_optima` does.

    Raises:
        InputError: if the studies differ in more than precision, device or packing.
        FitError: if one of them has no results.
    """
    other = [d for d in differences(first.spec, second.spec) if not d.startswith(_HOW)]
    if first.data_fingerprint != second.data_fingerprint:
        other.append("data fingerprint")
    if other:
        raise InputError(
            "studies that are compared may differ in precision, device and packing only, got "
            f"{'; '.join(other)}; run the second with the specification of the first"
        )
    return compare_optima(first.optima(), second.optima())
