"""A pack's proof on the spot: its logits, its first step and its running statistics are those of
its modules.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from widthwise.engines.base import Pack
from widthwise.engines.draws import Draws, OwnDropout
from widthwise.errors import InputError
from widthwise.sgd.losses import loss_and_gradient
from widthwise.sgd.recipe import Recipe

# Rounding of sums in another order, with a wide margin; a wrong formula is off by far more.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}
# Gradients that are zero but for rounding, such as that of a bias before batch norm, are compared
# on this part of the scale of the largest.
_SMALL = 1e-2


class DisagreementError(InputError):
    """A pack computes something else than its modules."""


def prove(
    build: Callable[[Sequence[nn.Module], Recipe], Pack],
    modules: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
) -> None:
    """Compare what ``build`` makes of copies of these modules with the modules.

    In float32 a rectifier or a maximum that rounding tips over is no error: what disagrees is
    compared again in float64.

    Args:
        build: gives a pack with learning rates of 1 and no momentum.
        modules: two of them tell whether replicas are kept apart.
        inputs, targets: (n, *shape), (n,).
        recipe: its loss counts; decay, momentum and precision belong to the update.
        seeds: of the modules' dropout.

    Raises:
        InputError: if the modules' outputs are no finite numbers.
        DisagreementError: naming what disagrees.
    """
    plain = Recipe(loss=recipe.loss, label_smoothing=recipe.label_smoothing)
    copies = [deepcopy(module) for module in modules]
    try:
        _prove(build(copies, plain), copies, inputs, targets, plain, seeds)
    except DisagreementError:
        if inputs.dtype != torch.float32:
            raise
        doubled = [deepcopy(module).double() for module in modules]
        _prove(build(doubled, plain), doubled, inputs.double(), targets, plain, seeds)


def _prove(
    packed: Pack,
    modules: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
) -> None:
    own = torch.stack([evaluated(module, inputs) for module in modules])
    if not bool(torch.isfinite(own).all()):
        raise InputError(
            "the outputs of a freshly initialized module must be finite numbers, got "
            f"{float(own.abs().max())}; look at its initialization and at the data"
        )
    _compare("the logits", packed.logits(inputs), own, float(own.abs().max()))
    before = [packed.parameters(i) for i in range(len(modules))]
    batch = inputs.expand(len(modules), *inputs.shape).contiguous()
    packed.step(batch, targets.expand(len(modules), -1), own.new_empty(len(modules)))
    for i, module in enumerate(modules):
        gradients = _gradients(module, inputs, targets, recipe, seeds[i])
        after = packed.parameters(i)
        largest = max((float(g.abs().max()) for g in gradients.values()), default=0.0)
        for name, parameter in module.named_parameters():
            moved = before[i][name] - after[name]
            gradient = gradients.get(name, torch.zeros_like(moved))
            # What the update rounds away when it is added to the weight is no error of the step.
            resolution = torch.finfo(moved.dtype).eps * float(parameter.detach().abs().max())
            scale = max(float(gradient.abs().max()), _SMALL * largest)
            _compare(f"the gradient of {name!r}", moved, gradient, scale, resolution)
        for name, ours in packed.buffers(i).items():
            theirs = module.get_buffer(name)
            # Means that are zero but for rounding are compared on the scale of the variances.
            _compare(f"the buffer {name!r}", ours, theirs, max(1.0, float(theirs.abs().max())))


@torch.no_grad()
def evaluated(module: nn.Module, inputs: Tensor) -> Tensor:
    """A module's outputs in evaluation mode; the module is left in the mode it was in."""
    output: Tensor = deepcopy(module).eval()(inputs)
    return output


def _gradients(
    module: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe, seed: int
) -> dict[str, Tensor]:
    """Of the module by itself; those that take no part are left out. Buffers are updated."""
    with OwnDropout(Draws([seed], 0), torch.tensor(0, device=inputs.device)):
        logits = module(inputs)
    gradient = loss_and_gradient(
        logits.detach().unsqueeze(0), targets.unsqueeze(0), logits.new_empty(1), recipe
    )
    logits.backward(gradient[0] / len(targets))
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def _compare(what: str, packed: Tensor, own: Tensor, scale: float, resolution: float = 0.0) -> None:
    if not packed.is_floating_point():
        packed, own = packed.double(), own.double()
    error = float((packed - own).abs().max()) - 2 * resolution
    if not error <= TOLERANCES[own.dtype] * max(scale, 1e-30):
        raise DisagreementError(
            f"packed training must agree with the module's own arithmetic, but {what} differ by "
            f"{error:.2g} where they reach {scale:.2g}; the module cannot be packed"
        )
