"""Did the optimum move between two studies that differ in one thing, such as the precision?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.optimum import Optimum
from widthwise.errors import InputError

ShiftVerdict = Literal["did not move", "moved", "inconclusive"]
FloatArray = NDArray[np.float64]

# Half an octave: noise scales are usually run an octave apart.
TOLERANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class OptimumShift:
    """How far the best noise scale of one width lies apart in two studies.

    Attributes:
        widening_factor: w.
        first, second: best noise scales; None where the optimum is censored and so was not found.
        octaves: log₂(second / first); None unless both were found.
        interval: of the difference, in octaves; infinite where a censored optimum opens it.
        verdict: "did not move" if the interval lies within ± tolerance; otherwise "moved" if it
            excludes 0, which a censored optimum can show by its bound; otherwise "inconclusive".
        tolerance: in octaves.
        confidence: of the interval, for this width by itself.
    """

    widening_factor: float
    first: float | None
    second: float | None
    octaves: float | None
    interval: tuple[float, float]
    verdict: ShiftVerdict
    tolerance: float
    confidence: float

    def sentence(self) -> str:
        """The finding in one sentence."""
        low, high = self.interval
        by = "" if self.octaves is None else f"{self.octaves:+.2f} octaves "
        interval = f"{by}({100 * self.confidence:g} % interval {low:+.2f} to {high:+.2f})"
        unfound = [
            name for name, at in (("first", self.first), ("second", self.second)) if at is None
        ]
        why = f"; the {' and the '.join(unfound)} was not found" if unfound else ""
        finding = _FINDINGS[self.verdict].format(tolerance=self.tolerance)
        return f"At widening factor {self.widening_factor:g} {finding}: {interval}{why}."


_FINDINGS: dict[ShiftVerdict, str] = {
    "did not move": "the optimum did not move by more than {tolerance:g} octaves",
    "moved": "the optimum moved",
    "inconclusive": "the data do not decide whether the optimum moved",
}


def compare_optima(
    first: Mapping[float, Optimum],
    second: Mapping[float, Optimum],
    *,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> tuple[OptimumShift, ...]:
    """Compare the optima of two studies, width by width: an equivalence test, not a p-value.

    The runs of the two studies are taken as independent: every bootstrap draw of the one is set
    against every draw of the other. Where both used the same seeds their errors usually agree in
    sign; the interval is then wider than it need be, never narrower. Intervals are of one width
    each: of many widths some miss by chance.

    Args:
        first, second: widening factor → optimum, in the same measure of noise. Widths that only
            one of them has are left out.
        tolerance: octaves within which an optimum counts as unmoved, positive.
        confidence: of the intervals.

    Returns:
        One shift a common width, in ascending order.

    Raises:
        InputError: if no width is common, or a number is out of range.

    >>> from widthwise.analysis import locate_optimum
    >>> x = np.arange(6.0)
    >>> def planted(at):
    ...     scores = 0.78 - 0.01 * (x[:, None] - at) ** 2 + np.array([-0.001, 0.0, 0.001])
    ...     return {1.0: locate_optimum(2.0**x, scores)}
    >>> [shift] = compare_optima(planted(2.5), planted(3.5))
    >>> shift.verdict, round(shift.octaves, 6)
    ('moved', 1.0)
    """
    if not 0.0 < tolerance < np.inf:
        raise InputError(f"tolerance must be positive octaves, got {tolerance}; try {TOLERANCE}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    common = sorted(set(first) & set(second))
    if not common:
        raise InputError(
            "two studies can be compared at widths at which both have an optimum, got "
            f"{_listed(first)} in the first and {_listed(second)} in the second; run both at one "
            "width at least"
        )
    return tuple(_shift(w, first[w], second[w], tolerance, confidence) for w in common)


def summarize_shifts(shifts: Sequence[OptimumShift]) -> str:
    """What the comparison of all widths comes to, in one sentence."""
    counts = {verdict: sum(shift.verdict == verdict for shift in shifts) for verdict in _FINDINGS}
    parts = [
        f"{_FINDINGS[verdict].format(tolerance=shifts[0].tolerance)} at {count}"
        for verdict, count in counts.items()
        if count
    ]
    widths = "width" if len(shifts) == 1 else "widths"
    return f"Of {len(shifts)} {widths} compared, {', '.join(parts)}."


def _shift(
    width: float, first: Optimum, second: Optimum, tolerance: float, confidence: float
) -> OptimumShift:
    tail = (1.0 - confidence) / 2.0
    low_first, high_first = _bounds(first)
    low_second, high_second = _bounds(second)
    # A draw beyond an edge is a bound only: the lowest difference it allows counts below, the
    # highest above. Order statistics, because infinite draws must not yield NaN.
    low = float(np.quantile(_differences(low_second, high_first), tail, method="inverted_cdf"))
    high = float(
        np.quantile(_differences(high_second, low_first), 1.0 - tail, method="inverted_cdf")
    )
    # What is censored is open on that side, however many draws lie beyond the edge.
    if first.censoring == "high" or second.censoring == "low":
        low = -np.inf
    if first.censoring == "low" or second.censoring == "high":
        high = np.inf
    found = [None if o.censoring != "none" else o.noise_scale for o in (first, second)]
    both = found[0] is not None and found[1] is not None
    return OptimumShift(
        widening_factor=width,
        first=found[0],
        second=found[1],
        octaves=float(np.log2(second.noise_scale / first.noise_scale)) if both else None,
        interval=(low, high),
        verdict=_verdict(low, high, tolerance),
        tolerance=tolerance,
        confidence=confidence,
    )


def _verdict(low: float, high: float, tolerance: float) -> ShiftVerdict:
    if -tolerance <= low and high <= tolerance:
        return "did not move"
    return "moved" if low > 0.0 or high < 0.0 else "inconclusive"


def _bounds(optimum: Optimum) -> tuple[FloatArray, FloatArray]:
    """Between what the optimum lies in each draw, in log₂; one seed has no draws and no bounds."""
    draws = optimum.samples / np.log(2.0)
    low_edge, high_edge = np.log2(optimum.measured)
    low = np.where(np.isposinf(draws), high_edge, np.where(np.isnan(draws), -np.inf, draws))
    high = np.where(np.isneginf(draws), low_edge, np.where(np.isnan(draws), np.inf, draws))
    return low, high


def _differences(of: FloatArray, minus: FloatArray) -> FloatArray:
    """Every draw of the one minus every draw of the other."""
    return np.subtract.outer(of, minus).ravel()


def _listed(optima: Mapping[float, Optimum]) -> str:
    return ", ".join(f"{width:g}" for width in sorted(optima)) or "none"
