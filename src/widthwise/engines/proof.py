"""A pack's proof on the spot: its logits, its first steps and its running statistics are those of
its modules.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.engines.base import Pack, TrainsChunks
from widthwise.engines.draws import Draws, OwnDropout
from widthwise.engines.modules import copied, first_line, mixed_examples
from widthwise.errors import InputError
from widthwise.sgd.losses import loss_and_gradient
from widthwise.sgd.recipe import Recipe
from widthwise.text import listing

# Rounding of sums in another order, with a wide margin; a wrong formula is off by far more.
TOLERANCES = {
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
    torch.float32: 1e-3,
    torch.float64: 1e-9,
}
# Gradients that are zero but for rounding, such as that of a bias before batch norm, are compared
# on this part of the scale of the largest.
_SMALL = 1e-2
# How far weights are moved, in units of their own size, so that what starts at zero (readouts,
# gates) does not hide the gradients before it.
_SHAKE = 0.1


class DisagreementError(InputError):
    """A pack computes something else than its modules."""


def require_logits(modules: Sequence[nn.Module], inputs: Tensor, targets: Tensor) -> None:
    """Make sure that freshly initialized modules give a number for every class.

    Raises:
        InputError: naming what they give instead.
    """
    for module in modules:
        try:
            own: Any = evaluated(copied(module), inputs)
        except Exception:  # it runs the user's code; whoever packs it names the layer that raises
            return
        if not isinstance(own, Tensor):
            raise InputError(
                "forward must return one tensor, a number for every example and class, got "
                f"{_described(own)}; pack a module whose forward returns that tensor"
            )
        if own.ndim != 2 or len(own) != len(inputs) or not own.is_floating_point():
            raise InputError(
                "forward must return a real number for every example and class, "
                f"({len(inputs)}, classes), got shape {tuple(own.shape)} and type {own.dtype}"
            )
        if int(targets.max()) >= own.shape[1]:
            raise InputError(
                f"forward must return a number for every class, but the targets reach "
                f"{int(targets.max())} and it returns {own.shape[1]}"
            )
        if not bool(torch.isfinite(own).all()):
            raise InputError(
                "the outputs of a freshly initialized module must be finite numbers, got "
                f"{float(own.abs().max())}; look at its initialization and at the data"
            )


def _described(value: Any) -> str:
    """An output that is no tensor, and the names of the tensors in it."""
    kind = type(value).__name__
    held = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    names = [repr(name) for name, part in held.items() if isinstance(part, Tensor)]
    if isinstance(value, tuple | list):
        kind += f" of {len(value)}"
    return f"{kind} with {listing(names)}" if names else kind


def prove(
    build: Callable[[Sequence[nn.Module], Recipe], Pack],
    modules: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
    coarsest: torch.dtype | None = None,
) -> None:
    """Compare what ``build`` makes of copies of these modules with the modules: two steps of
    training with an evaluation before and after, and one more with all weights moved a little.

    In float32 a rectifier or a maximum that rounding tips over is no error: what disagrees is
    compared again in float64.

    Args:
        build: gives a pack with learning rates of 1 and no momentum.
        modules: two of them tell whether replicas are kept apart.
        inputs, targets: (n, *shape), (n,).
        recipe: its loss counts; decay, momentum and precision belong to the update.
        seeds: of the modules' dropout.
        coarsest: the coarsest type in which the modules compute, if it is not their own.

    Raises:
        DisagreementError: naming what disagrees.
    """
    plain = Recipe(loss=recipe.loss, label_smoothing=recipe.label_smoothing)
    tolerance = TOLERANCES.get(coarsest or inputs.dtype)
    try:
        _prove_all(build, modules, inputs, targets, plain, seeds, tolerance)
    except DisagreementError as disagreement:
        if not any(p.dtype == torch.float32 for p in modules[0].parameters()):
            raise
        doubled = [copied(module).double() for module in modules]
        wide = inputs.double() if inputs.is_floating_point() else inputs
        try:
            _prove_all(build, doubled, wide, targets, plain, seeds, None)
        except DisagreementError:
            raise
        except Exception:  # a module that insists on a type: the first comparison stands
            raise disagreement from None


def _prove_all(
    build: Callable[[Sequence[nn.Module], Recipe], Pack],
    modules: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
    tolerance: float | None,
) -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = mixed_examples(inputs, generator)
    if not _fits(modules, mixed):
        mixed = inputs
    compare = _Comparison(tolerance)
    copies = [copied(module) for module in modules]
    _prove(
        build(copies, recipe), copies, ((inputs, targets), (mixed, targets)), recipe, seeds, compare
    )
    copies = [_shaken(module, generator) for module in modules]
    if _fits(copies, mixed):
        _prove(build(copies, recipe), copies, ((mixed, targets),), recipe, seeds, compare)


def _prove(
    packed: Pack,
    modules: Sequence[nn.Module],
    batches: Sequence[tuple[Tensor, Tensor]],
    recipe: Recipe,
    seeds: Sequence[int],
    compare: "_Comparison",
) -> None:
    """All steps begin with the same weights, so that only buffers differ from one to the next."""
    own_buffers = [{name for name, _ in module.named_buffers()} for module in modules]
    _prove_logits(packed, modules, batches[0][0], compare)
    start = {
        name: tensor.clone()
        for name, tensor in packed.state().items()
        if not name.startswith("buffers/")
    }
    before = [packed.parameters(i) for i in range(len(modules))]
    for number, (inputs, targets) in enumerate(batches):
        batch = inputs.expand(len(modules), *inputs.shape).contiguous()
        losses = next(iter(before[0].values())).new_empty(len(modules), dtype=_type_of(modules[0]))
        with _by_itself("training"):
            gradients = [
                _gradients(module, inputs, targets, recipe, seed, number)
                for module, seed in zip(modules, seeds, strict=True)
            ]
        packed.step(batch, targets.expand(len(modules), -1), losses, number=number)
        for i, module in enumerate(modules):
            _compare_step(module, before[i], packed.parameters(i), gradients[i], compare)
            _compare_buffers(module, own_buffers[i], packed.buffers(i), compare)
        packed.restore({**packed.state(), **start})
    if isinstance(packed, TrainsChunks):
        for rows in (1, len(batches[0][0])):
            _prove_chunk(packed, *batches[0], rows, compare)
        packed.restore({**packed.state(), **start})
    if len(batches) > 1:  # with the statistics that training left
        _prove_logits(packed, modules, batches[0][0], compare)


def _prove_chunk(
    packed: Pack, inputs: Tensor, targets: Tensor, batch_size: int, compare: "_Comparison"
) -> None:
    """Many steps in one call are those steps one by one."""
    assert isinstance(packed, TrainsChunks)
    start = {name: tensor.clone() for name, tensor in packed.state().items()}
    replicas, steps = packed.num_replicas, packed.steps_of_block + 1
    rows = torch.arange(steps * batch_size, device=inputs.device).view(steps, -1) % len(inputs)
    losses = next(iter(packed.parameters(0).values())).new_empty(steps, replicas)
    single = torch.empty_like(losses)
    factors = torch.full((steps,), _SMALL, dtype=torch.float64)  # short steps: they stay finite
    indices = rows.expand(replicas, -1, -1).contiguous()
    packed.train_steps(inputs, targets, indices, losses, first_number=0, rate_factors=factors)
    together = {name: tensor.clone() for name, tensor in packed.state().items()}
    packed.restore(start)
    for number, chosen in enumerate(rows):
        batch = inputs[chosen].expand(replicas, batch_size, *inputs.shape[1:])
        own = targets[chosen].expand(replicas, -1)
        packed.step(batch, own, single[number], number=number, rate_factor=_SMALL)
    compare("the losses of steps in one call", losses, single, _largest(single))
    for name, tensor in packed.state().items():
        compare(f"{name} after steps in one call", together[name], tensor, _largest(tensor))


def _prove_logits(
    packed: Pack, modules: Sequence[nn.Module], inputs: Tensor, compare: "_Comparison"
) -> None:
    with _by_itself("evaluation"):
        own = torch.stack([evaluated(module, inputs) for module in modules])
    largest = float(own.abs().max()) if own.numel() else 0.0
    given = inputs.clone()
    compare("the logits", packed.logits(given), own, largest)
    if not torch.equal(given.nan_to_num(), inputs.nan_to_num()):
        raise InputError(
            "forward must leave its input as it is, for evaluation reads examples where they lie, "
            "but it overwrites it; begin with x = x.clone()"
        )


@contextmanager
def _by_itself(mode: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # it runs the user's code, which may raise anything
        raise InputError(
            f"a network must run on the examples by itself, but in {mode} mode its forward or its "
            f"backward pass raised {type(error).__name__}: {first_line(error)}"
        ) from error


def _compare_step(
    module: nn.Module,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    gradients: dict[str, Tensor],
    compare: "_Comparison",
) -> None:
    largest = max((_largest(g) for g in gradients.values()), default=0.0)
    for name, parameter in module.named_parameters():
        moved = _minus(before[name], after[name])
        gradient = gradients.get(name, torch.zeros_like(moved))
        # Forward may have changed the weight itself, as an embedding with max_norm does.
        gradient = gradient + _minus(before[name], parameter.detach())
        # What the update rounds away when it is added to the weight is no error of the step.
        resolution = 0.0
        if moved.is_floating_point():
            resolution = torch.finfo(moved.dtype).eps * _largest(parameter.detach())
        scale = max(_largest(gradient), _SMALL * largest)
        compare(f"the gradient of {name!r}", moved, gradient, scale, resolution)
        with torch.no_grad():
            parameter.copy_(before[name])


def _compare_buffers(
    module: nn.Module, names: Container[str], buffers: dict[str, Tensor], compare: "_Comparison"
) -> None:
    """Of these names: others, which forward made, are constants."""
    for name, theirs in module.named_buffers():
        if name not in names:
            continue
        if name not in buffers:
            raise DisagreementError(
                f"a pack must have every buffer of its modules, but {name!r} is missing"
            )
        # Means that are zero but for rounding are compared on the scale of the variances.
        compare(f"the buffer {name!r}", buffers[name], theirs, max(1.0, _largest(theirs)))


@torch.no_grad()
def evaluated(module: nn.Module, inputs: Tensor) -> Tensor:
    """A module's outputs in evaluation mode; its layers are left in the modes they were in."""
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        output: Tensor = module.eval()(inputs.clone())
    finally:
        for layer, mode in modes:
            layer.training = mode
    return output


def _gradients(
    module: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe, seed: int, number: int
) -> dict[str, Tensor]:
    """Of the module by itself; those that take no part are left out. Buffers are updated."""
    with OwnDropout(Draws([seed], number), torch.tensor(0, device=inputs.device)):
        logits = module(inputs.clone())
    gradient = loss_and_gradient(
        logits.detach().unsqueeze(0), targets.unsqueeze(0), logits.new_empty(1), recipe
    )
    # As logits.backward(…), for which PyTorch loads SymPy: half a second of every process.
    (logits * (gradient[0] / len(targets))).sum().backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return gradients


def _type_of(module: nn.Module) -> torch.dtype:
    return next(p.dtype for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def _shaken(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy with its trained parameters moved a little, those that are zero too."""
    copy = copied(module)
    for parameter in copy.parameters():
        if not parameter.requires_grad or parameter.numel() == 0:
            continue
        size = float(parameter.square().mean().sqrt())
        size = size if size > 0.0 else (parameter.shape[0] / parameter.numel()) ** 0.5
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(noise.to(parameter) * (_SHAKE * size))
    return copy


def _fits(modules: Sequence[nn.Module], inputs: Tensor) -> bool:
    """Whether the modules give finite numbers."""
    try:
        outputs = [evaluated(copied(module), inputs) for module in modules]
    except Exception:  # it runs the user's code, which may raise anything
        return False
    return all(bool(torch.isfinite(output).all()) for output in outputs)


class _Comparison:
    """Compares tensors of a pack with those of its modules.

    Args:
        tolerance: of errors in units of the scale; None is that of the type.
    """

    def __init__(self, tolerance: float | None) -> None:
        self._tolerance = tolerance

    def __call__(
        self, what: str, packed: Tensor, own: Tensor, scale: float, resolution: float = 0.0
    ) -> None:
        error = _difference(packed.detach(), own.detach()) - 2 * resolution
        if not error <= self._of(own.dtype) * max(scale, 1e-30):
            raise DisagreementError(
                f"packed training must agree with the module's own arithmetic, but {what} differ "
                f"by {error:.2g} where they reach {scale:.2g}; the module cannot be packed"
            )

    def _of(self, dtype: torch.dtype) -> float:
        own = TOLERANCES.get(dtype, TOLERANCES[torch.float64])
        return (
            own
            if self._tolerance is None or not dtype.is_floating_point
            else max(own, self._tolerance)
        )


def _minus(a: Tensor, b: Tensor) -> Tensor:
    """Of booleans, which PyTorch does not subtract, as numbers."""
    return a.char() - b.char() if a.dtype == torch.bool else a - b


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest; infinite for tensors of different shapes or types, or where one has a number
    and the other has none."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    a, b = _real(a), _real(b)
    error = float((a - b).abs().max())
    if error == error and error != float("inf"):
        return error
    alike = (a == b) | (torch.isnan(a) & torch.isnan(b))
    apart = (a - b).abs()[~alike].nan_to_num(float("inf"), float("inf"))
    return float(apart.max()) if apart.numel() else 0.0


def _largest(tensor: Tensor) -> float:
    """Of the finite magnitudes; 0 without any."""
    if tensor.numel() == 0:
        return 0.0
    values = _real(tensor).abs()
    largest = float(values.max())
    if largest == largest and largest != float("inf"):
        return largest
    return float(values.nan_to_num(0.0, 0.0, 0.0).max())


def _real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.double()
