"""Chooses the engine that trains a set of modules, and makes it prove itself."""

from collections.abc import Callable, Container, Sequence

import torch
from torch import Tensor, nn

from widthwise.engines.autograd_pack import AutogradPack, Forward
from widthwise.engines.base import EngineChoice, Pack
from widthwise.engines.chain import ChainLayer, is_chain, read_chain
from widthwise.engines.chain_pack import ChainPack
from widthwise.engines.compiled.library import lacking
from widthwise.engines.compiled_pack import CompiledPack, require_compiled
from widthwise.engines.layer_rules import LAYER_RULES
from widthwise.engines.modules import NotPackableError, check_alike, copied, first_line
from widthwise.engines.program import Program
from widthwise.engines.proof import prove, require_logits
from widthwise.engines.python_state import changed, python_state
from widthwise.engines.vmapped import vmapped_forward
from widthwise.engines.watching import Watched, check_parameters, watch
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

# (modules, learning rates (R,), momenta (R,), recipe, seeds) → pack
_Build = Callable[[Sequence[nn.Module], Tensor, Tensor, Recipe, Sequence[int]], Pack]

_CHAIN = "a chain of dense layers and activations"


def pack(
    modules: Sequence[nn.Module],
    learning_rates: Sequence[float] | Tensor,
    momenta: Sequence[float] | Tensor | None = None,
    *,
    recipe: Recipe | None = None,
    seeds: Sequence[int] | None = None,
    example: tuple[Tensor, Tensor] | None = None,
    engine: EngineChoice = "auto",
) -> Pack:
    """Stack modules of one architecture for training together by SGD.

    The modules are copied, not changed; a copy's forward runs first, to see whether it keeps
    anything that replicas could not follow. Layers train in the mode (training or evaluation) in
    which they are. A chain of dense layers and activations gets engines of its own: compiled code
    where its parameters are float32 on a CPU, batched products elsewhere; what else
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
            logits, its first gradient steps and its running statistics against those of the
            modules. Without it nothing is proved, and packed forms other than chains, which
            depend on shapes, are not used.
        engine: "auto" takes the first of "compiled" (float32 on a CPU), "chain", "graph" and
            "vmap" that proves equal; a name takes that one or none.

    Raises:
        InputError: if the engine that was asked for cannot, the modules differ in shape, contain a
            layer that no engine can serve (named), their forward keeps state or draws random
            numbers that replicas cannot follow (named), or the packed arithmetic does not agree
            with the modules' own.
    """
    if not modules:
        raise InputError("a pack needs at least one module, got none")
    rates = torch.as_tensor(learning_rates, dtype=torch.float64)
    decays = (
        torch.zeros_like(rates) if momenta is None else torch.as_tensor(momenta, dtype=rates.dtype)
    )
    numbers = range(len(modules)) if seeds is None else seeds
    _check(modules, rates, decays, numbers)
    build = _choose(modules, example, recipe or Recipe(), numbers, engine)
    return build(modules, rates, decays, recipe or Recipe(), numbers)


def not_compiled(module: nn.Module, recipe: Recipe) -> str | None:
    """Why compiled code, which is for such a module on a CPU, does not train it on this machine, in
    one line; None if it does, if it is for others, or if none is wanted."""
    return lacking() if _in_float32(module, recipe) and is_chain(module) else None


def _choose(
    modules: Sequence[nn.Module],
    example: tuple[Tensor, Tensor] | None,
    recipe: Recipe,
    seeds: Sequence[int],
    wanted: EngineChoice,
) -> _Build:
    """The first engine that reads the module and agrees with it; whatever goes wrong in one, the
    next is tried."""
    watched = Watched()
    if example is not None:
        watched = watch(modules[0], example[0], seeds[0])
        pair = _pair(modules)
        few, few_seeds = [modules[i] for i in pair], [seeds[i] for i in pair]
        require_logits(few, *example)

    def proved(build: _Build) -> _Build:
        if example is not None:
            ones = torch.ones(len(few), dtype=torch.float64)

            def plain(copies: Sequence[nn.Module], plain_recipe: Recipe) -> Pack:
                return build(copies, ones, 0 * ones, plain_recipe, few_seeds)

            prove(plain, few, *example, recipe, few_seeds, watched.coarsest)
        return build

    def failed(engine: str, error: Exception) -> str:
        reason = _reason(error)
        if wanted == engine:
            raise InputError(
                f'engine "{engine}" was asked for, but it cannot train these networks: {reason}; '
                'take "auto"'
            ) from error
        return reason

    reason = f'engine "{wanted}" was asked for'
    layers: Sequence[ChainLayer] = ()
    if wanted in ("auto", "compiled", "chain"):
        try:
            _require_no_updates(watched)
            layers = read_chain(modules[0])
        except Exception as error:  # it runs the user's code, which may raise anything
            reason = failed("chain" if wanted == "auto" else wanted, error)
    if layers:
        why = _CHAIN
        try:
            if wanted == "compiled" or (wanted == "auto" and _in_float32(modules[0], recipe)):
                require_compiled(modules[0], recipe)
                return proved(_compiled(layers))
        except Exception as error:
            why = f"{_CHAIN}; not compiled: {failed('compiled', error)}"
        try:
            return proved(_chain(layers, why))
        except Exception as error:
            reason = failed("chain", error)
    if example is None and wanted == "auto":
        reason = "no example to prove a packed form on"
    elif wanted in ("auto", "graph"):
        try:
            _require_no_updates(watched, but_by=LAYER_RULES, module=modules[0])
            return proved(_graph(modules[0], reason))
        except Exception as error:
            reason = failed("graph", error)
    try:
        proved(_vmap(modules[0], reason))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            "packed training needs a network that torch.func.vmap can run and differentiate, but "
            f"{_reason(error)}; rewrite what the message names"
        ) from error
    return _vmap(modules[0], reason)  # afresh: forward may have left something in its layers


def _reason(error: Exception) -> str:
    if isinstance(error, NotPackableError | InputError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"


def _pair(modules: Sequence[nn.Module]) -> list[int]:
    """Two replicas that tell whether all are kept apart: the first, and one that differs from it in
    what an engine might take from the first alone."""
    first = modules[0]
    others = [i for i in range(1, len(modules)) if modules[i] is not first]
    state, buffers = python_state(first), dict(first.named_buffers())
    for i in others:
        theirs = dict(modules[i].named_buffers())
        same = all(torch.equal(buffer, theirs[name]) for name, buffer in buffers.items())
        if not same or changed(state, python_state(modules[i])):
            return [0, i]
    return [0, *(others or range(1, len(modules)))[:1]]


def _require_no_updates(
    watched: Watched, but_by: Container[type[nn.Module]] = (), module: nn.Module | None = None
) -> None:
    """Only layers with rules of their own may change buffers: tracing loses what else changes them,
    and what changes parameters."""
    owners = {} if module is None else dict(module.named_modules())
    buffers = set() if module is None else {name for name, _ in module.named_buffers()}
    for name in watched.updated:
        if name not in buffers or type(owners[name.rpartition(".")[0]]) not in but_by:
            raise NotPackableError(f"forward changes {name!r}")


def _in_float32(module: nn.Module, recipe: Recipe) -> bool:
    """Whether it trains in float32 on a CPU."""
    kinds = {(p.dtype, p.device.type) for p in module.parameters()}
    return kinds == {(torch.float32, "cpu")} and recipe.precision == "float32"


def _compiled(layers: Sequence[ChainLayer]) -> _Build:
    return lambda modules, rates, momenta, recipe, seeds: CompiledPack(
        layers, modules, rates, momenta, recipe
    )


def _chain(layers: Sequence[ChainLayer], reason: str) -> _Build:
    return lambda modules, rates, momenta, recipe, seeds: ChainPack(
        layers, modules, rates, momenta, recipe, reason
    )


def _graph(module: nn.Module, reason: str) -> _Build:
    return _autograd(Program(module), Program(_evaluating(module)), "graph", reason)


def _vmap(module: nn.Module, reason: str) -> _Build:
    forwards = vmapped_forward(module), vmapped_forward(_evaluating(module))
    return _autograd(*forwards, "vmap", reason)


def _evaluating(module: nn.Module) -> nn.Module:
    return copied(module).eval()


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
    check_parameters(modules)
    check_alike(modules)
