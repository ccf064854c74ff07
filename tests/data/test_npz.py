import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from widthwise.data import Dataset, DataSpec, load
from widthwise.data.readers import files
from widthwise.data.readers.npz import read_npz
from widthwise.errors import DataNotFoundError, InputError

IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train_inputs", "train_targets", "test_inputs", "test_targets"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("train_data", "train_label", "test_data", "test_label"),
    ],
)
def test_usual_key_names(tmp_path, keys):
    path = tmp_path / "data.npz"
    np.savez(path, **dict(zip(keys, (IMAGES, LABELS, IMAGES[:2], LABELS[:2]), strict=True)))
    raw = read_npz(path)
    np.testing.assert_array_equal(raw.train_inputs, IMAGES)
    np.testing.assert_array_equal(raw.test_labels, LABELS[:2])
    assert raw.validation_inputs is None


def save(path, **changes):
    content = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    merged = {key: value for key, value in {**content, **changes}.items() if value is not None}
    np.savez_compressed(path, **merged)
    return path


@pytest.mark.parametrize("word", ["validation", "val", "valid"])
def test_own_validation_set_and_column_labels(tmp_path, word):
    path = save(
        tmp_path / "data.npz",
        y_train=LABELS[:, None],
        **{f"x_{word}": IMAGES[:3], f"y_{word}": LABELS[:3]},
    )
    dataset = load(DataSpec(name="npz", path=str(path), preprocessing="none"))
    assert (dataset.num_train, dataset.num_validation) == (6, 3)
    assert dataset.train_labels.tolist() == LABELS.tolist()
    assert dataset.train_inputs.max() == pytest.approx(23 / 255)
    assert dataset.validation_inputs.shape == (3, 1, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, "must hold inputs and labels for training and test"),
        ({"y_train": None}, "train inputs and labels together"),
        ({"x_val": IMAGES}, "validation inputs and labels together"),
        ({"train_images": IMAGES}, "got train_images and x_train|x_train and train_images"),
        ({"x_train": np.zeros((6, 8, 8, 3))}, "channels first.*moveaxis"),
        ({"y_train": np.array([0, "a", 0, 1, 0, 1], dtype=object)}, "pickled Python objects"),
    ],
)
def test_wrong_content_is_rejected(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_npz(save(tmp_path / "data.npz", **changes))


@pytest.mark.parametrize("given", [np.array(2), np.array([2]), np.array([[2.0]])])
def test_a_number_of_classes_in_whatever_shape(tmp_path, given):
    assert read_npz(save(tmp_path / "data.npz", num_classes=given)).num_classes == 2


@pytest.mark.parametrize("given", [[2, 3], [], "four", 2.5, np.nan, np.inf, 2j, True])
def test_what_is_no_number_of_classes(tmp_path, given):
    with pytest.raises(InputError, match="num_classes must be one whole number, got"):
        read_npz(save(tmp_path / "data.npz", num_classes=np.array(given)))
    fields = {"format": np.array("widthwise-dataset-1"), "name": np.array("x")}
    fields |= {"num_classes": np.array(given), "fingerprint": np.array("")}
    np.savez(tmp_path / "saved.npz", **fields)
    with pytest.raises(InputError, match="num_classes must be one whole number, got"):
        Dataset.read(tmp_path / "saved.npz")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 1 << 20)
    path = save(tmp_path / "data.npz", x_train=np.zeros((1 << 12, 1 << 12), np.uint8))
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(InputError, match=r"bytes hold 16,77\d,\d+ or more; store it uncompressed"):
        read_npz(path)


@pytest.mark.parametrize("shape", [(1 << 62,), (1 << 40, 1 << 40), (3, 2, 2), (1, 1 << 50)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_an_array_that_is_not_as_large_as_its_header_says(tmp_path, shape, version):
    path = tmp_path / "data.npz"
    header = io.BytesIO()
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}) + "\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    header.write(np.lib.format.magic(*version) + length + text.encode())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + bytes(24))
    with pytest.raises(InputError, match=r"x_train\.npy must hold the .* bytes .* got 24"):
        read_npz(path)


def test_pickles_are_never_opened(tmp_path):
    opened = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (opened.touch, ())

    bare = tmp_path / "bare.npz"
    bare.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="Python pickle"):
        read_npz(bare)
    inside = save(tmp_path / "inside.npz", y_test=np.array([Trap()], dtype=object))
    with pytest.raises(InputError, match="pickled Python objects"):
        read_npz(inside)
    assert not opened.exists()


def test_truncated_archive_is_noticed(tmp_path):
    path = save(tmp_path / "data.npz")
    content = path.read_bytes()
    for length in (0, 1, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="must be a complete"):
            read_npz(path)


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path):
    path = save(tmp_path / "data.npz")
    content = path.read_bytes()
    noticed = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            raw = read_npz(path)
        except InputError:
            noticed += 1
        else:
            np.testing.assert_array_equal(raw.train_inputs, IMAGES)
    assert noticed > 50


def test_archive_of_other_files_is_rejected(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", b"not an array")
    with pytest.raises(InputError, match="x_train is not one"):
        read_npz(path)


def test_absent_file(tmp_path):
    with pytest.raises(DataNotFoundError, match="does not exist"):
        read_npz(tmp_path / "absent.npz")
