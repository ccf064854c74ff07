"""How precisely a design would locate the peak, and which runs would help most for their cost.

The peak's variance under a design (seeds per setting) is that of `locate_optimum`'s own model, by
the delta method instead of draws: weights 1 / (noise² / seeds + shape error²), each skewed
parabola's vertex -b / c with its first-order variance, and the scatter of the vertices of those
shapes, and of two half parabolas, that the design could not tell apart. Tents are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.settings import Settings
from widthwise.analysis.shape import (
    CLEARLY_WORSE,
    HALVES_ODDS,
    NEIGHBOR_SHARE,
    RATIO,
    SHAPE_ERROR,
    SKEWNESS,
    SKEWNESS_SPREAD,
    lengthening,
    open_window,
)
from widthwise.search.problem import FloatArray
from widthwise.search.state import WidthState

# Settings further below or above the peak than this (octaves) are not considered: of fixed
# designs on planted curves, two below and three above gave the narrowest intervals for their cost.
REACH = (2.0, 3.0)
# Joints of two half parabolas that are tried, per grid step.
JOINTS_PER_STEP = 4
# Seeds of a new setting, at least: two give a variance with one degree of freedom.
NEW_SEEDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What is believed of the curve: the basis of every prediction."""

    octaves: FloatArray  # (K,)
    mean: FloatArray  # (K,) score, relative to the peak
    spread: FloatArray  # (K,) standard deviation of one seed
    candidates: NDArray[np.intp]  # lattice indices that may be run


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Seeds to add to one setting, and the variance of the peak (octaves²) that would result."""

    scale_index: int
    num_seeds: int
    cost: float
    variance: float


def believed_curve(state: WidthState) -> Curve:
    """The best skewed parabola where it was fitted; beyond, its tangent or what was measured."""
    octaves = state.lattice.octaves
    settings = state.settings
    index = np.flatnonzero(state.usable)
    window = open_window(settings)
    x = (octaves - octaves[index[int(np.argmax(settings.means))]]) / (window.step / np.log(2.0))
    top = float(np.max(settings.means))
    fit = _best_fit(settings, window.position, window.weight, window.rows, x)
    mean = np.interp(octaves, octaves[index], settings.means - top) if fit is None else fit
    outside = np.setdiff1d(index, index[window.rows])
    mean[outside] = settings.means[np.searchsorted(index, outside)] - top
    away = octaves - state.peak
    near = (away >= -REACH[0] - 1e-9) & (away <= REACH[1] + 1e-9)
    return Curve(
        octaves=octaves,
        mean=mean,
        spread=state.spread,
        candidates=np.flatnonzero(near & state.stable),
    )


def _best_fit(
    settings: Settings,
    position: FloatArray,
    weight: FloatArray,
    rows: NDArray[np.intp],
    x: FloatArray,
) -> FloatArray | None:
    """Values (K,) at positions x of the best concave member, straight beyond its window."""
    value = settings.means[rows] - np.max(settings.means)
    coefficients, _, misfit = _fit_members(position, weight, value)
    belief = -0.5 * (misfit + (SKEWNESS / SKEWNESS_SPREAD) ** 2)
    belief = np.where(coefficients[:, 2] < 0.0, belief, -np.inf)
    best = int(np.argmax(belief))
    if not np.isfinite(belief[best]):
        return None
    ends = np.clip(x, position[0], position[-1])
    level, slope, curvature = coefficients[best]
    skewness = SKEWNESS[best : best + 1]
    bend, tilt = _bends(ends, skewness)[0], _tilts(ends, skewness)[0]
    inside = level + slope * ends + curvature * bend
    return np.asarray(inside + (slope + curvature * tilt) * (x - ends))


def predicted_variance(curve: Curve, counts: NDArray[np.intp]) -> float:
    """Variance of the peak (octaves²) under a design; infinite if no member has its vertex inside.

    What the shape leaves open is in it, for an exponent too: a wrong shape's bias is the same at
    all widths only if their settings lie alike, and a search's do not.
    """
    index = np.flatnonzero(counts > 0)
    if index.size < 3:
        return float("inf")
    octaves, mean = curve.octaves[index], curve.mean[index]
    variance = curve.spread[index] ** 2 / counts[index]
    # From here on as in open_window, on the believed means.
    best = int(np.argmax(mean))
    step = float(np.median(np.diff(octaves)))
    drop = mean[best] - mean
    resolution = 1e-9 * (float(np.ptp(mean)) or 1.0)
    worse = np.flatnonzero(drop > CLEARLY_WORSE * np.sqrt(variance + variance[best]) + resolution)
    below, above = worse[worse < best], worse[worse > best]
    first = int(below[-1]) if below.size else 0
    last = int(above[0]) if above.size else index.size - 1
    rows = np.arange(max(first - 1, 0), min(last + 1, index.size - 1) + 1)
    position = (octaves - octaves[best]) / step
    longer = lengthening(position[rows])
    if longer != 1.0:
        step *= longer
        position = (octaves - octaves[best]) / step
    padded = np.pad(drop, 1, mode="edge")
    beside = np.maximum(padded[:-2], padded[2:])
    noise = SHAPE_ERROR * np.maximum(drop, NEIGHBOR_SHARE * beside)[rows]
    floor = (1e-4 * float(np.ptp(mean[rows])) + resolution) ** 2
    weight = 1.0 / (variance[rows] + noise**2 + floor)
    if rows.size < 3:
        return float("inf")
    coefficients, covariance, misfit = _fit_members(position[rows], weight, mean[rows])
    where, scatter = _vertices(coefficients, covariance)
    low, high = position[first], position[last]
    belief = -0.5 * (misfit + (SKEWNESS / SKEWNESS_SPREAD) ** 2)
    joint, joint_scatter, joint_misfit = _halves(position[rows], weight, mean[rows], low, high)
    where, scatter = np.append(where, joint), np.append(scatter, joint_scatter)
    belief = np.append(belief, HALVES_ODDS - 0.5 * joint_misfit)
    inside = (where >= low) & (where <= high)
    if not np.any(inside):
        return float("inf")
    belief = np.where(inside, belief, -np.inf)
    share = np.exp(belief - belief.max())
    share /= share.sum()
    where, scatter = np.where(inside, where, 0.0), np.where(inside, scatter, 0.0)
    # The peak cannot leave the bracket, so a vertex cannot scatter by more than half of it.
    scatter = np.minimum(scatter, ((high - low) / 2.0) ** 2)
    within = float(share @ scatter)
    between = float(share @ (where - share @ where) ** 2)
    return (within + between) * step**2


def additions(
    curve: Curve, counts: NDArray[np.intp], cost: FloatArray, *, max_seeds: int
) -> list[Addition]:
    """Each candidate's next seeds, with the variance they would lead to."""
    found = []
    for k in curve.candidates:
        have = int(counts[k])
        wanted = NEW_SEEDS if have == 0 else max(1, have // 4)
        add = min(wanted, max_seeds - have)
        if add < 1:
            continue
        then = counts.copy()
        then[k] += add
        found.append(
            Addition(
                scale_index=int(k),
                num_seeds=add,
                cost=add * cost[k],
                variance=predicted_variance(curve, then),
            )
        )
    return found


def _fit_members(
    position: FloatArray, weight: FloatArray, value: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients (M, 3), their covariance (M, 3, 3) and misfit (M,) of every skewed parabola."""
    bend = _bends(position, SKEWNESS)
    one = np.ones_like(bend)
    design = np.stack([one, one * position, bend], axis=2) * np.sqrt(weight)[:, None]
    solver = np.linalg.pinv(design)
    whitened = np.sqrt(weight) * value
    coefficients = solver @ whitened
    residual = whitened - np.einsum("mnk,mk->mn", design, coefficients)
    covariance = np.asarray(solver @ np.swapaxes(solver, 1, 2))
    return coefficients, covariance, np.asarray(np.sum(residual**2, axis=1))


def _halves(
    position: FloatArray, weight: FloatArray, value: FloatArray, low: float, high: float
) -> tuple[float, float, float]:
    """Joint of two half parabolas (NaN if none fits), its variance, and the misfit.

    The joint has no closed form, so its variance is that of its profile likelihood.
    """
    joints = np.linspace(low, high, max(round((high - low) * JOINTS_PER_STEP), 1) + 1)
    offset = position - joints[:, None]
    design = np.stack(
        [np.ones_like(offset), -(np.minimum(offset, 0.0) ** 2), -(np.maximum(offset, 0.0) ** 2)],
        axis=2,
    )
    whitened = design * np.sqrt(weight)[:, None]
    target = np.sqrt(weight) * value
    coefficients = np.linalg.pinv(whitened) @ target
    misfit = np.sum((target - np.einsum("jnk,jk->jn", whitened, coefficients)) ** 2, axis=1)
    left, right = coefficients[:, 1], coefficients[:, 2]
    allowed = (left > 0.0) & (right > 0.0) & (right <= RATIO * left) & (left <= RATIO * right)
    if not np.any(allowed):
        return float("nan"), 0.0, float("inf")
    misfit = np.where(allowed, misfit, np.inf)
    share = np.exp(-0.5 * (misfit - misfit.min()))
    share /= share.sum()
    where = float(share @ joints)
    return where, float(share @ (joints - where) ** 2), float(misfit.min())


def _bends(x: FloatArray, skewness: FloatArray) -> FloatArray:
    """The third basis function (M, n), the parabola's where the skewness is 0."""
    k = np.where(skewness == 0.0, 1.0, skewness)[:, None]
    skewed = (np.expm1(k * x) - k * x) / k**2
    return np.where(skewness[:, None] == 0.0, x**2 / 2.0, skewed)


def _tilts(x: FloatArray, skewness: FloatArray) -> FloatArray:
    """Its derivative."""
    k = np.where(skewness == 0.0, 1.0, skewness)[:, None]
    return np.where(skewness[:, None] == 0.0, x + 0.0 * k, np.expm1(k * x) / k)


def _vertices(coefficients: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vertex (M,) of each member, NaN if it has no maximum, and its first-order variance.

    The slope b + c (exp(k x) - 1) / k vanishes at x = log(1 + k r) / k with r = -b / c.
    """
    _, slope, curvature = coefficients.T
    peaked = curvature < 0.0
    c = np.where(peaked, curvature, -1.0)
    ratio = -slope / c
    growth = 1.0 + SKEWNESS * ratio
    peaked &= growth > 0.0
    growth = np.where(growth > 0.0, growth, 1.0)
    k = np.where(SKEWNESS == 0.0, 1.0, SKEWNESS)
    where = np.where(SKEWNESS == 0.0, ratio, np.log(growth) / k)
    gradient = np.stack([np.zeros_like(c), -1.0 / (c * growth), slope / (c**2 * growth)], axis=1)
    scatter = np.einsum("mi,mij,mj->m", gradient, covariance, gradient)
    return np.where(peaked, where, np.nan), scatter
