"""CIFAR-10 and CIFAR-100 in any of the forms in which they come."""

from dataclasses import dataclass, replace
from pathlib import Path

from widthwise.data.arrays import RawData
from widthwise.data.readers.cifar import IMAGE_SHAPE, read_cifar_binary
from widthwise.data.readers.npz import read_npz
from widthwise.data.readers.parquet import find_parquet_folder, read_parquet_folder
from widthwise.data.sources import search_places
from widthwise.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CifarSet:
    """Published form of one of the two sets."""

    name: str
    num_classes: int
    label_bytes: int
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    folders: tuple[str, ...]  # below a root
    python_files: tuple[str, ...]  # mark the pickled version
    num_train: int = 50_000
    num_test: int = 10_000


CIFAR10 = CifarSet(
    name="cifar10",
    num_classes=10,
    label_bytes=1,
    train_files=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test_files=("test_batch.bin",),
    folders=("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
    python_files=("data_batch_1", "test_batch"),
)

CIFAR100 = CifarSet(
    name="cifar100",
    num_classes=100,
    label_bytes=2,
    train_files=("train.bin",),
    test_files=("test.bin",),
    folders=("cifar100", "cifar-100-binary", "cifar-100-python"),
    python_files=("train", "test"),
)


def locate_cifar(cifar_set: CifarSet, path: str | None) -> Path | None:
    """The first place that holds the set: a folder (binary or parquet) or an .npz file."""
    places = search_places(path, cifar_set.folders)
    return next((place for place in places if _form(cifar_set, place) in _LOADERS), None)


def refuse_pickles(cifar_set: CifarSet, path: str | None) -> None:
    """Say so if the places that were searched hold the Python version of the set."""
    for place in search_places(path, cifar_set.folders):
        if _form(cifar_set, place) == "pickle":
            raise InputError(
                f"{place} holds the Python version of {cifar_set.name}, whose pickles can run "
                "code when read; fetch the binary version from "
                "https://www.cs.toronto.edu/~kriz/cifar.html"
            )


def load_cifar(cifar_set: CifarSet, place: Path) -> RawData:
    """Read the set from a place that `locate_cifar` found.

    Raises:
        InputError: if a file is damaged, or the set not of the published size and shape.
    """
    raw = _LOADERS[_form(cifar_set, place)](cifar_set, place)
    expected = ((cifar_set.num_train, *IMAGE_SHAPE), (cifar_set.num_test, *IMAGE_SHAPE))
    found = tuple(() if x is None else x.shape for x in (raw.train_inputs, raw.test_inputs))
    if found != expected:
        raise InputError(
            f"{place} must hold {cifar_set.name} with training and test images of shapes "
            f"{expected[0]} and {expected[1]}, got {found[0]} and {found[1]}; fetch it again, or "
            "load a subset of your own with name 'npz' or 'hf-parquet'"
        )
    return raw


def _form(cifar_set: CifarSet, place: Path) -> str:
    if place.is_file():
        return "npz"
    if all((place / file).is_file() for file in cifar_set.train_files + cifar_set.test_files):
        return "binary"
    if find_parquet_folder(place) is not None:
        return "parquet"
    if all((place / file).is_file() for file in cifar_set.python_files):
        return "pickle"
    return "nothing"


def _load_binary(cifar_set: CifarSet, folder: Path) -> RawData:
    parts = [
        read_cifar_binary([folder / file for file in files], label_bytes=cifar_set.label_bytes)
        for files in (cifar_set.train_files, cifar_set.test_files)
    ]
    return RawData(
        train_inputs=parts[0][0],
        train_labels=parts[0][1],
        test_inputs=parts[1][0],
        test_labels=parts[1][1],
        num_classes=cifar_set.num_classes,
    )


def _load_parquet(cifar_set: CifarSet, folder: Path) -> RawData:
    return replace(read_parquet_folder(folder), num_classes=cifar_set.num_classes)


def _load_npz(cifar_set: CifarSet, file: Path) -> RawData:
    return replace(read_npz(file), num_classes=cifar_set.num_classes)


_LOADERS = {"binary": _load_binary, "parquet": _load_parquet, "npz": _load_npz}
