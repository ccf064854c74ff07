"""Chooses the engine that trains a set of modules, and makes it prove itself."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from widthwise.engines.autograd_pack import AutogradPack, Forward
from widthwise.engines.base import Pack
from widthwise.engines.chain import ChainLayer, read_chain
from widthwise.engines.chain_pack import ChainPack
from widthwise.engines.modules import NotPackableError, check_alike
from widthwise.engines.program import Program
from widthwise.engines.proof import DisagreementError, prove
from widthwise.engines.vmapped import vmapped_forward
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

# (modules, learning rates (R,), momenta (R,), recipe, seeds) → pack
_Build = Callable[[Sequence[nn.Module], Tensor, Tensor, Recipe, Sequence[int]], Pack]


def pack(
    modules: Sequence[nn.Module],
    learning_rates: Sequence[float] | Tensor,
    momenta: Sequence[float] | Tensor | None = None,
    *,
    recipe: Recipe | None = None,
    seeds: Sequence[int] | None = None,
    example: tuple[Tensor, Tensor] | None = None,
) -> Pack:
    """Stack modules of one architecture for training together by SGD.

    The modules are copied, not changed. Layers train in the mode (training or evaluation) in
    which they are. A chain of dense layers and activations gets an engine of its own; what else
    can be read by torch.fx and consists of layers with a packed form runs in that form; the rest
    runs under ``torch.func.vmap``. ``Pack.engine`` and ``Pack.reason`` say which way was taken
    and why.

    Args:
        modules: R modules with the same parameter names and shapes.
        learning_rates: (R,) positive.
        momenta: (R,) in [0, 1); None is no momentum.
        recipe: loss, weight decay and the rest; None is the default one.
        seeds: (R,) of the replicas' dropout; None counts from 0.
        example: inputs (n, *shape) and targets (n,) on which the pack proves itself: its
            logits, its first gradient step and its running statistics against those of the
            modules. Without it nothing is proved, and packed forms other than chains, which
            depend on shapes, are not used.

    Raises:
        InputError: if the modules differ in shape, contain a layer that no engine can serve
            (named), or the packed arithmetic does not agree with the modules' own.
    """
    if not modules:
        raise InputError("a pack needs at least one module, got none")
    rates = torch.as_tensor(learning_rates, dtype=torch.float64)
    decays = (
        torch.zeros_like(rates) if momenta is None else torch.as_tensor(momenta, dtype=rates.dtype)
    )
    numbers = range(len(modules)) if seeds is None else seeds
    _check(modules, rates, decays, numbers)
    build = _choose(modules, example, recipe or Recipe(), numbers)
    return build(modules, rates, decays, recipe or Recipe(), numbers)


def _choose(
    modules: Sequence[nn.Module],
    example: tuple[Tensor, Tensor] | None,
    recipe: Recipe,
    seeds: Sequence[int],
) -> _Build:
    """The first engine that reads the module and agrees with it."""

    def proved(build: _Build) -> _Build:
        if example is not None:
            few = modules[:2]
            ones = torch.ones(len(few), dtype=torch.float64)

            def plain(copies: Sequence[nn.Module], plain_recipe: Recipe) -> Pack:
                return build(copies, ones, 0 * ones, plain_recipe, seeds[: len(copies)])

            prove(plain, few, *example, recipe, seeds)
        return build

    try:
        layers = read_chain(modules[0])
    except NotPackableError as error:
        reason = str(error)
    else:
        return proved(_chain(layers))
    if example is None:
        reason = "no example to prove a packed form on"
    else:
        try:
            return proved(_graph(modules[0], reason))
        except (NotPackableError, DisagreementError) as error:
            reason = str(error)
    return proved(_vmap(modules[0], reason))


def _chain(layers: Sequence[ChainLayer]) -> _Build:
    return lambda modules, rates, momenta, recipe, seeds: ChainPack(
        layers, modules, rates, momenta, recipe
    )


def _graph(module: nn.Module, reason: str) -> _Build:
    return _autograd(Program(module), Program(_evaluating(module)), "graph", reason)


def _vmap(module: nn.Module, reason: str) -> _Build:
    forwards = vmapped_forward(module), vmapped_forward(_evaluating(module))
    return _autograd(*forwards, "vmap", reason)


def _evaluating(module: nn.Module) -> nn.Module:
    return deepcopy(module).eval()


def _autograd(train: Forward, evaluate: Forward, engine: str, reason: str) -> _Build:
    return lambda modules, rates, momenta, recipe, seeds: AutogradPack(
        modules,
        rates,
        momenta,
        recipe=recipe,
        seeds=seeds,
        train=train,
        evaluate=evaluate,
        engine=engine,
        reason=reason,
    )


def _check(
    modules: Sequence[nn.Module], rates: Tensor, momenta: Tensor, seeds: Sequence[int]
) -> None:
    if rates.shape != (len(modules),) or momenta.shape != rates.shape or len(seeds) != len(rates):
        raise InputError(
            f"one learning rate, one momentum and one seed a module: got {len(modules)} modules, "
            f"{tuple(rates.shape)} learning rates, {tuple(momenta.shape)} momenta, "
            f"{len(seeds)} seeds"
        )
    if not bool(((rates > 0) & torch.isfinite(rates)).all()):
        raise InputError(f"learning rates must be positive and finite, got {rates.tolist()}")
    if not bool(((momenta >= 0) & (momenta < 1)).all()):
        raise InputError(f"momentum must lie in [0, 1), got {momenta.tolist()}")
    if not any(parameter.requires_grad for parameter in modules[0].parameters()):
        raise InputError("the modules have no parameters to train")
    check_alike(modules)
