"""The losses, one row each: as engines, evaluation and automatic differentiation want them.

For engines value and gradient are written out, batched over replicas, so that all of them share
the same arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.sgd.recipe import LossKind, Recipe


def loss_and_gradient(logits: Tensor, targets: Tensor, losses: Tensor, recipe: Recipe) -> Tensor:
    """Every replica's mean loss over its batch, and its gradient by the logits.

    Args:
        logits: (R, B, C), not changed.
        targets: (R, B) class indices.
        losses: (R,), receives the mean losses.
        recipe: which loss, and its label smoothing.

    Returns:
        (R, B, C), the gradient of the *sum* of the losses over the batch.

    >>> logits, losses = torch.tensor([[[0.0, 0.0]]]), torch.empty(1)
    >>> loss_and_gradient(logits, torch.tensor([[1]]), losses, Recipe())
    tensor([[[ 0.5000, -0.5000]]])
    >>> losses
    tensor([0.6931])
    """
    return LOSSES[recipe.loss].gradient(logits, targets.unsqueeze(2), losses, recipe)


def evaluation_losses(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Each example's loss as it is reported: without label smoothing, which is of training only.

    Args:
        logits: (R, n, C).
        targets: (n,) class indices, the same examples for every replica.
        recipe: which loss.

    Returns:
        (R, n).
    """
    return LOSSES[recipe.loss].examples(logits, targets)


def mean_loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of training for automatic differentiation, of any order and under ``vmap``.

    Returns:
        (logits (n, C), class indices (n,)) → scalar, the mean over the examples.

    >>> mean_loss(Recipe())(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor(0.6931)
    """
    loss = LOSSES[recipe.loss].mean
    return lambda logits, targets: loss(logits, targets, recipe)


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """The forms of one loss.

    Attributes:
        gradient: (logits, classes (R, B, 1), losses, recipe) → gradient, as
            :func:`loss_and_gradient`.
        examples: (logits, targets) → losses, as :func:`evaluation_losses`.
        mean: (logits, targets, recipe) → scalar, as :func:`mean_loss`.
    """

    gradient: Callable[[Tensor, Tensor, Tensor, Recipe], Tensor]
    examples: Callable[[Tensor, Tensor], Tensor]
    mean: Callable[[Tensor, Tensor, Recipe], Tensor]


def _cross_entropy(logits: Tensor, classes: Tensor, losses: Tensor, recipe: Recipe) -> Tensor:
    log_probabilities = torch.log_softmax(logits, 2)
    smoothing, num_classes = recipe.label_smoothing, logits.shape[2]
    torch.mean(log_probabilities.gather(2, classes), (1, 2), out=losses)
    losses.neg_()
    if smoothing > 0.0:
        # (1 − s) · cross-entropy with the label + s · mean cross-entropy with every class.
        losses.mul_(1.0 - smoothing).sub_(log_probabilities.mean((1, 2)), alpha=smoothing)
    gradient = log_probabilities.exp_()
    # An expanded scalar: scatter_add_ wants one value a target.
    minus = gradient.new_full((1, 1, 1), smoothing - 1.0).expand_as(classes)
    gradient.scatter_add_(2, classes, minus)
    if smoothing > 0.0:
        gradient.sub_(smoothing / num_classes)
    return gradient


def _mean_squared_error(logits: Tensor, classes: Tensor, losses: Tensor, recipe: Recipe) -> Tensor:
    one = logits.new_full((1, 1, 1), -1.0).expand_as(classes)
    difference = logits.clone().scatter_add_(2, classes, one)
    torch.mean(difference.square(), (1, 2), out=losses)
    return difference.mul_(2.0 / logits.shape[2])


def _each_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    expanded = targets.expand(logits.shape[0], -1)
    return functional.cross_entropy(logits.transpose(1, 2), expanded, reduction="none")


def _each_mean_squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - _one_hot(targets, logits)).square().mean(2)


def _mean_cross_entropy(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    return functional.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)


def _mean_mean_squared_error(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    return functional.mse_loss(logits, _one_hot(targets, logits))


def _one_hot(targets: Tensor, logits: Tensor) -> Tensor:
    # functional.one_hot looks at values, which vmap forbids.
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (classes == targets.unsqueeze(-1)).to(logits.dtype)


LOSSES: dict[LossKind, LossRow] = {
    "cross-entropy": LossRow(
        gradient=_cross_entropy, examples=_each_cross_entropy, mean=_mean_cross_entropy
    ),
    "mean-squared-error": LossRow(
        gradient=_mean_squared_error,
        examples=_each_mean_squared_error,
        mean=_mean_mean_squared_error,
    ),
}
