"""What a pack is fed: every replica its own batches, whatever the others are."""

import pytest
import torch

from widthwise.sgd.augmentation import AugmentedImages, draw_transforms
from widthwise.sgd.batches import batch_indices
from widthwise.sgd.feeding import BatchFeed
from widthwise.sgd.recipe import Recipe

INPUTS = torch.arange(20 * 2 * 3.0).view(20, 2, 3)
LABELS = torch.arange(20)
RECIPES = {
    "plain": Recipe(),
    "augmented": Recipe(augmentation="crop-flip", crop_padding=1),
}


def fed(recipe, seeds, first=0, count=7, sampling="epochs"):
    feed = BatchFeed(INPUTS, LABELS, batch_size=4, sampling=sampling, recipe=recipe)
    return [(x.clone(), y.clone()) for x, y in feed.steps(seeds, first, count)]


def expected(recipe, seed, step, sampling):
    rows = torch.from_numpy(
        batch_indices(seed, step, 1, batch_size=4, num_train=20, sampling=sampling)[0]
    )
    if recipe.augmentation == "none":
        return INPUTS[rows], LABELS[rows]
    transforms = draw_transforms(seed, step, 1, 4, recipe)[0]
    return AugmentedImages(INPUTS, recipe).take(rows, transforms), LABELS[rows]


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_replica_gets_what_its_seed_says(recipe, sampling):
    seeds = [3, 0, 3, 1]  # one of them twice
    steps = fed(recipe, seeds, first=4, sampling=sampling)
    assert len(steps) == 7
    for k, (inputs, targets) in enumerate(steps):
        assert inputs.shape == (4, 4, 2, 3)
        for i, seed in enumerate(seeds):
            own_inputs, own_targets = expected(recipe, seed, 4 + k, sampling)
            assert torch.equal(inputs[i], own_inputs)
            assert torch.equal(targets[i], own_targets)
        assert not torch.equal(inputs[0], inputs[1])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_any_chunking_gives_the_same(recipe):
    whole = fed(recipe, [0, 1], 0, 9)
    parts = [*fed(recipe, [0, 1], 0, 2), *fed(recipe, [0, 1], 2, 7)]
    for (x, y), (other_x, other_y) in zip(whole, parts, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    assert not torch.equal(whole[0][0], whole[1][0])
