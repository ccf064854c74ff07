"""Times steps of packs as they will be trained: which are fastest, how long they take."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from widthwise.data import Dataset
from widthwise.engines import EngineChoice
from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.sgd.recipe import Recipe
from widthwise.study.context import Context
from widthwise.study.schedule import Schedule, ScheduledPack
from widthwise.training import PackJob, PackTrainer, Replica

_BLOCKS = 3
_MAX_STEPS = 64  # in a block
_SECONDS = 0.02  # about how long a block takes, if its steps are short
_EXAMPLES = 256  # of the training set, if a batch has no more


def time_step(
    family: WidthFamily,
    dataset: Dataset,
    recipe: Recipe,
    widening_factor: float,
    batch_size: int,
    num_replicas: int,
    momentum: float,
    device: torch.device | None = None,
    engine: EngineChoice = "auto",
) -> float:
    """Seconds of one step of a pack, drawing its batches included; on one thread, as in a worker.

    The quickest of three blocks: whatever else the machine does only adds to it.
    """
    job = PackJob(
        widening_factor=widening_factor,
        batch_size=batch_size,
        steps=2 + _BLOCKS * _MAX_STEPS,
        # A rate of nearly 0: timing must not depend on whether the run would diverge.
        replicas=tuple(
            Replica(learning_rate=1e-12, momentum=momentum, seed=seed)
            for seed in range(num_replicas)
        ),
        evaluations=1,
        recipe=recipe,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = PackTrainer(family, _few_examples(dataset, batch_size), job, device, engine)
        trainer.train(1)
        steps = max(1, min(_MAX_STEPS, int(_SECONDS / _seconds(trainer, 1))))
        return min(_seconds(trainer, steps) / steps for _ in range(_BLOCKS))
    finally:
        torch.set_num_threads(threads)


def _seconds(trainer: PackTrainer, steps: int) -> float:
    start = perf_counter()
    trainer.train(trainer.step + steps)
    return perf_counter() - start


def _few_examples(dataset: Dataset, batch_size: int) -> Dataset:
    """As much of a data set as is needed to train, and hardly anything to evaluate."""
    train = slice(max(batch_size, _EXAMPLES))
    return replace(
        dataset,
        train_inputs=dataset.train_inputs[train],
        train_labels=dataset.train_labels[train],
        test_inputs=dataset.test_inputs[:1],
        test_labels=dataset.test_labels[:1],
        validation_inputs=None,
        validation_labels=None,
    )


def trains_one_by_one(
    family: WidthFamily,
    dataset: Dataset,
    recipe: Recipe,
    widening_factor: float,
    momentum: float,
    device: torch.device | None = None,
    engine: EngineChoice = "auto",
) -> bool:
    """Whether a network's engine gains nothing from packs, because it trains one run at a time."""
    job = PackJob(
        widening_factor=widening_factor,
        batch_size=1,
        steps=1,
        replicas=(Replica(learning_rate=1e-12, momentum=momentum, seed=0),),
        evaluations=1,
        recipe=recipe,
    )
    try:
        trainer = PackTrainer(family, _few_examples(dataset, 1), job, device, engine)
    except InputError:  # as of batch norm, which needs larger batches
        return False
    return trainer.engine == "compiled"


# A larger pack must be faster by this much a run: smaller ones spread better over cores.
_WORTHWHILE = 0.97
# Sizes are tried in ascending order until, twice, a run takes this much longer than with the best.
_HOPELESS = 1.2
_BATCH_SIZES = 3  # measured at each width; the others take the nearest one's


def best_size(largest: int, seconds: Callable[[int], float]) -> int:
    """The number of replicas with the least time a replica: 1, 2, 4, … or ``largest``.

    Args:
        largest: most replicas, at least 1.
        seconds: number of replicas → time of a step of the pack.

    >>> best_size(16, lambda replicas: 5.0 + replicas)  # overhead to share
    16
    >>> best_size(16, lambda replicas: replicas if replicas <= 4 else 2 * replicas)  # caches
    1
    """
    each: dict[int, float] = {}
    hopeless = 0
    for size in _powers_of_two(largest):
        each[size] = seconds(size) / size
        hopeless = hopeless + 1 if each[size] > _HOPELESS * min(each.values()) else 0
        if hopeless == 2:  # one may have met a slow moment of the machine
            break
    if len(each) > 1:  # once more, so that such a moment does not decide
        each = {size: min(before, seconds(size) / size) for size, before in each.items()}
    best = 1
    for size, time in each.items():
        if time < _WORTHWHILE * each[best]:
            best = size
    return best


def measured_sizes(
    family: WidthFamily,
    dataset: Dataset,
    recipe: Recipe,
    largest: Mapping[tuple[float, int], int],
    *,
    momentum: float,
    device: torch.device | None = None,
    engine: EngineChoice = "auto",
) -> dict[tuple[float, int], int]:
    """The best size of a pack for each (widening factor, batch size).

    Args:
        family, dataset, recipe: what is trained.
        largest: (widening factor, batch size) → most replicas.
        momentum: of the runs, or of some of them.
        device: where; None is the CPU.
        engine: as for :func:`widthwise.engines.pack`.
    """
    sizes: dict[tuple[float, int], int] = {}
    for width in sorted({width for width, _ in largest}):
        batches = sorted(batch for w, batch in largest if w == width)
        measured = {
            batch: best_size(
                largest[width, batch],
                lambda replicas, w=width, b=batch: time_step(  # type: ignore[misc]
                    family, dataset, recipe, w, b, replicas, momentum, device, engine
                ),
            )
            for batch in _spread(batches)
        }
        for batch in batches:
            nearest = min(measured, key=lambda b: abs(math.log(b / batch)))
            sizes[width, batch] = min(measured[nearest], largest[width, batch])
    return sizes


def _spread(batches: list[int]) -> list[int]:
    """The smallest, the largest and those between, evenly.

    >>> _spread([1, 2, 4, 8, 16])
    [1, 4, 16]
    """
    count = min(_BATCH_SIZES, len(batches))
    last = len(batches) - 1
    return sorted({batches[round(i * last / max(1, count - 1))] for i in range(count)})


def _powers_of_two(largest: int) -> Iterable[int]:
    """
    >>> list(_powers_of_two(6))
    [1, 2, 4, 6]
    """
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest


_PROBED_PACKS = 8


@dataclass(frozen=True)
class Speed:
    """Time of one step: overhead + operations / rate, on one core.

    Attributes:
        seconds_per_step: overhead of a step, whatever its size.
        seconds_per_flop: time of one floating-point operation.
        shared: whether the runs of a pack share a step's overhead.
    """

    seconds_per_step: float
    seconds_per_flop: float
    shared: bool = True

    def seconds(self, scheduled: ScheduledPack) -> float:
        """Predicted time of a whole pack."""
        job = scheduled.job
        steps = job.steps if self.shared else job.steps * len(job.replicas)
        return steps * self.seconds_per_step + scheduled.flops * self.seconds_per_flop


def measure_speed(context: Context, schedule: Schedule) -> Speed:
    """Time the steps of packs from the cheapest to the dearest, and fit the two numbers."""
    from scipy.optimize import nnls  # SciPy is slow to import

    shared = not _one_by_one(context, schedule)
    timed = []
    for scheduled in _spread_packs(schedule.packs):
        steps = scheduled.job.steps if shared else scheduled.job.steps * len(scheduled.runs)
        each = _step_seconds(context, scheduled)
        timed.append(
            (scheduled.training_flops / steps, each if shared else each / len(scheduled.runs))
        )
    flops, seconds = np.array(timed).T
    # Relative errors count: a step of 0.1 ms matters as much as one of 10 ms.
    design = np.stack([1.0 / seconds, flops / seconds], axis=1)
    scale = design.max(axis=0)
    (overhead, rate), _ = nnls(design / scale, np.ones(len(seconds)))
    return Speed(float(overhead / scale[0]), float(rate / scale[1]), shared)


def _one_by_one(context: Context, schedule: Schedule) -> bool:
    """As the first pack says; networks of a study are of one kind."""
    job = schedule.packs[0].job
    return context.costs()[job.widening_factor].is_chain and trains_one_by_one(
        context.family,
        context.dataset,
        job.recipe,
        job.widening_factor,
        job.replicas[0].momentum,
        context.device,
        context.spec.packing.engine,
    )


def _spread_packs(packs: Sequence[ScheduledPack]) -> list[ScheduledPack]:
    by_step = sorted(packs, key=lambda p: p.training_flops / p.job.steps)
    picked = np.linspace(0, len(by_step) - 1, min(_PROBED_PACKS, len(by_step)))
    return [by_step[round(i)] for i in picked]


def _step_seconds(context: Context, scheduled: ScheduledPack) -> float:
    job = scheduled.job
    return time_step(
        context.family,
        context.dataset,
        job.recipe,
        job.widening_factor,
        job.batch_size,
        len(job.replicas),
        max(replica.momentum for replica in job.replicas),
        context.device,
        context.spec.packing.engine,
    )
