"""Whether a function of the user's builds what a study varies: networks that widen as declared,
with weights that depend on the seed and on nothing else.
"""

import hashlib
from copy import deepcopy

import torch
from torch import Tensor, nn

from widthwise.errors import InputError
from widthwise.families import UserFamily
from widthwise.inspection import Inspection, inspect
from widthwise.inspection.scaling import LayerScaling, read_parameterization, read_scalings
from widthwise.study.context import Context
from widthwise.theory.parameterization import width_rule
from widthwise.training.networks import network_inputs

_SAMPLE = 8
_SEEDS = 8  # that are compared; building more would take long
# Far above rounding, far below what another draw of anything does.
_SAME = 1e-3
# Exponent of σ_init² → how it depends on the widening factor.
_VARIANCE = {-1.0: "falls as 1/w", 0.0: "is the same at every width"}


def check_variation(context: Context) -> None:
    """Make sure that a family of the user's widens, and that equal seeds build equal networks.

    Raises:
        InputError: if it returns one object again and again, builds equal shapes at two widening
            factors, or draws from something else than what is seeded.
    """
    family = context.family
    if not isinstance(family, UserFamily):
        return
    widths = sorted({w for grid in context.spec.grid for w in grid.widening_factor})
    seed = context.spec.grid[0].seeds[0]
    _check_repeatable(family, widths[0], seed, context)
    built: dict[tuple[object, ...], float] = {}
    for width in widths:
        shapes = tuple((name, tuple(t.shape)) for name, t in _tensors(family.build(width, seed)))
        if shapes in built:
            raise InputError(
                f"a widening factor must widen the network, but {family.reference} builds equal "
                f"shapes at {built[shapes]:g} and {width:g}; multiply the widths of its layers by "
                "its argument, and leave out factors that round to the same width"
            )
        built[shapes] = width


def seed_doubts(context: Context) -> list[str]:
    """What to know of a family of the user's whose networks begin alike; empty if they do not."""
    family = context.family
    if not isinstance(family, UserFamily):
        return []
    width = min(w for grid in context.spec.grid for w in grid.widening_factor)
    seeds = sorted({seed for grid in context.spec.grid for seed in grid.seeds})[:_SEEDS]
    begun: dict[str, int] = {}
    for seed in seeds if len(seeds) > 1 else []:
        digest = _digest(family.build(width, seed))
        if digest in begun:
            return [
                f"{family.reference} builds equal weights for the seeds {begun[digest]} and "
                f"{seed}: their runs differ in the order of examples alone, and intervals lack "
                "what initialization adds; draw the weights from PyTorch's generator, which is "
                "seeded before each call (do not seed it yourself), or take a parameter `seed`"
            ]
        begun[digest] = seed
    return []


def parameterization_doubts(context: Context) -> list[str]:
    """What to know of a family of the user's whose weights contradict the parameterization that it
    is declared to have; empty if they do not, or if that cannot be told."""
    family = context.family
    widths = sorted({w for grid in context.spec.grid for w in grid.widening_factor})
    if not isinstance(family, UserFamily) or len(widths) < 2:
        return []
    ends, seed = (widths[0], widths[-1]), context.spec.grid[0].seeds[0]
    networks = [family.build(width, seed) for width in ends]
    try:
        base, target = map(inspect, networks)
    except InputError:
        return []
    drawn = [layer for layer in read_scalings(base, target) if not layer.silent]
    shown = _shown(base, target, drawn)
    if shown is None:
        return []
    rules = [width_rule(name).variance_exponent for name in (family.parameterization, shown)]
    if rules[0] == rules[1]:
        return []
    path = drawn[0].path
    variances = " and ".join(
        f"{network[path].std ** 2:.3g} at {width:g}"
        for network, width in zip((base, target), ends, strict=True)
    )
    return [
        f"{family.reference} is declared {family.parameterization!r}, whose σ_init² "
        f"{_VARIANCE[rules[0]]}, but the σ² of its weights {_VARIANCE[rules[1]]} ({path!r}: "
        f"{variances}): ḡ is computed from what is declared, so that optima of different widths, "
        "and the law, do not compare; begin a study with "
        f'parameterization = "{shown}" under [family], or initialize the network as declared'
    ]


def _shown(base: Inspection, target: Inspection, drawn: list[LayerScaling]) -> str | None:
    """The parameterization of two networks. Where a forward pass divides by itself, the weights
    show only that their variance stays, which is all that "ntk" says of σ_init²."""
    shown = read_parameterization(base, target).parameterization
    fixed = any(layer.sharp for layer in drawn) and all(layer.kinds == {"fixed"} for layer in drawn)
    return "ntk" if shown is None and fixed else shown


def _check_repeatable(family: UserFamily, width: float, seed: int, context: Context) -> None:
    first, again = family.build(width, seed), family.build(width, seed)
    if first is again:
        raise InputError(
            f"{family.reference} must build a new network at every call, but it returned the same "
            "object again; build the network inside the function"
        )
    other = _other_parameter(first, again) or _other_outputs(first, again, context)
    if other is not None:
        raise InputError(
            f"{family.reference} must build equal networks for equal seeds, but {other} "
            f"between two calls with seed {seed}; draw from PyTorch's generator, which is seeded "
            "before each call, or take a parameter `seed` and seed your own generators with it"
        )


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _other_parameter(first: nn.Module, again: nn.Module) -> str | None:
    """Buffers do not count: some are memory to write to. Those that matter change outputs."""
    theirs = dict(again.named_parameters())
    for name, parameter in first.named_parameters():
        if name not in theirs or not torch.equal(parameter, theirs[name]):
            return f"{name!r} differs"
    return None


def _other_outputs(first: nn.Module, again: nn.Module, context: Context) -> str | None:
    """Buffers and Python numbers that were drawn are seen here. A network whose outputs vary by
    themselves tells nothing."""
    inputs = network_inputs(first, context.dataset.train_inputs[:_SAMPLE])

    def outputs(module: nn.Module) -> Tensor:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            output: Tensor = deepcopy(module).eval()(inputs)
        return output

    own, repeated, other = outputs(first), outputs(first), outputs(again)
    scale = float(own.abs().max())
    same = float((own - repeated).abs().max()) <= _SAME * scale
    return "outputs differ" if same and float((own - other).abs().max()) > _SAME * scale else None


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in _tensors(module):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
