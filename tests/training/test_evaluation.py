"""Evaluation in parts: how many examples at a time, and that it does not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from widthwise.engines import pack
from widthwise.sgd.recipe import Recipe
from widthwise.training.evaluation import (
    EVALUATION_ROWS,
    evaluate,
    evaluation_rows,
    largest_activation,
)

SIZES = st.integers(1, 10**8)


@given(SIZES, SIZES, st.integers(1, 1000))
def test_rows_lie_within_their_bounds(activation, parameters, replicas):
    assert 1 <= evaluation_rows(activation, parameters, replicas) <= EVALUATION_ROWS


@given(SIZES, SIZES, st.integers(1, 1000))
def test_larger_activations_never_give_more_rows(activation, parameters, replicas):
    rows = evaluation_rows(activation, parameters, replicas)
    assert evaluation_rows(2 * activation, parameters, replicas) <= rows


def test_outputs_in_flight_stay_in_cache_or_below_the_weights():
    rows = evaluation_rows(10_000, 1_000, 16)
    assert 0.8 * 2**20 < rows * 16 * 10_000 <= 2**20
    wide = evaluation_rows(10_000, 10**6, 16)
    assert 0.8 * 16 * 10**6 < wide * 16 * 10_000 <= 16 * 10**6


class TestLargestActivation:
    def test_of_layers_with_parameters(self):
        module = nn.Sequential(
            nn.Upsample(scale_factor=2),  # the same for every replica
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Flatten(),
            nn.Linear(4 * 64, 7),
        )
        assert largest_activation(module, torch.zeros(3, 1, 4, 4)) == 4 * 64

    def test_of_a_module_with_parameters_of_its_own(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(1))

            def forward(self, x):
                return self.scale * x

        assert largest_activation(Scaled(), torch.zeros(2, 5)) == 5

    def test_of_nothing(self):
        assert largest_activation(nn.Flatten(), torch.zeros(2, 5)) == 1

    def test_the_module_is_left_as_it_was(self):
        module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        largest_activation(module, torch.randn(8, 4))
        assert module.training
        assert module[1].num_batches_tracked == 0
        assert not module[0]._forward_hooks


def sample():
    generator = torch.Generator().manual_seed(0)
    modules = [nn.Sequential(nn.Linear(5, 3)).double() for _ in range(2)]
    inputs = torch.randn(23, 5, generator=generator, dtype=torch.float64)
    return modules, inputs, torch.randint(3, (23,), generator=generator)


@pytest.mark.parametrize("rows", [1, 7, 23, 512])
@pytest.mark.parametrize("loss", ["cross-entropy", "mean-squared-error"])
def test_parts_do_not_matter(rows, loss):
    modules, inputs, labels = sample()
    found_loss, found_accuracy = evaluate(
        pack(modules, [0.1, 0.1]), inputs, labels, Recipe(loss=loss), rows
    )
    for i, module in enumerate(modules):
        logits = module(inputs).detach()
        if loss == "cross-entropy":
            expected = nn.functional.cross_entropy(logits, labels)
        else:
            one_hot = nn.functional.one_hot(labels, 3).double()
            expected = nn.functional.mse_loss(logits, one_hot)
        assert found_loss[i] == pytest.approx(float(expected), rel=1e-12)
        assert found_accuracy[i] == np.mean((logits.argmax(1) == labels).numpy())


def test_label_smoothing_is_of_training_only():
    modules, inputs, labels = sample()
    plain, smoothed = (
        evaluate(pack(modules, [0.1, 0.1]), inputs, labels, recipe, 23)
        for recipe in (Recipe(), Recipe(label_smoothing=0.3))
    )
    np.testing.assert_array_equal(plain, smoothed)
