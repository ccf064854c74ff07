"""Recognizes modules that are a plain chain of dense layers and activations."""

import itertools
from dataclasses import dataclass

import torch
from torch import fx, nn

from widthwise.engines.activations import FUNCTION_RULES, MODULE_RULES, ActivationRule
from widthwise.engines.modules import WITHOUT_GRADIENT, NotPackableError, copied, trace
from widthwise.families.layers import ScaledLinear


@dataclass(frozen=True)
class Dense:
    """y = multiplier · x Wᵀ + b, with W and b at ``path`` in the module."""

    path: str
    multiplier: float
    bias: bool


ChainLayer = Dense | ActivationRule


def read_chain(module: nn.Module) -> tuple[ChainLayer, ...]:
    """The layers that ``module.forward`` applies to its flattened input, in order.

    Raises:
        NotPackableError: if forward branches, uses a layer that has no place in a chain, uses a
            layer twice, or has hooks or frozen parameters.
    """
    for path, parameter in module.named_parameters():
        if not parameter.requires_grad:
            raise NotPackableError(f"parameter {path!r} is frozen")
    copy = copied(module)
    return _read_graph(trace(copy), copy)


def is_chain(module: nn.Module) -> bool:
    """Whether :func:`read_chain` reads it."""
    try:
        read_chain(module)
    except Exception:  # as of forwards that cannot be traced, whatever they raise
        return False
    return True


def _read_graph(graph: fx.Graph, module: nn.Module) -> tuple[ChainLayer, ...]:
    placeholder, *nodes, output = graph.nodes
    layers: list[ChainLayer] = []
    previous = placeholder
    for node in nodes:
        if node.all_input_nodes != [previous] or not node.args or node.args[0] is not previous:
            raise NotPackableError(f"{node.name!r} uses something else than the layer before it")
        if node.meta[WITHOUT_GRADIENT]:
            raise NotPackableError(f"{node.name!r} runs under torch.no_grad")
        layer = _read_node(node, module, first=previous is placeholder)
        if layer is not None:
            layers.append(layer)
        previous = node
    if output.args[0] is not previous:
        raise NotPackableError("forward does not return the output of its last layer")
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
        raise NotPackableError(f"layer {path!r} ({type(child).__name__}) has no place in a chain")
    flattens = node.target in (torch.flatten, "flatten") and node.args[1:] in ((1,), (1, -1))
    if flattens and first and not node.kwargs:
        return None
    if node.target in FUNCTION_RULES and len(node.args) == 1 and _harmless(node):
        return FUNCTION_RULES[node.target]
    raise NotPackableError(f"operation {node.name!r} has no place in a chain")


def _harmless(node: fx.Node) -> bool:
    return not any(node.kwargs.values())  # inplace=False is all that may stand here


def _check(layers: list[ChainLayer], module: nn.Module) -> None:
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    if not dense or not isinstance(layers[0], Dense) or not isinstance(layers[-1], Dense):
        raise NotPackableError("the chain does not begin and end with a dense layer")
    used = {f"{layer.path}.{kind}" for layer in dense for kind in ("weight", "bias")}
    if len({layer.path for layer in dense}) != len(dense):
        raise NotPackableError("a layer is used twice")
    # named_parameters drops duplicates, so a tied weight shows as a missing name.
    names = {name for name, _ in module.named_parameters()}
    expected = {f"{d.path}.weight" for d in dense} | {f"{d.path}.bias" for d in dense if d.bias}
    if names - used:
        raise NotPackableError(f"parameter {min(names - used)!r} is not part of the chain")
    if expected - names:
        raise NotPackableError(f"parameter {min(expected - names)!r} is shared between layers")
    if any(
        isinstance(a, ActivationRule) and isinstance(b, ActivationRule)
        for a, b in itertools.pairwise(layers)
    ):
        raise NotPackableError("two activations follow each other")
