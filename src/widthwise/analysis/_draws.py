"""What the draws of optima at several widths say together: their spread, their scatter about a law,
and the interval of a quantity of theirs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.optimum import Optimum
from widthwise.theory.power_law import stretch_for_scatter

FloatArray = NDArray[np.float64]


def spreads_of(draws: FloatArray) -> FloatArray:
    """Standard deviation of the draws of each width (W,), infinite ones held at the extremes.

    A width without a finite draw is given the typical spread of the others.
    """
    spreads = np.full(draws.shape[1], np.nan)
    for i, column in enumerate(draws.T):
        finite = column[np.isfinite(column)]
        if finite.size:
            spreads[i] = max(float(np.std(np.clip(column, finite.min(), finite.max()))), 1e-6)
    return np.where(np.isnan(spreads), np.nanmedian(spreads), spreads)


def stretch_of(
    optima: Sequence[Optimum], spread: FloatArray, fitted: FloatArray, num_fitted: int
) -> tuple[float, float | None]:
    """Factor by which the draws must widen for the scatter of the widths about the fit (W,)."""
    found = np.array([o.censoring == "none" for o in optima])
    # The middle of the draws, to which the line was fitted: an optimum's own estimate has one
    # shape, the draws lean to all, and the difference is no scatter of the widths.
    middle = np.array(
        [np.median(o.samples) if ok else 0.0 for o, ok in zip(optima, found, strict=True)]
    )
    chi_square = float(np.sum(((middle - fitted)[found] / spread[found]) ** 2))
    return stretch_for_scatter(chi_square, int(found.sum()) - num_fitted)


def interval_of(draws: FloatArray, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    unknown = np.isnan(draws)
    low = np.quantile(np.where(unknown, -np.inf, draws), tail, method="inverted_cdf")
    high = np.quantile(np.where(unknown, np.inf, draws), 1.0 - tail, method="inverted_cdf")
    return float(low), float(high)
