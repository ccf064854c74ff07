"""Between the settings that were run: values at a noise scale, and where a value is crossed.

Between two neighbors the curve is their chord plus bulge * t (1 - t), a parabola. Its bulge lies
between those that the second differences at the two ends give; where in between is `lean`, 0 for
the lower end and 1 for the upper, drawn at random so that intervals hold what it leaves open.
"""

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis._pairs import MAX_GAP

FloatArray = NDArray[np.float64]

# Curves bend more and more towards a cliff: what is assumed beyond the last setting.
_BEND_GROWTH = 3.0


def value_at(
    places: FloatArray, values: FloatArray, place: float, lean: FloatArray
) -> FloatArray | None:
    """Values (D,) at a place; None where the settings do not cover it.

    Args:
        places: (K,) log noise scales, ascending.
        values: (D, K).
        place: log noise scale.
        lean: (D,).

    >>> x = np.arange(4.0) / 2
    >>> value_at(x, -(x[None] ** 2), 0.75, np.array([0.5])).tolist()
    [-0.5625]
    """
    nearest = int(np.argmin(np.abs(places - place)))
    if abs(places[nearest] - place) < 1e-6:
        return values[:, nearest]
    above = int(np.searchsorted(places, place))
    if above in (0, places.size) or places[above] - places[above - 1] > MAX_GAP:
        return None
    low, high = values[:, above - 1], values[:, above]
    part = (place - places[above - 1]) / (places[above] - places[above - 1])
    bulge = _bulge(places, values, lean)[:, above - 1]
    return np.asarray(low + part * (high - low) + bulge * part * (1.0 - part))


def first_fall(
    places: FloatArray,
    values: FloatArray,
    start: int,
    lean: FloatArray,
    diverged_above: float | None,
) -> FloatArray:
    """Place (D,) above setting `start` at which each row of `values` (D, K) first falls below 0.

    A row below 0 at `start` is placed there. One that never falls ends between the last setting
    and the first that diverges, `lean` of the way, or at infinity if none does.
    """
    below = values[:, start:] < 0.0
    first = start + np.argmax(below, axis=1)
    rows, before = np.arange(len(values)), np.maximum(first - 1, start)
    high, low = values[rows, before], values[rows, first]
    bulge = (
        _bulge(places, values, lean)[rows, np.minimum(before, places.size - 2)]
        if places.size > 1
        else np.zeros(len(values))
    )
    # Root in [0, 1] of high + slope t - bulge t², in the form that stays accurate for bulge = 0.
    slope = low - high + bulge
    with np.errstate(divide="ignore", invalid="ignore"):
        root = 2.0 * high / (np.sqrt(np.maximum(slope**2 + 4.0 * bulge * high, 0.0)) - slope)
    part = np.where(first > before, np.clip(np.nan_to_num(root), 0.0, 1.0), 0.0)
    crossing = places[before] + part * (places[first] - places[before])
    last = float(places[-1])
    beyond = np.inf if diverged_above is None else last + lean * (diverged_above - last)
    return np.asarray(np.where(below.any(axis=1), crossing, beyond))


def _bulge(places: FloatArray, values: FloatArray, lean: FloatArray) -> FloatArray:
    """Bulge (D, K - 1) of every gap; none where fewer than three settings tell of one."""
    gaps = np.diff(places)
    if places.size < 3:
        return np.zeros((len(values), gaps.size))
    slopes = np.diff(values, axis=1) / gaps
    bend = -np.diff(slopes, axis=1) / (places[2:] - places[:-2])  # -f'' / 2 at inner settings
    lower = np.column_stack([bend[:, 0] / _BEND_GROWTH, bend])
    upper = np.column_stack([bend, bend[:, -1] * _BEND_GROWTH])
    return np.asarray((lower + lean[:, None] * (upper - lower)) * gaps**2)
