"""Random masks of dropout, a stream a replica: a pure function of seed, step and call.

Drawn by NumPy rather than by PyTorch, because ``vmap`` forbids random operations inside it, and
because a stream a replica is what keeps runs independent of the company they are in.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from widthwise.engines.inner_dropout import without_inner_dropout

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


# Functional dropouts → how many leading axes of an input have their own draw; None: all of them.
_DROPOUTS: dict[object, int | None] = {
    functional.dropout: None,
    functional.dropout1d: 2,
    functional.dropout2d: 2,
    functional.dropout3d: 2,
}


class OwnDropout(TorchFunctionMode):
    """Dropout from a replica's own stream instead of PyTorch's global generator.

    Args:
        draws: of this step, for all replicas; None leaves dropout to PyTorch.
        replica: which of them this is, a 0-d tensor that ``vmap`` may run over.

    Attributes:
        instead: functions of PyTorch → what is called for them.
    """

    instead: ClassVar[Mapping[Any, Callable[..., Any]]] = {}

    def __init__(self, draws: Draws | None, replica: Tensor) -> None:
        super().__init__()
        self._draws, self._replica = draws, replica

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if self._draws is not None and func in _DROPOUTS:
            return self._dropout(_DROPOUTS[func], *args, **(kwargs or {}))
        if self._draws is not None:
            own = partial(self._dropout, None)
            found = without_inner_dropout(own, func, tuple(args), kwargs or {})
            if found is not NotImplemented:
                return found
        return self.instead.get(func, func)(*args, **(kwargs or {}))

    def _dropout(
        self,
        own_axes: int | None,
        input: Tensor,  # noqa: A002 - the name torch.nn.functional uses
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        if not training or p == 0.0:
            return input
        shape = mask_shape(input.shape, own_axes)
        assert self._draws is not None
        masks = self._draws.scaled_masks(shape, p, input)
        mine = masks.index_select(0, self._replica.reshape(1)).squeeze(0)
        return input.mul_(mine) if inplace else input * mine


def mask_shape(shape: Sequence[int], own_axes: int | None) -> list[int]:
    """Shape of a dropout mask that is broadcast over all but the first ``own_axes`` axes.

    >>> mask_shape((8, 3, 5, 5), 2)
    [8, 3, 1, 1]
    """
    if own_axes is None:
        return list(shape)
    return [n if axis < own_axes else 1 for axis, n in enumerate(shape)]
