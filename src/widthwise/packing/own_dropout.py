"""Dropout from a replica's own stream instead of PyTorch's global generator."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from widthwise.packing.draws import Draws

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
    """

    def __init__(self, draws: Draws | None, replica: Tensor) -> None:
        super().__init__()
        self._draws, self._replica = draws, replica

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if self._draws is not None and func in _DROPOUTS:
            return self._dropout(_DROPOUTS[func], *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

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
