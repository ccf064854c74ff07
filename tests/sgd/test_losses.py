"""All forms of a loss are the one that PyTorch computes."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from widthwise.sgd.losses import LOSSES, evaluation_losses, loss_and_gradient, mean_loss
from widthwise.sgd.recipe import Recipe

REPLICAS, EXAMPLES, CLASSES = 3, 5, 4
RECIPES = [
    Recipe(),
    Recipe(label_smoothing=0.3),
    Recipe(loss="mean-squared-error"),
]


def reference(logits, targets, recipe, smoothing):
    if recipe.loss == "mean-squared-error":
        return functional.mse_loss(logits, functional.one_hot(targets, CLASSES).double())
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def check(recipe):
    """Every form against PyTorch's function and its own derivative, in float64."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(
        REPLICAS, EXAMPLES, CLASSES, dtype=torch.float64, generator=generator
    ).requires_grad_()
    targets = torch.randint(CLASSES, (REPLICAS, EXAMPLES), generator=generator)
    expected = torch.stack(
        [
            reference(own, labels, recipe, recipe.label_smoothing)
            for own, labels in zip(logits, targets, strict=True)
        ]
    )
    (gradient,) = torch.autograd.grad(expected.sum() * EXAMPLES, logits)
    losses = torch.empty(REPLICAS, dtype=torch.float64)
    kept = logits.detach().clone()
    close(loss_and_gradient(logits.detach(), targets, losses, recipe), gradient)
    close(losses, expected)
    close(logits, kept)
    differentiable = mean_loss(recipe)
    close(torch.stack(list(map(differentiable, logits, targets))), expected)
    close(torch.vmap(differentiable)(logits, targets), expected)
    close(
        torch.vmap(torch.func.grad(differentiable))(logits.detach(), targets) * EXAMPLES, gradient
    )
    each = evaluation_losses(logits, targets[0], recipe)
    unsmoothed = [
        [reference(own[i : i + 1], targets[0, i : i + 1], recipe, 0.0) for i in range(EXAMPLES)]
        for own in kept
    ]
    close(each, torch.tensor(unsmoothed, dtype=torch.float64))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, check_stride=False)


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_forms_are_pytorchs(recipe):
    check(recipe)


def test_every_loss_is_checked():
    assert {recipe.loss for recipe in RECIPES} == set(LOSSES)


@pytest.mark.parametrize("form", ["gradient", "examples", "mean"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_form_is_found(monkeypatch, recipe, form):
    right = getattr(LOSSES[recipe.loss], form)

    def wrong(*arguments):
        return right(*arguments) * (1.0 + 1e-6)

    monkeypatch.setitem(
        LOSSES, recipe.loss, dataclasses.replace(LOSSES[recipe.loss], **{form: wrong})
    )
    with pytest.raises(AssertionError):
        check(recipe)


def test_a_loss_value_that_is_not_written_is_found(monkeypatch):
    row = LOSSES["cross-entropy"]

    def wrong(logits, classes, losses, recipe):
        gradient = row.gradient(logits, classes, losses, recipe)
        losses.mul_(1.0 + 1e-6)
        return gradient

    monkeypatch.setitem(LOSSES, "cross-entropy", dataclasses.replace(row, gradient=wrong))
    with pytest.raises(AssertionError):
        check(Recipe())
