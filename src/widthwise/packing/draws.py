"""Random masks of dropout, a stream a replica: a pure function of seed, step and call.

Drawn by NumPy rather than by PyTorch, because ``vmap`` forbids random operations inside it, and
because a stream a replica is what keeps runs independent of the company they are in.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_STREAM = 0x6472_6F70  # keeps these draws apart from anything else seeded by the same number


def keep_mask(seed: int, step: int, call: int, shape: Sequence[int], probability: float) -> Tensor:
    """Float32 zeros (with this probability) and ones.

    Args:
        seed: of the replica.
        step: number of the update.
        call: which of the draws of this forward pass, from 0.
        shape: of one replica's mask.
        probability: of a zero, in [0, 1].

    >>> mask = keep_mask(0, 3, 0, (2, 5), 0.5)
    >>> bool((mask == keep_mask(0, 3, 0, (2, 5), 0.5)).all())
    True
    """
    generator = np.random.default_rng([_STREAM, seed, step, call])
    kept = generator.random(tuple(shape), dtype=np.float32) >= np.float32(probability)
    return torch.from_numpy(kept.astype(np.float32))


class Draws:
    """The draws of one training step, in the order in which forward asks for them.

    Attributes:
        seeds: (R,) one a replica.
        step: number of the update.
    """

    def __init__(self, seeds: Sequence[int], step: int) -> None:
        self.seeds, self.step = seeds, step
        self._calls = 0

    @property
    def used(self) -> bool:
        """Whether forward has asked for any."""
        return self._calls > 0

    def scaled_masks(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        """(R, *shape): zeros, and 1/(1 − probability) where an element is kept."""
        masks = [keep_mask(seed, self.step, self._calls, shape, probability) for seed in self.seeds]
        self._calls += 1
        scale = 1.0 / (1.0 - probability) if probability < 1.0 else 0.0
        return torch.stack(masks).to(like.device, like.dtype).mul_(scale)
