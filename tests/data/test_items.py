"""Data sets that hand out their examples one by one, arrays and tensors."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from widthwise.data import Dataset, arrays
from widthwise.errors import InputError

# Four images of 1 × 2 pixels in color, channels first: 24 bytes.
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 3, 1, 2)
LABELS = [0, 1, 0, 1]
TEST = (PIXELS[:2] + 100, np.array([1, 0]))


class Pictures(TorchDataset):
    """Map style, as of torchvision: images of Pillow, perhaps transformed."""

    def __init__(self, images=PIXELS, labels=LABELS, transform=lambda image: image):
        self.images = [Image.fromarray(np.moveaxis(image, 0, -1)) for image in images]
        self.labels, self.transform = labels, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.transform(self.images[row]), self.labels[row]


class Given(TorchDataset):
    """Items that a function gives, of a size that somebody states."""

    def __init__(self, item, size=3):
        self.item, self.size = item, size

    def __len__(self):
        return self.size

    def __getitem__(self, row):
        return self.item(row)


def to_tensor(image):
    """torchvision's ToTensor."""
    return torch.from_numpy(np.moveaxis(np.asarray(image), -1, 0).copy()).float().div(255)


def test_center_and_scale_by_hand():
    # Training values 0, 2, 4 and 6: mean 3, mean square about it (9 + 1 + 1 + 9)/4 = 5.
    train = (np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 1, 0, 1]))
    data = Dataset.of((train, (torch.tensor([[8.0], [3.0]]), torch.tensor([1, 0]))))
    root = 5**0.5
    expected = np.array([[-3 / root], [-1 / root], [1 / root], [3 / root]], np.float32)
    np.testing.assert_array_equal(data.train_inputs, expected)
    np.testing.assert_array_equal(data.test_inputs, np.array([[5 / root], [0.0]], np.float32))
    assert data.test_labels.tolist() == [1, 0]
    assert data.preparation == (
        "training mean of each coordinate removed, then all divided by one number that makes the "
        "training mean square 1"
    )


def test_whatever_brings_the_same_pixels_gives_the_same_data():
    labels = np.array(LABELS)
    test = TensorDataset(*map(torch.from_numpy, TEST))
    forms = [
        ((PIXELS, labels), TEST),
        ((torch.from_numpy(PIXELS), LABELS), TEST),
        (Pictures(), TEST),
        {"train": Pictures(), "test": test},
        (Subset(Pictures(np.repeat(PIXELS, 2, 0), [0, 0, 1, 1, 0, 0, 1, 1]), [0, 2, 4, 6]), test),
        (Given(lambda i: {"img": PIXELS[i], "label": torch.tensor(LABELS[i])}, 4), TEST),
    ]
    made = [Dataset.of(form) for form in forms]
    assert {data.fingerprint for data in made} == {
        Dataset.from_arrays(PIXELS, labels, *TEST, preprocessing="center-scale").fingerprint
    }
    assert all("unsigned bytes divided by 255; training mean" in d.preparation for d in made)
    plain = Dataset.of((Pictures(transform=to_tensor), Pictures(*TEST, transform=to_tensor)))
    assert plain.fingerprint == made[0].fingerprint
    assert [data.name for data in made[:4]] == ["arrays", "arrays", "Pictures", "Pictures"]


def test_other_content_has_another_fingerprint():
    other = PIXELS.copy()
    other[3, 2, 0, 1] += 1
    assert (
        Dataset.of((Pictures(), TEST)).fingerprint
        != Dataset.of((Pictures(other), TEST)).fingerprint
    )


def test_one_part_has_a_fifth_held_out():
    inputs, labels = np.arange(20.0)[:, None], np.arange(20) % 2
    data = Dataset.of((inputs, labels), preprocessing="none", seed=3)
    assert sorted([*data.train_inputs[:, 0], *data.test_inputs[:, 0]]) == list(range(20))
    assert np.bincount(data.test_labels).tolist() == [2, 2]
    assert data.preparation == (
        "values as they were given; the test set is 4 of the 20 examples, held out by seed 3"
    )
    larger = Dataset.of((inputs, labels), preprocessing="none", seed=3, num_test=10)
    assert set(data.test_inputs[:, 0]) < set(larger.test_inputs[:, 0])
    other = Dataset.of((inputs, labels), preprocessing="none", seed=4)
    assert set(data.test_inputs[:, 0]) != set(other.test_inputs[:, 0])
    with pytest.raises(InputError, match=r"num_test must lie in \[1, 19\].*got 20; bring a test"):
        Dataset.of((inputs, labels), num_test=20)


def test_what_is_said_of_the_data_is_kept_with_them(tmp_path):
    data = Dataset.of((Pictures(), TEST))
    again = Dataset.read(data.save(tmp_path / "data.npz"))
    assert (again.preparation, again.fingerprint) == (data.preparation, data.fingerprint)
    assert "255" in again.preparation


def test_parts_may_be_three():
    part = (PIXELS, np.array(LABELS))
    data = Dataset.of({"train": part, "val": TEST, "test": TEST})
    assert (data.num_train, data.num_test, data.num_validation) == (4, 2, 2)


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_random_augmentation_is_noticed(p):
    rng = np.random.default_rng(0)
    images = Pictures(
        np.tile(PIXELS, (8, 1, 1, 1)),
        LABELS * 8,
        lambda image: image.rotate(180) if rng.random() < p else image,
    )
    with pytest.raises(InputError, match=r"train data must give the same item every time, but it"):
        Dataset.of((images, TEST))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(PIXELS[0], 0)])


def fails(row):
    if row == 2:
        raise OSError("no such file")
    return PIXELS[row], 0


def gray(row):
    return Image.new("L" if row == 1 else "RGB", (2, 1)), row


PAIR = (PIXELS, np.array(LABELS))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Stream(), "train data must give its items by number.*got Stream.*__getitem__"),
        (DataLoader(Pictures()), "got a DataLoader.*give its .dataset"),
        (iter([]), "must give its items by number"),
        (Given(lambda i: (PIXELS[i], 0), 0), "must have items, got none"),
        (Given(lambda i: PIXELS[i].tolist()), "item 0 must be a pair .* got list of 3"),
        (Given(lambda i: PIXELS[i]), "item 0 must be a pair .* got ndarray"),
        (Given(lambda i: (PIXELS[i], None)), "must have a label, got None; drop"),
        (Given(lambda i: (PIXELS[i], 0.5)), "labels must be integers, got dtype float64"),
        (Given(lambda i: (PIXELS[i], "cat")), "labels must be integers, got dtype <U3"),
        (Given(lambda i: (PIXELS[i], [0, 1])), "one-hot labels"),
        (Given(lambda i: (PIXELS[i], -1)), "must not be negative"),
        (Given(lambda i: {"image": PIXELS[i]}), "must have one column of label.*got image"),
        (Given(lambda i: {"image": 0, "img": 0, "y": 0}), "must have one column of image"),
        (Given(lambda i: (PIXELS[0][..., : 1 + i % 2], 0)), "one shape and type.* in item 1"),
        (Given(lambda i: (PIXELS[i] * 1.0 if i else PIXELS[i], 0)), "uint8 in item 0 and .*float"),
        (Given(gray), r"got \(3, 1, 2\) of uint8 in item 0 and \(1, 2\)"),
        (Given(lambda i: (Image.new("RGBA", (2, 1)), 0)), "item 0 must be 8-bit.* got mode RGBA"),
        (Given(lambda i: (Image.new("L", (9000, 9000)), 0)), "item 0 must hold at most 67,108,864"),
        (Given(lambda i: (np.zeros((8, 8, 3)), 0)), "must have channels first"),
        (Given(fails), r"item 2 is not \(OSError: no such file\); mend"),
        (Given(lambda i: (PIXELS[0], 0), 10**12), "at most 2,147,483,648 numbers.*1,000,000,000"),
        ((np.zeros((4, 8, 8, 3)), np.array(LABELS)), "must have channels first"),
        ([PIXELS, LABELS], "train data must be a pair .train, test.*got a list"),
        ((PIXELS, LABELS, PIXELS, LABELS), "must be a pair .train, test.*got a tuple of 4"),
        (PIXELS, "got a ndarray"),
        (None, "got a NoneType"),
    ],
)
def test_what_is_unfit_is_said(train, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        Dataset.of((train, TEST) if not isinstance(train, np.ndarray) else train)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": PAIR, "unsupervised": PAIR}, "must be named train, test and validation, got"),
        ({"train": PAIR, "val": PAIR, "valid": PAIR, "test": PAIR}, "must be named"),
        ({"test": PAIR}, "data must have train"),
        ({"train": PAIR, "validation": PAIR}, "to test on the validation examples name them test"),
    ],
)
def test_wrong_parts_are_said(parts, message):
    with pytest.raises(InputError, match=message):
        Dataset.of(parts)


def test_sizes_are_refused_before_anything_is_read_twice(monkeypatch):
    monkeypatch.setattr(arrays, "MAX_VALUES", 17)
    reads = []
    data = Given(lambda i: (reads.append(i) or PIXELS[i], 0))
    with pytest.raises(InputError, match=r"at most 17 numbers.*got 3 examples of shape \(3, 1, 2"):
        Dataset.of((data, TEST))
    assert reads == [0]
