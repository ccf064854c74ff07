"""Widthwise itself: its packs, trained by its own trainer."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from benchmarks.cells import LEARNING_RATE, Cell
from benchmarks.peers.base import Task
from widthwise.data import Dataset
from widthwise.sgd.recipe import Precision, Recipe
from widthwise.training import PackJob, PackTrainer, Replica


class _Runner:
    def __init__(
        self, task: Task, data: Dataset, precision: Precision, pack_sizes: Mapping[Cell, int]
    ) -> None:
        count = -(-len(task.seeds) // pack_sizes.get(task.cell, task.cell.pack_size))
        self._steps = task.steps
        device = torch.device(task.device)
        self._trainers = [
            PackTrainer(task.cell.family(), data, _job(task, seeds.tolist(), precision), device)
            for seeds in np.array_split(np.asarray(task.seeds), count)
        ]

    def block(self) -> None:
        for trainer in self._trainers:
            trainer.train(trainer.step + self._steps)
            if trainer.num_diverged:
                raise RuntimeError("a replica diverged: what follows would be timed without it")

    def losses(self) -> list[float]:
        for trainer in self._trainers:
            assert trainer.step == trainer.job.steps, "asked before the last block"
            trainer.advance()  # nothing is left to train: evaluates
        curves = [trainer.state()["curves"]["train_loss"] for trainer in self._trainers]
        return [float(loss) for curve in curves for loss in curve[:, -1]]

    def remark(self) -> str:
        return " / ".join(dict.fromkeys(trainer.reason for trainer in self._trainers))


def start(
    task: Task,
    data: Dataset,
    *,
    precision: Precision = "float32",
    pack_sizes: Mapping[Cell, int] = MappingProxyType({}),
) -> _Runner:
    """The replicas in as few packs as the cell's pack size, or the given one, allows."""
    return _Runner(task, data, precision, pack_sizes)


def _job(task: Task, seeds: Sequence[int], precision: Precision) -> PackJob:
    return PackJob(
        widening_factor=1.0,
        batch_size=task.cell.batch_size,
        steps=task.steps * task.blocks,
        replicas=tuple(
            Replica(learning_rate=LEARNING_RATE, momentum=0.0, seed=seed) for seed in seeds
        ),
        recipe=Recipe(precision=precision),
        evaluations=1,  # at the end; none of the other ways evaluates in between
    )
