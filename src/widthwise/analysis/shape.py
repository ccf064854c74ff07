"""Peaks of lopsided curves through a few noisy points.

A local quadratic is exact for a symmetric peak and biased for one that falls slowly on one side
and steeply on the other. So it is one member of a small set of shapes, each linear in three
coefficients:

* skewed parabolas, for a skewness k (per grid step), k = 0 being the parabola:
  level + slope * x + curvature * (exp(k x) - 1 - k x) / k^2
* two half parabolas that meet at the peak, for a joint j:
  height - left * min(x - j, 0)^2 - right * max(x - j, 0)^2

The data choose among them where they can. Where they cannot, the draws keep them all in
proportion to their fit, so that the interval holds what the shape leaves open.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.settings import Settings

FloatArray = NDArray[np.float64]

# The constants below are judgments, chosen by planted_coverage.py: intervals that cover on
# parabolas, bumps, exponential collapses and plateaus, and stay near the best settings on a real
# study whose accuracy ends in a cliff; how likely steep shapes are, by search_replays.py too.

# Per grid step; mirrored, because nothing here presumes which side is steep.
_MAGNITUDE = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0])
SKEWNESS = np.concatenate([[0.0], _MAGNITUDE, -_MAGNITUDE])
SKEWNESS_SPREAD = 4.0
# Log-odds of two half parabolas against the parabola, at equal fit.
HALVES_ODDS = 0.5
# Largest ratio of their two curvatures. Without a bound, two half parabolas fit any cliff with a
# peak right at its foot, however far that lies from the best settings.
RATIO = 400.0
# Joints tried: this many per grid step, and so far beyond an edge that nothing brackets.
JOINTS_PER_STEP = 8
BEYOND = np.array([0.5, 1.0, 2.0, 4.0])
# The shapes are trusted to this part of a setting's drop from the best, or to it times
# NEIGHBOR_SHARE of its neighbor's drop: next to a cliff no simple shape is certain.
SHAPE_ERROR = 0.12
NEIGHBOR_SHARE = 0.15
# A window of more grid steps than this to one side of the best is measured in longer ones, of which
# it then holds WIDE: exponentials stay numbers, and the shapes those of grids with few settings.
FARTHEST = 50.0
WIDE = 6.0
# A setting is clearly worse than the best if it lies below it by this many standard errors.
CLEARLY_WORSE = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """The settings round the best ones, in grid steps from the best, and how far to trust each."""

    rows: NDArray[np.intp]  # (n,) settings that are fitted
    position: FloatArray  # (n,)
    noise: FloatArray  # (n,) standard deviation of the shape error
    weight: FloatArray  # (n,)
    bracket: tuple[float, float]  # the peak lies between these; infinite where nothing bounds it
    edges: tuple[float, float]  # lowest and highest setting
    origin: float
    step: float


def open_window(settings: Settings) -> Window:
    """The best setting, out to one beyond the nearest clearly worse ones on either side.

    A curve with one peak has it between those two, however the noise falls.
    """
    log_scale, means, variances = settings.log_noise_scale, settings.means, settings.variances
    best = int(np.argmax(means))
    step = float(np.median(np.diff(log_scale)))
    resolution = 1e-9 * (float(np.ptp(means)) or 1.0)
    drop = means[best] - means
    worse = np.flatnonzero(drop > CLEARLY_WORSE * np.sqrt(variances + variances[best]) + resolution)
    below, above = worse[worse < best], worse[worse > best]
    position = (log_scale - log_scale[best]) / step
    first = int(below[-1]) if below.size else 0
    last = int(above[0]) if above.size else means.size - 1
    rows = np.arange(max(first - 1, 0), min(last + 1, means.size - 1) + 1)
    longer = lengthening(position[rows])
    if longer != 1.0:
        step *= longer
        position = (log_scale - log_scale[best]) / step
    # Noiseless scores would get boundless weights, and the fits would lose their digits.
    floor = (1e-4 * float(np.ptp(means[rows])) + resolution) ** 2
    padded = np.pad(drop, 1, mode="edge")
    beside = np.maximum(padded[:-2], padded[2:])
    noise = SHAPE_ERROR * np.maximum(drop, NEIGHBOR_SHARE * beside)[rows]
    return Window(
        rows=rows,
        position=position[rows],
        noise=noise,
        weight=1.0 / (variances[rows] + noise**2 + floor),
        bracket=(
            float(position[first]) if below.size else -np.inf,
            float(position[last]) if above.size else np.inf,
        ),
        edges=(float(position[0]), float(position[-1])),
        origin=float(log_scale[best]),
        step=step,
    )


def lengthening(position: FloatArray) -> float:
    """By how much grid steps are to be longer, for settings at these positions to be fitted.

    >>> lengthening(np.arange(12.0)), lengthening(np.arange(-60.0, 20.0))
    (1.0, 10.0)
    """
    farthest = float(np.max(np.abs(position)))
    return farthest / WIDE if farthest > FARTHEST else 1.0


def fit_peaks(
    settings: Settings, means: FloatArray | None, *, rng: np.random.Generator | None
) -> tuple[FloatArray, FloatArray]:
    """Log noise scale (D,) of the peak of each row of `means` (D, K), and its score (D,).

    With `rng`, each row is a draw: the shape error is drawn too, and the shape in proportion to
    its fit to the observed means. Without, `means` is None and the best skewed parabola fits the
    observed: half parabolas tell what else the peak could be, but would put it at the foot of a
    cliff whenever the settings there fit.
    Minus or plus infinity where the fitted curve is highest beyond the lowest or highest setting.
    """
    window = open_window(settings)
    # Scores relative to the best: the fits then lose no digits to a common level.
    top = float(np.max(settings.means))
    observed = settings.means[None, window.rows] - top
    values = observed if means is None else means[:, window.rows] - top
    if rng is not None:
        # First, so that draw d leans to the same shapes whatever the settings are.
        leaning = rng.gumbel(size=(SKEWNESS.size + 1, len(values)))
        values = values + rng.standard_normal(values.shape) * window.noise
    misfit = np.empty((SKEWNESS.size, 1))
    where = np.empty((SKEWNESS.size, len(values)))
    peak = np.empty_like(where)
    root = np.sqrt(window.weight)[:, None]
    for i, skewness in enumerate(SKEWNESS):
        x = window.position
        design = np.stack([np.ones_like(x), x, _bend(x, skewness)], axis=1)
        solver = np.linalg.pinv(root * design) * root.T
        residual = observed - observed @ solver.T @ design.T
        misfit[i] = np.sum(window.weight * residual**2)
        where[i], peak[i] = _vertex(values @ solver.T, skewness, window)
    belief = -0.5 * (misfit + (SKEWNESS[:, None] / SKEWNESS_SPREAD) ** 2)
    belief = np.where(np.isnan(where), -np.inf, belief)
    if rng is not None:
        joint, joint_peak, joint_misfit = _two_halves(window, observed, values)
        where, peak = np.vstack([where, joint]), np.vstack([peak, joint_peak])
        odds = np.full((1, len(values)), HALVES_ODDS - 0.5 * joint_misfit)
        belief = np.vstack([belief, np.where(np.isnan(joint), -np.inf, odds)])
        belief = belief + leaning
    chosen = np.argmax(belief, axis=0)
    take = np.arange(len(values))
    location, height = where[chosen, take], peak[chosen, take]
    # No member of the family has a peak here: the best setting itself, or beyond it at an edge.
    bare = np.isnan(location)
    if np.any(bare):
        highest = np.argmax(values[bare], axis=1)
        x = window.position[highest]
        location[bare] = np.where(
            x <= window.edges[0], -np.inf, np.where(x >= window.edges[1], np.inf, x)
        )
        height[bare] = values[bare, highest]
    return window.origin + window.step * location, top + height


def _bend(x: FloatArray, skewness: float) -> FloatArray:
    if skewness == 0.0:
        return x**2 / 2.0
    return np.asarray((np.expm1(skewness * x) - skewness * x) / skewness**2)


def _vertex(
    coefficients: FloatArray, skewness: float, window: Window
) -> tuple[FloatArray, FloatArray]:
    """Position of the maximum, infinite beyond the edges; NaN if not in the bracket."""
    slope, curvature = coefficients[:, 1], coefficients[:, 2]
    low, high = np.clip(window.edges, *window.bracket)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # score' = slope + curvature * expm1(k x) / k = 0
        ratio = -slope / curvature
        x = ratio if skewness == 0.0 else np.log1p(skewness * ratio) / skewness
    # Where the derivative never vanishes, it keeps the sign it has at 0.
    x = np.where(np.isnan(x), np.where(slope < 0.0, -np.inf, np.inf), x)
    # A fit that is not concave can only speak for an edge that nothing brackets.
    left, right = _value(coefficients, low, skewness), _value(coefficients, high, skewness)
    toward = np.where(left >= right, -np.inf, np.inf)
    x = np.where(curvature < 0.0, x, toward)
    x = np.where((x >= window.bracket[0]) & (x <= window.bracket[1]), x, np.nan)
    height = _value(coefficients, np.clip(np.nan_to_num(x), low, high), skewness)
    x = np.where(x < window.edges[0], -np.inf, np.where(x > window.edges[1], np.inf, x))
    return x, height


def _value(coefficients: FloatArray, x: FloatArray | float, skewness: float) -> FloatArray:
    level, slope, curvature = coefficients.T
    return np.asarray(level + slope * x + curvature * _bend(np.asarray(x), skewness))


def _two_halves(
    window: Window, observed: FloatArray, values: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Joint (D,) and height (D,) of the best two half parabolas, and the misfit of `observed`.

    For a fixed joint the fit is linear in the height and two curvatures, so every joint on a fine
    grid is tried; those at which the curvatures are not positive and of a bounded ratio drop out.
    """
    low, high = np.clip(window.edges, *window.bracket)
    joints = np.linspace(low, high, round((high - low) * JOINTS_PER_STEP) + 1)
    if np.isinf(window.bracket[0]):
        joints = np.concatenate([low - BEYOND, joints])
    if np.isinf(window.bracket[1]):
        joints = np.concatenate([joints, high + BEYOND])
    root = np.sqrt(window.weight)
    offset = window.position - joints[:, None]
    full = np.stack(
        [np.ones_like(offset), -(np.minimum(offset, 0.0) ** 2), -(np.maximum(offset, 0.0) ** 2)],
        axis=2,
    )
    full *= root[:, None]
    rows = np.concatenate([observed, values]) * root
    total = np.sum(rows**2, axis=1)
    projected = np.matmul(np.swapaxes(full, 1, 2), rows.T)  # (joints, 3, draws)
    solver = np.linalg.pinv(np.swapaxes(full, 1, 2) @ full, hermitian=True)
    coefficients = solver @ projected
    left, right = coefficients[:, 1], coefficients[:, 2]
    allowed = (left > 0.0) & (right > 0.0) & (right <= RATIO * left) & (left <= RATIO * right)
    explained = np.einsum("ckd,ckd->cd", coefficients, projected)
    misfit = np.where(allowed, total - explained, np.inf)
    best, take = np.argmin(misfit, axis=0), np.arange(len(rows))
    where = np.where(misfit[best, take] < np.inf, joints[best], np.nan)
    where = np.where(where < window.edges[0], -np.inf, where)
    where = np.where(where > window.edges[1], np.inf, where)
    return where[1:], coefficients[best, 0, take][1:], float(misfit[best[0], 0])
