"""Crops and flips against a slow reference, and as functions of seed and step alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from widthwise.errors import InputError
from widthwise.sgd.augmentation import (
    AugmentedImages,
    Transforms,
    draw_transforms,
    stack_transforms,
)
from widthwise.sgd.recipe import Recipe

KINDS = ["flip", "crop", "crop-flip"]
SHAPES = [(5, 7), (1, 6, 6), (3, 8, 5)]


def recipe(kind="crop-flip", padding=2):
    return Recipe(augmentation=kind, crop_padding=padding)


def images(shape, num=6, dtype=torch.float32):
    return torch.arange(1.0, num * np.prod(shape) + 1, dtype=dtype).view(num, *shape)


def slowly(batch, transforms, padding):
    """One image after the other: pad, cut out, mirror."""
    results = []
    for image, (down, right), flip in zip(
        batch.numpy(), transforms.offsets, transforms.flips, strict=True
    ):
        height, width = image.shape[-2:]
        border = [(0, 0)] * (image.ndim - 2) + [(padding, padding)] * 2
        cut = np.pad(image, border)[..., down : down + height, right : right + width]
        results.append(cut[..., ::-1] if flip else cut)
    return np.stack(results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_a_loop_over_images(kind, shape, dtype):
    everything = images(shape, dtype=dtype)
    source, padding = AugmentedImages(everything, recipe(kind)), 2 if kind != "flip" else 0
    rows = torch.tensor([3, 0, 5, 5, 1, 2, 4, 0] * 4)
    drawn = draw_transforms(7, 11, 1, len(rows), recipe(kind))[0]
    assert kind == "crop" or 0 < drawn.flips.sum() < len(rows)
    taken = source.take(rows, drawn)
    assert taken.dtype == dtype
    assert taken.is_contiguous()
    expected = slowly(everything[rows], drawn, padding)
    np.testing.assert_array_equal(taken.numpy(), expected)
    mirrored = Transforms(drawn.offsets, ~drawn.flips)
    assert not np.array_equal(taken.numpy(), slowly(everything[rows], mirrored, padding))


@pytest.mark.parametrize("shape", SHAPES)
def test_in_its_place_and_not_mirrored_is_the_image(shape):
    everything, rows = images(shape), torch.tensor([4, 1])
    still = Transforms(np.full((2, 2), 2), np.zeros(2, bool))
    assert torch.equal(AugmentedImages(everything, recipe()).take(rows, still), everything[rows])


def test_mirroring_is_of_columns():
    everything = images((3, 2, 4))
    still = Transforms(np.zeros((6, 2), int), np.ones(6, bool))
    taken = AugmentedImages(everything, recipe("flip")).take(torch.arange(6), still)
    assert torch.equal(taken, everything.flip(3))


def test_the_images_are_left_alone():
    everything = images((3, 6, 6))
    before = everything.clone()
    source = AugmentedImages(everything, recipe("flip"))
    source.take(torch.arange(6), Transforms(np.zeros((6, 2), int), np.ones(6, bool))).zero_()
    assert torch.equal(everything, before)


@pytest.mark.parametrize("shape", [(), (8,), (2, 3, 4, 4)])
def test_other_inputs_are_no_images(shape):
    with pytest.raises(InputError, match=r"\(channels, height, width\), got examples of shape"):
        AugmentedImages(torch.zeros(4, *shape), recipe())


@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 90), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from(KINDS),
)
def test_any_chunking_gives_the_same(seed, chunks, batch_size, kind):
    whole = draw_transforms(seed, 0, sum(chunks), batch_size, recipe(kind))
    starts = np.cumsum([0, *chunks[:-1]])
    parts = [
        draw_transforms(seed, int(s), n, batch_size, recipe(kind))
        for s, n in zip(starts, chunks, strict=True)
    ]
    assert whole.offsets.shape == (sum(chunks), batch_size, 2)
    assert np.array_equal(np.concatenate([p.offsets for p in parts]), whole.offsets)
    assert np.array_equal(np.concatenate([p.flips for p in parts]), whole.flips)


def same(a, b):
    return np.array_equal(a.offsets, b.offsets) and np.array_equal(a.flips, b.flips)


def test_seeds_and_blocks_have_streams_of_their_own():
    first = draw_transforms(0, 0, 64, 8, recipe())
    assert not same(first, draw_transforms(1, 0, 64, 8, recipe()))
    assert not same(first, draw_transforms(0, 64, 64, 8, recipe()))


def test_a_kind_draws_only_what_it_says():
    crops, flips = (draw_transforms(0, 0, 64, 8, recipe(kind)) for kind in ("crop", "flip"))
    assert not crops.flips.any()
    assert not flips.offsets.any()
    assert crops.offsets.any()
    assert flips.flips.any()


def test_runs_lie_side_by_side():
    runs = [draw_transforms(seed, 0, 5, 3, recipe()) for seed in (0, 1)]
    stacked = stack_transforms(runs)
    assert stacked.offsets.shape == (5, 6, 2)
    for i, run in enumerate(runs):
        part = slice(3 * i, 3 * i + 3)
        assert same(Transforms(stacked.offsets[:, part], stacked.flips[:, part]), run)


NUM_DRAWS = 25_000


def standard_errors(counts, probability):
    """How far each count is from its expectation, in standard errors of a binomial."""
    spread = np.sqrt(NUM_DRAWS * probability * (1 - probability))
    return np.abs(counts - NUM_DRAWS * probability) / spread


class TestUniformity:
    # Five standard errors: with 26 comparisons, a chance of 2e-5 for a right generator to fail.
    LIMIT = 5.0

    def drawn(self):
        return draw_transforms(3, 0, 500, 50, recipe())

    def test_every_place_equally_often(self):
        offsets = self.drawn().offsets.reshape(-1, 2)
        counts = np.bincount(offsets @ [5, 1], minlength=25)
        assert len(counts) == 25
        assert counts.min() > 0
        assert standard_errors(counts, 1 / 25).max() < self.LIMIT

    def test_half_are_mirrored(self):
        assert standard_errors(self.drawn().flips.sum(), 1 / 2) < self.LIMIT

    def test_the_check_notices_a_missing_place(self):
        offsets = self.drawn().offsets.reshape(-1, 2) % 4
        counts = np.bincount(offsets @ [5, 1], minlength=25)
        assert standard_errors(counts, 1 / 25).max() > self.LIMIT

    def test_mirroring_and_place_are_independent(self):
        drawn = self.drawn()
        flips = drawn.flips.ravel() - 0.5
        places = drawn.offsets.reshape(-1, 2) - 2.0
        # A mean of products of independent centred values has standard error σσ'/√n.
        error = 0.5 * np.sqrt(2.0) / np.sqrt(NUM_DRAWS)
        assert np.abs(flips @ places / NUM_DRAWS).max() < self.LIMIT * error
