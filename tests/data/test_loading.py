import sys
import types
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from widthwise.data import DataSpec, available, load
from widthwise.errors import DataNotFoundError, InputError


@pytest.mark.slow
def test_default_is_the_bundled_set():
    dataset = load(DataSpec())
    assert (dataset.name, dataset.num_train, dataset.num_test) == ("fashion-mnist-mini", 5000, 8000)
    assert (dataset.num_validation, dataset.num_classes) == (0, 10)
    assert dataset.input_shape == dataset.test_inputs.shape[1:] == (1, 28, 28)
    train = dataset.train_inputs.astype(np.float64)
    assert np.mean(train**2) == pytest.approx(1.0, abs=1e-6)
    assert np.abs(train.mean(axis=0)).max() < 1e-6
    assert abs(float(dataset.test_inputs.mean())) < 0.05


@pytest.mark.slow
def test_convolutions_of_one_channel_read_the_bundled_images():
    dataset = load(DataSpec(num_train=10, num_test=10))
    images = torch.from_numpy(dataset.test_inputs)
    assert nn.Conv2d(1, 4, 3)(images).shape == (10, 4, 26, 26)


@pytest.mark.slow
def test_subsets_are_nested_and_apart_from_validation():
    def images(**sizes):
        dataset = load(DataSpec(preprocessing="none", num_test=10, seed=3, **sizes))
        parts = (dataset.train_inputs, dataset.validation_inputs)
        return [set() if x is None else {image.tobytes() for image in x} for x in parts]

    small, _ = images(num_train=100)
    large, validation = images(num_train=1024, num_validation=500)
    assert len(small) == 100
    assert small < large
    assert len(validation) == 500
    assert not large & validation


@pytest.mark.slow
def test_fingerprint_follows_the_specification():
    specs = [
        DataSpec(num_train=50, num_test=50),
        DataSpec(num_train=50, num_test=50, seed=1),
        DataSpec(num_train=51, num_test=50),
        DataSpec(num_train=50, num_test=50, preprocessing="none"),
    ]
    assert len({load(spec).fingerprint for spec in specs}) == len(specs)
    assert load(specs[0]).fingerprint == load(specs[0]).fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "imagenet"}, "must be one of fashion-mnist-mini, mnist1d, .*got 'imagenet'"),
        ({"num_train": 0}, "greater than or equal to 1"),
        ({"num_test": -1}, "greater than or equal to 1"),
        ({"num_validation": -1}, "greater than or equal to 0"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"preprocessing": "whiten"}, "center-scale"),
        ({"batch_size": 3}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_specifications_are_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        DataSpec(**fields)


def test_specification_is_frozen_and_survives_json():
    spec = DataSpec(name="mnist1d", num_test=12_000)
    assert DataSpec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises((ValidationError, FrozenInstanceError)):
        spec.seed = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec(path="somewhere"), "takes no path, got 'somewhere'"),
        (DataSpec(name="npz"), "needs the path of your files"),
        (DataSpec(num_train=5001), "must not exceed the 5000 training examples"),
        (DataSpec(num_train=4000, num_validation=1001), "must not exceed the 5000"),
        (DataSpec(num_test=8001), r"num_test must lie in \[1, 8000\]"),
        (DataSpec.model_construct(name="imagenet"), "the data set must be one of"),
    ],
)
def test_specifications_that_cannot_be_met(spec, message):
    with pytest.raises(InputError, match=message):
        load(spec)


def test_every_data_set_is_listed_with_what_it_is_and_how_to_get_it():
    rows = {row.name: row for row in available()}
    assert set(rows) == {
        "fashion-mnist-mini", "mnist1d", "fashion-mnist", "mnist", "cifar10", "cifar100",
        "digits", "npz", "idx", "hf-parquet", "hf-saved", "image-folder",
    }  # fmt: skip
    assert all(row.description.endswith(".") and row.how_to_get for row in rows.values())
    assert rows["fashion-mnist-mini"].location == rows["mnist1d"].location == "part of Widthwise"


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataNotFoundError, match="pip install scikit-learn"):
        load(DataSpec(name="digits"))


def test_last_500_digits_are_the_test_set(monkeypatch):
    """A stand-in of the real shape; the real one is compared below where it is installed."""
    images = np.arange(1797.0)[:, None, None] + np.zeros((8, 8))
    digits = types.SimpleNamespace(images=images, target=np.arange(1797) % 10)
    datasets = types.ModuleType("sklearn.datasets")
    datasets.load_digits = lambda: digits
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    dataset = load(DataSpec(name="digits", preprocessing="none"))
    assert (dataset.num_train, dataset.num_test, dataset.input_shape) == (1297, 500, (1, 8, 8))
    assert dataset.test_inputs[0, 0, 0, 0] == 1297


def test_real_digits():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    dataset = load(DataSpec(name="digits"))
    assert (dataset.num_train, dataset.num_test, dataset.num_classes) == (1297, 500, 10)
    assert dataset.input_shape == (1, 8, 8)
