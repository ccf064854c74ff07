"""Watches a module's own forward before it is packed: what it keeps from step to step, which random
numbers it draws, what no replica of a pack could follow."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.parameter import is_lazy

from widthwise.engines.draws import Draws, OwnDropout
from widthwise.engines.modules import copied, mixed_examples
from widthwise.engines.python_state import Snapshot, changed, python_state, same_values
from widthwise.errors import InputError

_HOOKING = (Tensor.register_hook, Tensor.register_post_accumulate_grad_hook)
# How far weights are moved to see what is made of them.
_MOVED = 0.1
# Types in which a forward may compute that are coarser than a network's own, coarsest first.
_COARSE = (torch.bfloat16, torch.float16, torch.float32)
_KEPT = (
    "{what} changes when forward runs in {mode}, and may decide what later steps compute. Replicas "
    "of a pack, and runs that are saved and go on, keep parameters and buffers only: make it a "
    "buffer, or a constant"
)
_MADE = (
    "forward makes the buffer {name!r} of the batch or of the weights that it meets first, in "
    "{mode}, and keeps it. Replicas of a pack, and runs that are saved and go on, have the buffers "
    "that a fresh module has, and others only if they come out the same every time: make it in "
    "__init__"
)


@dataclass(frozen=True)
class Watched:
    """What a forward does besides computing its outputs.

    Attributes:
        updated: names of the buffers and parameters that it changes in training.
        coarsest: the coarsest type of floating point in which it computes; None: its own alone.
    """

    updated: tuple[str, ...] = ()
    coarsest: torch.dtype | None = None


def check_parameters(modules: Sequence[nn.Module]) -> None:
    """Make sure that nothing is attached to the parameters that copies of them would lose, that
    SGD can train them, and that they and the buffers can be stacked.

    Raises:
        InputError: naming the parameter, buffer or layer.
    """
    if _global_hooks():
        raise InputError(
            "there is a hook on every module of the process "
            "(torch.nn.modules.module.register_module_…_hook), which the replicas of a pack would "
            "not call; remove it, or do in forward what it does"
        )
    for module in modules:
        for name, parameter in module.named_parameters():
            _check_parameter(name, parameter)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            kind = _kind_without_rows(tensor)
            if kind is not None:
                raise InputError(
                    f"parameters and buffers must be dense and have values, but {name!r} is {kind};"
                    " build the network with what .to_dense(), .dequantize() or .to_empty() make "
                    "of it"
                )
        for path, layer in module.named_modules():
            if layer._backward_hooks or layer._backward_pre_hooks:
                raise InputError(
                    f"layer {path or 'module'!r} has a hook on its gradient "
                    "(register_full_backward_hook or …_pre_hook), which the replicas of a pack "
                    "would not call; do in forward what it does"
                )


def _global_hooks() -> bool:
    """Whether a hook is on the forward or backward pass of whatever module."""
    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return any(getattr(module_hooks, f"_global_{name}", None) for name in names)


def _kind_without_rows(tensor: Tensor) -> str | None:
    """What makes a tensor one that cannot be stacked; None for others."""
    if is_lazy(tensor):
        return None
    if tensor.layout != torch.strided:
        return f"sparse ({tensor.layout})"
    if tensor.is_quantized:
        return f"quantized ({tensor.dtype})"
    return "on the device 'meta', which keeps shapes alone" if tensor.is_meta else None


def _check_parameter(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise InputError(
            f"parameter {name!r} has no shape yet; call the module once on an example before it is "
            "packed"
        )
    hooks = getattr(parameter, "_backward_hooks", None)
    if hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
        how = "register_hook" if hooks else "register_post_accumulate_grad_hook"
        raise InputError(
            f"parameter {name!r} has a hook on its gradient ({how}), which the replicas of a pack, "
            "whose weights are stacked, would not call; do in forward what it does"
        )
    if not parameter.requires_grad:
        return
    if parameter.is_complex():
        raise InputError(
            f"trained parameters must be real, but {name!r} is {parameter.dtype}; hold its real "
            "and imaginary parts as two parameters"
        )
    if parameter.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"trained parameters must be float32 or float64, but {name!r} is {parameter.dtype}, "
            "in which small steps of SGD are rounded away; build the network with .float(), and "
            'for fast products set the training option precision = "bf16"'
        )


def watch(module: nn.Module, inputs: Tensor, seed: int) -> Watched:
    """Run copies of a module on examples, on others and on the first again, in the mode in which it
    trains and in evaluation mode.

    Each time it has the same weights, buffers and masks of dropout, so that between the first time
    and the last only what it keeps elsewhere can make a difference. What it writes and never reads,
    such as activations kept as an attribute, makes none.

    Args:
        module: left as it is, as are PyTorch's, NumPy's and Python's random numbers.
        inputs: (n, *shape).
        seed: of its dropout.

    Raises:
        InputError: if forward draws random numbers that are not dropout's, keeps state that is no
            buffer, hooks on gradients, runs under autocast, or changes buffers
            in evaluation mode; naming it. Not if forward fails: whoever runs it next says so.
    """
    entropy = _Entropy()
    with _random_numbers_left_as_they_are(), entropy.counted():
        trained, evaluated = copied(module), copied(module).eval()
        try:
            training = _Runs(module, trained, inputs, seed, "training", entropy)
            training.there_and_back()
            evaluation = _Runs(module, evaluated, inputs, seed, "evaluation", entropy)
            evaluation.there_and_back()
            # What training left behind, and evaluation may read.
            after = _Runs(module, trained.eval(), inputs, seed, "evaluation", entropy).once(inputs)
        except InputError:
            raise
        except Exception:  # it runs the user's code, which may raise anything
            return Watched()
    if not same_values(evaluation.output, after):
        raise InputError(_KEPT.format(what=training.kept(), mode="training"))
    buffers = dict(module.named_buffers())
    updated = [name for name in evaluation.updated if name in buffers]
    if updated:
        raise InputError(
            f"forward changes the buffer {updated[0]!r} in evaluation mode too, so that "
            "training would depend on when and on how many examples it is evaluated; change it "
            "under `if self.training:`"
        )
    return Watched(training.updated, training.coarsest(computing_type(module)))


def computing_type(module: nn.Module) -> torch.dtype:
    """Of its first trained parameter."""
    return next(p.dtype for p in module.parameters() if p.requires_grad)


def made_buffers(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """Those that the module has after its forward and had not before."""
    had = {name for name, _ in before.named_buffers(remove_duplicate=False)}
    return {name: b for name, b in after.named_buffers() if name not in had}


class _Runs:
    """Runs of one copy of a module.

    Attributes:
        output: of the first run.
        updated: buffers and parameters that the first run changed.
    """

    def __init__(
        self,
        module: nn.Module,
        copy: nn.Module,
        inputs: Tensor,
        seed: int,
        mode: str,
        entropy: "_Entropy",
    ) -> None:
        self._module, self._copy, self._entropy = module, copy, entropy
        self._inputs, self._seed, self._mode = inputs, seed, mode
        self._seen: set[torch.dtype] = set()
        self._start: Snapshot = {}
        self._first: Snapshot = {}
        self.output = inputs
        self.updated: tuple[str, ...] = ()

    def there_and_back(self) -> None:
        self._start = python_state(self._copy)
        before = _random_state()
        self.output = self.once(self._inputs)
        moved = [name for name, state in _random_state().items() if not _equal(state, before[name])]
        if moved:
            raise self._draws_from(moved[0])
        self._first = python_state(self._copy)
        self.updated = tuple(
            name
            for name, tensor in (*self._module.named_buffers(), *self._module.named_parameters())
            if not _equal(tensor.detach(), _tensor(self._copy, name).detach())
        )
        try:
            self.once(mixed_examples(self._inputs, torch.Generator().manual_seed(0)))
        except InputError:
            raise
        except Exception:  # examples that are none to the user's code
            self.once(self._inputs)
        asked = self._entropy.calls  # the first run may have asked for what it needs once
        again = self.once(self._inputs)
        if self._entropy.calls > asked:
            raise self._draws_from("the operating system, or a generator without a seed")
        self._check_made()
        moving = changed(self._first, python_state(self._copy))
        if moving:
            raise InputError(_KEPT.format(what=moving[0], mode=self._mode))
        if not same_values(self.output, again):
            raise InputError(_KEPT.format(what=self.kept(), mode=self._mode))

    def _draws_from(self, source: str) -> InputError:
        return InputError(
            f"packed training repeats every step, but in {self._mode} {self._who_draws()} "
            f"draws from {source}; rewrite it (random numbers: nn.Dropout is supported)"
        )

    def _check_made(self) -> None:
        """Buffers that forward makes, such as tables of positions, are constants."""
        made = made_buffers(self._module, self._copy)
        if not made:
            return
        moved = copied(self._module)
        with torch.no_grad():
            for parameter in moved.parameters():
                if parameter.requires_grad:
                    parameter.mul_(1 + _MOVED).add_(_MOVED)
        copy = copied(moved)
        for mine, theirs in zip(copy.modules(), self._copy.modules(), strict=True):
            mine.training = theirs.training
        _Runs(moved, copy, self._inputs, self._seed, self._mode, self._entropy).once(
            self._inputs.flip(0)
        )
        again = made_buffers(moved, copy)
        for name, buffer in made.items():
            if name not in again or not _equal(buffer, again[name]):
                raise InputError(_MADE.format(name=name, mode=self._mode))

    def once(self, inputs: Tensor) -> Tensor:
        """A run from the buffers and parameters of the module."""
        with torch.no_grad():
            for own, parameter in zip(
                self._copy.parameters(), self._module.parameters(), strict=True
            ):
                own.copy_(parameter)
        for name, buffer in self._module.named_buffers(remove_duplicate=False):
            path, _, kind = name.rpartition(".")
            mine = self._copy.get_submodule(path)._buffers[kind]
            if mine is None or mine.shape != buffer.shape or mine.dtype != buffer.dtype:
                self._copy.get_submodule(path)._buffers[kind] = buffer.detach().clone()
            else:
                with torch.no_grad():
                    mine.copy_(buffer)
        draws = Draws([self._seed], 0)
        watcher = _Watcher(draws, self._inputs.device, self._seen)
        with torch.set_grad_enabled(self._mode == "training"), watcher:
            output = self._copy(inputs.clone())
        if draws.used and self._mode == "evaluation":
            raise InputError(
                "forward draws dropout in evaluation mode too, so that no accuracy would be that "
                "of the network; call it with training=self.training (attention: with "
                "dropout_p=0.0 in evaluation)"
            )
        if not isinstance(output, Tensor):
            raise TypeError("forward returns something else than one tensor")
        return output.detach()

    def kept(self) -> str:
        """A name for what is kept, when no value that Python can compare goes on changing."""
        once = changed(self._start, self._first)
        tensors = [
            f"attribute {f'{path}.{name}'.removeprefix('.')!r}"
            for path, layer in self._copy.named_modules()
            for name, value in vars(layer).items()
            if isinstance(value, Tensor)
        ]
        return [*once, *tensors, "something that is no attribute"][0]

    def coarsest(self, own: torch.dtype) -> torch.dtype | None:
        resolution = torch.finfo(own).eps
        seen = [t for t in _COARSE if t in self._seen and torch.finfo(t).eps > resolution]
        return seen[0] if seen else None

    def _who_draws(self) -> str:
        """The innermost layer that draws."""
        drew: list[str] = []
        states: list[dict[str, Any]] = []

        def state() -> dict[str, Any]:
            return {**_random_state(), "asked": self._entropy.calls}

        def enter(module: nn.Module, args: Any) -> None:
            states.append(state())

        def leave(path: str) -> Callable[..., None]:
            def note(module: nn.Module, args: Any, output: Any) -> None:
                before = states.pop()
                if any(not _equal(v, before[k]) for k, v in state().items()):
                    drew.append(path)

            return note

        for path, layer in self._copy.named_modules():
            layer.register_forward_pre_hook(enter, prepend=True)
            layer.register_forward_hook(leave(path))
        self.once(self._inputs)
        if not drew or not drew[0]:
            return "forward"
        return f"layer {drew[0]!r} ({type(self._copy.get_submodule(drew[0])).__name__})"


class _Watcher(OwnDropout):
    """Refuses hooks on the gradients of activations, which tracing and ``vmap`` lose, and autocast,
    which ``vmap`` applies to parts of operations; notes the types in which forward computes."""

    def __init__(self, draws: Draws, device: torch.device, seen: set[torch.dtype]) -> None:
        super().__init__(draws, torch.tensor(0, device=device))
        self._seen, self._kind = seen, device.type
        self._around = torch.is_autocast_enabled(device.type)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _HOOKING:
            raise InputError(
                f"forward hooks on a gradient ({func.__name__}), which the replicas of a pack "
                "would not call; use operations with the gradient you want"
            )
        if torch.is_autocast_enabled(self._kind) and not self._around:
            raise InputError(
                "forward runs under torch.autocast, where packed products would be rounded "
                "otherwise than its own; leave autocast out, and for fast products set the "
                'training option precision = "bf16"'
            )
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tensor):
            self._seen.add(result.dtype)
        return result


def _tensor(module: nn.Module, name: str) -> Tensor:
    path, _, kind = name.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(path), kind)
    return tensor


def _random_state() -> dict[str, Any]:
    """Global sources of random numbers that a forward may draw from, and where they are."""
    sources = {
        "Python's random numbers": random.getstate(),
        "NumPy's random numbers": repr(_numpy_state()),
        "PyTorch's random numbers": torch.get_rng_state(),
    }
    if _cuda_runs():
        sources["CUDA's random numbers"] = torch.cuda.get_rng_state()
    return sources


class _Entropy:
    """Counts how often the operating system is asked for random numbers: by os.urandom and
    SystemRandom, and by generators of Python and NumPy that are made without a seed.

    Attributes:
        calls: counted so far.
    """

    def __init__(self) -> None:
        self.calls = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While this lasts; no other thread may draw meanwhile."""
        urandom, seed = os.urandom, random.Random.seed

        def counting(size: int, /) -> bytes:
            self.calls += 1
            return urandom(size)

        def seeding(generator: random.Random, a: Any = None, version: int = 2) -> None:
            self.calls += a is None
            seed(generator, a, version)

        # SystemRandom has a name of its own for os.urandom; NumPy asks SystemRandom.
        patched: list[tuple[Any, str, Any]] = [
            (os, "urandom", counting),
            (random, "_urandom", counting),
            (random.Random, "seed", seeding),
        ]
        patched = [patch for patch in patched if patch[1] in vars(patch[0])]
        before = [(owner, name, vars(owner)[name]) for owner, name, _ in patched]
        try:
            for owner, name, function in patched:
                setattr(owner, name, function)
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)


def _numpy_state() -> dict[str, Any]:
    state: dict[str, Any] = dict(np.random.get_state(legacy=False))  # noqa: NPY002 - what users call
    return state | {"state": {k: np.asarray(v).tolist() for k, v in state["state"].items()}}


def _cuda_runs() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def _random_numbers_left_as_they_are() -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if _cuda_runs() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
    return bool(a == b)
