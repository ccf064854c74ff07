"""Peaks of lopsided curves through a few noisy points.

A local quadratic is exact for a symmetric peak and biased for one that falls slowly on one side
and steeply on the other. So the quadratic is one member of a family with one more number, the
skewness k (per grid step):

    score(x) = alpha + beta * x + gamma * (exp(k x) - 1 - k x) / k^2        (k = 0: gamma x^2 / 2)

which for each fixed k is linear in three coefficients. The data choose k where they can; where
they cannot, the draws keep its whole range, so that the interval holds what the shape leaves open.
"""

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis._settings import Settings

FloatArray = NDArray[np.float64]

SKEWNESS = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0])
SHAPE_ERROR = 0.2
REACH = 3.0


def fit_peaks(
    settings: Settings, means: FloatArray, *, rng: np.random.Generator | None
) -> tuple[FloatArray, FloatArray]:
    """Log noise scale (D,) of the peak of each row of `means` (D, K), and its score (D,).

    Minus or plus infinity where the fitted curve is highest beyond the lowest or highest setting.
    """
    log_scale = settings.log_noise_scale
    step = float(np.median(np.diff(log_scale)))
    best = np.argmax(means, axis=1)
    location = np.empty(len(means))
    height = np.empty(len(means))
    for center in np.unique(best):
        rows = np.flatnonzero(best == center)
        position = (log_scale - log_scale[center]) / step
        where, peak = _fit_around(settings, position, int(center), means[rows], rng)
        location[rows] = log_scale[center] + step * where
        height[rows] = peak
    return location, height


def _fit_around(
    settings: Settings,
    position: FloatArray,
    center: int,
    means: FloatArray,
    rng: np.random.Generator | None,
) -> tuple[FloatArray, FloatArray]:
    near = np.abs(position) < REACH
    order = np.argsort(np.abs(position), kind="stable")
    near[order[:4]] = True
    kernel = np.clip(1.0 - (np.abs(position[near]) / REACH) ** 3, 0.05, None) ** 3
    spread = float(np.ptp(settings.means)) or 1.0
    drop = settings.means[near].max() - settings.means[near]
    variance = settings.variances[near] + (SHAPE_ERROR * drop) ** 2 + (1e-6 * spread) ** 2
    weight = kernel / variance
    x, values = position[near], means[:, near]
    bounds = (position[0], position[-1])

    misfit = np.empty((SKEWNESS.size, len(means)))
    where = np.empty_like(misfit)
    peak = np.empty_like(misfit)
    for i, skewness in enumerate(SKEWNESS):
        design = np.stack([np.ones_like(x), x, _bend(x, skewness)], axis=1)
        root = np.sqrt(weight)[:, None]
        solver = np.linalg.pinv(root * design) * root.T
        coefficients = values @ solver.T
        misfit[i] = np.sum(weight * (values - coefficients @ design.T) ** 2, axis=1)
        where[i], peak[i] = _vertex(coefficients, skewness, bounds)
    evidence = -0.5 * (misfit - misfit.min(axis=0))
    if rng is None:
        chosen = np.argmax(evidence, axis=0)
    else:
        gumbel = rng.gumbel(size=evidence.shape)
        chosen = np.argmax(evidence + gumbel, axis=0)
    take = np.arange(len(means))
    return where[chosen, take], peak[chosen, take]


def _bend(x: FloatArray, skewness: float) -> FloatArray:
    if skewness == 0.0:
        return x**2 / 2.0
    return np.asarray((np.expm1(skewness * x) - skewness * x) / skewness**2)


def _vertex(
    coefficients: FloatArray, skewness: float, bounds: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Position of the maximum within `bounds`, infinite beyond them, and the score there."""
    level, slope, curvature = coefficients.T
    low, high = bounds
    with np.errstate(divide="ignore", invalid="ignore"):
        # score' = slope + curvature * expm1(k x) / k = 0
        ratio = -slope / curvature
        x = ratio if skewness == 0.0 else np.log1p(skewness * ratio) / skewness
    # Where the derivative never vanishes (NaN), it keeps the sign it has at 0.
    x = np.where(np.isnan(x), np.where(slope < 0.0, -np.inf, np.inf), x)

    def score(at: FloatArray) -> FloatArray:
        return np.asarray(level + slope * at + curvature * _bend(at, skewness))

    at_low = np.full_like(level, low)
    at_high = np.full_like(level, high)
    ends = np.where(score(at_low) >= score(at_high), -np.inf, np.inf)
    x = np.where(curvature < 0.0, x, ends)
    x = np.where(x < low, -np.inf, np.where(x > high, np.inf, x))
    return x, score(np.clip(x, low, high))
