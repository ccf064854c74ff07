"""Builds the networks of a pack as its recipe wants them, and checks that they can be trained."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise.engines.modules import copied
from widthwise.errors import InputError
from widthwise.families import WidthFamily, check_logits
from widthwise.families.ghost_norm import with_ghost_batch_norm
from widthwise.sgd.batches import require_whole_batches
from widthwise.sgd.recipe import Recipe


def build_modules(
    family: WidthFamily, widening_factor: float, seeds: Sequence[int], recipe: Recipe
) -> list[nn.Module]:
    """A network a seed, with ghost batch norm if the recipe says so; equal seeds share one.

    Raises:
        InputError: if a network cannot be built, or ghost batch norm finds no batch norm.
    """
    by_seed = {seed: family.build(widening_factor, seed) for seed in seeds}
    ghost = recipe.ghost_batch_size
    if ghost is not None:
        if not all(_has_batch_norm(module) for module in by_seed.values()):
            raise InputError(
                f"ghost_batch_size = {ghost} needs batch norm, but the networks of the family "
                f"{family.name!r} have none; leave it out"
            )
        by_seed = {seed: with_ghost_batch_norm(m, ghost) for seed, m in by_seed.items()}
    return [by_seed[seed] for seed in seeds]


def computing_dtype(module: nn.Module) -> torch.dtype:
    """The type in which a network computes: of its first parameter of floating point; float32
    without any.

    >>> computing_dtype(nn.Linear(2, 2).double()), computing_dtype(nn.ReLU())
    (torch.float64, torch.float32)
    """
    floating = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(floating, torch.float32)


def network_inputs(
    module: nn.Module, inputs: NDArray[np.float32], device: torch.device | None = None
) -> Tensor:
    """Examples (n, *shape) as the network computes with them; memory is shared where it can be.

    Args:
        device: None is the CPU.
    """
    return torch.from_numpy(inputs).to(device or torch.device("cpu"), computing_dtype(module))


def check_network(
    family: WidthFamily,
    module: nn.Module,
    inputs: Tensor,
    num_classes: int,
    *,
    data: str | None = None,
) -> None:
    """Make sure that a network maps inputs (n, *shape) to logits, in evaluation mode; a copy runs,
    so that running statistics stay as they are.

    Args:
        data: name of the data set, for the message.

    Raises:
        InputError: with what it did instead.
    """
    check_logits(family, copied(module).eval(), inputs, num_classes, data=data)


def check_batch_size(module: nn.Module, batch: Tensor, recipe: Recipe) -> None:
    """Make sure that batch norm has the statistics it needs.

    Args:
        module: one of the networks, in the mode in which it is trained.
        batch: (B, *shape), inputs of the size it is trained on.
        recipe: its ghost batch size.

    Raises:
        InputError: if B is no multiple of the ghost batch size, or a channel has one value only:
            B = 1, unless the layer sees images.
    """
    require_whole_batches(len(batch), recipe.ghost_batch_size)
    if len(batch) > 1 or not _has_batch_norm(module):
        return
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copied(module)(batch)
    except ValueError as error:
        raise InputError(
            "batch norm needs at least two values a channel for its statistics, but batch_size = "
            f"1 gives one ({error}); use larger batches or a network without batch norm"
        ) from error


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())
