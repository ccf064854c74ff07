"""Evaluates packs: loss and accuracy of every replica on the same examples."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from widthwise.engines import Pack, TrainsChunks
from widthwise.engines.modules import copied
from widthwise.sgd.losses import evaluation_losses
from widthwise.sgd.recipe import Recipe

# Examples in flight while a pack is evaluated, at most.
EVALUATION_ROWS = 512
# Floats of one layer's outputs that may be in flight whatever the weights: a core's share of the
# cache. A constant, because the order in which floats are summed follows from it.
_FLOATS_IN_FLIGHT = 1 << 20


def evaluate(
    packed: Pack, inputs: Tensor, labels: Tensor, recipe: Recipe, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean loss (without label smoothing) and accuracy of every replica, each (R,).

    Args:
        packed: R replicas; they compute in evaluation mode.
        inputs: (n, *shape).
        labels: (n,).
        recipe: its loss.
        rows: examples at a time, see :func:`evaluation_rows`.
    """
    if isinstance(packed, TrainsChunks):
        loss, correct = packed.evaluate(inputs, labels)
    else:
        loss, correct = _totals(packed, inputs, labels, recipe, rows)
    return (loss / len(labels)).cpu().numpy(), (correct.double() / len(labels)).cpu().numpy()


def _totals(
    packed: Pack, inputs: Tensor, labels: Tensor, recipe: Recipe, rows: int
) -> tuple[Tensor, Tensor]:
    """Sums of losses and numbers of correct answers, each (R,)."""
    loss = torch.zeros(packed.num_replicas, dtype=torch.float64, device=inputs.device)
    correct = torch.zeros(packed.num_replicas, dtype=torch.int64, device=inputs.device)
    for first in range(0, len(labels), rows):
        x, y = inputs[first : first + rows], labels[first : first + rows]
        logits = packed.logits(x)
        correct += (logits.argmax(2) == y).sum(1)
        loss += evaluation_losses(logits, y, recipe).sum(1, dtype=torch.float64)
    return loss, correct


def evaluation_rows(largest_activation: int, num_parameters: int, num_replicas: int) -> int:
    """Examples to evaluate at a time: as many as keep a layer's outputs in the cache, but enough
    that the weights, which are read anew each time, are no more than the outputs.

    Args:
        largest_activation: floats an example of one replica, see :func:`largest_activation`.
        num_parameters: floats of one replica's weights.
        num_replicas: R.

    Returns:
        In [1, EVALUATION_ROWS]; it depends on nothing but sizes.

    >>> evaluation_rows(256, 270_000, num_replicas=16)  # a dense network
    512
    >>> evaluation_rows(16 * 32 * 32, 50_000, num_replicas=16)  # a convolutional one
    4
    """
    floats = max(_FLOATS_IN_FLIGHT, num_replicas * num_parameters)
    return max(1, min(EVALUATION_ROWS, floats // (num_replicas * largest_activation)))


@torch.no_grad()
def largest_activation(module: nn.Module, inputs: Tensor) -> int:
    """Floats an example of the largest output of a layer that has parameters of its own (what
    comes before the first of them is the same for all replicas): inputs (n, *shape).

    The module is left as it is: a copy runs, in evaluation mode.

    >>> largest_activation(nn.Sequential(nn.Flatten(), nn.Linear(9, 5)), torch.zeros(2, 3, 3))
    5
    """
    sizes: list[int] = []

    def note(layer: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    copy = copied(module).eval()
    for layer in copy.modules():
        if any(True for _ in layer.parameters(recurse=False)):
            layer.register_forward_hook(note)
    copy(inputs)
    return max([1, *(size // len(inputs) for size in sizes)])
