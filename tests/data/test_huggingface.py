"""Data sets of Hugging Face, in memory and as they are saved."""

import sys

import numpy as np
import pytest
from PIL import Image

from widthwise.data import Dataset, DataSpec, load
from widthwise.errors import DataNotFoundError, InputError

try:
    import datasets
except ImportError:
    pytest.skip("datasets is not installed", allow_module_level=True)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]  # the first import of datasets takes seconds

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 3, 1, 2)
LABELS = [0, 1, 0, 1]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    datasets.disable_progress_bars()


def dataset(pixels=PIXELS, labels=LABELS, names=("cat", "dog", "bird"), column="img"):
    features = datasets.Features(
        {column: datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    )
    images = [Image.fromarray(np.moveaxis(image, 0, -1)) for image in pixels]
    return datasets.Dataset.from_dict({column: images, "label": labels}, features=features)


@pytest.fixture
def both():
    return datasets.DatasetDict({"train": dataset(), "test": dataset(PIXELS[:2] + 100, [1, 0])})


def arrays():
    return Dataset.from_arrays(
        PIXELS,
        LABELS,
        PIXELS[:2] + 100,
        [1, 0],
        num_classes=3,
        preprocessing="center-scale",
    )


def test_images_have_the_pixels_and_classes_that_were_put_in(both):
    data = Dataset.of(both)
    assert data.num_classes == 3  # as the data set says, though birds are absent
    assert data.fingerprint == arrays().fingerprint
    assert Dataset.of((both["train"], both["test"])).fingerprint == data.fingerprint
    assert Dataset.of(both.with_format("torch")).fingerprint == data.fingerprint


def test_rows_of_numbers():
    given = datasets.Dataset.from_dict({"x": [[0.0, 1.0]] * 5 + [[2.0, 3.0]] * 5, "y": [0, 1] * 5})
    data = Dataset.of(given, preprocessing="none")
    assert (data.input_shape, data.num_train, data.num_test) == ((2,), 8, 2)
    assert data.train_inputs.max() == 3.0


def test_saved_and_read_again(both, tmp_path):
    both.save_to_disk(tmp_path / "saved")
    data = load(DataSpec(name="hf-saved", path=str(tmp_path / "saved")))
    assert data.fingerprint == arrays().fingerprint
    assert Dataset.of(tmp_path / "saved").fingerprint == data.fingerprint


def test_one_part_that_was_saved_has_a_test_set_held_out(tmp_path):
    dataset().save_to_disk(tmp_path / "saved")
    data = load(DataSpec(name="hf-saved", path=str(tmp_path / "saved"), num_test=2))
    assert (data.num_train, data.num_test, data.num_classes) == (2, 2, 3)


def test_other_parts_are_not_left_out_silently(both, tmp_path):
    both["extra"] = both["test"]
    with pytest.raises(InputError, match=r"must be named train, test and validation, got.*extra"):
        Dataset.of(both)
    both.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"must hold the parts train, test.*extra; save those"):
        Dataset.of(tmp_path / "saved")


def test_streams_and_unlabeled_data_are_refused(both):
    with pytest.raises(InputError, match="must give its items by number"):
        Dataset.of(both["train"].to_iterable_dataset())
    with pytest.raises(InputError, match=r"must have one column of label, .*got img"):
        Dataset.of(both["train"].select_columns("img"))
    with pytest.raises(InputError, match="must not be negative"):
        Dataset.of(dataset(labels=[0, 1, 0, -1]))


def test_images_of_another_place_are_not_fetched(tmp_path, monkeypatch):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": None, "path": "http://127.0.0.1:9/0.png"}], "label": [0]}
    elsewhere = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_from_disk", lambda path: elsewhere)
    (tmp_path / "dataset_info.json").touch()
    with pytest.raises(InputError, match="item 0 must be embedded, got a path only; save"):
        Dataset.of(tmp_path)


def test_damaged_and_absent_folders(both, tmp_path):
    both.save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "train" / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(InputError, match=r"must be a complete folder written by save_to_disk"):
        Dataset.of(tmp_path / "saved")
    with pytest.raises(DataNotFoundError, match=r"holds neither dataset_dict.json nor"):
        load(DataSpec(name="hf-saved", path=str(tmp_path / "absent")))


def test_without_the_package(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataNotFoundError, match=r"pip install 'widthwise\[huggingface\]'"):
        Dataset.of(tmp_path)
