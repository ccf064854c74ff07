"""Packed forms of layers: one row a type of ``torch.nn.Module``.

A rule takes the layer and a way to its tensors and gives a function of (run, input) on values laid
out as :mod:`widthwise.engines.values` says.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.engines.convolution import convolution
from widthwise.engines.draws import mask_shape
from widthwise.engines.modules import NotPackableError, without_gradient_at
from widthwise.engines.values import PerReplica, Run, axis, merge, split
from widthwise.families.ghost_norm import GhostBatchNorm1d, GhostBatchNorm2d
from widthwise.families.layers import ScaledConv2d, ScaledLinear

Apply = Callable[[Run, Any], Any]
# The layer, and the names under which the pack keeps its tensors.
Rule = Callable[[Any, dict[str, str]], Apply]


def linear(value: Tensor, weight: Tensor, bias: Tensor | None, multiplier: float = 1.0) -> Tensor:
    """y = multiplier · x Wᵀ + b with weight (R, n_out, n_in), bias (R, n_out)."""
    transposed = weight.transpose(1, 2)
    batch, replicas, *between, features = value.shape
    rows = value.transpose(0, 1).reshape(replicas, -1, features)
    if bias is None:
        out = torch.bmm(rows, transposed)
        out = out if multiplier == 1.0 else out * multiplier
    else:
        out = torch.baddbmm(bias.unsqueeze(1), rows, transposed, alpha=multiplier)
    return out.view(replicas, batch, *between, -1).transpose(0, 1)


def _linear(layer: nn.Linear, names: dict[str, str]) -> Apply:
    weight, bias = names["weight"], names.get("bias")
    multiplier = getattr(layer, "multiplier", 1.0)

    def apply(run: Run, value: Tensor) -> Tensor:
        return linear(value, run.tensors[weight], run.find(bias), multiplier)

    return apply


_CONVOLVE: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
    ScaledConv2d: functional.conv2d,
}


def _convolution(layer: Any, names: dict[str, str]) -> Apply:
    if layer.padding_mode != "zeros":
        raise NotPackableError(f"padding_mode={layer.padding_mode!r}")
    convolve = _CONVOLVE[type(layer)]
    weight, bias = names["weight"], names.get("bias")
    multiplier = getattr(layer, "multiplier", 1.0)
    options = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }

    def apply(run: Run, value: Tensor) -> Tensor:
        require_axes(value, layer)
        kernel = run.tensors[weight]
        # The weights are the smaller factor of the product.
        kernel = kernel if multiplier == 1.0 else kernel * multiplier
        return convolution(value, kernel, run.find(bias), convolve, **options)

    return apply


def _batch_norm(layer: Any, names: dict[str, str]) -> Apply:
    by_batch = layer.training or (layer.running_mean is None and layer.running_var is None)
    updates = layer.training and layer.track_running_stats and "running_mean" in names
    ghost = getattr(layer, "ghost_batch_size", None) if layer.training else None

    def apply(run: Run, value: Tensor) -> Tensor:
        # A view of each, so that running statistics are written where they are kept.
        flat = {kind: run.tensors[name].view(-1) for kind, name in names.items()}
        merged = merge(value)
        parts = [merged] if ghost is None else torch.split(merged, ghost)
        normalized = []
        for part in parts:
            momentum = layer.momentum or 0.0
            if updates and "num_batches_tracked" in flat:
                flat["num_batches_tracked"].add_(1)
                if layer.momentum is None:  # the same count in every replica
                    momentum = 1.0 / float(flat["num_batches_tracked"][0])
            normalized.append(
                functional.batch_norm(
                    part,
                    flat.get("running_mean") if updates or not by_batch else None,
                    flat.get("running_var") if updates or not by_batch else None,
                    flat.get("weight"),
                    flat.get("bias"),
                    by_batch,
                    momentum,
                    layer.eps,
                )
            )
        out = normalized[0] if len(normalized) == 1 else torch.cat(normalized)
        return split(out, value.shape[1])

    return apply


def group_norm(
    value: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Weight and bias (R, C)."""
    replicas = value.shape[1]
    flat_weight = None if weight is None else weight.flatten()
    flat_bias = None if bias is None else bias.flatten()
    merged = functional.group_norm(merge(value), replicas * groups, flat_weight, flat_bias, eps)
    return split(merged, replicas)


def layer_norm(
    value: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Weight and bias (R, *shape)."""
    if len(shape) > value.ndim - 2:
        raise NotPackableError("a LayerNorm over the batch axis")
    out = functional.layer_norm(value, list(shape), eps=eps)
    if weight is not None:
        out = out * PerReplica(weight).beside(value.ndim - 1)
    if bias is not None:
        out = out + PerReplica(bias).beside(value.ndim - 1)
    return out


def _group_norm(layer: nn.GroupNorm, names: dict[str, str]) -> Apply:
    weight, bias = names.get("weight"), names.get("bias")
    return lambda run, value: group_norm(
        value, layer.num_groups, run.find(weight), run.find(bias), layer.eps
    )


def _layer_norm(layer: nn.LayerNorm, names: dict[str, str]) -> Apply:
    weight, bias, shape = names.get("weight"), names.get("bias"), layer.normalized_shape
    return lambda run, value: layer_norm(value, shape, run.find(weight), run.find(bias), layer.eps)


def _embedding(layer: nn.Embedding, names: dict[str, str]) -> Apply:
    if layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        raise NotPackableError("an Embedding with max_norm, scale_grad_by_freq or sparse")

    def apply(run: Run, value: Tensor) -> Tensor:
        weight = run.tensors[names["weight"]]
        replicas, rows, _ = weight.shape
        first = torch.arange(0, replicas * rows, rows, device=value.device)
        indices = value + first.view(1, -1, *[1] * (value.ndim - 2))
        found = functional.embedding(indices, weight.flatten(0, 1))
        return without_gradient_at(found, value, layer.padding_idx, rows)

    return apply


def require_axes(value: Tensor, layer: nn.Module) -> None:
    """Layers named …1d, …2d, …3d take unbatched inputs too: those have no packed form."""
    if value.ndim != int(type(layer).__name__[-2]) + 3:
        raise NotPackableError(f"{type(layer).__name__} on a value with {value.ndim - 1} axes")


def channelwise(function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """An operation on each channel by itself, such as pooling."""
    return split(function(merge(value)), value.shape[1])


def _channelwise(layer: nn.Module, names: dict[str, str]) -> Apply:
    if getattr(layer, "return_indices", False):
        raise NotPackableError("return_indices")

    def apply(run: Run, value: Tensor) -> Tensor:
        require_axes(value, layer)
        return channelwise(layer, value)

    return apply


def _elementwise(layer: nn.Module, names: dict[str, str]) -> Apply:
    return lambda run, value: layer(value)


def _without_overwriting(layer: nn.Module, names: dict[str, str]) -> Apply:
    # Whether an operation in place is safe is decided where the graph is read.
    function = _ACTIVATIONS[type(layer)]
    return lambda run, value: function(layer, value)


def _flatten(layer: nn.Flatten, names: dict[str, str]) -> Apply:
    return lambda run, value: value.flatten(
        axis(value, layer.start_dim), axis(value, layer.end_dim)
    )


def _unflatten(layer: nn.Unflatten, names: dict[str, str]) -> Apply:
    sizes: Any = layer.unflattened_size
    dim: Any = layer.dim
    return lambda run, value: value.unflatten(axis(value, dim), sizes)


def _softmax(layer: Any, names: dict[str, str]) -> Apply:
    function = {nn.Softmax: torch.softmax, nn.LogSoftmax: torch.log_softmax}[type(layer)]
    if layer.dim is None:
        raise NotPackableError("a softmax without dim")
    return lambda run, value: function(value, axis(value, layer.dim))


def dropout(run: Run, value: Tensor, probability: float, own_axes: int | None) -> Tensor:
    """Zero with this probability, in each replica by its own stream.

    Args:
        own_axes: how many leading axes of one network's value have their own draw; None: all.
    """
    if probability == 0.0:
        return value
    if run.draws is None:
        raise NotPackableError("dropout outside training")
    shape = mask_shape((value.shape[0], *value.shape[2:]), own_axes)
    return value * run.draws.scaled_masks(shape, probability, value).transpose(0, 1)


_OWN_AXES: dict[type[nn.Module], int | None] = {
    nn.Dropout: None,
    nn.Dropout1d: 2,
    nn.Dropout2d: 2,
    nn.Dropout3d: 2,
}


def _dropout(layer: Any, names: dict[str, str]) -> Apply:
    probability = layer.p if layer.training else 0.0
    return lambda run, value: dropout(run, value, probability, _OWN_AXES[type(layer)])


_ACTIVATIONS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    nn.ReLU: lambda layer, x: functional.relu(x),
    nn.ReLU6: lambda layer, x: functional.relu6(x),
    nn.LeakyReLU: lambda layer, x: functional.leaky_relu(x, layer.negative_slope),
    nn.ELU: lambda layer, x: functional.elu(x, layer.alpha),
    nn.CELU: lambda layer, x: functional.celu(x, layer.alpha),
    nn.SELU: lambda layer, x: functional.selu(x),
    nn.SiLU: lambda layer, x: functional.silu(x),
    nn.Mish: lambda layer, x: functional.mish(x),
    nn.Hardtanh: lambda layer, x: functional.hardtanh(x, layer.min_val, layer.max_val),
    nn.Hardswish: lambda layer, x: functional.hardswish(x),
    nn.Hardsigmoid: lambda layer, x: functional.hardsigmoid(x),
    nn.Threshold: lambda layer, x: functional.threshold(x, layer.threshold, layer.value),
}
_ELEMENTWISE = (
    nn.Identity,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Hardshrink,
    nn.Softshrink,
    nn.Tanhshrink,
)
_CHANNELWISE = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.ZeroPad2d,
)

# Exact types only: a subclass may compute something else.
LAYER_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    ScaledLinear: _linear,
    **dict.fromkeys(_CONVOLVE, _convolution),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, GhostBatchNorm1d, GhostBatchNorm2d),
        _batch_norm,
    ),
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    **dict.fromkeys(_OWN_AXES, _dropout),
    **dict.fromkeys(_ACTIVATIONS, _without_overwriting),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_CHANNELWISE, _channelwise),
}
