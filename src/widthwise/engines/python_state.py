"""What Python values a module's forward can reach and change: attributes of its layers and their
classes, cells of closures, globals, what functools.cache keeps, environment variables. Comparable
snapshots, a value a name.
"""

import enum
import functools
import gc
import hashlib
import os
import random
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# What nn.Module itself keeps: parameters, buffers and layers have their own checks; hooks are
# looked into as functions.
_OF_MODULES = frozenset(vars(nn.Module()))
_HOOKS = frozenset(name for name in _OF_MODULES if "hooks" in name)
# Code that keeps no counts of its own which a forward depends on.
_TRUSTED = frozenset({"torch", "numpy", "builtins", "widthwise", "math", "typing", "collections"})
_PLAIN = (bool, int, float, complex, str, bytes, range, slice, enum.Enum, torch.dtype, torch.device)
_CACHED = functools._lru_cache_wrapper
# Rounding of sums in no fixed order, in units of the type's resolution.
_REPEATABLE = 100
# Beyond these a value is known by its type alone: a snapshot must stay cheap.
_MAX_DEPTH, _MAX_BYTES, _MAX_VALUES = 8, 1 << 20, 20_000

Snapshot = dict[str, Any]


def python_state(module: nn.Module) -> Snapshot:
    """Name of what forward can reach → something that differs if its value does.

    Tensors differ if they do by more than rounding. Those that PyTorch keeps, parameters and
    buffers, are for the arithmetic to compare; what is attached to them is read here.

    >>> layer = nn.Linear(2, 2)
    >>> layer.calls = [1]
    >>> before = python_state(layer)
    >>> layer.calls.append(2)
    >>> changed(before, python_state(layer))
    ["attribute 'calls'"]
    """
    reader = _Reader(module)
    found: Snapshot = {}
    classes: dict[type, None] = {}
    for path, layer in module.named_modules():
        at = f"{path}." if path else ""
        for name, value in vars(layer).items():
            if name not in _OF_MODULES:
                found[f"attribute {at + name!r}"] = reader.read(value)
        for name, held in (*layer._parameters.items(), *layer._buffers.items()):
            for attribute, value in getattr(held, "__dict__", {}).items():
                found[f"attribute {attribute!r} of {at + name!r}"] = reader.read(value)
        found[f"mode of layer {path!r}"] = layer.training
        for name in _HOOKS:
            for hook in (vars(layer).get(name) or {}).values():
                found |= reader.function(hook)
        if "forward" in vars(layer):
            found |= reader.function(vars(layer)["forward"])
        classes |= dict.fromkeys(base for base in type(layer).__mro__ if _is_users(base.__module__))
    found |= {f"environment variable {name!r}": value for name, value in os.environ.items()}
    for base in classes:
        for name, value in vars(base).items():
            function = _function_in(value)
            if function is not None:
                found |= reader.function(function)
            elif not name.startswith("__") and not isinstance(value, type | property):
                found[f"class attribute '{base.__name__}.{name}'"] = reader.read(value)
    return found


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """Names of what differs, or is in one of the two only."""
    absent = object()
    names = dict.fromkeys([*before, *after])
    return [name for name in names if before.get(name, absent) != after.get(name, absent)]


class _Reader:
    """Turns values into comparable ones."""

    def __init__(self, module: nn.Module) -> None:
        # They have names of their own.
        self._known = {id(part) for part in (*module.modules(), *module.buffers())}
        self._functions: set[int] = set()
        self._left = _MAX_VALUES

    def function(self, function: Any) -> Snapshot:
        """What a function keeps in its closure, and the globals that it names."""
        return dict(self._function(function))

    def _function(self, function: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(function, functools.partial):
            yield from self._function(function.func)
            yield f"arguments of {_name(function.func)!r}", self.read(function.args)
            return
        if isinstance(function, MethodType):
            owner = function.__self__
            if id(owner) not in self._known:
                yield f"the object of {_name(function)!r}", self.read(owner)
            function = function.__func__
        if not isinstance(function, FunctionType) or id(function) in self._functions:
            return
        self._functions.add(id(function))
        if not _is_users(function.__module__):
            return
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            yield from self._reached(f"variable {name!r} of {_name(function)!r}", value)
        if function.__defaults__:
            yield f"defaults of {_name(function)!r}", self.read(function.__defaults__)
        for name, value in vars(function).items():
            yield from self._reached(f"attribute {name!r} of {_name(function)!r}", value)
        named = list(_global_names(function.__code__))
        for name in named:
            if name in function.__globals__:
                value = function.__globals__[name]
                yield from self._reached(f"global {name!r}", value)
                if isinstance(value, ModuleType) and _is_own(value):
                    for inner in {*named} & vars(value).keys():
                        yield from self._reached(f"global '{name}.{inner}'", vars(value)[inner])

    def _reached(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, FunctionType | MethodType | functools.partial):
            yield from self._function(value)
        elif not isinstance(value, ModuleType | type):
            yield name, self.read(value)

    def read(self, value: Any, depth: int = 0, above: tuple[int, ...] = ()) -> Any:
        """Something that differs if the value does; ``above`` are the objects that hold it."""
        self._left -= 1
        kind = type(value).__name__
        if value is None or isinstance(value, _PLAIN):
            return kind, repr(value)
        if isinstance(value, Tensor):
            return kind, tuple(value.shape), str(value.dtype), self._values(value)
        if depth > _MAX_DEPTH or self._left < 0 or id(value) in above or id(value) in self._known:
            return kind
        state = _state_of_source(value)
        if state is not None:
            return kind, hashlib.sha256(state).digest()
        if isinstance(value, type | ModuleType):
            return kind
        above = (*above, id(value))
        if isinstance(value, _CACHED):
            return kind, *(self.read(v, depth + 1, above) for v in _cached(value))
        if isinstance(value, BuiltinFunctionType):  # perhaps of an object, as Random().random is
            return kind, self.read(value.__self__, depth + 1, above)
        if isinstance(value, FunctionType | MethodType | functools.partial):
            return kind, tuple(self.function(value).items())
        if isinstance(value, dict):
            parts = [(repr(k), self.read(v, depth + 1, above)) for k, v in list(value.items())]
            return (kind, *parts)
        if isinstance(value, list | tuple | deque):
            return (kind, *(self.read(v, depth + 1, above) for v in list(value)))
        if isinstance(value, set | frozenset):
            return kind, *sorted(repr(self.read(v, depth + 1, above)) for v in value)
        if isinstance(value, ContextVar):
            return kind, self.read(value.get(None), depth + 1, above)
        held = {**getattr(value, "__dict__", {}), **_slots(value)}
        if isinstance(value, nn.Module):
            held = {k: v for k, v in held.items() if k not in _OF_MODULES or k == "training"}
        if not held:
            return (kind, *(self.read(v, depth + 1, above) for v in _reduced(value)))
        return (kind, *((k, self.read(v, depth + 1, above)) for k, v in held.items()))

    def _values(self, tensor: Tensor) -> "_Values | None":
        """None for a tensor whose values are for others to compare, or cannot be."""
        known = isinstance(tensor, nn.Parameter) or id(tensor) in self._known
        plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)
        if known or not plain or tensor.nbytes > _MAX_BYTES:
            return None
        return _Values(tensor.detach().clone())


class _Values:
    """Of a tensor; equal to others that differ by rounding only."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Values) and same_values(self._tensor, other._tensor)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "values"


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one but for rounding."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point() or a.numel() == 0:
        return torch.equal(a, b)
    if a.dtype.itemsize == 1:  # of which PyTorch compares bits only
        return torch.equal(a.view(torch.uint8), b.view(torch.uint8))
    scale = torch.finfo(a.dtype).eps * _REPEATABLE
    largest = float(a.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(a, b, rtol=scale, atol=scale * largest, equal_nan=True)


def _cached(function: Any) -> list[Any]:
    """What a function under functools.cache or lru_cache has given, its arguments, and itself."""
    if not _is_users(function.__module__):
        return []
    # Nothing else says it. Kept objects stay where they are, whatever was asked for last.
    return sorted(gc.get_referents(function), key=id)


def _reduced(value: Any) -> Sequence[Any]:
    """What pickling keeps of an object of compiled code: where an iterator is, numbers of an
    array. Objects that keep nothing, and those that cannot be pickled, give nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of itertools
            reduced = value.__reduce_ex__(4)
    except Exception:  # it may run the user's code, which may raise anything
        return ()
    return reduced[1:] if isinstance(reduced, tuple) else ()


def _state_of_source(value: Any) -> bytes | None:
    """The state of an array or of a source of random numbers."""
    if isinstance(value, np.ndarray | np.generic):
        small = value.nbytes <= _MAX_BYTES and not value.dtype.hasobject
        return repr((value.shape, value.dtype)).encode() + (value.tobytes() if small else b"")
    if isinstance(value, random.Random):
        return repr(None if isinstance(value, random.SystemRandom) else value.getstate()).encode()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state).encode()
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state()).encode()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    return None


def _function_in(value: Any) -> Any:
    """The function of a method as a class holds it."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    if isinstance(value, property):
        return value.fget
    return value if isinstance(value, FunctionType) else None


def _global_names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:  # functions within
        if isinstance(constant, type(code)):
            yield from _global_names(constant)


def _slots(value: Any) -> dict[str, Any]:
    names = [n for base in type(value).__mro__ for n in _listed(vars(base).get("__slots__", ()))]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _listed(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_users(module_name: str | None) -> bool:
    return (module_name or "").partition(".")[0] not in _TRUSTED


def _is_own(module: ModuleType) -> bool:
    """Whether it may hold what the user's forward counts."""
    root = module.__name__.partition(".")[0]
    return _is_users(root) and root not in sys.stdlib_module_names


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
