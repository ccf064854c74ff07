"""Folders of images, a folder a class."""

import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from widthwise.data import Dataset, DataSpec, load
from widthwise.data.readers import files
from widthwise.errors import DataNotFoundError, InputError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Six gray images of 1 × 2 pixels, [10 i, 10 i + 1], four to train on: dogs come first by the
    number of their files, cats by name."""
    root = tmp_path / "pets"
    write(root / "train" / "dog" / "0.png", [[0, 1]])
    write(root / "train" / "cat" / "b.png", [[20, 21]])
    write(root / "train" / "cat" / "a.png", [[10, 11]])
    write(root / "train" / "cat" / "more" / "c.bmp", [[30, 31]])
    write(root / "test" / "dog" / "d.png", [[40, 41]])
    write(root / "test" / "cat" / "e.png", [[50, 51]])
    (root / "train" / ".DS_Store").write_bytes(b"\0")
    (root / "train" / "dog" / "Thumbs.db").write_bytes(b"\0")
    return root


def spec(path, **options):
    return DataSpec(name="image-folder", path=str(path), **options)


def test_images_and_labels(folder):
    data = load(spec(folder, preprocessing="none"))
    assert (data.input_shape, data.num_classes, data.num_train) == ((1, 1, 2), 2, 4)
    assert (data.train_inputs[:, 0, 0, 0] * 255).round().tolist() == [10, 20, 30, 0]
    assert data.train_labels.tolist() == [0, 0, 0, 1]  # cat before dog
    assert (data.test_inputs * 255).round().ravel().tolist() == [50, 51, 40, 41]
    assert data.test_labels.tolist() == [0, 1]
    assert data.preparation == "unsigned bytes divided by 255"
    given = Dataset.of(folder, preprocessing="none")
    assert (given.name, given.fingerprint) == ("pets", data.fingerprint)


def test_color_has_channels_first(tmp_path):
    for i, name in enumerate(["a", "b"]):
        for part in ("train", "test", "val"):
            write(tmp_path / part / name / "0.png", [[[i, 2, 3], [4, 5, 6]]])
    data = load(spec(tmp_path, preprocessing="none"))
    assert data.input_shape == (3, 1, 2)
    assert (data.train_inputs[1] * 255).round().tolist() == [[[1, 4]], [[2, 5]], [[3, 6]]]
    assert data.num_validation == 2


def test_classes_alone_have_a_test_set_held_out(folder):
    data = load(spec(folder / "train", num_test=1, preprocessing="none"))
    assert (data.num_train, data.num_test) == (3, 1)
    assert data.preparation.endswith("the test set is 1 of the 4 examples, held out by seed 0")
    both = np.concatenate([data.train_inputs, data.test_inputs])[:, 0, 0, 0] * 255
    assert sorted(both.round().tolist()) == [0, 10, 20, 30]


def test_a_changed_pixel_is_other_data(folder):
    before = load(spec(folder)).fingerprint
    write(folder / "test" / "cat" / "e.png", [[50, 52]])
    assert load(spec(folder)).fingerprint != before


def png(width, height, content):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def unlabeled(root):
    write(root / "train" / "loose.png", [[1, 2]])


def nothing_but_images(root):
    for file in root.rglob("*.*"):
        file.unlink()
    for empty in sorted(root.rglob("*"), reverse=True):
        empty.rmdir()
    write(root / "0.png", [[1, 2]])


def another_size(root):
    write(root / "train" / "dog" / "z.png", [[1, 2, 3]])


def another_size_to_test(root):
    for file in (root / "test").rglob("*.png"):
        write(file, [[1, 2, 3]])


def another_class(root):
    write(root / "test" / "bird" / "0.png", [[1, 2]])


def no_test(root):
    (root / "test").rename(root / "val")


def other_part(root):
    (root / "extra").mkdir()


def empty_class(root):
    (root / "train" / "bird").mkdir()


def damaged(root):
    file = root / "train" / "cat" / "a.png"
    file.write_bytes(file.read_bytes()[:45])


def disguised(root):
    (root / "train" / "cat" / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")


def other_file(root):
    (root / "train" / "cat" / "labels.csv").write_text("a,0")


def palette(root):
    Image.new("P", (2, 1)).save(root / "train" / "cat" / "a.png")


def bomb(root):
    (root / "train" / "cat" / "a.png").write_bytes(png(60_000, 60_000, b"\0" * 1000))


def small_bomb(root):
    """Below Pillow's limit, above ours."""
    (root / "train" / "cat" / "a.png").write_bytes(png(8_000, 8_000, b"\0" * 1000))


def loop(root):
    (root / "train" / "cat" / "again").symlink_to(root / "train" / "cat")


def loop_of_links(root):
    (root / "train" / "cat" / "again.png").symlink_to("again.png")


def pipe(root):
    os.mkfifo(root / "train" / "cat" / "p.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            unlabeled,
            "train must hold its images in a folder for each class, got 1 that lie in none",
        ),
        (nothing_but_images, "must hold a folder for each class with its images, got none; put"),
        (another_size, r"one shape, got \(1, 2\) in .*a.png and \(1, 3\) in .*z.png; resize"),
        (another_size_to_test, "must hold images of one shape.*resize"),
        (another_class, "the classes of the training images alone, got bird; they are cat, dog"),
        (no_test, "must hold train and test.*but test is missing; rename"),
        (other_part, "must hold train, test and perhaps validation alone, got extra"),
        (empty_class, "bird must hold images, got none; remove the folder"),
        (damaged, "a.png must be an image, but it cannot be decoded .*fetch"),
        (disguised, "a.png must be an image, but it cannot be decoded"),
        (other_file, "must hold images alone.*got labels.csv; move it away"),
        (palette, "a.png must be 8-bit grayscale or RGB, got mode P; convert it"),
        (bomb, "a.png must be an image.*decompression bomb"),
        (small_bomb, "a.png must hold at most 67,108,864 values, got 8000 × 8000 pixels"),
        (loop, "again must lead to no folder that was read already.*remove the link"),
        (loop_of_links, "again.png must be a readable file|cannot be decoded"),
        (pipe, "p.png must be a file, but it is a device or a pipe"),
    ],
)
def test_what_is_unfit_is_said(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(spec(folder))


def test_much_out_of_little_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """Of one color: 100 × 100 pixels in some 100 bytes."""
    monkeypatch.setattr(files, "MAX_SIZE", 19_999)
    for i in range(2):
        write(tmp_path / "ab"[i] / "0.png", np.zeros((100, 100)))
    with pytest.raises(InputError, match=r"must unpack to at most 19,999 bytes.*hold 20,000"):
        load(spec(tmp_path))
    monkeypatch.setattr(files, "MAX_SIZE", 20_000)
    assert load(spec(tmp_path, num_test=1, preprocessing="none")).num_train == 1


def test_where_there_is_nothing(tmp_path):
    with pytest.raises(DataNotFoundError, match="must be a folder of images, and is none"):
        load(spec(tmp_path / "absent"))


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataNotFoundError, match=r"needs Pillow.*pip install pillow"):
        load(spec(folder))
