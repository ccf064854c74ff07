"""Widthwise itself: its packs, trained by its own trainer."""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task
from widthwise.data import Dataset
from widthwise.study.cost import module_cost
from widthwise.study.plan import replicas_per_pack
from widthwise.study.spec import PackingSpec
from widthwise.training import PackJob, PackTrainer, Replica


class _Runner:
    def __init__(self, task: Task, data: Dataset, max_replicas: int | None) -> None:
        largest = _planned_replicas(task, data) if max_replicas is None else max_replicas
        count = -(-len(task.seeds) // largest)
        self._trainers = [
            PackTrainer(task.cell.family(), data, _job(task, tuple(int(s) for s in seeds)))
            for seeds in np.array_split(task.seeds, count)
        ]

    def block(self, trained: Callable[[], None]) -> None:
        for trainer in self._trainers:
            trainer.train(trainer.step + trainer.job.steps // trainer.job.evaluations)
        trained()
        # The others do not evaluate, so the clock is stopped before these reach their evaluation.
        for trainer in self._trainers:
            trainer.advance()
            if trainer.num_diverged:
                raise RuntimeError("a replica diverged: what follows would be timed without it")

    def losses(self) -> list[float]:
        curves = [trainer.state()["curves"]["train_loss"] for trainer in self._trainers]
        return [float(row[row.isfinite()][-1]) for curve in curves for row in curve]


def start(task: Task, data: Dataset, *, max_replicas: int | None = None) -> _Runner:
    """Pack the replicas, at most ``max_replicas`` in a pack; None leaves it to the planner."""
    return _Runner(task, data, max_replicas)


def _planned_replicas(task: Task, data: Dataset) -> int:
    """As many as a study would put together."""
    inputs = torch.from_numpy(data.train_inputs[:8])
    targets = torch.from_numpy(data.train_labels[:8])
    cost = module_cost(task.cell.family().build(1.0, 0), inputs, targets)
    return replicas_per_pack(PackingSpec(), cost, task.cell.batch_size, momentum=False)


def _job(task: Task, seeds: tuple[int, ...]) -> PackJob:
    return PackJob(
        widening_factor=1.0,
        batch_size=task.cell.batch_size,
        steps=task.steps * task.blocks,
        replicas=tuple(
            Replica(learning_rate=LEARNING_RATE, momentum=0.0, seed=seed) for seed in seeds
        ),
        evaluations=task.blocks,
    )
