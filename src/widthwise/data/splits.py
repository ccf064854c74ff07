"""Which examples are used: seeded, class-balanced, nested choices.

Every class has its examples put in an order that depends on the seed alone. Training examples are
taken from the front of these queues and validation examples from the back, so that neither set
changes when the other grows, until they meet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Sorted, disjoint row numbers."""

    train: Indices
    validation: Indices


def split_training(
    labels: NDArray[np.int64], *, num_train: int | None, num_validation: int, seed: int
) -> Split:
    """Choose training and validation examples from one labeled set.

    Training examples are class-balanced as far as the data allow (counts differ by at most one
    until a class is used up); for a fixed seed and num_validation a smaller training set is a
    subset of a larger one. Validation examples follow the class proportions of the whole set,
    as a test set would, and also nest.

    Args:
        labels: class of each example; shape (num_examples,).
        num_train: training examples; None takes all that validation leaves.
        num_validation: validation examples, 0 for none.
        seed: non-negative; the choice is the same with every NumPy version.

    Raises:
        InputError: if there are not enough examples.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> split = split_training(labels, num_train=4, num_validation=2, seed=0)
    >>> labels[split.train].tolist(), labels[split.validation].tolist()
    ([0, 0, 1, 1], [0, 1])
    """
    num_examples = len(labels)
    _check_sizes(num_examples, num_train, num_validation)
    rank, size, tie = _queues(labels, seed)
    from_the_back = np.lexsort((tie, (size - 1 - rank + 0.5) / size))
    validation = from_the_back[:num_validation]
    free = np.ones(num_examples, dtype=np.bool_)
    free[validation] = False
    from_the_front = np.lexsort((tie, rank))
    train = from_the_front[free[from_the_front]][:num_train]
    return Split(train=np.sort(train), validation=np.sort(validation))


def stratified_subset(labels: NDArray[np.int64], num_examples: int | None, *, seed: int) -> Indices:
    """Sorted row numbers of a subset with the class proportions of the whole; None takes all."""
    available = len(labels)
    if num_examples is None:
        return np.arange(available)
    if not 1 <= num_examples <= available:
        raise InputError(
            f"num_test must lie in [1, {available}], the test examples there are, "
            f"got {num_examples}; ask for fewer or leave it out to use all"
        )
    rank, size, tie = _queues(labels, seed)
    return np.sort(np.lexsort((tie, (rank + 0.5) / size))[:num_examples])


def hold_out(labels: NDArray[np.int64], num_test: int | None, *, seed: int) -> Split:
    """Split one labeled set into training and test examples, the latter as ``validation``, in the
    class proportions of the whole.

    Args:
        labels: class of each example; shape (num_examples,).
        num_test: None takes a fifth.
        seed: non-negative.

    Raises:
        InputError: if nothing would be left on one of the sides.

    >>> split = hold_out(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), None, seed=0)
    >>> len(split.train), len(split.validation)
    (8, 2)
    """
    available = len(labels)
    held = round(available / 5) if num_test is None else num_test
    if not 1 <= held < available:
        raise InputError(
            f"num_test must lie in [1, {available - 1}], since the test set is held out of the "
            f"{available} examples there are, got {held}; bring a test set, or give num_test"
        )
    return split_training(labels, num_train=None, num_validation=held, seed=seed)


def _check_sizes(num_examples: int, num_train: int | None, num_validation: int) -> None:
    if num_train is not None and num_train < 1:
        raise InputError(f"num_train must be at least 1, got {num_train}; leave it out to use all")
    if num_validation < 0:
        raise InputError(f"num_validation must not be negative, got {num_validation}; 0 for none")
    wanted = (1 if num_train is None else num_train) + num_validation
    if wanted > num_examples:
        raise InputError(
            f"num_train + num_validation must not exceed the {num_examples} training examples "
            f"there are, got {num_train if num_train is not None else 'at least 1'} + "
            f"{num_validation}; ask for fewer"
        )


def _queues(
    labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Each example's rank in the queue of its class, the length of that queue, a random tie-break.

    Sorting raw generator output instead of calling permutation() keeps the choice the same for
    ever: NumPy promises the raw stream of a bit generator, not the methods of Generator.
    """
    if seed < 0:
        raise InputError(f"seed must not be negative, got {seed}; use 0, 1, 2, ...")
    tie = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(labels))
    order = np.lexsort((tie, labels))
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    size = np.empty(len(labels), dtype=np.int64)
    size[order] = np.repeat(counts, counts)
    return rank, size, tie
