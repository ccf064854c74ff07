"""No training: large float32 matrix products, the speed limit to measure the others against."""

import torch

from benchmarks.peers.base import Task
from widthwise.data import Dataset

SIZE = 1024
FLOPS = 2 * SIZE**3  # of one product


class _Runner:
    def __init__(self, task: Task) -> None:
        self._steps = task.steps
        generator = torch.Generator().manual_seed(0)
        self._a, self._b = torch.randn(2, SIZE, SIZE, generator=generator)
        self._out = torch.empty(SIZE, SIZE)

    def block(self) -> None:
        for _ in range(self._steps):
            torch.mm(self._a, self._b, out=self._out)

    def losses(self) -> list[float]:
        return []


def start(task: Task, data: Dataset) -> _Runner:
    """A step is one product in each process."""
    return _Runner(task)
