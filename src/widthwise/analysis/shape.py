"""Peaks of lopsided curves through a few noisy points.

A local quadratic is exact for a symmetric peak and biased for one that falls slowly on one side
and steeply on the other. So it is one member of a small set of shapes, each linear in three
coefficients:

* skewed parabolas, for a skewness k (per grid step), k = 0 being the parabola:
  level + slope * x + curvature * (exp(k x) - 1 - k x) / k^2
* two half parabolas that meet at the peak, for a joint j:
  height - left * min(x - j, 0)^2 - right * max(x - j, 0)^2
* a tent, two straight lines that meet at the peak:
  height + left * min(x - j, 0) - right * max(x - j, 0)

The data choose among them where they can. Where they cannot, the draws keep them all in
proportion to their fit, so that the interval holds what the shape leaves open.
"""

from collections.abc import Iterator, Sequence
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
# Log-odds of two half parabolas, and of a tent, against the parabola, at equal fit.
HALVES_ODDS = 0.5
TENT_ODDS = 0.0
# Log-odds of a tent against all other shapes together, at most: through the straight flanks of a
# narrow bump a tent fits best, but with its peak beside the bump's.
TENT_MOST = 0.0
# The top is said to be a kink, perhaps, from these log-odds of a tent against all other shapes on.
KINK_ODDS = 0.5
# Largest ratio of their two curvatures, or slopes. Without a bound, two pieces fit any cliff with a
# peak right at its foot, however far that lies from the best settings.
RATIO = 400.0
TENT_RATIO = 40.0
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


@dataclass(frozen=True, kw_only=True)
class TwoPieces:
    """Shapes that fall by a power of the distance from their joint, by a factor for each side."""

    power: int
    odds: float
    ratio: float
    most: float  # log-odds against all shapes above, at most


HALVES = TwoPieces(power=2, odds=HALVES_ODDS, ratio=RATIO, most=np.inf)
TENT = TwoPieces(power=1, odds=TENT_ODDS, ratio=TENT_RATIO, most=TENT_MOST)
PIECES = (HALVES, TENT)


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


def open_window(settings: Settings, best: int | None = None) -> Window:
    """The best setting, out to one beyond the nearest clearly worse ones on either side.

    A curve with one peak has it between those two, however the noise falls. Another setting as
    `best` opens the window of a rival peak.
    """
    log_scale, means, variances = settings.log_noise_scale, settings.means, settings.variances
    best = int(np.argmax(means)) if best is None else best
    below, above = nearest_worse(settings, best)
    step = float(np.median(np.diff(log_scale)))
    resolution = 1e-9 * (float(np.ptp(means)) or 1.0)
    position = (log_scale - log_scale[best]) / step
    first = 0 if below is None else below
    last = means.size - 1 if above is None else above
    rows = np.arange(max(first - 1, 0), min(last + 1, means.size - 1) + 1)
    longer = lengthening(position[rows])
    if longer != 1.0:
        step *= longer
        position = (log_scale - log_scale[best]) / step
    # Noiseless scores would get boundless weights, and the fits would lose their digits.
    floor = (1e-4 * float(np.ptp(means[rows])) + resolution) ** 2
    drop = np.maximum(means[best] - means, 0.0)
    padded = np.pad(drop, 1, mode="edge")
    beside = np.maximum(padded[:-2], padded[2:])
    noise = SHAPE_ERROR * np.maximum(drop, NEIGHBOR_SHARE * beside)[rows]
    return Window(
        rows=rows,
        position=position[rows],
        noise=noise,
        weight=1.0 / (variances[rows] + noise**2 + floor),
        bracket=(
            -np.inf if below is None else float(position[below]),
            np.inf if above is None else float(position[above]),
        ),
        edges=(float(position[0]), float(position[-1])),
        origin=float(log_scale[best]),
        step=step,
    )


def rival_peaks(settings: Settings) -> list[int]:
    """Settings at the top of another peak that may be the higher one, in rising order.

    They are not clearly worse than the best, but settings between the two are.
    """
    best = int(np.argmax(settings.means))
    worse = clearly_worse(settings, best)
    groups = np.split(np.arange(worse.size), np.flatnonzero(np.diff(worse)) + 1)
    tops = [group for group in groups if not worse[group[0]] and best not in group]
    return [int(group[np.argmax(settings.means[group])]) for group in tops]


def has_kink(settings: Settings) -> bool:
    """Whether a tent fits the top better than all other shapes together, with its peak inside."""
    window = open_window(settings)
    observed = settings.means[window.rows] - float(np.max(settings.means))
    parabolas = _skewed_parabolas(window, observed)[1][:, None]
    others = np.logaddexp.reduce(_with_pieces(window, observed, parabolas, [HALVES]))
    joint, _, misfit = _two_pieces(window, observed[None], TENT)
    return bool(np.isfinite(joint) & (TENT.odds - 0.5 * misfit >= others + KINK_ODDS))


def nearest_worse(settings: Settings, best: int) -> tuple[int | None, int | None]:
    """The nearest settings below and above `best` that are clearly worse; None where none is."""
    worse = np.flatnonzero(clearly_worse(settings, best))
    below, above = worse[worse < best], worse[worse > best]
    return int(below[-1]) if below.size else None, int(above[0]) if above.size else None


def clearly_worse(settings: Settings, than: int) -> NDArray[np.bool_]:
    """Settings (K,) that score below this one by more than chance."""
    means, variances = settings.means, settings.variances
    resolution = 1e-9 * (float(np.ptp(means)) or 1.0)
    least = CLEARLY_WORSE * np.sqrt(variances + variances[than]) + resolution
    return np.asarray(means[than] - means > least)


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
    its fit to the observed means; of several peaks that may be the highest, it takes the one that
    it puts highest. Without, `means` is None and the best skewed parabola fits the
    observed: two pieces tell what else the peak could be, but would put it at the foot of a
    cliff whenever the settings there fit.
    Minus or plus infinity where the fitted curve is highest beyond the lowest or highest setting.
    """
    window = open_window(settings)
    if rng is None:
        return _fit_window(settings, window, means, None, None)
    assert means is not None
    # First, so that draw d leans to the same shapes whatever the settings are.
    leaning = rng.gumbel(size=(SKEWNESS.size + len(PIECES), len(means)))
    location, height = _fit_window(settings, window, means, leaning, rng)
    for rival in rival_peaks(settings):
        x, value = _fit_window(settings, open_window(settings, rival), means, leaning, rng)
        location, height = np.where(value > height, [x, value], [location, height])
    return location, height


def _fit_window(
    settings: Settings,
    window: Window,
    means: FloatArray | None,
    leaning: FloatArray | None,
    rng: np.random.Generator | None,
) -> tuple[FloatArray, FloatArray]:
    """The peak in one window: :func:`fit_peaks`, with what each draw adds to a shape's belief."""
    # Scores relative to the best: the fits then lose no digits to a common level.
    top = float(np.max(settings.means))
    observed = settings.means[window.rows] - top
    values = observed[None] if means is None else means[:, window.rows] - top
    solvers, belief = _skewed_parabolas(window, observed)
    belief = belief[:, None]
    if leaning is not None and rng is not None:
        values = values + rng.standard_normal(values.shape) * window.noise
        belief = _with_pieces(window, observed, belief, PIECES) + leaning
    location, height = np.full((2, len(values)), np.nan)
    # Each row takes the likeliest shape that has a peak for it.
    pending = np.arange(len(values))
    while pending.size:
        chosen = np.argmax(belief[:, pending], axis=0)
        peaked = np.isfinite(belief[chosen, pending])
        pending, chosen = pending[peaked], chosen[peaked]
        for rows, x, value in _peaks_of(chosen, values[pending], window, solvers):
            location[pending[rows]], height[pending[rows]] = x, value
        belief[chosen, pending] = -np.inf
        pending = pending[np.isnan(location[pending])]
    # No shape has a peak here: the best setting itself, or beyond it at an edge.
    bare = np.isnan(location)
    if np.any(bare):
        highest = np.argmax(values[bare], axis=1)
        x = window.position[highest]
        location[bare] = np.where(
            x <= window.edges[0], -np.inf, np.where(x >= window.edges[1], np.inf, x)
        )
        height[bare] = values[bare, highest]
    return window.origin + window.step * location, top + height


def _peaks_of(
    chosen: NDArray[np.intp], values: FloatArray, window: Window, solvers: FloatArray
) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
    """For each kind of shape: the rows of `values` (D, n) that chose it, position and height."""
    rows = np.flatnonzero(chosen < SKEWNESS.size)
    coefficients = np.einsum("dcn,dn->dc", solvers[chosen[rows]], values[rows])
    yield rows, *_vertex(coefficients, SKEWNESS[chosen[rows]], window)
    for i, kind in enumerate(PIECES):
        rows = np.flatnonzero(chosen == SKEWNESS.size + i)
        if rows.size:
            yield rows, *_two_pieces(window, values[rows], kind)[:2]


def _skewed_parabolas(window: Window, observed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What turns values (n,) into coefficients (M, 3, n), and how well each fits: log-odds (M,)."""
    bend = _bend(window.position, SKEWNESS[:, None])
    one = np.ones_like(bend)
    root = np.sqrt(window.weight)
    design = np.stack([one, one * window.position, bend], axis=2) * root[:, None]
    solvers = np.linalg.pinv(design)
    target = root * observed
    residual = target - np.einsum("mnc,mc->mn", design, solvers @ target)
    misfit = np.asarray(np.sum(residual**2, axis=1))
    return np.asarray(solvers * root), -0.5 * (misfit + (SKEWNESS / SKEWNESS_SPREAD) ** 2)


def _with_pieces(
    window: Window, observed: FloatArray, belief: FloatArray, pieces: Sequence[TwoPieces]
) -> FloatArray:
    """Log-odds (M, 1) of other shapes, then those of two pieces, none above its most."""
    for kind in pieces:
        odds = kind.odds - 0.5 * _two_pieces(window, observed[None], kind)[2]
        belief = np.vstack([belief, np.minimum(odds, np.logaddexp.reduce(belief) + kind.most)])
    return belief


def _bend(x: FloatArray, skewness: FloatArray) -> FloatArray:
    k = np.where(skewness == 0.0, 1.0, skewness)
    return np.where(skewness == 0.0, x**2 / 2.0, (np.expm1(k * x) - k * x) / k**2)


def _vertex(
    coefficients: FloatArray, skewness: FloatArray, window: Window
) -> tuple[FloatArray, FloatArray]:
    """Position of the maximum (D,), and height; infinite beyond the edges, NaN if not in the
    bracket."""
    _, slope, curvature = coefficients.T
    low, high = np.clip(window.edges, *window.bracket)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # score' = slope + curvature * expm1(k x) / k = 0
        ratio = -slope / curvature
        k = np.where(skewness == 0.0, 1.0, skewness)
        x = np.where(skewness == 0.0, ratio, np.log1p(skewness * ratio) / k)
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


def _value(coefficients: FloatArray, x: FloatArray | float, skewness: FloatArray) -> FloatArray:
    level, slope, curvature = coefficients.T
    return np.asarray(level + slope * x + curvature * _bend(np.asarray(x), skewness))


def _two_pieces(
    window: Window, values: FloatArray, kind: TwoPieces
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Joint (D,), NaN if none fits, and height (D,) of the best two pieces; their misfit (D,).

    For a fixed joint the fit is linear in the height and two falls, so every joint on a fine
    grid is tried; those at which the falls are not positive and of a bounded ratio drop out.
    """
    low, high = np.clip(window.edges, *window.bracket)
    joints = np.linspace(low, high, round((high - low) * JOINTS_PER_STEP) + 1)
    if np.isinf(window.bracket[0]):
        joints = np.concatenate([low - BEYOND, joints])
    if np.isinf(window.bracket[1]):
        joints = np.concatenate([joints, high + BEYOND])
    root = np.sqrt(window.weight)
    offset = window.position - joints[:, None]
    below, above = np.maximum(-offset, 0.0) ** kind.power, np.maximum(offset, 0.0) ** kind.power
    full = np.stack([np.ones_like(offset), -below, -above], axis=2) * root[:, None]
    rows = values * root
    projected = np.matmul(np.swapaxes(full, 1, 2), rows.T)  # (joints, 3, draws)
    solver = np.linalg.pinv(np.swapaxes(full, 1, 2) @ full, hermitian=True)
    coefficients = solver @ projected
    left, right = coefficients[:, 1], coefficients[:, 2]
    allowed = (left > 0.0) & (right > 0.0)
    allowed &= (right <= kind.ratio * left) & (left <= kind.ratio * right)
    explained = np.einsum("ckd,ckd->cd", coefficients, projected)
    misfit = np.where(allowed, np.sum(rows**2, axis=1) - explained, np.inf)
    best, take = np.argmin(misfit, axis=0), np.arange(len(rows))
    least = misfit[best, take]
    where = np.where(least < np.inf, joints[best], np.nan)
    where = np.where(where < window.edges[0], -np.inf, where)
    where = np.where(where > window.edges[1], np.inf, where)
    return where, coefficients[best, 0, take], least
