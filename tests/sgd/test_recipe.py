"""Recipes: the paper's setting by default, and everything that contradicts itself refused."""

import dataclasses
import math

import pytest

from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe


def test_the_default_is_the_papers_setting():
    assert dataclasses.asdict(Recipe()) == {
        "nesterov": False,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "decay_at": (),
        "decay_factor": 0.1,
        "loss": "cross-entropy",
        "label_smoothing": 0.0,
        "augmentation": "none",
        "crop_padding": 4,
        "ghost_batch_size": None,
        "precision": "float32",
    }


REFUSED = {
    "schedule": ({"schedule": "linear"}, "constant, cosine, step, got 'linear'"),
    "loss": ({"loss": "hinge"}, "cross-entropy, mean-squared-error, got 'hinge'"),
    "augmentation": ({"augmentation": "rotate"}, "none, flip, crop, crop-flip, got 'rotate'"),
    "precision": ({"precision": "fp8"}, "float32, tf32, bf16, got 'fp8'"),
    "negative decay": ({"weight_decay": -0.1}, r"weight_decay must lie in \[0, ∞\), got -0.1"),
    "endless decay": ({"weight_decay": math.inf}, "weight_decay"),
    "decay no number": ({"weight_decay": math.nan}, "weight_decay"),
    "warm-up of all": ({"warmup": 1.0}, r"warmup is a part of the run in \[0, 1\), got 1.0"),
    "warm-up no number": ({"warmup": math.nan}, "warmup"),
    "all smooth": ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\)"),
    "smoothed squares": (
        {"label_smoothing": 0.1, "loss": "mean-squared-error"},
        "label_smoothing goes with cross-entropy, got loss 'mean-squared-error'",
    ),
    "factor 0": ({"decay_factor": 0.0}, r"decay_factor must lie in \(0, ∞\), got 0.0"),
    "endless factor": ({"decay_factor": math.inf}, "decay_factor"),
    "not ascending": ({"schedule": "step", "decay_at": (0.5, 0.5)}, "ascending parts"),
    "beyond the run": ({"schedule": "step", "decay_at": (0.5, 1.0)}, "ascending parts"),
    "step at no time": ({"schedule": "step"}, "go together, got schedule 'step'"),
    "times of no step": ({"decay_at": (0.5,)}, "go together, got schedule 'constant'"),
    "decay in warm-up": (
        {"schedule": "step", "decay_at": (0.1, 0.5), "warmup": 0.2},
        "decay_at must begin after the warm-up, got 0.1 with warmup 0.2",
    ),
    "much padding": ({"crop_padding": 2**64}, "crop_padding must be at most 1024, got 1844"),
    "no padding": ({"crop_padding": 0}, "crop_padding must be at least 1, got 0"),
    "ghosts of one": ({"ghost_batch_size": 1}, "ghost_batch_size must be at least 2, got 1"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("augmentation", "crops", "flips"),
    [
        ("none", False, False),
        ("flip", False, True),
        ("crop", True, False),
        ("crop-flip", True, True),
    ],
)
def test_what_an_augmentation_does(augmentation, crops, flips):
    recipe = Recipe(augmentation=augmentation)
    assert (recipe.crops, recipe.flips) == (crops, flips)


@pytest.mark.parametrize(
    ("changes", "constant"),
    [
        ({}, True),
        ({"nesterov": True, "weight_decay": 0.1}, True),
        ({"warmup": 0.1}, False),
        ({"schedule": "cosine"}, False),
        ({"schedule": "step", "decay_at": (0.5,)}, False),
    ],
)
def test_whether_the_rate_is_constant(changes, constant):
    assert Recipe(**changes).constant_rate == constant
