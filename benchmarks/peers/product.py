"""No training: large matrix products, the speed limit to measure the others against."""

import torch

from benchmarks.peers.base import Task
from widthwise.data import Dataset

SIZE = 1024


def flops(size: int = SIZE) -> int:
    """Operations of one product of matrices of this size."""
    return 2 * size**3


class _Runner:
    def __init__(self, task: Task, size: int, dtype: torch.dtype) -> None:
        self._steps = task.steps
        generator = torch.Generator().manual_seed(0)
        both = torch.randn(2, size, size, generator=generator).to(task.device, dtype)
        self._a, self._b = both
        self._out = torch.empty_like(self._a)

    def block(self) -> None:
        for _ in range(self._steps):
            torch.mm(self._a, self._b, out=self._out)

    def losses(self) -> list[float]:
        return []


def start(
    task: Task, data: Dataset, *, size: int = SIZE, dtype: torch.dtype = torch.float32
) -> _Runner:
    """A step is one product in each process, of matrices (size, size)."""
    return _Runner(task, size, dtype)
