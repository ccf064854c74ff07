"""A pack's proof on the spot: its logits and its first gradient step are its modules' own."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.packing.base import Pack

# Rounding of sums in another order, with a wide margin; a wrong formula is off by far more.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}


def prove(
    packed: Pack,
    modules: Sequence[nn.Module],
    learning_rates: Tensor,
    inputs: Tensor,
    targets: Tensor,
) -> None:
    """Compare a fresh pack with its modules; the pack is stepped and must not be used afterwards.

    Raises:
        InputError: naming the parameter at which they disagree.
    """
    with torch.no_grad():
        own = torch.stack([module(inputs) for module in modules])
    if not bool(torch.isfinite(own).all()):
        raise InputError(
            "the outputs of a freshly initialized module must be finite numbers, got "
            f"{float(own.abs().max())}; look at its initialization and at the data"
        )
    _compare("the logits", packed.logits(inputs), own)
    before = [packed.parameters(i) for i in range(len(modules))]
    losses = own.new_empty(len(modules))
    batch = inputs.expand(len(modules), *inputs.shape).contiguous()
    packed.step(batch, targets.expand(len(modules), -1), losses)
    for i, module in enumerate(modules):
        reference = deepcopy(module)
        functional.cross_entropy(reference(inputs), targets).backward()  # type: ignore[no-untyped-call]
        after = packed.parameters(i)
        for name, parameter in reference.named_parameters():
            moved = (before[i][name] - after[name]) / float(learning_rates[i])
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(moved)
            # What the update rounds away when it is added to the weight is no error of the step.
            resolution = torch.finfo(moved.dtype).eps * float(parameter.detach().abs().max())
            _compare(
                f"the gradient of {name!r}", moved, gradient, resolution / float(learning_rates[i])
            )


def _compare(what: str, packed: Tensor, own: Tensor, resolution: float = 0.0) -> None:
    scale = float(own.abs().max())
    error = float((packed - own).abs().max()) - 2 * resolution
    if not error <= TOLERANCES[own.dtype] * max(scale, 1e-30):
        raise InputError(
            f"packed training must agree with the module's own arithmetic, but {what} differ by "
            f"{error:.2g} where they reach {scale:.2g}; the module cannot be packed"
        )
