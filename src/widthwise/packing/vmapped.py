"""Any module's forward over stacked tensors, under ``torch.func.vmap``."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from widthwise.errors import InputError
from widthwise.packing.draws import Draws

_Tensors = dict[str, Tensor]

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


def vmapped_forward(module: nn.Module) -> Callable[..., Tensor]:
    """(tensors (R, …), inputs (R, B, *shape) or, shared, (n, *shape), draws) → logits (R, …).

    Buffers that forward changes are changed in the stacked tensors.

    Raises:
        InputError: when called, if ``vmap`` cannot run it, naming the layer.
    """
    skeleton = deepcopy(module).to("meta")
    path = _innermost_path(skeleton)

    def one(tensors: _Tensors, inputs: Tensor, replica: Tensor, draws: Draws | None) -> Tensor:
        path.clear()
        # Entered in evaluation too: a mode keeps attention from a kernel that vmap can only loop
        # over, as does the choice of the kernel that is written in plain operations.
        with OwnDropout(draws, replica), sdpa_kernel(SDPBackend.MATH):
            output: Tensor = functional_call(skeleton, tensors, (inputs,))
        return output

    def forward(
        tensors: _Tensors, inputs: Tensor, draws: Draws | None = None, *, shared: bool = False
    ) -> Tensor:
        replicas = next(iter(tensors.values())).shape[0]
        numbers = torch.arange(replicas, device=inputs.device)
        try:
            output: Tensor = vmap(one, in_dims=(0, None if shared else 0, 0, None))(
                tensors, inputs, numbers, draws
            )
        except Exception as error:
            where = f"layer {path[-1]!r}" if path and path[-1] else "forward"
            raise InputError(
                f"packed training needs a forward that torch.func.vmap can run, but {where} "
                f"({type(module).__name__}) raised {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0]}; rewrite that layer"
            ) from error
        return output

    return forward


def _innermost_path(skeleton: nn.Module) -> list[str]:
    """A stack of the names of the layers whose forward is running."""
    running: list[str] = []
    for path, child in skeleton.named_modules():

        def enter(module: nn.Module, args: Any, path: str = path) -> None:
            running.append(path)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            running.pop()

        # First to run and last to run, round the module's own hooks.
        child.register_forward_pre_hook(enter, prepend=True)
        child.register_forward_hook(leave)
    return running
