"""Rewrites of a network's graph that leave its function and its gradients as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from widthwise.engines.pooling import SIZE, FusedPool
from widthwise.families.layers import ScaledConv2d

_RELU_FUNCTIONS = (torch.relu, functional.relu, "relu", "relu_", torch.relu_)
_MAX_POOL_FUNCTIONS = (functional.max_pool1d, functional.max_pool2d)
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
_CONVOLUTIONS = (nn.Conv2d, ScaledConv2d)
# What a max-pooling may be told, in the order of its function's arguments, and what is fused.
_FUSED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "kernel_size": (SIZE, (SIZE, SIZE)),
    "stride": (None, SIZE, (SIZE, SIZE)),
    "padding": (0, (0, 0)),
    "dilation": (1, (1, 1)),
    "ceil_mode": (False,),
    "return_indices": (False,),
}


def layer_of(node: fx.Node, module: nn.Module) -> nn.Module | None:
    """The layer that a node calls, if it calls one."""
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def pool_before_relu(graph: fx.Graph, module: nn.Module) -> None:
    """max-pool(relu(x)) = relu(max-pool(x)), gradient included, with a quarter of the work."""
    for pool in list(graph.nodes):
        pools = type(layer_of(pool, module)) in _MAX_POOLS or pool.target in _MAX_POOL_FUNCTIONS
        relu = pool.args[0] if pools and pool.args else None
        if not isinstance(relu, fx.Node) or len(relu.users) != 1 or not _is_relu(relu, module):
            continue
        (before,) = relu.all_input_nodes
        pool.replace_input_with(relu, before)
        with graph.inserting_after(pool):
            after = graph.node_copy(relu)
        pool.replace_all_uses_with(after, delete_user_cb=lambda user, a=after: user is not a)
        after.replace_input_with(before, pool)
        graph.erase_node(relu)


def fuse_pooling(
    graph: fx.Graph, module: nn.Module, names: Mapping[str, str]
) -> dict[fx.Node, FusedPool]:
    """What 2×2 max-poolings do together with the bias before and the rectifier behind them.

    Args:
        graph: loses those rectifiers.
        module: whose convolutions lose those biases.
        names: path of a parameter → its name in the pack.

    Returns:
        Pooling → what to do there, with its first argument alone.
    """
    fused = {}
    for pool in list(graph.nodes):
        if not _is_fusible(pool, module):
            continue
        (value,) = pool.all_input_nodes
        relu = next(iter(pool.users))
        rectify = len(pool.users) == 1 and _is_relu(relu, module)
        if rectify:
            relu.replace_all_uses_with(pool)
            graph.erase_node(relu)
        fused[pool] = FusedPool(_take_bias(value, graph, module, names), rectify)
        pool.args, pool.kwargs = (value,), {}
    return fused


def _is_relu(node: fx.Node, module: nn.Module) -> bool:
    return type(layer_of(node, module)) is nn.ReLU or (
        node.op != "call_module" and node.target in _RELU_FUNCTIONS
    )


def _is_fusible(node: fx.Node, module: nn.Module) -> bool:
    layer = layer_of(node, module)
    if type(layer) is nn.MaxPool2d:
        options = {name: getattr(layer, name) for name in _FUSED_OPTIONS}
    elif node.target is functional.max_pool2d:
        given = dict(zip(_FUSED_OPTIONS, node.args[1:], strict=False)) | node.kwargs
        options = {name: values[0] for name, values in _FUSED_OPTIONS.items()} | given
    else:
        return False
    return (
        len(node.all_input_nodes) == 1
        and node.args[:1] == tuple(node.all_input_nodes)
        and len(node.users) > 0
        and options.keys() == _FUSED_OPTIONS.keys()
        and all(_plain(options[name]) in values for name, values in _FUSED_OPTIONS.items())
    )


def _plain(option: Any) -> Any:
    return tuple(option) if isinstance(option, list) else option


def _take_bias(
    value: fx.Node, graph: fx.Graph, module: nn.Module, names: Mapping[str, str]
) -> str | None:
    """The name of the bias of the convolution that made this value, which it loses; None if there
    is none, or somebody else sees the value or calls the convolution."""
    layer = layer_of(value, module)
    calls = sum(node.op == "call_module" and node.target == value.target for node in graph.nodes)
    if type(layer) not in _CONVOLUTIONS or len(value.users) != 1 or calls != 1:
        return None
    assert isinstance(layer, nn.Conv2d)
    if layer.bias is None:
        return None
    layer.bias = None
    return names[f"{value.target}.bias"]
