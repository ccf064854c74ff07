import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.data.splits import split_training, stratified_subset
from widthwise.errors import InputError

label_lists = st.lists(st.integers(0, 4), min_size=2, max_size=60)


def as_labels(values):
    return np.array(values, dtype=np.int64)


@given(values=label_lists, seed=st.integers(0, 2**40), data=st.data())
def test_split_is_disjoint_sorted_and_of_the_size_asked_for(values, seed, data):
    num_validation = data.draw(st.integers(0, len(values) - 1))
    num_train = data.draw(st.integers(1, len(values) - num_validation))
    split = split_training(
        as_labels(values), num_train=num_train, num_validation=num_validation, seed=seed
    )
    assert len(split.train) == num_train
    assert len(split.validation) == num_validation
    assert np.all(np.diff(split.train) > 0)
    assert np.all(np.diff(split.validation) > 0)
    assert not set(split.train) & set(split.validation)


@given(values=label_lists, seed=st.integers(0, 2**40), data=st.data())
def test_smaller_training_set_is_part_of_a_larger_one(values, seed, data):
    large = data.draw(st.integers(1, len(values)))
    small = data.draw(st.integers(1, large))
    labels = as_labels(values)

    def train(size):
        return set(split_training(labels, num_train=size, num_validation=0, seed=seed).train)

    assert train(small) <= train(large)


@given(values=label_lists, seed=st.integers(0, 2**40), data=st.data())
def test_training_set_is_balanced_until_a_class_is_used_up(values, seed, data):
    labels = as_labels(values)
    size = data.draw(st.integers(1, len(values)))
    split = split_training(labels, num_train=size, num_validation=0, seed=seed)
    available = np.bincount(labels, minlength=5)
    taken = np.bincount(labels[split.train], minlength=5)
    not_used_up = taken[taken < available]
    assert not_used_up.size == 0 or taken.max() <= not_used_up.min() + 1


def test_validation_does_not_change_a_training_set_that_leaves_room():
    labels = np.repeat(np.arange(10), 50)
    without = split_training(labels, num_train=103, num_validation=0, seed=3)
    beside = split_training(labels, num_train=103, num_validation=200, seed=3)
    np.testing.assert_array_equal(without.train, beside.train)
    assert set(np.bincount(labels[beside.validation])) == {20}


def test_validation_has_the_class_proportions_of_the_whole():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    split = split_training(labels, num_train=None, num_validation=100, seed=1)
    np.testing.assert_array_equal(np.bincount(labels[split.validation]), [60, 30, 10])
    assert len(split.train) == 900


def test_seed_decides_the_choice():
    labels = np.repeat(np.arange(10), 50)
    one, again, other = (
        split_training(labels, num_train=100, num_validation=0, seed=seed).train
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert set(one) != set(other)


def test_choice_never_changes():
    """Worked out once: an upgrade of NumPy must not move anyone's data."""
    labels = np.arange(20) % 2
    split = split_training(labels, num_train=4, num_validation=2, seed=0)
    assert split.train.tolist() == CHOSEN_TRAIN
    assert split.validation.tolist() == CHOSEN_VALIDATION


CHOSEN_TRAIN = [2, 3, 11, 18]
CHOSEN_VALIDATION = [9, 16]


def test_test_subset_is_stratified_and_none_takes_all():
    labels = np.repeat([0, 1], [300, 100])
    rows = stratified_subset(labels, 40, seed=5)
    np.testing.assert_array_equal(np.bincount(labels[rows]), [30, 10])
    np.testing.assert_array_equal(stratified_subset(labels, None, seed=5), np.arange(400))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_train": 11, "num_validation": 0}, "must not exceed the 10.*got 11"),
        ({"num_train": 6, "num_validation": 5}, "must not exceed the 10"),
        ({"num_train": None, "num_validation": 10}, "must not exceed the 10"),
        ({"num_train": 0, "num_validation": 0}, "num_train must be at least 1"),
        ({"num_train": 5, "num_validation": -1}, "num_validation must not be negative"),
    ],
)
def test_impossible_sizes_are_rejected(sizes, message):
    with pytest.raises(InputError, match=message):
        split_training(np.arange(10) % 2, seed=0, **sizes)


@pytest.mark.parametrize("num_test", [0, 11])
def test_impossible_test_sizes_are_rejected(num_test):
    with pytest.raises(InputError, match=r"num_test must lie in \[1, 10\]"):
        stratified_subset(np.arange(10) % 2, num_test, seed=0)


def test_negative_seed_is_rejected():
    with pytest.raises(InputError, match="seed must not be negative, got -1"):
        split_training(np.arange(10) % 2, num_train=2, num_validation=0, seed=-1)
