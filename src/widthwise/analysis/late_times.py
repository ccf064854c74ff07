"""What a run is worth: the mean of its score at late times, and whether it still moves there.

Late times are the evaluations in the last `fraction` of training: those with
``step > (1 - fraction) * total_steps``.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import InputError

# Chance, over all settings looked at together, of taking one for late that has arrived.
_BY_CHANCE = 0.05
# A rise over the late window by this part of the score itself: training has just begun.
_MUCH = 0.05


def catching_up(
    scores: ArrayLike,
    slopes: ArrayLike,
    fraction: float = 0.25,
    *,
    noise_scale: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Settings that had not arrived, so that they may be as good as the best if trained longer.

    Their score was rising at late times, by more than chance (t test over seeds, 5 % for all
    settings together), and either it would reach that of the best if they were trained as long
    again at that pace, or it rose by more than a twentieth of itself. Such a setting says nothing
    of where the optimum is: it loses by the length of training.

    Args:
        scores: late-time means, shape (K, S); NaN where a run diverged or was not made.
        slopes: change over the late window, as :func:`plateau_slope` gives it, shape (K, S).
        fraction: the part of training that counts as late, in (0, 1].
        noise_scale: shape (K,). With it, a setting that rises, by however little, had not arrived
            either if one with more noise had not: it may have hardly begun.

    Returns:
        Shape (K,).

    >>> scores = np.array([[0.70, 0.71, 0.70], [0.75, 0.76, 0.76]])
    >>> catching_up(scores, [[0.04, 0.041, 0.04], [0.0, 0.001, -0.001]]).tolist()
    [True, False]
    >>> catching_up(scores, [[0.004, 0.0041, 0.004], [0.0, 0.001, -0.001]]).tolist()
    [False, False]
    """
    from scipy import special  # SciPy is slow to import

    values, rising = np.asarray(scores, dtype=np.float64), np.asarray(slopes, dtype=np.float64)
    known = np.isfinite(values) & np.isfinite(rising)
    counts = known.sum(axis=1)
    judged = counts >= 2
    if not judged.any():
        return np.zeros(len(values), dtype=np.bool_)
    means = np.where(known, values, 0.0).sum(axis=1) / np.maximum(counts, 1)
    pace = np.where(known, rising, 0.0).sum(axis=1) / np.maximum(counts, 1)
    squares = (np.where(known, rising - pace[:, None], 0.0) ** 2).sum(axis=1)
    error = np.sqrt(squares / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
    quantile = special.stdtrit(np.maximum(counts - 1, 1), 1.0 - _BY_CHANCE / judged.sum())
    best = np.max(means[judged])
    rises = (pace > 0.0) & (pace > quantile * error)
    matters = (means + pace / fraction >= best) | (pace >= _MUCH * np.abs(means))
    rises &= judged
    late = rises & matters
    if noise_scale is not None and np.any(late):
        scale = np.asarray(noise_scale, dtype=np.float64)
        late |= rises & (scale < np.max(scale[late]))
    return np.asarray(late)


def late_mean(
    steps: ArrayLike, curve: ArrayLike, total_steps: int, fraction: float = 0.25
) -> NDArray[np.float64]:
    """Mean of `curve` over the late evaluations.

    A run that diverged (NaN anywhere in the late window) has no late-time mean: NaN.

    Args:
        steps: training steps done at each evaluation, shape (E,), any order.
        curve: a score at each evaluation, shape (..., E).
        total_steps: length of the training, in steps.
        fraction: the part of the training that counts as late, in (0, 1].

    Returns:
        Shape (...).

    Raises:
        InputError: if shapes disagree, or no evaluation lies in the late window.

    >>> float(late_mean([25, 50, 75, 100], [0.1, 0.5, 0.6, 0.8], total_steps=100, fraction=0.5))
    0.7
    """
    _, late_curve = _late_window(steps, curve, total_steps, fraction, at_least=1)
    return np.asarray(np.mean(late_curve, axis=-1))


def plateau_slope(
    steps: ArrayLike, curve: ArrayLike, total_steps: int, fraction: float = 0.25
) -> NDArray[np.float64]:
    """Change of `curve` over the late window, in the units of `curve`.

    The slope of the least-squares straight line through the late evaluations, times the length
    of the window (fraction * total_steps). Near zero means that the run had arrived.

    Args:
        steps: training steps done at each evaluation, shape (E,), any order.
        curve: a score at each evaluation, shape (..., E).
        total_steps: length of the training, in steps.
        fraction: the part of the training that counts as late, in (0, 1].

    Returns:
        Shape (...); NaN where the late curve holds NaN.

    Raises:
        InputError: if shapes disagree, or fewer than two distinct late evaluations exist.

    >>> slope = plateau_slope([60, 80, 100], [0.5, 0.6, 0.7], total_steps=100, fraction=0.5)
    >>> round(float(slope), 12)
    0.25
    """
    late_steps, late_curve = _late_window(steps, curve, total_steps, fraction, at_least=2)
    centered = late_steps - late_steps.mean()
    # Sums of each curve by itself: a matrix product's last digits depend on how many there are.
    slope = np.sum(late_curve * centered, axis=-1) / np.sum(centered * centered)
    return np.asarray(slope * fraction * total_steps)


def _late_window(
    steps: ArrayLike, curve: ArrayLike, total_steps: int, fraction: float, *, at_least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps (L,) and curve (..., L) of the late evaluations."""
    steps = np.asarray(steps, dtype=np.float64)
    curve = np.asarray(curve, dtype=np.float64)
    if steps.ndim != 1 or curve.ndim < 1 or curve.shape[-1] != steps.size:
        raise InputError(
            "steps must have shape (E,) and curve (..., E), "
            f"got {steps.shape} and {curve.shape}; give one step for each evaluation"
        )
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"fraction must lie in (0, 1], got {fraction}; the default is 0.25")
    if not total_steps > 0:
        raise InputError(f"total_steps must be positive, got {total_steps}; give the run's length")
    late = steps > (1.0 - fraction) * total_steps
    num_late = np.unique(steps[late]).size
    if num_late < at_least:
        raise InputError(
            f"the last {fraction:g} of {total_steps} steps must hold at least {at_least} "
            f"evaluation(s), got {num_late}; evaluate more often or raise fraction"
        )
    # Contiguous, so that each curve is summed in one order, whatever stands beside it.
    return steps[late], np.ascontiguousarray(curve[..., late])
