"""How the values of a packed forward pass are laid out, and how shapes translate.

An activation with shape (B, C, …) for one network is (B, R, C, …) for R of them: the replica axis
is second. Merging the axes R and C, which is free, gives (B, R·C, …), on which convolutions (with
groups), pooling, batch and group norm of all replicas are one operation. A tensor without a batch
axis, such as a parameter used as it is, is (R, …), wrapped in :class:`PerReplica`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.engines.draws import Draws
from widthwise.engines.modules import NotPackableError


@dataclass(frozen=True, eq=False)
class PerReplica:
    """(R, *shape): one tensor a replica, the same for every example."""

    tensor: Tensor

    def beside(self, num_axes: int) -> Tensor:
        """As an operand for an activation with ``num_axes`` axes (in one network): (1, R, …)."""
        shape = self.tensor.shape[1:]
        if len(shape) == num_axes and num_axes > 0:
            if shape[0] != 1:
                raise NotPackableError("a parameter has a batch axis of its own")
            shape = shape[1:]
        elif len(shape) >= num_axes:
            raise NotPackableError("a parameter has more axes than what it is combined with")
        ones = [1] * (num_axes - 1 - len(shape))
        return self.tensor.reshape(1, self.tensor.shape[0], *ones, *shape)


@dataclass(frozen=True, eq=False)
class Run:
    """One pass of a program.

    Attributes:
        tensors: parameters and buffers by name, (R, …).
        draws: random masks of this step; None in evaluation.
    """

    tensors: dict[str, Tensor]
    draws: Draws | None

    def find(self, name: str | None) -> Tensor | None:
        return None if name is None else self.tensors[name]


def shape_of(value: Tensor) -> tuple[int, ...]:
    """The shape that one network sees."""
    return (value.shape[0], *value.shape[2:])


def axis(value: Tensor, dim: int) -> int:
    """Where one network's axis ``dim`` lies.

    Raises:
        NotPackableError: for the batch axis: operations along it mix examples.
    """
    num_axes = value.ndim - 1
    if not -num_axes <= dim < num_axes:
        raise NotPackableError(f"axis {dim} of a value with {num_axes} axes")
    dim %= num_axes
    if dim == 0:
        raise NotPackableError("an operation along the batch axis")
    return dim + 1


def merge(value: Tensor) -> Tensor:
    """(B, R, C, …) → (B, R·C, …), a view."""
    if value.ndim < 3:
        raise NotPackableError("a value without features")
    return value.flatten(1, 2)


def split(merged: Tensor, replicas: int) -> Tensor:
    """(B, R·C, …) → (B, R, C, …), a view."""
    return torch.unflatten(merged, 1, (replicas, -1))


def reshape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape every example: ``shape`` is one network's, beginning with the batch axis.

    Raises:
        NotPackableError: if the batch axis does not stay what it is.
    """
    batch, replicas = value.shape[:2]
    first, rest = shape[0], list(shape[1:])
    if first == -1:
        known, size = 1, value.numel() // replicas
        for n in rest:
            known *= n
        first = size // known if known > 0 else -1
    if first != batch:
        raise NotPackableError("a reshape that takes the batch axis apart")
    return value.reshape(batch, replicas, *rest)
