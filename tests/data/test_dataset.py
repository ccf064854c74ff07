import os

import numpy as np
import pytest
import torch

from widthwise.data import Dataset, DataSpec, load
from widthwise.data.preprocessing import fit_center_scale
from widthwise.errors import DataNotFoundError, InputError


def arrays(num_train=40, num_test=20, shape=(3, 4), num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "train_inputs": rng.normal(size=(num_train, *shape)),
        "train_labels": np.arange(num_train) % num_classes,
        "test_inputs": rng.normal(size=(num_test, *shape)),
        "test_labels": np.arange(num_test) % num_classes,
    }


def test_sizes_types_and_order():
    dataset = Dataset.from_arrays(**arrays(), num_validation=8)
    assert (dataset.num_train, dataset.num_test, dataset.num_validation) == (32, 20, 8)
    assert dataset.input_shape == (1, 3, 4)
    assert dataset.num_classes == 4
    for part in ("train", "test", "validation"):
        inputs = getattr(dataset, f"{part}_inputs")
        assert inputs.dtype == np.float32
        assert inputs.flags.c_contiguous
        assert getattr(dataset, f"{part}_labels").dtype == np.int64
    np.testing.assert_array_equal(np.bincount(dataset.validation_labels), [2, 2, 2, 2])


def test_everything_is_kept_in_order_when_no_subset_is_asked_for():
    given = arrays()
    dataset = Dataset.from_arrays(**given)
    expected = given["train_inputs"].astype(np.float32)[:, None]
    np.testing.assert_array_equal(dataset.train_inputs, expected)
    np.testing.assert_array_equal(dataset.test_labels, given["test_labels"])
    assert dataset.validation_inputs is None


def test_caller_can_change_its_arrays_afterwards():
    given = arrays()
    given["train_inputs"] = given["train_inputs"].astype(np.float32)
    dataset = Dataset.from_arrays(**given)
    before = dataset.train_inputs.copy()
    given["train_inputs"][:] = 7
    np.testing.assert_array_equal(dataset.train_inputs, before)


def test_tensors_and_lists_are_accepted():
    given = arrays()
    tensors = {key: torch.from_numpy(value) for key, value in given.items()}
    lists = {key: value.tolist() for key, value in given.items()}
    expected = Dataset.from_arrays(**given).fingerprint
    assert Dataset.from_arrays(**tensors).fingerprint == expected
    assert Dataset.from_arrays(**lists).fingerprint == expected


def test_tensor_that_requires_grad_is_rejected_with_the_remedy():
    given = arrays()
    given["train_inputs"] = torch.from_numpy(given["train_inputs"]).requires_grad_()
    with pytest.raises(InputError, match=r"train_inputs must be convertible.*detach"):
        Dataset.from_arrays(**given)


def test_center_scale_uses_training_statistics_for_every_part():
    given = arrays(num_train=400, num_test=100)
    given["train_inputs"] += 5
    given["test_inputs"] += 5
    dataset = Dataset.from_arrays(**given, num_validation=80, preprocessing="center-scale")
    train = dataset.train_inputs.astype(np.float64)
    assert np.abs(train.mean(axis=0)).max() < 1e-6
    assert np.mean(train**2) == pytest.approx(1.0, abs=1e-6)
    plain = Dataset.from_arrays(**given, num_validation=80)
    mean = plain.train_inputs.astype(np.float64).mean(axis=0)
    scale = np.sqrt(np.mean((plain.train_inputs - mean) ** 2))
    for part in ("test_inputs", "validation_inputs"):
        expected = (getattr(plain, part) - mean) / scale
        np.testing.assert_allclose(getattr(dataset, part), expected, atol=1e-5)
        assert not np.allclose(getattr(dataset, part).mean(axis=0), 0, atol=1e-6)


def test_own_validation_set_is_used_whole():
    given = arrays()
    own = arrays(num_train=7, seed=1)
    dataset = Dataset.from_arrays(
        **given,
        validation_inputs=own["train_inputs"],
        validation_labels=own["train_labels"],
    )
    assert (dataset.num_train, dataset.num_validation) == (40, 7)
    with pytest.raises(InputError, match="num_validation must be 0"):
        Dataset.from_arrays(
            **given,
            validation_inputs=own["train_inputs"],
            validation_labels=own["train_labels"],
            num_validation=3,
        )


class TestChannelAxis:
    @pytest.mark.parametrize("preprocessing", ["none", "center-scale"])
    @pytest.mark.parametrize("own_validation", [False, True])
    def test_examples_of_two_dimensions_get_it_in_every_part(self, own_validation, preprocessing):
        given = arrays()
        if own_validation:
            given |= {f"validation_{k}": given[f"test_{k}"] for k in ("inputs", "labels")}
            options = {"preprocessing": preprocessing}
        else:
            options = {"preprocessing": preprocessing, "num_validation": 8}
        dataset = Dataset.from_arrays(**given, **options)
        for part in ("train", "test", "validation"):
            inputs = getattr(dataset, f"{part}_inputs")
            assert inputs.shape[1:] == dataset.input_shape == (1, 3, 4)
            assert inputs.flags.c_contiguous
        with_axis = {k: v[:, None] if "inputs" in k else v for k, v in given.items()}
        again = Dataset.from_arrays(**with_axis, **options)
        assert again.fingerprint == dataset.fingerprint

    @pytest.mark.parametrize("shape", [(7,), (1, 3, 4), (3, 4, 5), (2, 3, 4, 5)])
    def test_other_examples_stay_as_they_are(self, shape):
        assert Dataset.from_arrays(**arrays(shape=shape)).input_shape == shape

    def test_center_scale_computes_the_same_numbers(self):
        given = arrays(num_train=400)
        plain = {k: v.astype(np.float32) for k, v in given.items() if "inputs" in k}
        transform = fit_center_scale(plain["train_inputs"])
        dataset = Dataset.from_arrays(**given, preprocessing="center-scale")
        for name, inputs in plain.items():
            np.testing.assert_array_equal(getattr(dataset, name)[:, 0], transform(inputs))

    def test_of_finished_arrays_too_which_are_still_shared(self):
        dataset = finished()
        images = {
            f"{part}_inputs": getattr(dataset, f"{part}_inputs")[:, 0]
            for part in ("train", "test", "validation")
        }
        again = finished(**images)
        assert again.input_shape == (1, 3, 4)
        assert again.fingerprint == dataset.fingerprint
        assert np.shares_memory(again.validation_inputs, images["validation_inputs"])

    def test_parts_with_and_without_it_do_not_go_together(self):
        given = arrays()
        given["test_inputs"] = given["test_inputs"][:, None]
        with pytest.raises(InputError, match=r"training shape \(3, 4\), got \(1, 3, 4\)"):
            Dataset.from_arrays(**given)

    # What Dataset.save of 0.1.0 wrote of arrays() as float32, with one validation example.
    FINGERPRINT = "572405fa7c548c4a3976fc7784ec90f9fe6ebfd0a52616d6ccf8c80cebb3de11"

    def old_file(self, path, **changes):
        given = arrays(num_train=8, num_test=4)
        content = {k: v.astype(np.float32) if "inputs" in k else v for k, v in given.items()}
        content |= {"validation_inputs": content["test_inputs"][:1]}
        content |= {"validation_labels": content["test_labels"][:1]}
        metadata = {"format": "widthwise-dataset-1", "name": "old", "num_classes": 4}
        np.savez(path, **{**metadata, **content, "fingerprint": self.FINGERPRINT, **changes})
        return content

    def test_files_of_0_1_0_are_checked_as_stored_and_get_it(self, tmp_path):
        content = self.old_file(tmp_path / "old.npz")
        dataset = Dataset.read(tmp_path / "old.npz")
        for part in ("train", "test", "validation"):
            expected = content[f"{part}_inputs"][:, None]
            np.testing.assert_array_equal(getattr(dataset, f"{part}_inputs"), expected)
        assert dataset.fingerprint != self.FINGERPRINT
        written = dataset.save(tmp_path / "new.npz")
        assert Dataset.read(written).fingerprint == dataset.fingerprint
        spec = DataSpec(name="npz", path=str(tmp_path / "old.npz"), preprocessing="none")
        assert load(spec).fingerprint == dataset.fingerprint

    def test_changed_files_of_0_1_0_are_noticed(self, tmp_path):
        changed = arrays(num_train=8, num_test=4)["train_inputs"].astype(np.float32) + 1
        self.old_file(tmp_path / "old.npz", train_inputs=changed)
        with pytest.raises(InputError, match=f"must match its fingerprint {self.FINGERPRINT}"):
            Dataset.read(tmp_path / "old.npz")


def with_nan(a):
    a["test_inputs"][3, 1, 2] = np.nan


def with_inf(a):
    a["train_inputs"][0, 0, 0] = np.inf


def beyond_float32(a):
    a["train_inputs"][0, 0, 0] = 1e300


def float_labels(a):
    a["train_labels"] = a["train_labels"].astype(np.float64)


def one_hot_labels(a):
    a["train_labels"] = np.eye(4, dtype=np.int64)[a["train_labels"]]


def negative_label(a):
    a["test_labels"][0] = -1


def missing_label(a):
    a["train_labels"] = a["train_labels"][:-1]


def other_shape(a):
    a["test_inputs"] = a["test_inputs"][:, :2]


def no_examples(a):
    a["test_inputs"], a["test_labels"] = a["test_inputs"][:0], a["test_labels"][:0]


def scalars(a):
    a["train_inputs"] = a["train_inputs"][:, 0, 0]


def complex_inputs(a):
    a["train_inputs"] = a["train_inputs"].astype(np.complex128)


def ragged(a):
    a["train_inputs"] = np.array([[1], [1, 2]], dtype=object)


def text(a):
    a["test_inputs"] = a["test_inputs"].astype(str)


def bytes_beside_floats(a):
    a["train_inputs"] = a["train_inputs"].astype(np.uint8)


def floats_beside_bytes(a):
    a["test_inputs"] = a["train_inputs"].astype(np.uint8)[:20]


def scaled_beside_integers(a):
    a["train_inputs"] = np.round(100 * a["train_inputs"]).astype(np.int64)


def sixteen_bits_beside_scaled(a):
    a["test_inputs"] = np.round(1000 * np.abs(a["test_inputs"])).astype(np.uint16)


def masked(a):
    a["train_inputs"] = np.ma.masked_greater(a["train_inputs"], np.median(a["train_inputs"]))


def masked_rows(a):
    a["test_inputs"] = [np.ma.masked_array(x, mask=x == x.max()) for x in a["test_inputs"]]


def masked_labels(a):
    a["test_labels"] = np.ma.masked_equal(a["test_labels"], 3)


def durations(a):
    a["train_inputs"] = a["train_inputs"].astype("timedelta64[s]")


def identifiers(a):
    a["test_labels"] = a["test_labels"] + 10**12


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (text, "test_inputs must be integers or real .* got dtype <U"),
        (bytes_beside_floats, "uint8 in all parts or in none, got train_inputs of uint8 and test"),
        (floats_beside_bytes, "got test_inputs of uint8 and train_inputs of float"),
        (scaled_beside_integers, "one unit .* got train_inputs of int64 and test_.* fractions"),
        (sixteen_bits_beside_scaled, "one unit .* got test_inputs of uint16 and train_inputs of"),
        (masked, "train_inputs must have a value everywhere, but 240 of them are masked"),
        (masked_rows, "test_inputs must have a value everywhere, but 20 of them are masked"),
        (masked_labels, "test_labels must have a value everywhere, but 5 of them are masked"),
        (durations, r"train_inputs must be integers or real .* got dtype timedelta64\[s\]"),
        (identifiers, "test_labels must be class indices below 1,000,000, got 1000000000003"),
        (with_nan, "test_inputs must be finite, but 1 of 240"),
        (with_inf, "train_inputs must be finite"),
        (beyond_float32, "train_inputs must be finite"),
        (float_labels, "train_labels must be integers, got dtype float64"),
        (one_hot_labels, r"train_labels must have shape \(40,\).*argmax"),
        (negative_label, "test_labels must not be negative, got -1"),
        (missing_label, r"train_labels must have shape \(40,\).*got \(39,\)"),
        (other_shape, r"test_inputs must have examples of the training shape \(3, 4\)"),
        (no_examples, "test_inputs must have shape .* at least one example"),
        (scalars, "train_inputs must have shape"),
        (complex_inputs, "train_inputs must be integers or real"),
        (ragged, "train_inputs must hold numbers in one rectangular array"),
    ],
)
@pytest.mark.parametrize("preprocessing", ["none", "center-scale"])
def test_malformed_arrays_are_rejected(damage, message, preprocessing):
    given = arrays()
    damage(given)
    with pytest.raises(InputError, match=message):
        Dataset.from_arrays(**given, preprocessing=preprocessing)


def test_whole_numbers_may_be_of_any_type():
    given = arrays()
    given["train_inputs"] = np.round(10 * given["train_inputs"]).astype(np.int64)
    given["test_inputs"] = np.round(10 * given["test_inputs"]).astype(np.float16)
    dataset = Dataset.from_arrays(**given)
    np.testing.assert_array_equal(dataset.train_inputs[:, 0], given["train_inputs"])
    np.testing.assert_array_equal(dataset.test_inputs[:, 0], given["test_inputs"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 41}, "must not exceed the 40 training examples"),
        ({"num_test": 21}, r"num_test must lie in \[1, 20\]"),
        ({"num_classes": 3}, r"train_labels must lie in \[0, 3\), got 3"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_classes": 10**9}, "num_classes must be at least 2 and at most 1,000,000"),
        ({"num_classes": "four"}, "num_classes must be a whole number, got 'four'"),
        ({"num_classes": float("nan")}, "num_classes must be a whole number, got nan"),
        ({"preprocessing": "whiten"}, "preprocessing must be one of center-scale, none"),
        ({"validation_inputs": [[1.0]]}, "must come together"),
    ],
)
def test_wrong_options_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        Dataset.from_arrays(**arrays(), **options)


@pytest.mark.parametrize("first", [1, 5])
def test_classes_are_numbered_from_0(first):
    given = arrays()
    for part in ("train_labels", "test_labels"):
        given[part] = given[part] + first
    with pytest.raises(InputError, match=f"begin at {first} and end at {first + 3}; subtract") as e:
        Dataset.from_arrays(**given)
    assert "train, test" in str(e.value)
    assert Dataset.from_arrays(**given, num_classes=first + 4).num_classes == first + 4


def test_one_part_that_has_the_first_class_is_enough():
    given = arrays()
    given["test_labels"] = np.maximum(given["test_labels"], 1)
    assert Dataset.from_arrays(**given).num_classes == 4


def test_a_mask_that_hides_nothing_is_no_mask():
    given = arrays()
    plain = Dataset.from_arrays(**given)
    given["train_inputs"] = np.ma.array(given["train_inputs"])
    assert Dataset.from_arrays(**given).fingerprint == plain.fingerprint


def test_constructor_takes_finished_arrays_only():
    given = arrays()
    with pytest.raises(InputError, match=r"train_inputs must be a C-contiguous float32.*float64"):
        Dataset(name="x", num_classes=4, **given)


def finished(**changes):
    dataset = Dataset.from_arrays(**arrays(), num_validation=8)
    fields = {name: getattr(dataset, name) for name in Dataset.__dataclass_fields__}
    return Dataset(**{**fields, **changes})


def test_fingerprint_depends_on_content_alone():
    dataset = finished()
    assert finished(name="other").fingerprint == dataset.fingerprint
    assert len(dataset.fingerprint) == 64
    changed = dataset.test_inputs.copy()
    changed[-1, -1, -1] += 1e-3
    labels = dataset.validation_labels.copy()
    labels[0] = (labels[0] + 1) % 4
    flat = {
        f"{part}_inputs": getattr(dataset, f"{part}_inputs").reshape(-1, 12)
        for part in ("train", "test", "validation")
    }
    variants = [
        finished(test_inputs=changed),
        finished(validation_labels=labels),
        finished(validation_inputs=None, validation_labels=None),
        finished(num_classes=5),
        finished(**flat),
    ]
    assert len({d.fingerprint for d in [dataset, *variants]}) == len(variants) + 1


@pytest.mark.parametrize("num_validation", [0, 8])
def test_save_and_read_give_the_same_data(tmp_path, num_validation):
    dataset = Dataset.from_arrays(**arrays(), num_validation=num_validation, name="mine")
    path = dataset.save(tmp_path / "mine.npz")
    again = Dataset.read(path)
    assert again.fingerprint == dataset.fingerprint
    assert (again.name, again.num_classes) == ("mine", 4)
    assert list(tmp_path.iterdir()) == [path]
    loaded = load(DataSpec(name="npz", path=str(path), preprocessing="none"))
    assert loaded.fingerprint == dataset.fingerprint


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    dataset = Dataset.from_arrays(**arrays())
    path = dataset.save(tmp_path / "mine.npz")
    old = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Dataset.from_arrays(**arrays(seed=1)).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_and_foreign_files_are_rejected(tmp_path):
    path = Dataset.from_arrays(**arrays()).save(tmp_path / "mine.npz")
    with np.load(path) as archive:
        content = dict(archive)
    content["train_labels"] = content["train_labels"][::-1].copy()
    np.savez(tmp_path / "changed.npz", **content)
    with pytest.raises(InputError, match="must match its fingerprint"):
        Dataset.read(tmp_path / "changed.npz")
    del content["test_inputs"]
    np.savez(tmp_path / "partial.npz", **content)
    with pytest.raises(InputError, match="must hold every field"):
        Dataset.read(tmp_path / "partial.npz")
    np.savez(tmp_path / "foreign.npz", x_train=np.zeros(3))
    with pytest.raises(InputError, match="must be a data set written by"):
        Dataset.read(tmp_path / "foreign.npz")
    with pytest.raises(DataNotFoundError, match="does not exist"):
        Dataset.read(tmp_path / "absent.npz")


def test_repr_names_the_sizes_and_not_the_arrays():
    assert repr(finished()) == (
        "Dataset('arrays', input_shape=(1, 3, 4), num_classes=4, num_train=32, num_test=20, "
        "num_validation=8)"
    )
