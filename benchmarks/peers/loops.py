"""Ordinary PyTorch: one replica after the other, each in the loop of the textbook."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.cells import LEARNING_RATE
from benchmarks.peers.base import Task, draw, mean_losses, tensors
from widthwise.data import Dataset


class _Runner:
    def __init__(self, task: Task, data: Dataset, fused: bool | None) -> None:
        self._task, self._data = task, data
        self._inputs, self._labels = tensors(data)
        family = task.cell.family()
        self._modules = [family.build(1.0, seed) for seed in task.seeds]
        self._optimizers = [
            torch.optim.SGD(module.parameters(), lr=LEARNING_RATE, fused=fused)
            for module in self._modules
        ]
        self._criterion = nn.CrossEntropyLoss()
        self._step = 0

    def block(self, trained: Callable[[], None]) -> None:
        inputs, labels, criterion = self._inputs, self._labels, self._criterion
        for seed, module, optimizer in zip(
            self._task.seeds, self._modules, self._optimizers, strict=True
        ):
            drawn = torch.from_numpy(draw(self._task, seed, self._step, len(labels)))
            for batch in drawn:
                optimizer.zero_grad(set_to_none=True)
                loss = criterion(
                    module(inputs.index_select(0, batch)), labels.index_select(0, batch)
                )
                loss.backward()
                optimizer.step()
        self._step += self._task.steps
        trained()

    def losses(self) -> list[float]:
        return mean_losses(self._modules, self._data)


def start(task: Task, data: Dataset, *, fused: bool | None = None) -> _Runner:
    """``fused`` goes to ``torch.optim.SGD``; None is its default."""
    return _Runner(task, data, fused)
