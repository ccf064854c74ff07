"""A module's forward as a torch.fx graph, if it can be had."""

from torch import fx, nn

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
