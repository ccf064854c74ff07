"""What it would take to decide a claim that the runs so far do not decide."""

import math
from collections.abc import Mapping

from widthwise.analysis import Collapse, Law, Optimum
from widthwise.analysis.law import ZONES
from widthwise.text import exact_list

# Nearer than this to the edge of a verdict, no number of runs is worth asking for.
_AT_THE_EDGE = 0.04
_MOST_TIMES = 200.0


def more_for_exponent(
    law: Law | None, optima: Mapping[float, Optimum], problems: Mapping[float, str]
) -> str:
    """What would decide how the optimum goes with width."""
    missing = _unlocated(optima, problems)
    if law is None:
        return missing or "optima at two widths or more"
    low, high = law.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return missing or "more seeds at every width"
    times = _times_the_runs(law.exponent, law.interval)
    runs = (
        "a wider range of widths, because the exponent lies at the edge of a verdict"
        if times is None
        else f"about {times:.2g} times the runs, if the estimate stays"
    )
    cut_off = sorted(w for w, optimum in optima.items() if optimum.cliff is not None)
    if cut_off:
        runs += (
            f", and at w = {exact_list(cut_off)} noise scales between the highest that trains and "
            "the lowest that diverges"
        )
    return f"{missing}; then {runs}" if missing else runs


def more_for_ceiling(optima: Mapping[float, Optimum], problems: Mapping[float, str]) -> str:
    """What would decide how the largest batch goes with width."""
    return _unlocated(optima, problems) or "optima with narrower intervals: more runs, more widths"


def more_for_collapse(found: Collapse) -> str:
    """What would decide whether only the noise scale matters."""
    if found.verdict == "not tested":
        return "settings of equal ḡ at different ε, two seeds each"
    excess = found.overall.missed / found.margin
    if math.isfinite(excess) and excess > 1.0:
        return f"about {min(excess**2, _MOST_TIMES):.2g} times the seeds"
    return "more seeds"


def _unlocated(optima: Mapping[float, Optimum], problems: Mapping[float, str]) -> str:
    """Widths without an optimum, by what keeps it from being known; empty if there is none."""
    sides = {
        "low": "settings of lower noise (longer training, more images) at w = {}",
        "high": "settings of higher noise (a larger ε that is still stable) at w = {}",
    }
    parts = []
    for side, words in sides.items():
        widths = sorted(w for w, optimum in optima.items() if optimum.censoring == side)
        if widths:
            parts.append(words.format(exact_list(widths)) + ", where the optimum is only bounded")
    if problems:
        parts.append(
            f"more runs at w = {exact_list(sorted(problems))}, where no optimum could be located"
        )
    return "; ".join(parts)


def _times_the_runs(exponent: float, interval: tuple[float, float]) -> float | None:
    """How many times the runs until the interval leaves all edges of verdicts behind: it narrows
    as their square root. None if the exponent lies at an edge.

    >>> _times_the_runs(1.0, (0.5, 1.5))
    4.0
    """
    edges = [edge for zone in ZONES.values() for edge in zone]
    room = min(abs(exponent - edge) for edge in edges)
    half = max(exponent - interval[0], interval[1] - exponent)
    if room < _AT_THE_EDGE:
        return None
    return min(max((half / room) ** 2, 1.0), _MOST_TIMES)
