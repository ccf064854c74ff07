"""Batches: which sizes a recipe allows, and which examples a run sees at which step.

The examples are a pure function of the seed and the step. Nothing is carried from step to step, so
a run can be resumed anywhere, and other runs cannot disturb it.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError

Sampling = Literal["epochs", "replacement"]

_STREAM = 0x6261_7463  # keeps these draws apart from anything else seeded by the same number


def batch_unit(ghost_batch_size: int | None) -> int:
    """Examples that a batch consists of whole numbers of: one ghost batch, or one example.

    >>> batch_unit(8), batch_unit(None)
    (8, 1)
    """
    return ghost_batch_size or 1


def whole_batch(most: int, ghost_batch_size: int | None) -> int:
    """The largest batch size of whole ghost batches that is at most ``most``; one ghost batch if
    even that is larger.

    >>> whole_batch(64, 12), whole_batch(64, None), whole_batch(5, 12)
    (60, 64, 12)
    """
    unit = batch_unit(ghost_batch_size)
    return max(unit, most // unit * unit)


def require_whole_batches(
    batch_size: int,
    ghost_batch_size: int | None,
    *,
    name: str = "ghost_batch_size",
    where: str = "",
) -> None:
    """Make sure that a batch is a whole number of ghost batches.

    Args:
        name: what the user calls the ghost batch size.
        where: what the message adds to the batch size, "at widening factor 2" say.

    Raises:
        InputError: if it is not.

    >>> require_whole_batches(24, 8)
    >>> require_whole_batches(20, 8)
    Traceback (most recent call last):
    widthwise.errors.InputError: batch_size must be a multiple of ghost_batch_size = 8, ...
    """
    unit = batch_unit(ghost_batch_size)
    if batch_size % unit:
        raise InputError(
            f"batch_size must be a multiple of {name} = {unit}, got {batch_size}"
            f"{where and f' {where}'}; change one of them"
        )


def batch_indices(
    seed: int,
    first_step: int,
    num_steps: int,
    *,
    batch_size: int,
    num_train: int,
    sampling: Sampling = "epochs",
) -> NDArray[np.int64]:
    """Training examples of consecutive steps, shape (num_steps, batch_size).

    "epochs": each epoch is a fresh permutation cut into ⌊N/B⌋ whole batches; the remainder waits
    for another epoch (``drop_last``). "replacement": every batch is drawn independently.

    >>> whole = batch_indices(0, 0, 4, batch_size=2, num_train=4)
    >>> sorted(whole[:2].ravel().tolist())
    [0, 1, 2, 3]
    >>> bool((batch_indices(0, 3, 1, batch_size=2, num_train=4) == whole[3:]).all())
    True
    """
    per_epoch = num_train // batch_size
    first_epoch, offset = divmod(first_step, per_epoch)
    last_epoch = (first_step + num_steps - 1) // per_epoch
    epochs = [
        _epoch(seed, epoch, per_epoch, batch_size, num_train, sampling)
        for epoch in range(first_epoch, last_epoch + 1)
    ]
    return np.concatenate(epochs)[offset : offset + num_steps]


def _epoch(
    seed: int, epoch: int, per_epoch: int, batch_size: int, num_train: int, sampling: Sampling
) -> NDArray[np.int64]:
    generator = np.random.default_rng([_STREAM, seed, epoch])
    if sampling == "replacement":
        return generator.integers(num_train, size=(per_epoch, batch_size))
    used = per_epoch * batch_size
    return generator.permutation(num_train)[:used].reshape(per_epoch, batch_size)
