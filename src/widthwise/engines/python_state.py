"""What Python values a module's forward can reach and change: attributes of its layers and their
classes, cells of closures, globals. Comparable snapshots, a value a name."""

import enum
import functools
import hashlib
import itertools
import random
from collections import deque
from collections.abc import Iterator
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
# Beyond these a value is known by its type alone: a snapshot must stay cheap.
_MAX_DEPTH, _MAX_BYTES, _MAX_VALUES = 8, 1 << 20, 20_000

Snapshot = dict[str, Any]


def python_state(module: nn.Module) -> Snapshot:
    """Name of what forward can reach → something that differs if its value does.

    Tensors count by shape and type only: their values are for the arithmetic to compare.

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
        found[f"mode of layer {path!r}"] = layer.training
        for name in _HOOKS:
            for hook in (vars(layer).get(name) or {}).values():
                found |= reader.function(hook)
        if "forward" in vars(layer):
            found |= reader.function(vars(layer)["forward"])
        classes |= dict.fromkeys(base for base in type(layer).__mro__ if _is_users(base.__module__))
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
        self._known = {id(layer) for layer in module.modules()}  # have names of their own
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
        for name in _global_names(function.__code__):
            if name in function.__globals__:
                yield from self._reached(f"global {name!r}", function.__globals__[name])

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
            return kind, tuple(value.shape), str(value.dtype)
        if depth > _MAX_DEPTH or self._left < 0 or id(value) in above or id(value) in self._known:
            return kind
        state = _state_of_source(value)
        if state is not None:
            return kind, hashlib.sha256(state).digest()
        if isinstance(value, type | ModuleType):
            return kind
        above = (*above, id(value))
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
        if isinstance(value, itertools.count | itertools.repeat):
            return kind, repr(value)
        held = {**getattr(value, "__dict__", {}), **_slots(value)}
        if isinstance(value, nn.Module):
            held = {k: v for k, v in held.items() if k not in _OF_MODULES or k == "training"}
        return (kind, *((k, self.read(v, depth + 1, above)) for k, v in held.items()))


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


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
