"""What engines read off modules: the operations of one, the tensors of R with a leading replica
axis, and whether these are alike."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from widthwise.errors import InputError
from widthwise.families.ghost_norm import GhostBatchNorm1d, GhostBatchNorm2d
from widthwise.families.layers import ScaledConv2d, ScaledLinear

_LEAVES = (ScaledLinear, ScaledConv2d, GhostBatchNorm1d, GhostBatchNorm2d)


class NotPackableError(Exception):
    """The module has no packed form of this kind; the message says what stands in the way."""


def copied(module: nn.Module) -> nn.Module:
    """A copy of a module, with what is attached to its parameters, which ``deepcopy`` leaves out.

    Raises:
        InputError: if it cannot be copied.
    """
    try:
        copy = deepcopy(module)
    except Exception as error:  # it may run the user's code, which may raise anything
        raise InputError(
            f"a network must be one that copy.deepcopy can copy, but copying raised "
            f"{type(error).__name__}: {first_line(error)}; keep locks, open files and computed "
            "tensors out of its attributes"
        ) from error
    for mine, theirs in zip(copy.parameters(), module.parameters(), strict=True):
        for name, value in vars(theirs).items():
            vars(mine).setdefault(name, value)
    return copy


def first_line(error: Exception) -> str:
    """Of its message."""
    return (str(error).strip().splitlines() or [""])[0]


class LayerTracer(fx.Tracer):
    """Layers of PyTorch and of Widthwise are single operations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


class _WatchfulTracer(LayerTracer):
    """Notes the contexts in which operations are called, which a graph does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self._around = _autocast()

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta[WITHOUT_GRADIENT] = not torch.is_grad_enabled()
        if _autocast() != self._around:
            raise NotPackableError(f"{node.name!r} runs under torch.autocast")
        return node


# Key of a node's ``meta``: whether it was called under ``torch.no_grad()``.
WITHOUT_GRADIENT = "without_gradient"


def _autocast() -> list[torch.dtype | None]:
    """The types in which products are computed, if they are not their own."""
    return [
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        for kind in ("cpu", "cuda")
    ]


def trace(module: nn.Module) -> fx.Graph:
    """The operations of ``module.forward`` on one input, in order.

    Forward runs, and may leave in the module what it leaves: give a copy.

    Works on ``nn.Sequential`` and on hand-written ``forward``s alike, by symbolic tracing, which
    patches ``nn.Module`` for a moment: no other thread may call modules meanwhile.

    Raises:
        NotPackableError: if there are hooks (they would be lost), several inputs, or control flow
            that depends on values; or contexts that a graph does not hold.
    """
    for path, child in module.named_modules():
        backward = child._backward_hooks or child._backward_pre_hooks
        if child._forward_hooks or child._forward_pre_hooks or backward:
            raise NotPackableError(f"layer {path or 'module'!r} has hooks")
    try:
        graph = _WatchfulTracer().trace(module)
    except NotPackableError:
        raise
    except Exception as error:  # tracing runs the user's code, which may raise anything
        raise NotPackableError(f"forward cannot be traced ({type(error).__name__})") from error
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise NotPackableError("forward takes more than one input")
    return graph


class Stacked:
    """Tensors (R, …) under the modules' own names.

    Attributes:
        parameters: trained and frozen ones.
        buffers: running statistics and the like.
        trained: names of the parameters that require gradients.
        alias: every name of a tensor → the name it is kept under; the two differ where modules
            share a tensor.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.alias = aliases(modules[0])
        self.parameters = _stack([dict(m.named_parameters()) for m in modules])
        self.buffers = _stack([dict(m.named_buffers()) for m in modules])
        self.trained = tuple(n for n, p in modules[0].named_parameters() if p.requires_grad)
        for name in self.trained:
            self.parameters[name].requires_grad_()

    @torch.no_grad()
    def keep(self, index: Tensor) -> None:
        """Only these replicas."""
        self.parameters = {
            name: laid_out(tensor.index_select(0, index)).requires_grad_(tensor.requires_grad)
            for name, tensor in self.parameters.items()
        }
        self.buffers = {name: t.index_select(0, index) for name, t in self.buffers.items()}


def aliases(module: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer → the first of the names of the same tensor.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> aliases(nn.Sequential(layer, layer))
    {'0.weight': '0.weight', '1.weight': '0.weight'}
    """
    first: dict[int, str] = {}
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}


def check_alike(modules: Sequence[nn.Module]) -> None:
    """Modules of a pack share every name, shape and type, and which tensors are trained.

    Raises:
        InputError: naming the first tensor in which one differs.
    """
    described = [_describe(module) for module in modules]
    for i, other in enumerate(described):
        for name in {**described[0], **other}:
            if other.get(name) != described[0].get(name):
                raise InputError(
                    f"modules of a pack must share every shape; module {i} differs in "
                    f"{name!r}: {other.get(name, 'absent')} against "
                    f"{described[0].get(name, 'absent')}"
                )


def _describe(module: nn.Module) -> dict[str, str]:
    described = {
        name: f"{tuple(p.shape)} {p.dtype}{'' if p.requires_grad else ' (frozen)'}"
        for name, p in module.named_parameters()
    }
    buffers = {name: f"{tuple(b.shape)} {b.dtype}" for name, b in module.named_buffers()}
    return described | buffers


@torch.no_grad()
def _stack(each: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: laid_out(torch.stack([tensors[name] for tensors in each])) for name in each[0]}


def laid_out(stacked: Tensor) -> Tensor:
    """Weights of 2-d convolutions (R, n_out, n_in, k, k) so that side by side they are
    channels-last, which the convolutions are fastest with."""
    stacked = stacked.detach()
    if stacked.ndim != 5:
        return stacked
    side_by_side = stacked.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return side_by_side.view(stacked.shape)


def without_gradient_at(
    found: Tensor, indices: Tensor, padding_index: int | None, num_rows: int
) -> Tensor:
    """What an embedding found, (*indices.shape, features), with the padding row untrained."""
    if padding_index is None:
        return found
    padding = (indices == padding_index % num_rows).unsqueeze(-1)
    return torch.where(padding, found.detach(), found)


def mixed_examples(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """As many examples (n, *shape) whose every entry is that entry of one of these: other
    combinations, and no value where there was none."""
    picked = torch.randint(len(inputs), inputs.shape, generator=generator)
    return inputs.gather(0, picked.to(inputs.device))
