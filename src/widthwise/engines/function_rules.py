"""Packed forms of functions and methods that a forward calls: one row each.

A rule is called as the function is, with the run before its arguments, on values laid out as
:mod:`widthwise.engines.values` says.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.engines.convolution import convolution
from widthwise.engines.layer_rules import (
    channelwise,
    dropout,
    group_norm,
    layer_norm,
    linear,
)
from widthwise.engines.modules import NotPackableError
from widthwise.engines.values import PerReplica, Run, axis, reshape, shape_of

FunctionRule = Callable[..., Any]


def _elementwise(function: Callable[..., Any]) -> FunctionRule:
    """Broadcasts as it would for one network."""

    def apply(run: Run, *args: Any, **kwargs: Any) -> Any:
        args = (*args, *(kwargs.pop(name) for name in ("input", "other") if name in kwargs))
        if any(isinstance(value, Tensor | PerReplica) for value in kwargs.values()):
            raise NotPackableError("a value is given by a name")
        axes = {a.ndim - 1 for a in args if isinstance(a, Tensor)}
        if len(axes) > 1:
            raise NotPackableError("values with different numbers of axes are combined")
        if not axes and any(isinstance(a, PerReplica) for a in args):
            raise NotPackableError("parameters are combined with each other")
        given = [a.beside(next(iter(axes))) if isinstance(a, PerReplica) else a for a in args]
        return function(*given, **kwargs)

    return apply


def _along(function: Callable[..., Any]) -> FunctionRule:
    """Works along one axis."""

    def apply(run: Run, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        dim = kwargs.pop("dim", args[0] if args else None)
        if not isinstance(dim, int):
            raise NotPackableError("an operation over all axes")
        return function(value, axis(value, dim), *args[1:], **kwargs)

    return apply


def _reduce(function: Callable[..., Tensor]) -> FunctionRule:
    def apply(run: Run, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        dims = kwargs.pop("dim", args[0] if args else None)
        keepdim = kwargs.pop("keepdim", args[1] if len(args) > 1 else False)
        if dims is None or kwargs or len(args) > 2:
            raise NotPackableError("a reduction over all axes")
        every = [dims] if isinstance(dims, int) else dims
        return function(value, [axis(value, d) for d in every], keepdim=keepdim)

    return apply


def _pooling(function: Callable[..., Tensor], num_axes: int) -> FunctionRule:
    def apply(run: Run, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if value.ndim - 1 != num_axes or kwargs.get("return_indices"):
            raise NotPackableError("pooling with indices or without a batch axis")
        return channelwise(lambda merged: function(merged, *args, **kwargs), value)

    return apply


def _activation(function: Callable[..., Tensor]) -> FunctionRule:
    """Whether an operation in place is safe is decided where the graph is read."""

    def apply(run: Run, value: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        return function(value, *args, **kwargs)

    return apply


def _reshape(run: Run, value: Any, *shape: Any, **kwargs: Any) -> Tensor:
    sizes = kwargs.get("shape", kwargs.get("size", shape))
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = sizes[0]
    if isinstance(value, PerReplica) or not all(isinstance(n, int) for n in sizes):
        raise NotPackableError("a reshape of something else than an activation")
    return reshape(value, sizes)


def _expand(run: Run, value: Any, *sizes: Any) -> Tensor:
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        (sizes,) = sizes
    if isinstance(value, PerReplica):
        if value.tensor.ndim != len(sizes) + 1 or value.tensor.shape[1] != 1:
            raise NotPackableError("a parameter that gains axes")
        # (R, 1, …) → (B, R, …)
        beside = value.tensor.transpose(0, 1)
        return beside.expand(sizes[0], beside.shape[1], *sizes[1:])
    if value.ndim != len(sizes) + 1:
        raise NotPackableError("an expansion that adds axes")
    return value.expand(sizes[0], -1, *sizes[1:])  # type: ignore[no-any-return]


def _flatten(run: Run, value: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return value.flatten(axis(value, start_dim), axis(value, end_dim))


def _transpose(run: Run, value: Tensor, dim0: int, dim1: int) -> Tensor:
    return value.transpose(axis(value, dim0), axis(value, dim1))


def _permute(run: Run, value: Tensor, *dims: Any) -> Tensor:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
    if order[0] != 0:
        raise NotPackableError("a permutation that moves the batch axis")
    return value.permute(0, 1, *(axis(value, d) for d in order[1:]))


def _unsqueeze(run: Run, value: Tensor, dim: int) -> Tensor:
    where = dim if dim >= 0 else dim + value.ndim  # one axis more than before
    if where < 1:
        raise NotPackableError("an axis before the batch axis")
    return value.unsqueeze(where + 1)


def _size(run: Run, value: Tensor, dim: int | None = None) -> Any:
    shape = shape_of(value)
    return torch.Size(shape) if dim is None else shape[dim]


def _getattr(run: Run, value: Any, name: str) -> Any:
    if not isinstance(value, Tensor):
        return getattr(value, name)
    known = {
        "shape": torch.Size(shape_of(value)),
        "ndim": value.ndim - 1,
        "device": value.device,
        "dtype": value.dtype,
    }
    if name not in known:
        raise NotPackableError(f"the attribute {name!r} of a value")
    return known[name]


def _getitem(run: Run, value: Any, index: Any) -> Any:
    if isinstance(value, PerReplica):
        raise NotPackableError("a part of a parameter")
    if not isinstance(value, Tensor):
        return value[index]
    given = index if isinstance(index, tuple) else (index,)
    plain = all(isinstance(i, int | slice) or i is None for i in given)
    if not plain or given[0] != slice(None):
        raise NotPackableError("an index that picks examples")
    return value[(slice(None), slice(None), *given[1:])]


def _cat(run: Run, values: Sequence[Any], dim: int = 0) -> Tensor:
    if not all(isinstance(v, Tensor) for v in values):
        raise NotPackableError("a concatenation with something else than activations")
    return torch.cat(list(values), axis(values[0], dim))


def _stack(run: Run, values: Sequence[Any], dim: int = 0) -> Tensor:
    if dim < 1:
        raise NotPackableError("a new axis before or at the batch axis")
    return torch.stack(list(values), dim + 1)


def _matmul(run: Run, a: Any, b: Any) -> Tensor:
    both = isinstance(a, Tensor) and isinstance(b, Tensor)
    if not both or a.ndim != b.ndim or a.ndim < 4:
        raise NotPackableError("a product of something else than two batches of matrices")
    return torch.matmul(a, b)


def _attention(run: Run, q: Tensor, k: Tensor, v: Tensor, **kwargs: Any) -> Tensor:
    if kwargs.get("dropout_p") or isinstance(kwargs.get("attn_mask"), Tensor | PerReplica):
        raise NotPackableError("attention with dropout or a mask")
    if min(q.ndim, k.ndim, v.ndim) < 4:
        raise NotPackableError("attention without a batch axis")
    return functional.scaled_dot_product_attention(q, k, v, **kwargs)


def _linear(run: Run, value: Tensor, weight: Any, bias: Any = None) -> Tensor:
    return linear(value, _own(weight), _own_or_none(bias))


def _convolution(function: Callable[..., Tensor], num_axes: int) -> FunctionRule:
    names = ("stride", "padding", "dilation", "groups")

    def apply(
        run: Run, value: Tensor, weight: Any, bias: Any = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        options = {**dict(zip(names, args, strict=False)), **kwargs}
        if value.ndim - 1 != num_axes:
            raise NotPackableError("a convolution without a batch axis")
        groups = options.pop("groups", 1)
        return convolution(value, _own(weight), _own_or_none(bias), function, groups, **options)

    return apply


def _group_norm(
    run: Run, value: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    return group_norm(value, groups, _own_or_none(weight), _own_or_none(bias), eps)


def _layer_norm(
    run: Run,
    value: Tensor,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    return layer_norm(value, normalized_shape, _own_or_none(weight), _own_or_none(bias), eps)


def _own_or_none(parameter: Any) -> Tensor | None:
    return None if parameter is None else _own(parameter)


def _own(parameter: Any) -> Tensor:
    if not isinstance(parameter, PerReplica):
        raise NotPackableError("a layer whose weights are computed")
    return parameter.tensor


def _dropout(own_axes: int | None) -> FunctionRule:
    def apply(
        run: Run, value: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        return dropout(run, value, p if training else 0.0, own_axes)

    return apply


def _check_shape(run: Run, condition: Any, message: str = "") -> None:
    if not isinstance(condition, bool):
        raise NotPackableError("an assertion about values")
    torch._assert(condition, message)  # type: ignore[no-untyped-call]


def _contiguous(run: Run, value: Tensor, **kwargs: Any) -> Tensor:
    return value  # a layout, not a value


_ELEMENTWISE: tuple[Any, ...] = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pow),
    *(operator.floordiv, operator.eq, operator.ne, operator.lt, operator.le, operator.gt),
    operator.ge,
    *(torch.add, torch.sub, torch.mul, torch.div, torch.neg, torch.pow),
    *(torch.exp, torch.log, torch.sqrt, torch.rsqrt, torch.square, torch.abs, torch.erf),
    *(torch.sin, torch.cos, torch.tanh, torch.sigmoid, torch.clamp, torch.maximum, torch.minimum),
    *(functional.softplus, functional.logsigmoid, functional.tanh, functional.sigmoid),
    functional.gelu,
)
_ELEMENTWISE_METHODS = (
    *("add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "rsqrt", "square"),
    *("abs", "tanh", "sigmoid", "clamp", "to", "float", "double", "long", "type_as"),
)
_ACTIVATIONS: tuple[Any, ...] = (
    *(torch.relu, functional.relu, functional.relu6, functional.leaky_relu, functional.elu),
    *(functional.celu, functional.selu, functional.silu, functional.mish, functional.hardtanh),
    *(functional.hardswish, functional.hardsigmoid),
)
# Operations in place, computed aside: the graph is refused if their input is used again.
IN_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    "add_": Tensor.add,
    "mul_": Tensor.mul,
    "relu_": torch.relu,
    torch.relu_: torch.relu,
}

FUNCTION_RULES: dict[Any, FunctionRule] = {
    **{function: _elementwise(function) for function in _ELEMENTWISE},
    **{name: _elementwise(getattr(Tensor, name)) for name in _ELEMENTWISE_METHODS},
    **{function: _activation(function) for function in _ACTIVATIONS},
    "relu": _activation(torch.relu),
    **{target: _elementwise(aside) for target, aside in IN_PLACE.items()},
    torch.softmax: _along(torch.softmax),
    functional.softmax: _along(torch.softmax),
    "softmax": _along(torch.softmax),
    functional.log_softmax: _along(torch.log_softmax),
    torch.log_softmax: _along(torch.log_softmax),
    torch.mean: _reduce(torch.mean),
    "mean": _reduce(torch.mean),
    torch.sum: _reduce(torch.sum),
    "sum": _reduce(torch.sum),
    "amax": _reduce(torch.amax),
    functional.max_pool1d: _pooling(functional.max_pool1d, 3),
    functional.max_pool2d: _pooling(functional.max_pool2d, 4),
    functional.avg_pool1d: _pooling(functional.avg_pool1d, 3),
    functional.avg_pool2d: _pooling(functional.avg_pool2d, 4),
    functional.adaptive_avg_pool1d: _pooling(functional.adaptive_avg_pool1d, 3),
    functional.adaptive_avg_pool2d: _pooling(functional.adaptive_avg_pool2d, 4),
    functional.adaptive_max_pool2d: _pooling(functional.adaptive_max_pool2d, 4),
    functional.linear: _linear,
    functional.group_norm: _group_norm,
    functional.layer_norm: _layer_norm,
    functional.conv1d: _convolution(functional.conv1d, 3),
    functional.conv2d: _convolution(functional.conv2d, 4),
    functional.dropout: _dropout(None),
    functional.dropout1d: _dropout(2),
    functional.dropout2d: _dropout(2),
    functional.dropout3d: _dropout(2),
    functional.scaled_dot_product_attention: _attention,
    torch.matmul: _matmul,
    operator.matmul: _matmul,
    "matmul": _matmul,
    torch.flatten: _flatten,
    "flatten": _flatten,
    torch.reshape: _reshape,
    "reshape": _reshape,
    "view": _reshape,
    "expand": _expand,
    torch.transpose: _transpose,
    "transpose": _transpose,
    torch.permute: _permute,
    "permute": _permute,
    torch.unsqueeze: _unsqueeze,
    "unsqueeze": _unsqueeze,
    torch.squeeze: _along(torch.squeeze),
    "squeeze": _along(torch.squeeze),
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    torch.chunk: lambda run, value, chunks, dim=0: value.chunk(chunks, axis(value, dim)),
    "chunk": lambda run, value, chunks, dim=0: value.chunk(chunks, axis(value, dim)),
    torch.split: lambda run, value, size, dim=0: torch.split(value, size, axis(value, dim)),
    "split": lambda run, value, size, dim=0: torch.split(value, size, axis(value, dim)),
    "unbind": _along(torch.unbind),
    "contiguous": _contiguous,
    torch._assert: _check_shape,
    "size": _size,
    getattr: _getattr,
    operator.getitem: _getitem,
}
