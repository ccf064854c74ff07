"""How many widths carry a law, and, where they are too few, why the others have no optimum."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.curve import SAME_WIDTH
from widthwise.analysis.optimum import Optimum

FloatArray = NDArray[np.float64]


def num_widths(factors: FloatArray) -> int:
    """How many of them differ by so much that a power law could show."""
    logs = np.sort(np.log(factors))
    return int(np.sum(np.diff(logs, prepend=-np.inf) > SAME_WIDTH))


def too_few(factors: FloatArray, optima: Sequence[Optimum], informative: Sequence[bool]) -> str:
    """How many widths have an optimum, why the others have none, and what would help."""
    if not optima:
        return "none; run the study at 2 widths or more"
    known = factors[list(informative)]
    if all(informative):
        if num_widths(factors) == 1 and len(set(known.tolist())) > 1:
            listed = ", ".join(f"{factor:.12g}" for factor in np.unique(known))
            return (
                f"widening factors that differ by less than {100 * SAME_WIDTH:g} %, {listed}; "
                "run one twice as wide"
            )
        return (
            f"{len(optima)} of {len(optima)}: all at one widening factor, {known[0]:g}; "
            "run another width"
        )
    return (
        f"{sum(informative)} of {len(optima)}: {_describe(factors, optima, informative)}; "
        "extend the grid of noise scales there, or run more seeds"
    )


_SIDES = {"low": "below a bound", "high": "above a bound", "none": "uncertain"}


def _describe(factors: FloatArray, optima: Sequence[Optimum], informative: Sequence[bool]) -> str:
    parts = []
    for factor, optimum, counts in zip(factors, optima, informative, strict=True):
        if not counts:
            parts.append(f"widening factor {factor:g} ({_why(optimum)})")
    return ", ".join(parts)


def _why(optimum: Optimum) -> str:
    """Why an optimum cannot carry a law."""
    if optimum.is_flat:
        return "flat: the best settings tie, up to an edge of what was run"
    if np.any(np.isnan(optimum.samples)):
        return "one seed only"
    return f"known only to be {_SIDES[optimum.censoring]}: {optimum.reason}"
