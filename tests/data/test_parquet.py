import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from widthwise.data import DataSpec, load
from widthwise.data.readers import files
from widthwise.data.readers.parquet import read_parquet, read_parquet_folder
from widthwise.errors import DataNotFoundError, InputError


def encode(pixels, mode=None, image_format="PNG"):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, format=image_format)
    return buffer.getvalue()


def pictures(count, channels=None, seed=0):
    shape = (count, 4, 5) if channels is None else (count, 4, 5, channels)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def write(path, encoded, labels, image_column="image", label_column="label"):
    pl.DataFrame(
        {
            image_column: [{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(encoded)],
            label_column: labels,
        },
        schema={
            image_column: pl.Struct({"bytes": pl.Binary, "path": pl.String}),
            label_column: pl.Int64,
        },
    ).write_parquet(path)
    return path


def write_set(folder, channels=None):
    folder.mkdir(parents=True, exist_ok=True)
    train, test = pictures(6, channels), pictures(4, channels, seed=1)
    for part, images in (
        ("train-00000-of-00002", train[:3]),
        ("train-00001-of-00002", train[3:]),
        ("test-00000-of-00001", test),
    ):
        write(folder / f"{part}.parquet", [encode(x) for x in images], [0, 1, 2, 0][: len(images)])
    return train, test


@pytest.mark.parametrize("sub", ["", "data", "plain_text"])
def test_grayscale_images(tmp_path, sub):
    train, test = write_set(tmp_path / sub)
    raw = read_parquet_folder(tmp_path)
    np.testing.assert_array_equal(raw.train_inputs, train)
    np.testing.assert_array_equal(raw.test_inputs, test)
    assert raw.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert raw.validation_inputs is None
    dataset = load(DataSpec(name="hf-parquet", path=str(tmp_path), preprocessing="none"))
    np.testing.assert_array_equal(dataset.test_inputs, (test / np.float32(255))[:, None])


def test_color_images_have_channels_first(tmp_path):
    train, _ = write_set(tmp_path, channels=3)
    dataset = load(DataSpec(name="hf-parquet", path=str(tmp_path), preprocessing="none"))
    assert dataset.input_shape == (3, 4, 5)
    expected = np.moveaxis(train, -1, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(dataset.train_inputs, expected)


def test_validation_files_and_the_columns_of_cifar100(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "validation-00000-of-00001.parquet"
    write(path, [encode(x) for x in pictures(2)], [2, 1], "img", "fine_label")
    assert read_parquet_folder(tmp_path).validation_labels.tolist() == [2, 1]


def test_missing_shard_is_noticed(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"all 2 parts.*got 1"):
        read_parquet_folder(tmp_path)


def test_truncated_file_is_noticed(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "test-00000-of-00001.parquet"
    content = path.read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="truncated or damaged"):
            read_parquet_folder(tmp_path)


IMAGE = encode(pictures(1)[0])
WRONG_IMAGES = {
    "no bytes": ([None], "got a path only"),
    "not an image": ([b"nonsense"], "cannot be decoded"),
    "truncated image": ([IMAGE[:-25]], "cannot be decoded"),
    "transparent": ([encode(pictures(1, 4)[0])], "got mode RGBA"),
    "two sizes": ([IMAGE, encode(np.zeros((2, 2), dtype=np.uint8))], "images of one shape"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_wrong_images_are_rejected(tmp_path, case):
    encoded, message = WRONG_IMAGES[case]
    path = write(tmp_path / "train.parquet", encoded, [0] * len(encoded))
    with pytest.raises(InputError, match=message):
        read_parquet([path])


def test_wrong_columns_are_rejected(tmp_path):
    path = write(tmp_path / "a.parquet", [IMAGE], [0], image_column="picture")
    with pytest.raises(InputError, match="column image or img, got picture, label"):
        read_parquet([path])
    path = write(tmp_path / "b.parquet", [IMAGE, IMAGE], [0, None])
    with pytest.raises(InputError, match="1 missing"):
        read_parquet([path])
    path = tmp_path / "c.parquet"
    pl.DataFrame({"image": [b"x"], "label": [0]}).write_parquet(path)
    with pytest.raises(InputError, match="must be a struct"):
        read_parquet([path])
    one, other = (
        write(tmp_path / f"{i}.parquet", [encode(x)], [0])
        for i, x in enumerate((np.zeros((2, 2), dtype=np.uint8), np.zeros((3, 3), dtype=np.uint8)))
    )
    with pytest.raises(InputError, match="must all have one shape"):
        read_parquet([one, other])


def test_folder_without_the_files(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"must hold train\*.parquet and test\*.parquet"):
        read_parquet_folder(tmp_path)


@pytest.mark.slow
def test_images_of_absurd_sizes_are_refused_undecoded(tmp_path):
    """A picture of one color: 9,000 × 9,000 pixels in 80 kB."""
    bomb = encode(np.zeros((9000, 9000), np.uint8))
    assert len(bomb) < 100_000
    path = write(tmp_path / "train.parquet", [bomb], [0])
    with pytest.raises(InputError, match=r"image 0 must hold at most .* got 9000 × 9000 pixels"):
        read_parquet([path])


def test_many_images_that_unpack_to_gigabytes_are_refused_by_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 1 << 20)
    black = encode(np.zeros((400, 400), np.uint8))
    path = write(tmp_path / "train.parquet", [black] * 10, [0] * 10)
    with pytest.raises(InputError, match="bytes hold 1,600,000 or more"):
        read_parquet([path])
