"""How fast this machine trains a plan's packs: a few steps of a few of them, timed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from widthwise.study.context import Context
from widthwise.study.schedule import Plan, PlannedPack
from widthwise.study.timing import time_step

_PROBED_PACKS = 8


@dataclass(frozen=True)
class Speed:
    """Time of one pack step: overhead + operations / rate, on one core.

    Attributes:
        seconds_per_step: overhead of a step, whatever its size.
        seconds_per_flop: time of one floating-point operation.
    """

    seconds_per_step: float
    seconds_per_flop: float

    def seconds(self, planned: PlannedPack) -> float:
        """Predicted time of a whole pack."""
        return planned.job.steps * self.seconds_per_step + planned.flops * self.seconds_per_flop


def measure_speed(context: Context, plan: Plan) -> Speed:
    """Time the steps of packs from the cheapest to the dearest, and fit the two numbers."""
    timed = [_time_step(context, planned) for planned in _spread(plan.packs)]
    flops, seconds = np.array(timed).T
    # Relative errors count: a step of 0.1 ms matters as much as one of 10 ms.
    design = np.stack([1.0 / seconds, flops / seconds], axis=1)
    scale = design.max(axis=0)
    (overhead, rate), _ = nnls(design / scale, np.ones(len(seconds)))
    return Speed(float(overhead / scale[0]), float(rate / scale[1]))


def _spread(packs: Sequence[PlannedPack]) -> list[PlannedPack]:
    by_step = sorted(packs, key=lambda p: p.training_flops / p.job.steps)
    picked = np.linspace(0, len(by_step) - 1, min(_PROBED_PACKS, len(by_step)))
    return [by_step[round(i)] for i in picked]


def _time_step(context: Context, planned: PlannedPack) -> tuple[float, float]:
    """Operations and seconds of one step."""
    job = planned.job
    seconds = time_step(
        context.family,
        context.dataset,
        job.recipe,
        job.widening_factor,
        job.batch_size,
        len(job.replicas),
        max(replica.momentum for replica in job.replicas),
        context.device,
    )
    return planned.training_flops / job.steps, seconds
