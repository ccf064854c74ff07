"""How noisy one run is where settings were run once: told by how they scatter about their curve.

Four neighboring settings and a parabola through them leave one number over, a contrast that no
parabola changes: noise, and the little that the curve is no parabola there, which makes the noise
look larger than it is. Contrasts on the slopes count less, for curves bend most there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis._pairs import moderated
from widthwise.analysis.settings import Scatter, Settings, merge_settings, thinned
from widthwise.analysis.shape import SHAPE_ERROR

FloatArray = NDArray[np.float64]

# Settings of a contrast: a parabola and one more.
_MEMBERS = 4
# Contrasts that overlap tell less than as many apart: of third differences of noise, the sum of
# the squared correlations of one with all others, 1 + 2 (15² + 6² + 1²) / 20².
_OVERLAP = 2.31
# Median of the square of a standard normal number.
_MEDIAN = 0.455
# Times that the noise and the weights that hang on it are found in turn; they settle in a few.
_ROUNDS = 30


def measure_scatter(
    values: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> list[Scatter | None]:
    """The noise of one run at each width, for :func:`widthwise.analysis.optimum.locate_optimum`.

    Widths borrow from each other as far as they are alike (empirical Bayes); the spread of
    repeated runs of one setting counts, too.

    Args:
        values: of the hyper-parameter, for each width shape (K,).
        scores: for each width shape (K, S), higher is better; NaN where there is no run, or it
            diverged.

    Returns:
        One for each width; None where fewer than four settings were run.
    """
    found = [_own(place, table) for place, table in zip(values, scores, strict=True)]
    known = [own for own in found if own is not None]
    if not known:
        return [None] * len(found)
    variances, degrees = moderated(
        np.array([own.variance for own in known]),
        np.array([own.degrees for own in known]),
        np.zeros(len(known)),
    )
    shared = iter(zip(variances.tolist(), degrees.tolist(), strict=True))
    return [None if own is None else Scatter(*next(shared)) for own in found]


def _own(values: ArrayLike, scores: ArrayLike) -> Scatter | None:
    """What one width tells by itself."""
    table = np.asarray(scores, dtype=np.float64)
    # As if the noise were known: settings that were run once count.
    settings = thinned(
        merge_settings(values, table, limits=None, ran=np.isfinite(table), scatter=Scatter(0.0, 1))
    )
    if settings.num_usable < _MEMBERS:
        return None
    best = float(np.max(settings.means))
    numbers = np.concatenate([_contrasts(settings), _repeats(table, best)])
    return Scatter(*_noise(numbers))


def _contrasts(settings: Settings) -> FloatArray:
    """A row each (C, 3): its square, divided by what noise does to it; how many independent
    numbers it counts for; the largest drop of its settings from the best."""
    places, means, counts = settings.log_noise_scale, settings.means, settings.counts
    best = float(np.max(means))
    found = []
    for first in range(places.size - _MEMBERS + 1):
        rows = slice(first, first + _MEMBERS)
        x = places[rows] - places[rows].mean()
        # What is orthogonal to every parabola.
        weights = np.linalg.qr(np.vander(x / np.max(np.abs(x)), 3), mode="complete")[0][:, -1]
        square = (weights @ means[rows]) ** 2 / np.sum(weights**2 / counts[rows])
        found.append((square, 1.0 / _OVERLAP, best - np.min(means[rows])))
    return np.array(found)


def _repeats(scores: FloatArray, best: float) -> FloatArray:
    """The same (R, 3) of runs of one setting: their variance, its degrees of freedom, its drop."""
    counts = np.isfinite(scores).sum(axis=1)
    rows = scores[counts >= 2]
    means = np.nanmean(rows, axis=1) if len(rows) else np.zeros(0)
    degrees = counts[counts >= 2] - 1.0
    variances = np.nansum((rows - means[:, None]) ** 2, axis=1) / degrees
    return np.column_stack([variances, degrees, np.maximum(best - means, 0.0)])


def _noise(numbers: FloatArray) -> tuple[float, float]:
    """Variance of one run, and its degrees of freedom.

    A number counts by the part that noise has in it, beside the error of simple shapes (squared,
    or that error itself would add up); the one nearest the top counts in full.
    """
    squares, degrees, drops = numbers.T
    errors = SHAPE_ERROR * (drops - np.min(drops))
    near = np.argsort(drops, kind="stable")[:_MEMBERS]
    # Not the mean: a contrast that reaches down a cliff is of another size.
    variance = float(np.median(squares[near])) / _MEDIAN
    weights = degrees
    for _ in range(_ROUNDS):
        if variance <= 0.0:
            break
        weights = degrees * (variance / (variance + errors**2)) ** 2
        variance = float(np.sum(weights * squares) / np.sum(weights))
    return variance, max(1.0, float(np.sum(weights)))
