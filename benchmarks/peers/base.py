"""What the comparison needs of a way of training, and what several ways share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cells import Cell
from widthwise.data import Dataset
from widthwise.sgd.batches import batch_indices


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one process has to do.

    Attributes:
        cell: the networks and the batch size.
        seeds: one a replica that this process trains; gives its weights and its batches.
        steps: updates of each replica in a block; what is timed is a block.
        blocks: how many blocks there will be.
        device: on which they are trained, "cpu" or "cuda"; only PyTorch's ways ask for it.
    """

    cell: Cell
    seeds: tuple[int, ...]
    steps: int
    blocks: int
    device: str = "cpu"


class Runner(Protocol):
    """Replicas in training."""

    def block(self) -> None:
        """Train all replicas for ``task.steps`` further steps; a card may still be at work."""
        ...

    def losses(self) -> list[float]:
        """Each replica's mean loss on the training set; to be asked after the last block."""
        ...


def draw(task: Task, seed: int, first_step: int, num_train: int) -> NDArray[np.int64]:
    """Batches of one block of one replica, (steps, batch size)."""
    return batch_indices(
        seed, first_step, task.steps, batch_size=task.cell.batch_size, num_train=num_train
    )


def tensors(data: Dataset, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Training inputs (N, *shape) and labels (N,)."""
    inputs, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
    return inputs.to(device), labels.to(device)


@torch.no_grad()
def mean_losses(modules: Sequence[nn.Module], data: Dataset, device: str = "cpu") -> list[float]:
    """Each module's mean cross-entropy on the training set; the modules lie on the device."""
    inputs, labels = tensors(data, device)
    return [functional.cross_entropy(m(inputs), labels).item() for m in modules]
