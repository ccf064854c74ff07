"""Which examples a run sees at which step: a pure function of its seed and the step.

Nothing is carried from step to step, so a run can be resumed anywhere, and other runs cannot
disturb it.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sampling = Literal["epochs", "replacement"]

_STREAM = 0x6261_7463  # keeps these draws apart from anything else seeded by the same number


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
