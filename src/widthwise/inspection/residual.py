"""Whether a network adds what a layer makes of a tensor to that tensor: residual sums.

A sum counts if both of its parts depend on the input, come from one common tensor, and a weight
lies on the way to one of them only. So do skips, with or without a projection, and parallel
branches that are added; not biases, position tables, masks, nor activations written out by hand.
Concatenations are no sums.

The forward is traced symbolically. If that fails, it runs once on random numbers of a shape
that the first layer takes. In either case it is a copy that is looked at.
"""

import inspect as signatures
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.overrides import TorchFunctionMode

from widthwise.engines.modules import LayerTracer

# Layers that are one operation to a tracer, with residual sums inside.
_RESIDUAL_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
# Where nothing else can be had: parts of the names that blocks with residual sums go by.
_RESIDUAL_NAMES = ("residual", "resblock", "basicblock", "resnet", "transformerblock")

_ADDITIONS = {"add", "add_", "__add__", "__iadd__", "__radd__", "iadd"}
# What these return says how large a tensor is, not what is in it.
_SIZES = {"size", "dim", "numel", "len", "ndimension", "is_floating_point"}
_SIZE_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "is_cuda"}
_FACTORIES = ("zeros", "ones", "empty", "full", "rand", "randn", "randint", "arange")
# Nothing can be learned through these: what comes out stands for itself.
_LOOKUPS = {"embedding", "embedding_bag", "one_hot", "argmax", "argmin", "bool", "long", "int"}
_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "logical_not"}
_CUTS = _LOOKUPS | _COMPARISONS | {f"__{name}__" for name in _COMPARISONS}

# Sides of images, and lengths of sequences, to try where a network has to be run.
_SIDES = (32, 28, 64, 224, 8)
_LENGTH = 8


def has_residual_sums(module: nn.Module) -> bool | None:
    """Whether there are residual sums; None if it cannot be told. The module is left as it is.

    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(4, 4)
    ...
    ...     def forward(self, x):
    ...         return x + self.layer(x)
    >>> has_residual_sums(Block()), has_residual_sums(nn.Linear(4, 4))
    (True, False)
    """
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper
    if any(isinstance(layer, _RESIDUAL_LAYERS) for layer in module.modules()):
        return True
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        found = _traced(module)
        if found is None:
            found = _run(module)
    if found is None and any(_named_residual(layer) for layer in module.modules()):
        return True
    return found


def _traced(module: nn.Module) -> bool | None:
    copy = _copy(module)
    if copy is None:
        return None
    try:
        graph = LayerTracer().trace(copy)
    except Exception:  # it runs the user's code, which may raise anything
        return None
    return _Graph(copy).read(graph)


def _run(module: nn.Module) -> bool | None:
    """By running it; False only if every weight took part."""
    for inputs in _example_inputs(module):
        copy = _copy(module)
        if copy is None:
            return None
        watch = _Watch(copy, inputs)
        try:
            with watch:
                copy(inputs)
        except Exception:  # it runs the user's code, which may raise anything
            continue
        return True if watch.tape.found else (False if watch.complete else None)
    return None


def _copy(module: nn.Module) -> nn.Module | None:
    """In evaluation mode, with the very same parameters, which nobody writes to without gradients;
    None for a module that cannot be copied."""
    shared: dict[int, Any] = {id(p): p for p in module.parameters()}
    for layer in module.modules():  # torch.nn.utils.weight_norm keeps what it computed
        values = (value for value in vars(layer).values() if isinstance(value, Tensor))
        shared |= {id(value): value for value in values if not value.is_leaf}
    try:
        return deepcopy(module, shared).eval()
    except Exception:  # it runs the user's code, which may raise anything
        return None


class _Tape:
    """What comes from what, operation by operation.

    A value that depends on the input has a set of ancestors, itself among them, as the bits of a
    whole number.
    """

    def __init__(self) -> None:
        self.found = False
        self._ancestors: dict[Any, int] = {}
        self._weights: set[Any] = set()
        self._weighted = 0
        self._count = 0

    def source(self, key: Any) -> None:
        """An input."""
        self._ancestors[key] = self._bit()

    def weight(self, key: Any) -> None:
        """A trained matrix or kernel."""
        self._weights.add(key)

    def operation(
        self,
        results: Iterable[Any],
        operands: Iterable[Any],
        *,
        cut: bool = False,
        weighted: bool = False,
    ) -> None:
        """Results made of operands.

        Args:
            cut: whether nothing can be learned through it, so that its results have no ancestors.
            weighted: whether it has weights of its own.
        """
        operands = list(operands)
        weighted = weighted or any(key in self._weights for key in operands)
        ancestors = [self._ancestors[key] for key in operands if key in self._ancestors]
        if not ancestors:
            if weighted:  # made of weights alone
                self._weights.update(results)
            return
        bit = self._bit()
        if weighted:
            self._weighted |= bit
        before = 0
        if not cut:
            for bits in ancestors:
                before |= bits
        for key in results:
            self._ancestors[key] = before | bit

    def sum(self, results: Iterable[Any], left: Any, right: Any) -> None:
        """The sum of two values, of which either may be a number."""
        parts = [key for key in (left, right) if key in self._ancestors]
        if len(parts) == 2:
            a, b = (self._ancestors[key] for key in parts)
            self.found = self.found or bool(a & b and (a ^ b) & self._weighted)
        # A table that is added is no weight on the way of what it is added to.
        self.operation(results, parts or [left, right])

    def _bit(self) -> int:
        self._count += 1
        return 1 << self._count


class _Graph:
    """Reads a symbolic trace of a module."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._tape = _Tape()

    def read(self, graph: fx.Graph) -> bool:
        for node in graph.nodes:
            self._read(node)
        return self._tape.found

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._tape.source(node)
        elif node.op == "get_attr":
            if _is_weight(_attribute(self._module, str(node.target))):
                self._tape.weight(node)
        elif node.op == "call_module":
            layer = self._module.get_submodule(str(node.target))
            self._tape.operation(
                [node],
                node.all_input_nodes,
                cut=isinstance(layer, nn.Embedding | nn.EmbeddingBag),
                weighted=any(map(_is_weight, layer.parameters())),
            )
        elif node.op in ("call_function", "call_method"):
            self._call(node, _name(node.target))

    def _call(self, node: fx.Node, name: str) -> None:
        if name == "getattr" and node.args[1] in _SIZE_ATTRIBUTES:
            return
        if name in _SIZES or _makes_anew(name):
            return
        if name in _ADDITIONS:
            self._tape.sum([node], *_parts(node.args, node.kwargs))
        else:
            self._tape.operation([node], node.all_input_nodes, cut=name in _CUTS)


class _Watch(TorchFunctionMode):
    """Follows the tensors of a run."""

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        self.tape = _Tape()
        self._kept: list[Tensor] = [inputs]  # or another could get the same id
        self._unused = {id(p) for p in module.parameters() if _is_weight(p)}
        self.tape.source(id(inputs))
        for parameter in self._unused:
            self.tape.weight(parameter)

    @property
    def complete(self) -> bool:
        """Whether every weight was used."""
        return not self._unused

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        operands = [id(tensor) for tensor in _tensors([args, kwargs])]
        self._unused.difference_update(operands)
        results = func(*args, **kwargs)
        made = list(_tensors(results))
        self._kept += made
        keys = [id(tensor) for tensor in made]
        if name in _ADDITIONS:
            self.tape.sum(keys, *(id(part) for part in _parts(args, kwargs)))
        elif not _makes_anew(name):
            cut = name in _CUTS or not any(tensor.is_floating_point() for tensor in made)
            self.tape.operation(keys, operands, cut=cut)
        return results


def _example_inputs(module: nn.Module) -> Iterator[Tensor]:
    """Inputs that the first layer with a weight takes, if the forward takes just one."""
    if not _takes_one_input(module):
        return
    first = next((layer for layer in module.modules() if _shapes(layer)), None)
    like = None if first is None else next(first.parameters(), None)
    if first is None or like is None:
        return
    generator = torch.Generator().manual_seed(0)
    for shape in _shapes(first):
        if isinstance(first, nn.Embedding | nn.EmbeddingBag):
            yield torch.zeros(shape, dtype=torch.int64, device=like.device)
        else:
            yield torch.randn(shape, generator=generator).to(like)


def _shapes(layer: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return [(2, _LENGTH)]
    if isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd):
        axes = len(layer.kernel_size)
        return [(2, layer.in_channels, *[side] * axes) for side in _SIDES]
    size = getattr(layer, "in_features", getattr(layer, "input_size", None))
    return [(2, size), (2, _LENGTH, size)] if isinstance(size, int) else []


def _takes_one_input(module: nn.Module) -> bool:
    parameters = signatures.signature(module.forward).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return sum(p.default is p.empty for p in named) <= 1 and len(parameters) > 0


def _named_residual(layer: nn.Module) -> bool:
    name = type(layer).__name__.lower().replace("_", "")
    return any(part in name for part in _RESIDUAL_NAMES)


def _is_weight(value: object) -> bool:
    """Whether it is a trained matrix or kernel; a vector is a bias or a scale."""
    return isinstance(value, nn.Parameter) and value.dim() >= 2


def _attribute(module: nn.Module, path: str) -> object:
    *prefix, name = path.split(".")
    return getattr(module.get_submodule(".".join(prefix)), name, None)


def _name(target: Callable[..., Any] | str) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _makes_anew(name: str) -> bool:
    """Whether it makes a tensor that has nothing of another but its size: ``zeros_like``, say."""
    return name.removeprefix("new_").removesuffix("_like") in _FACTORIES


def _parts(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Both parts of an addition."""
    values = [*args, *(kwargs[name] for name in ("input", "other") if name in kwargs)]
    return (values[0], values[1]) if len(values) > 1 else (None, None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _tensors(child)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
