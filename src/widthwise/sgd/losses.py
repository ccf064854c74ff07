"""The losses, batched over replicas: value and gradient written out, so that every engine shares
them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.sgd.recipe import LossKind, Recipe


def loss_and_gradient(logits: Tensor, targets: Tensor, losses: Tensor, recipe: Recipe) -> Tensor:
    """Every replica's mean loss over its batch, and what pulls its logits.

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
    return _GRADIENTS[recipe.loss](logits, targets.unsqueeze(2), losses, recipe)


def evaluation_losses(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Each example's loss as it is reported: without label smoothing, which is of training only.

    Args:
        logits: (R, n, C).
        targets: (n,) class indices, the same examples for every replica.
        recipe: which loss.

    Returns:
        (R, n).
    """
    return _EVALUATIONS[recipe.loss](logits, targets)


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


def _evaluate_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    expanded = targets.expand(logits.shape[0], -1)
    return functional.cross_entropy(logits.transpose(1, 2), expanded, reduction="none")


def _evaluate_mean_squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    one_hot = functional.one_hot(targets, logits.shape[2]).to(logits.dtype)
    return (logits - one_hot).square().mean(2)


_GRADIENTS: dict[LossKind, Callable[[Tensor, Tensor, Tensor, Recipe], Tensor]] = {
    "cross-entropy": _cross_entropy,
    "mean-squared-error": _mean_squared_error,
}
_EVALUATIONS: dict[LossKind, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": _evaluate_cross_entropy,
    "mean-squared-error": _evaluate_mean_squared_error,
}
