import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest

from widthwise.data import DataSpec, available, load
from widthwise.data.readers.idx import format_idx
from widthwise.data.sources import (
    ANY_IDX,
    FASHION_MNIST,
    IDX_STEMS,
    MNIST,
    locate_idx_set,
    read_idx_set,
    search_places,
)
from widthwise.errors import DataNotFoundError, InputError

# The system's copy would be found on some machines and not on others.
ELSEWHERE = replace(FASHION_MNIST, system_folders=())
needs_full_set = pytest.mark.skipif(
    locate_idx_set(FASHION_MNIST, FASHION_MNIST.system_folders[0]) is None,
    reason="Debian's package dataset-fashion-mnist is not installed",
)


@pytest.fixture(autouse=True)
def _nothing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("WIDTHWISE_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def contents():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 0], dtype=np.uint8)
    arrays = (rng.integers(0, 256, size=(4, 3, 2), dtype=np.uint8), labels) * 2
    return [format_idx(array) for array in arrays]


def write_idx(folder, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in zip(IDX_STEMS, contents(), strict=True):
        packed = gzip.compress(content) if suffix == ".gz" else content
        (folder / (stem + suffix)).write_bytes(packed)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("sub", ["", "fashion-mnist", "FashionMNIST/raw"])
def test_path_and_variable_are_searched_with_their_subfolders(tmp_path, monkeypatch, sub, suffix):
    folder = write_idx(tmp_path / "root" / sub, suffix)
    assert locate_idx_set(ELSEWHERE, str(tmp_path / "root")) == folder
    assert locate_idx_set(ELSEWHERE, None) is None
    monkeypatch.setenv("WIDTHWISE_DATA", str(tmp_path / "root"))
    assert locate_idx_set(ELSEWHERE, None) == folder


def test_variable_goes_before_the_system_and_the_system_before_the_working_directory(
    tmp_path, monkeypatch
):
    system = write_idx(tmp_path / "system")
    local = write_idx(tmp_path / "here" / "data" / "FashionMNIST" / "raw")
    variable = write_idx(tmp_path / "variable" / "fashion-mnist")
    idx_set = replace(FASHION_MNIST, system_folders=(str(system),))
    assert locate_idx_set(ELSEWHERE, None).resolve() == local
    assert locate_idx_set(idx_set, None) == system
    monkeypatch.setenv("WIDTHWISE_DATA", str(tmp_path / "variable"))
    assert locate_idx_set(idx_set, None) == variable


def test_given_path_is_searched_alone(tmp_path, monkeypatch):
    write_idx(tmp_path / "variable")
    monkeypatch.setenv("WIDTHWISE_DATA", str(tmp_path / "variable"))
    assert locate_idx_set(ELSEWHERE, str(tmp_path / "wrong")) is None


def test_home_directory_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert search_places("~/x", ())[0] == tmp_path / "x"


def test_names_with_a_dot_are_accepted(tmp_path):
    write_idx(tmp_path)
    for stem in IDX_STEMS:
        (tmp_path / stem).rename(tmp_path / stem.replace("-idx", ".idx"))
    assert locate_idx_set(MNIST, str(tmp_path)) == tmp_path


def test_folder_with_three_of_four_files_is_not_taken(tmp_path):
    write_idx(tmp_path)
    (tmp_path / IDX_STEMS[3]).unlink()
    assert locate_idx_set(MNIST, str(tmp_path)) is None
    with pytest.raises(DataNotFoundError, match="not all are there"):
        read_idx_set(tmp_path, ANY_IDX)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_decompressed_content_is_verified(tmp_path, suffix):
    write_idx(tmp_path, suffix)
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in contents())
    raw = read_idx_set(tmp_path, replace(MNIST, sha256=hashes))
    assert raw.train_labels.tolist() == [0, 1, 2, 0]
    for number in range(4):
        wrong = (*hashes[:number], "0" * 64, *hashes[number + 1 :])
        with pytest.raises(InputError, match=f"{IDX_STEMS[number]}.*published content"):
            read_idx_set(tmp_path, replace(MNIST, sha256=wrong))


def test_other_data_are_not_taken_for_mnist(tmp_path):
    write_idx(tmp_path)
    with pytest.raises(InputError, match=r"published content.*or load data of your own"):
        load(DataSpec(name="mnist", path=str(tmp_path)))


def test_files_of_your_own(tmp_path):
    write_idx(tmp_path, ".gz")
    dataset = load(DataSpec(name="idx", path=str(tmp_path)))
    assert (dataset.num_train, dataset.num_classes, dataset.input_shape) == (4, 3, (1, 3, 2))


def test_absent_set_says_where_it_was_sought_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDTHWISE_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataNotFoundError) as error:
        load(DataSpec(name="mnist"))
    for part in (tmp_path / "mine" / "mnist", "data/MNIST/raw", "fetch the four IDX files"):
        assert str(part) in str(error.value)


def test_available_follows_the_disk(tmp_path):
    def location():
        return {row.name: row.location for row in available()}["mnist"]

    assert location() is None
    write_idx(tmp_path / "here" / "data" / "mnist")
    assert location() == "data/mnist"


@pytest.mark.slow
@needs_full_set
def test_full_fashion_mnist():
    dataset = load(DataSpec(name="fashion-mnist", num_train=1024, num_validation=1000))
    assert (dataset.num_train, dataset.num_test, dataset.num_validation) == (1024, 10_000, 1000)
    counts = np.bincount(dataset.train_labels)
    assert set(counts) == {102, 103}
    assert set(np.bincount(dataset.validation_labels)) == {100}
    assert np.mean(dataset.train_inputs.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-6)
