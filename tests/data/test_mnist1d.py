import functools
import time

import numpy as np
import pytest

from widthwise.data import DataSpec, load
from widthwise.data.mnist1d import _templates, generate_mnist1d
from widthwise.errors import InputError

oracle = pytest.importorskip("mnist1d.data", reason="the oracle, package mnist1d, is absent")


@functools.cache  # it takes seconds
def published(num_train, num_test, seed):
    total = num_train + num_test
    arguments = oracle.get_dataset_args(as_dict=True)
    arguments.update(num_samples=total, train_split=num_train / total, seed=seed)
    state = np.random.get_state()  # noqa: NPY002  the oracle seeds the global generator
    try:
        return oracle.make_dataset(oracle.ObjectView(arguments))
    finally:
        np.random.set_state(state)  # noqa: NPY002


def test_templates_are_the_published_ones():
    np.testing.assert_array_equal(_templates(), oracle.get_templates()["x"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_train", "num_test", "seed"), [(4000, 1000, 42), (100, 300, 0), (70, 30, 2**32 - 1)]
)
def test_equal_to_the_published_generator(num_train, num_test, seed):
    expected = published(num_train, num_test, seed)
    raw = generate_mnist1d(num_train=num_train, num_test=num_test, seed=seed)
    np.testing.assert_allclose(raw.train_inputs, expected["x"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(raw.test_inputs, expected["x_test"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(raw.train_labels, expected["y"])
    np.testing.assert_array_equal(raw.test_labels, expected["y_test"])


def test_comparison_notices_another_seed():
    raw = generate_mnist1d(num_train=70, num_test=30, seed=1)
    assert not np.allclose(raw.train_inputs, published(70, 30, 0)["x"], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_default_specification_is_the_published_data_set():
    assert DataSpec(name="mnist1d").seed == 42
    assert DataSpec(name="mnist1d", seed=0).seed == 0
    dataset = load(DataSpec(name="mnist1d", preprocessing="none"))
    expected = published(4000, 1000, 42)
    assert (dataset.num_train, dataset.num_test, dataset.input_shape) == (4000, 1000, (40,))
    np.testing.assert_array_equal(dataset.train_inputs, expected["x"].astype(np.float32))
    np.testing.assert_array_equal(dataset.test_labels, expected["y_test"])


def test_validation_examples_are_held_out_of_additional_ones():
    spec = DataSpec(name="mnist1d", num_train=200, num_test=100, num_validation=50)
    dataset = load(spec)
    assert (dataset.num_train, dataset.num_test, dataset.num_validation) == (200, 100, 50)
    raw = generate_mnist1d(num_train=250, num_test=100, seed=42)
    np.testing.assert_array_equal(dataset.test_labels, raw.test_labels)
    together = np.concatenate([dataset.train_labels, dataset.validation_labels])
    np.testing.assert_array_equal(np.sort(together), np.sort(raw.train_labels))


def test_sizes_that_are_no_multiple_of_ten():
    raw = generate_mnist1d(num_train=101, num_test=52, seed=42)
    assert (raw.train_inputs.shape, raw.test_inputs.shape) == ((101, 40), (52, 40))


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    generate_mnist1d(num_train=10, num_test=10, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.slow
def test_reference_size_takes_seconds():
    start = time.perf_counter()
    generate_mnist1d(num_train=4000, num_test=12000, seed=42)
    assert time.perf_counter() - start < 20  # about 1.5 s; room for a busy machine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 0}, "num_train and num_test must be at least 1, got 0 and 10"),
        ({"num_test": -5}, "must be at least 1, got 10 and -5"),
        ({"seed": 2**32}, r"must lie in \[0, 2\*\*32\)"),
    ],
)
def test_wrong_options_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        generate_mnist1d(**{"num_train": 10, "num_test": 10, "seed": 42, **options})
