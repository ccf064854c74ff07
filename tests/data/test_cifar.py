import pickle
from dataclasses import replace

import numpy as np
import pytest

from widthwise.data import DataSpec, registry
from widthwise.data.cifar import CIFAR10, CIFAR100, load_cifar, locate_cifar, refuse_pickles
from widthwise.data.readers.cifar import read_cifar_binary
from widthwise.errors import DataNotFoundError, InputError

# Two images a file, so that the tests need not write 180 MB.
SMALL10 = replace(CIFAR10, num_train=10, num_test=2)
SMALL100 = replace(CIFAR100, num_train=2, num_test=2)


@pytest.fixture(autouse=True)
def _nothing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("WIDTHWISE_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def record(*labels, first_pixel):
    pixels = np.zeros((3, 32, 32), dtype=np.uint8)
    pixels[0, 0, 0], pixels[2, 31, 31], pixels[1, 0, 1] = first_pixel, 9, 8
    return bytes(labels) + pixels.tobytes()


def write_cifar10(folder):
    folder.mkdir(parents=True)
    for number, file in enumerate(CIFAR10.train_files + CIFAR10.test_files):
        content = record(number, first_pixel=number) + record(9, first_pixel=100 + number)
        (folder / file).write_bytes(content)
    return folder


def test_records_of_cifar10(tmp_path):
    folder = write_cifar10(tmp_path / "c")
    raw = load_cifar(SMALL10, folder)
    assert raw.train_inputs.shape == (10, 3, 32, 32)
    assert raw.train_labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert raw.train_inputs[:, 0, 0, 0].tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]
    assert set(raw.train_inputs[:, 2, 31, 31]) == {9}
    assert set(raw.train_inputs[:, 1, 0, 1]) == {8}
    assert raw.test_labels.tolist() == [5, 9]


def test_cifar100_has_a_coarse_label_before_the_fine_one(tmp_path):
    for file in ("train.bin", "test.bin"):
        content = record(7, 99, first_pixel=1) + record(8, 50, first_pixel=2)
        (tmp_path / file).write_bytes(content)
    raw = load_cifar(SMALL100, tmp_path)
    assert raw.train_labels.tolist() == [99, 50]
    assert raw.train_inputs[:, 0, 0, 0].tolist() == [1, 2]
    assert raw.num_classes == 100


@pytest.mark.parametrize("length", [0, 1, 3072, 3074])
def test_partial_records_are_noticed(tmp_path, length):
    path = tmp_path / "test_batch.bin"
    path.write_bytes((record(1, first_pixel=1) * 2)[:length])
    with pytest.raises(InputError, match="whole number of records of 3073 bytes"):
        read_cifar_binary([path], label_bytes=1)


def test_missing_whole_records_are_noticed(tmp_path):
    folder = write_cifar10(tmp_path / "c")
    file = folder / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:3073])
    with pytest.raises(InputError, match=r"got \(9, 3, 32, 32\)"):
        load_cifar(SMALL10, folder)


@pytest.mark.parametrize("sub", ["", "cifar10", "cifar-10-batches-bin"])
def test_found_below_the_path_and_the_environment_variable(tmp_path, monkeypatch, sub):
    folder = write_cifar10(tmp_path / "root" / sub / "" if sub else tmp_path / "root")
    assert locate_cifar(CIFAR10, str(tmp_path / "root")) == folder
    assert locate_cifar(CIFAR10, None) is None
    monkeypatch.setenv("WIDTHWISE_DATA", str(tmp_path / "root"))
    assert locate_cifar(CIFAR10, None) == folder


def test_npz_at_the_path(tmp_path):
    path = tmp_path / "cifar.npz"
    images = np.zeros((10, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(10)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    assert locate_cifar(CIFAR10, str(path)) == path
    assert load_cifar(SMALL10, path).num_classes == 10


def test_python_version_is_refused_with_the_remedy(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in ("data_batch_1", "test_batch"):
        (folder / file).write_bytes(pickle.dumps({b"labels": [1]}, protocol=2))
    assert locate_cifar(CIFAR10, str(tmp_path)) is None
    with pytest.raises(InputError, match=r"Python version of cifar10.*fetch the binary version"):
        refuse_pickles(CIFAR10, str(tmp_path))
    with pytest.raises(InputError, match=r"it is a Python pickle.*fetch the binary version"):
        read_cifar_binary([folder / "test_batch"], label_bytes=1)


def test_registry_refuses_pickles_and_says_where_it_looked(tmp_path):
    row = registry.entry("cifar100")
    spec = DataSpec(name="cifar100", path=str(tmp_path))
    with pytest.raises(DataNotFoundError, match=r"cifar-100-binary.*fetch the binary version"):
        row.load(spec)
    for file in ("train", "test"):
        (tmp_path / file).write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="Python version of cifar100"):
        row.load(spec)
