"""Schedules against PyTorch's own, and as functions of the step alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    SequentialLR,
)

from widthwise.errors import InputError
from widthwise.sgd.learning_rate import rate_factors
from widthwise.sgd.recipe import Recipe

TOTAL = 40


def torch_rates(make_scheduler, steps=TOTAL):
    """Learning rates that an optimizer at rate 1 goes through."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warmed_up(warmup_steps, then):
    """Linear warm-up whose first factor is 1/W and whose W-th is 1, then another scheduler."""

    def make(optimizer):
        rise = LinearLR(
            optimizer, start_factor=1 / warmup_steps, end_factor=1.0, total_iters=warmup_steps - 1
        )
        return SequentialLR(optimizer, [rise, then(optimizer)], milestones=[warmup_steps])

    return make


def steady(optimizer):
    return ConstantLR(optimizer, factor=1.0, total_iters=1)


def halving_at(*milestones):
    return lambda optimizer: MultiStepLR(optimizer, milestones=list(milestones), gamma=0.5)


ORACLES = {
    "constant": (Recipe(), steady),
    "cosine": (Recipe(schedule="cosine"), lambda o: CosineAnnealingLR(o, T_max=TOTAL)),
    "step": (
        Recipe(schedule="step", decay_at=(0.3, 0.625), decay_factor=0.5),
        halving_at(12, 25),
    ),
    "warm-up, constant": (Recipe(warmup=0.25), warmed_up(10, steady)),
    "warm-up, cosine": (
        Recipe(schedule="cosine", warmup=0.25),
        warmed_up(10, lambda o: CosineAnnealingLR(o, T_max=TOTAL - 10)),
    ),
    # Its milestones count from the end of the warm-up: 20 and 30 of the run.
    "warm-up, step": (
        Recipe(schedule="step", warmup=0.25, decay_at=(0.5, 0.75), decay_factor=0.5),
        warmed_up(10, halving_at(10, 20)),
    ),
}


# PyTorch itself warns of a step order that SequentialLR takes, and of ways it will drop.
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.*", "ignore:.*epoch parameter.*")
@pytest.mark.parametrize(("recipe", "oracle"), ORACLES.values(), ids=ORACLES)
def test_equal_to_torch(recipe, oracle):
    expected = torch_rates(oracle)
    np.testing.assert_allclose(rate_factors(recipe, 0, TOTAL, TOTAL), expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.*")
def test_the_comparison_notices_a_wrong_length():
    recipe, oracle = ORACLES["cosine"]
    wrong = rate_factors(recipe, 0, TOTAL, TOTAL + 1)
    assert np.abs(wrong - torch_rates(oracle)).max() > 1e-3


RECIPES = st.one_of(
    st.builds(Recipe, schedule=st.just("constant"), warmup=st.floats(0, 0.99)),
    st.builds(Recipe, schedule=st.just("cosine"), warmup=st.floats(0, 0.99)),
    st.builds(
        Recipe,
        schedule=st.just("step"),
        warmup=st.floats(0, 0.1),
        decay_at=st.lists(st.floats(0.11, 0.99), min_size=1, max_size=3, unique=True).map(
            lambda parts: tuple(sorted(parts))
        ),
        decay_factor=st.floats(0.01, 1),
    ),
)


@given(RECIPES, st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_any_chunking_gives_the_same(recipe, chunks):
    total = sum(chunks)
    whole = rate_factors(recipe, 0, total, total)
    starts = np.cumsum([0, *chunks[:-1]])
    parts = [rate_factors(recipe, int(s), n, total) for s, n in zip(starts, chunks, strict=True)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert whole.shape == (total,)
    assert ((whole >= 0) & (whole <= 1)).all()


@given(RECIPES, st.integers(1, 200))
def test_rises_then_never_rises_again(recipe, total):
    factors = rate_factors(recipe, 0, total, total)
    warmup_steps = round(recipe.warmup * total)
    assert (np.diff(factors[:warmup_steps]) > 0).all()
    assert (np.diff(factors[warmup_steps:]) <= 0).all()
    if warmup_steps:
        assert factors[warmup_steps - 1] == 1.0


def test_a_warm_up_of_everything():
    np.testing.assert_allclose(
        rate_factors(Recipe(schedule="cosine", warmup=0.99), 0, 4, 4), [0.25, 0.5, 0.75, 1.0]
    )


def test_a_warm_up_shorter_than_a_step_is_none():
    assert rate_factors(Recipe(warmup=0.01), 0, 8, 8).tolist() == [1.0] * 8


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 9), (8, 1), (3, -1)])
def test_steps_outside_the_run(first, count):
    with pytest.raises(InputError, match=f"a run of 8, got {count} steps from {first}"):
        rate_factors(Recipe(), first, count, 8)
