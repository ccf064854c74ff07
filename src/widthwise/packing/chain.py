"""Recognizes modules that are a plain chain of dense layers and activations."""

import itertools
from dataclasses import dataclass

import torch
from torch import fx, nn

from widthwise.families.layers import ScaledLinear
from widthwise.packing.activations import FUNCTION_RULES, MODULE_RULES, ActivationRule


@dataclass(frozen=True)
class Dense:
    """y = multiplier · x Wᵀ + b, with W and b at ``path`` in the module."""

    path: str
    multiplier: float
    bias: bool


ChainLayer = Dense | ActivationRule


class NotAChainError(Exception):
    """The module is something else than a chain; the message says what stands in the way."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ScaledLinear) or super().is_leaf_module(m, module_qualified_name)


def read_chain(module: nn.Module) -> tuple[ChainLayer, ...]:
    """The layers that ``module.forward`` applies to its flattened input, in order.

    Works on ``nn.Sequential`` and on hand-written ``forward``s alike, by symbolic tracing, which
    patches ``nn.Module`` for a moment: no other thread may call modules meanwhile.

    Raises:
        NotAChainError: if forward branches, uses a layer that has no packed form here, uses a
            layer twice, or has hooks or frozen parameters.
    """
    for path, child in module.named_modules():
        if child._forward_hooks or child._forward_pre_hooks or child._backward_hooks:
            raise NotAChainError(f"layer {path or 'module'!r} has hooks")
    for path, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise NotAChainError(f"parameter {path!r} is frozen")
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # tracing runs the user's code, which may raise anything
        raise NotAChainError(f"forward cannot be traced ({type(error).__name__})") from error
    return _read_graph(graph, module)


def _read_graph(graph: fx.Graph, module: nn.Module) -> tuple[ChainLayer, ...]:
    placeholder, *nodes, output = graph.nodes
    if placeholder.op != "placeholder" or output.op != "output":
        raise NotAChainError("forward takes more than one input")
    layers: list[ChainLayer] = []
    previous = placeholder
    for node in nodes:
        if node.all_input_nodes != [previous] or not node.args or node.args[0] is not previous:
            raise NotAChainError(f"{node.name!r} uses something else than the layer before it")
        layer = _read_node(node, module, first=previous is placeholder)
        if layer is not None:
            layers.append(layer)
        previous = node
    if output.args[0] is not previous:
        raise NotAChainError("forward does not return the output of its last layer")
    _check(layers, module)
    return tuple(layers)


def _read_node(node: fx.Node, module: nn.Module, *, first: bool) -> ChainLayer | None:
    if node.op == "call_module":
        path = str(node.target)
        child = module.get_submodule(path)
        if type(child) is nn.Flatten and first and (child.start_dim, child.end_dim) == (1, -1):
            return None
        if type(child) in (nn.Linear, ScaledLinear):
            multiplier = child.multiplier if isinstance(child, ScaledLinear) else 1.0
            return Dense(path, multiplier, child.bias is not None)
        if type(child) in MODULE_RULES:
            return MODULE_RULES[type(child)](child)
        raise NotAChainError(f"layer {path!r} ({type(child).__name__}) has no packed form yet")
    flattens = node.target in (torch.flatten, "flatten") and node.args[1:] in ((1,), (1, -1))
    if flattens and first and not node.kwargs:
        return None
    if node.target in FUNCTION_RULES and len(node.args) == 1 and _harmless(node):
        return FUNCTION_RULES[node.target]
    raise NotAChainError(f"operation {node.name!r} has no packed form yet")


def _harmless(node: fx.Node) -> bool:
    return not any(node.kwargs.values())  # inplace=False is all that may stand here


def _check(layers: list[ChainLayer], module: nn.Module) -> None:
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    if not dense or not isinstance(layers[0], Dense) or not isinstance(layers[-1], Dense):
        raise NotAChainError("the chain does not begin and end with a dense layer")
    used = {f"{layer.path}.{kind}" for layer in dense for kind in ("weight", "bias")}
    if len({layer.path for layer in dense}) != len(dense):
        raise NotAChainError("a layer is used twice")
    # named_parameters drops duplicates, so a tied weight shows as a missing name.
    names = {name for name, _ in module.named_parameters()}
    expected = {f"{d.path}.weight" for d in dense} | {f"{d.path}.bias" for d in dense if d.bias}
    if names - used:
        raise NotAChainError(f"parameter {min(names - used)!r} is not part of the chain")
    if expected - names:
        raise NotAChainError(f"parameter {min(expected - names)!r} is shared between layers")
    if any(
        isinstance(a, ActivationRule) and isinstance(b, ActivationRule)
        for a, b in itertools.pairwise(layers)
    ):
        raise NotAChainError("two activations follow each other")
