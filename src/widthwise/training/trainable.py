"""Networks that cannot be trained in a pack are recognized before training, with the remedy.

Other checks are of what a network does (:mod:`widthwise.training.networks`); these are of what it
is made of.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from widthwise.errors import InputError, said_by
from widthwise.families import WidthFamily


def check_trainable(family: WidthFamily, module: nn.Module, inputs: Tensor) -> None:
    """Make sure that a network, as its family built it, can be copied and trained.

    Args:
        family: for the message.
        module: just built.
        inputs: a few examples, of the type in which the network computes.

    Raises:
        InputError: naming what hinders it, and the remedy.
    """
    problem = _problem(module, inputs)
    if problem is not None:
        raise InputError(f"the networks of the family {family.name!r} must be trainable, {problem}")


def _problem(module: nn.Module, inputs: Tensor) -> str | None:
    if not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        return (
            "but building one switched gradients off for the whole program; write "
            "`with torch.no_grad():` round the lines that need it"
        )
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return "but TorchScript hides what they compute; return the module that was scripted"
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            return (
                f"but {name!r} belongs to a lazy layer and has no values yet; run one batch in the "
                "function that builds the network"
            )
        if parameter.is_complex():
            return (
                f"but the parameter {name!r} is complex ({parameter.dtype}); keep its real and "
                "imaginary part in a real one, and join them by torch.view_as_complex"
            )
        if not parameter.is_floating_point():
            return (
                f"but the parameter {name!r} holds no real numbers ({parameter.dtype}); register "
                "it as a buffer"
            )
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained and not any(trained):
        return "but no parameter requires a gradient (all are frozen)"
    return _uncopied(module) or _unregistered(module, inputs)


def _uncopied(module: nn.Module) -> str | None:
    try:
        deepcopy(module)
    except Exception as error:
        computed = [name for name, value in _hidden_tensors(module) if not value.is_leaf]
        if not computed:
            return f"but copying one raised {said_by(error)}"
        return (
            f"but {computed[0]!r} is computed from parameters, as old-style weight_norm, "
            "spectral_norm and pruning leave it, and cannot be copied; use "
            "torch.nn.utils.parametrizations, or prune.remove"
        )
    return None


def _unregistered(module: nn.Module, inputs: Tensor) -> str | None:
    """Weights that the module does not know of keep their type when the module changes its own."""
    hidden = [
        *(name for name, value in _hidden_tensors(module) if value.is_floating_point()),
        *_hidden_modules(module),
    ]
    if not hidden or _runs(deepcopy(module).double(), inputs[:1].double()):
        return None
    if not _runs(deepcopy(module), inputs[:1]):
        return None  # what is wrong is something else
    return (
        f"but {hidden[0]!r} is neither parameter nor buffer nor submodule; register it "
        "(nn.Parameter, register_buffer, nn.ModuleList, nn.ModuleDict)"
    )


def _runs(module: nn.Module, inputs: Tensor) -> bool:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module.eval()(inputs)
    except Exception:
        return False
    return True


def _hidden_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in _hidden(module) if isinstance(value, Tensor))


def _hidden_modules(module: nn.Module) -> Iterator[str]:
    return (name for name, value in _hidden(module) if isinstance(value, nn.Module))


def _hidden(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """(name, value) of what plain attributes hold, also in lists and dictionaries."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name in _OWN:
                continue
            where = f"{path}.{name}" if path else name
            if isinstance(value, dict):
                yield from ((f"{where}[{key!r}]", child) for key, child in value.items())
            elif isinstance(value, list | tuple):
                yield from ((f"{where}[{i}]", child) for i, child in enumerate(value))
            else:
                yield where, value


# What PyTorch itself keeps in a module.
_OWN = frozenset(vars(nn.Module()))
