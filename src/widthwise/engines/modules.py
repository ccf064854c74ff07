"""What engines read off modules: the operations of one, the tensors of R with a leading replica
axis, and whether these are alike."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from widthwise.errors import InputError
from widthwise.families.ghost_norm import GhostBatchNorm1d, GhostBatchNorm2d
from widthwise.families.layers import ScaledConv2d, ScaledLinear

_LEAVES = (ScaledLinear, ScaledConv2d, GhostBatchNorm1d, GhostBatchNorm2d)


class NotPackableError(Exception):
    """The module has no packed form of this kind; the message says what stands in the way."""


class LayerTracer(fx.Tracer):
    """Layers of PyTorch and of Widthwise are single operations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.Graph:
    """The operations of ``module.forward`` on one input, in order.

    Works on ``nn.Sequential`` and on hand-written ``forward``s alike, by symbolic tracing, which
    patches ``nn.Module`` for a moment: no other thread may call modules meanwhile.

    Raises:
        NotPackableError: if there are hooks (they would be lost), several inputs, or control flow
            that depends on values.
    """
    for path, child in module.named_modules():
        if child._forward_hooks or child._forward_pre_hooks or child._backward_hooks:
            raise NotPackableError(f"layer {path or 'module'!r} has hooks")
    try:
        graph = LayerTracer().trace(module)
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
