"""Batches are pure functions of seed and step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.errors import InputError
from widthwise.sgd.batches import batch_indices, require_whole_batches, whole_batch

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted)
SAMPLING = st.sampled_from(["epochs", "replacement"])


def draw(first, steps, sizes, sampling="epochs", seed=0):
    batch_size, num_train = sizes
    return batch_indices(
        seed, first, steps, batch_size=batch_size, num_train=num_train, sampling=sampling
    )


@pytest.mark.slow
@given(SIZES, SAMPLING, st.integers(0, 2**32), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_any_chunking_gives_the_same(sizes, sampling, seed, chunks):
    whole = draw(0, sum(chunks), sizes, sampling, seed)
    starts = np.cumsum([0, *chunks[:-1]])
    parts = [draw(int(s), n, sizes, sampling, seed) for s, n in zip(starts, chunks, strict=True)]
    assert whole.shape == (sum(chunks), sizes[0])
    assert np.array_equal(np.concatenate(parts), whole)
    assert whole.min() >= 0
    assert whole.max() < sizes[1]


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 5))
def test_each_epoch_is_a_permutation(batch_size, batches, epoch):
    num_train = batch_size * batches
    drawn = draw(epoch * batches, batches, (batch_size, num_train))
    assert sorted(drawn.ravel().tolist()) == list(range(num_train))


def test_no_example_twice_in_an_epoch_with_a_remainder():
    drawn = draw(0, 3, (3, 10)).ravel().tolist()
    assert len(set(drawn)) == 9


def test_the_remainder_is_not_always_the_same():
    left_out = {
        (set(range(10)) - set(draw(3 * e, 3, (3, 10)).ravel().tolist())).pop() for e in range(40)
    }
    assert len(left_out) > 3


def test_epochs_differ():
    assert not np.array_equal(draw(0, 4, (4, 16)), draw(4, 4, (4, 16)))


def test_seeds_differ():
    assert not np.array_equal(draw(0, 4, (4, 16), seed=1), draw(0, 4, (4, 16), seed=2))


def test_full_batch_is_everything_at_every_step():
    drawn = draw(0, 5, (16, 16))
    assert (np.sort(drawn, axis=1) == np.arange(16)).all()


def test_replacement_repeats_examples_within_an_epoch():
    drawn = draw(0, 16, (1, 16), "replacement").ravel()
    assert len(set(drawn.tolist())) < 16


def test_replacement_is_uniform():
    drawn = draw(0, 5000, (10, 10), "replacement").ravel()
    counts = np.bincount(drawn, minlength=10)
    # Six standard errors of a count of 50,000 draws that hit with probability 1/10.
    assert np.abs(counts - 5000).max() < 6 * np.sqrt(50_000 * 0.1 * 0.9)


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_far_steps_cost_nothing(sampling):
    assert draw(10**12, 2, (4, 64), sampling).shape == (2, 4)


@given(most=st.integers(1, 200), ghost=st.none() | st.integers(2, 40))
def test_a_whole_batch_is_the_largest_that_fits(most, ghost):
    found = whole_batch(most, ghost)
    require_whole_batches(found, ghost)
    assert found <= most or found == ghost
    assert most < found + (ghost or 1)


def test_other_batches_are_refused_in_the_users_words():
    require_whole_batches(7, None)
    with pytest.raises(InputError, match=r"training\.ghost = 8, got 20 at width 2; change"):
        require_whole_batches(20, 8, name="training.ghost", where="at width 2")
