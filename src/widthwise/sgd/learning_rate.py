"""Learning-rate schedules: what multiplies every learning rate at a step, a pure function of it."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe, ScheduleKind

_Steps = NDArray[np.int64]
_Factors = NDArray[np.float64]


def rate_factors(
    recipe: Recipe, first_step: int, num_steps: int, total_steps: int
) -> NDArray[np.float64]:
    """f_t of consecutive steps t = first_step, …: update t uses the learning rate f_t ε.

    With T steps in all, of which W = round(warmup · T) are the warm-up::

        t < W:   f_t = (t + 1) / W                                 (linear, reaches 1 at t = W − 1)
        t ≥ W:   f_t = 1                                           "constant"
                 f_t = ½ (1 + cos(π (t − W) / (T − W)))            "cosine"
                 f_t = decay_factor ** #{p in decay_at: t ≥ round(p · T)}    "step"

    Cosine begins at 1 and would reach 0 at t = T, after the last update (Loshchilov & Hutter 2017,
    arXiv:1608.03983, eq. 5 with η_min = 0, without restarts). The parts of ``decay_at`` count from
    the beginning of the run, not from the end of the warm-up.

    Args:
        recipe: its schedule, warmup, decay_at and decay_factor.
        first_step: in [0, total_steps].
        num_steps: not beyond the last step.
        total_steps: T, the length of the run.

    Returns:
        Shape (num_steps,), at least 0. The value at a step does not depend on the chunk in which
        it was asked for.

    Raises:
        InputError: if the steps asked for are not within the run.

    >>> rate_factors(Recipe(schedule="cosine", warmup=0.5), 0, 8, 8).round(3).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
    >>> rate_factors(Recipe(schedule="step", decay_at=(0.5,)), 2, 4, 8).tolist()
    [1.0, 1.0, 0.1, 0.1]
    """
    if min(first_step, num_steps) < 0 or first_step + num_steps > total_steps:
        raise InputError(
            f"the steps must lie in a run of {total_steps}, got {num_steps} steps from "
            f"{first_step}; ask for fewer"
        )
    warmup_steps = round(recipe.warmup * total_steps)
    steps = np.arange(first_step, first_step + num_steps)
    factors = np.empty(num_steps)
    rising = steps < warmup_steps
    factors[rising] = (steps[rising] + 1) / max(1, warmup_steps)
    scheduled = _SCHEDULES[recipe.schedule]
    factors[~rising] = scheduled(recipe, steps[~rising], warmup_steps, total_steps)
    return factors


def _constant(recipe: Recipe, steps: _Steps, warmup_steps: int, total_steps: int) -> _Factors:
    return np.ones(len(steps))


def _cosine(recipe: Recipe, steps: _Steps, warmup_steps: int, total_steps: int) -> _Factors:
    length = total_steps - warmup_steps
    # math.cos, not np.cos: a vectorized one may round an element by its place in the array, and
    # then a run cut into other chunks would not be the same bit for bit.
    return np.array([0.5 * (1.0 + math.cos(math.pi * (t - warmup_steps) / length)) for t in steps])


def _step(recipe: Recipe, steps: _Steps, warmup_steps: int, total_steps: int) -> _Factors:
    boundaries = [round(part * total_steps) for part in recipe.decay_at]
    powers = [recipe.decay_factor**k for k in range(len(boundaries) + 1)]
    return np.array(powers)[np.searchsorted(boundaries, steps, side="right")]


_SCHEDULES: dict[ScheduleKind, Callable[[Recipe, _Steps, int, int], _Factors]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
}
