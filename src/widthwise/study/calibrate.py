"""How fast this machine trains a plan's packs: a few steps of a few of them, timed."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from scipy.optimize import nnls

from widthwise.packing import pack
from widthwise.study.context import Context
from widthwise.study.plan import Plan, PlannedPack

_PROBED_PACKS = 8
_TIMED_STEPS = 12


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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers do
    try:
        timed = [_time_step(context, planned) for planned in _spread(plan.packs)]
    finally:
        torch.set_num_threads(threads)
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
    job, data = planned.job, context.dataset
    built = {r.seed: context.family.build(job.widening_factor, r.seed) for r in job.replicas}
    modules = [built[r.seed] for r in job.replicas]
    dtype = next(modules[0].parameters()).dtype
    # A rate of nearly 0: timing must not depend on whether the run would diverge.
    packed = pack(modules, [1e-12] * len(modules), [r.momentum for r in job.replicas])
    generator = torch.Generator().manual_seed(0)
    shape = (len(modules), job.batch_size)
    rows = torch.randint(data.num_train, (shape[0] * shape[1],), generator=generator)
    train = torch.from_numpy(data.train_inputs).to(dtype)
    targets = torch.from_numpy(data.train_labels)[rows].view(shape)
    losses = torch.empty(len(modules), dtype=dtype)
    times = []
    for _ in range(_TIMED_STEPS):
        start = perf_counter()
        packed.step(train[rows].view(*shape, *data.input_shape), targets, losses)
        times.append(perf_counter() - start)
    return planned.training_flops / job.steps, float(np.median(times))
