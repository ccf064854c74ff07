"""Any module's forward over stacked tensors, under ``torch.func.vmap``."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from widthwise.engines.draws import Draws, OwnDropout
from widthwise.engines.modules import aliases, copied, first_line, without_gradient_at
from widthwise.engines.recurrent import PLAIN_RECURRENCE
from widthwise.errors import InputError

_Tensors = dict[str, Tensor]

# vmap has these for plainly contiguous inputs only: in channels-last layout the first raises, the
# second warns of a slow way round.
_CONTIGUOUS = (functional.group_norm, functional.adaptive_avg_pool2d)


class _OneReplica(OwnDropout):
    """What a forward under ``vmap`` needs besides its own dropout.

    ``vmap`` keeps the padding index of the first replica only, so its row is looked up without a
    gradient by other means.
    """

    instead = PLAIN_RECURRENCE

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _CONTIGUOUS and args:
            args = (args[0].clone(memory_format=torch.contiguous_format), *args[1:])
        if func is functional.embedding:
            return _embedding(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _embedding(
    input: Tensor,  # noqa: A002 - the name torch.nn.functional uses
    weight: Tensor,
    padding_idx: int | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    found = functional.embedding(input, weight, None, *args, **kwargs)
    return without_gradient_at(found, input, padding_idx, weight.shape[0])


def vmapped_forward(module: nn.Module) -> Callable[..., Tensor]:
    """(tensors (R, …), inputs (R, B, *shape) or, shared, (n, *shape), draws) → logits (R, …).

    Buffers that forward changes, in place or by binding their name anew, are changed in the stacked
    tensors.

    Raises:
        InputError: when called, if ``vmap`` cannot run it, naming the layer.
    """
    skeleton = copied(module).to("meta")  # in which nothing is shared any more
    names = aliases(module)
    path = _innermost_path(skeleton)
    layers = [(layer, dict(layer._buffers)) for layer in skeleton.modules()]

    def one(
        tensors: _Tensors, inputs: Tensor, replica: Tensor, draws: Draws | None
    ) -> tuple[Tensor, _Tensors]:
        path.clear()
        # Entered in evaluation too: a mode keeps attention from a kernel that vmap can only loop
        # over, as does the choice of the kernel that is written in plain operations.
        with _OneReplica(draws, replica), sdpa_kernel(SDPBackend.MATH):
            every = {name: tensors[kept] for name, kept in names.items()}
            output: Tensor = functional_call(skeleton, every, (inputs,))
        bound = {kept: every[n] for n, kept in names.items() if every[n] is not tensors[kept]}
        return output, bound

    def forward(
        tensors: _Tensors, inputs: Tensor, draws: Draws | None = None, *, shared: bool = False
    ) -> Tensor:
        replicas = next(iter(tensors.values())).shape[0]
        numbers = torch.arange(replicas, device=inputs.device)
        try:
            output, bound = vmap(one, in_dims=(0, None if shared else 0, 0, None))(
                tensors, inputs, numbers, draws
            )
            with torch.no_grad():
                for kept, value in bound.items():
                    tensors[kept].copy_(value)
        except Exception as error:
            name = path[-1] if path else ""
            where = f"layer {name!r}" if name else "forward"
            kind = type(skeleton.get_submodule(name)).__name__
            raise InputError(
                f"packed training needs a forward that torch.func.vmap can run, but {where} "
                f"({kind}) raised {type(error).__name__}: {first_line(error)}; "
                "rewrite that layer (random numbers: nn.Dropout is supported)"
            ) from error
        finally:
            # Those that forward made may hold what is none outside vmap; it makes them again.
            for layer, buffers in layers:
                layer._buffers = dict(buffers)
        logits: Tensor = output
        return logits

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
