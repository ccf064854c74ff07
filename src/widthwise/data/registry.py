"""The table of data sets: what each is, how it is loaded, how to get it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from widthwise.data import bundled_set, mnist1d, sources
from widthwise.data.arrays import RawData, raw_data
from widthwise.data.bundled_set import read_digits
from widthwise.data.cifar import (
    CIFAR10,
    CIFAR100,
    CifarSet,
    load_cifar,
    locate_cifar,
    refuse_pickles,
)
from widthwise.data.dataset import Dataset
from widthwise.data.preprocessing import Preprocessing
from widthwise.data.readers.image_folder import read_image_folder
from widthwise.data.readers.npz import read_npz
from widthwise.data.readers.parquet import read_parquet_folder
from widthwise.data.readers.saved_datasets import read_saved
from widthwise.errors import InputError, perhaps


class DataSpec(BaseModel):
    """A data set and how to prepare it.

    Attributes:
        name: a name that `available` lists.
        path: file or folder, for data that lie on disk; None searches the usual places.
        num_train: training examples, class-balanced, a smaller set being part of a larger one;
            None takes all. "mnist1d" is generated at the size asked for, as published, where
            another size means other data.
        num_test: test examples, in the class proportions of the test set; None takes all. Where
            the test set is held out, its size; None takes a fifth.
        num_validation: examples held out from the training images that are not trained on.
        seed: decides which examples are taken and, for generated data, the data themselves. If
            left out it is 0, for "mnist1d" 42, the published value.
        preprocessing: "center-scale" removes the training mean of each coordinate, then divides
            by one number so that the training mean square is 1; "none" leaves the values, except
            that unsigned bytes are divided by 255.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "fashion-mnist-mini"
    path: str | None = None
    num_train: int | None = Field(default=None, ge=1)
    num_test: int | None = Field(default=None, ge=1)
    num_validation: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    preprocessing: Preprocessing = "center-scale"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return entry(name).name

    @model_validator(mode="before")
    @classmethod
    def _published_seed(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "seed" not in fields and fields.get("name") == "mnist1d":
            return {**fields, "seed": entry("mnist1d").default_seed}
        return fields


if TYPE_CHECKING:
    from widthwise.data.registry import DataSpec

BUILT_IN = "part of Widthwise"
OWN_FILES = "your own files, at the path you give"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the table."""

    name: str
    description: str
    how_to_get: str
    load: Callable[["DataSpec"], RawData]
    locate: Callable[[], str | None]  # where it is on this machine, None if it is not
    takes_path: bool = True
    needs_path: bool = False
    default_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What `available` says of one data set; location is None if it is not on this machine."""

    name: str
    description: str
    location: str | None
    how_to_get: str


def _load_mnist1d(spec: "DataSpec") -> RawData:
    num_train = mnist1d.NUM_TRAIN if spec.num_train is None else spec.num_train
    return mnist1d.generate_mnist1d(
        num_train=num_train + spec.num_validation,
        num_test=mnist1d.NUM_TEST if spec.num_test is None else spec.num_test,
        seed=spec.seed,
    )


def _published_entry(
    name: str,
    description: str,
    how_to_get: str,
    *,
    locate: Callable[[str | None], Path | None],
    read: Callable[[Path], RawData],
    places: Callable[[str | None], Sequence[Path]],
) -> Entry:
    """Published files, sought where the user says or where they usually lie."""

    def load(spec: "DataSpec") -> RawData:
        place = locate(spec.path)
        if place is None:
            raise sources.not_found(name, places(spec.path), how_to_get)
        return read(place)

    def found() -> str | None:
        place = locate(None)
        return None if place is None else str(place)

    return Entry(name=name, description=description, how_to_get=how_to_get, load=load, locate=found)


def _idx_entry(idx_set: sources.IdxSet, description: str, how_to_get: str) -> Entry:
    return _published_entry(
        idx_set.name,
        description,
        how_to_get,
        locate=lambda path: sources.locate_idx_set(idx_set, path),
        read=lambda folder: sources.read_idx_set(folder, idx_set),
        places=lambda path: sources.search_places(path, idx_set.folders, idx_set.system_folders),
    )


def _cifar_entry(cifar_set: CifarSet, description: str, how_to_get: str) -> Entry:
    def places(path: str | None) -> Sequence[Path]:
        refuse_pickles(cifar_set, path)
        return sources.search_places(path, cifar_set.folders)

    return _published_entry(
        cifar_set.name,
        description,
        how_to_get,
        locate=lambda path: locate_cifar(cifar_set, path),
        read=lambda place: load_cifar(cifar_set, place),
        places=places,
    )


def _own_files_entry(
    name: str, description: str, how_to_get: str, read: Callable[[Path], RawData]
) -> Entry:
    return Entry(
        name=name,
        description=description,
        how_to_get=how_to_get,
        load=lambda spec: read(Path(spec.path or ".").expanduser()),
        locate=lambda: OWN_FILES,
        needs_path=True,
    )


# Unpacked once a process, which takes a third of a second; 10 MB.
_bundled = cache(bundled_set.read_bundled)


def _sklearn() -> str | None:
    return "scikit-learn" if find_spec("sklearn") is not None else None


_PUT_THEM = f"put them in a folder and give it as path or in ${sources.DATA_VARIABLE}"

_ENTRIES = (
    Entry(
        name="fashion-mnist-mini",
        description=(
            "Fashion-MNIST subset: grayscale clothing images (1, 28, 28), 10 balanced classes, "
            f"{bundled_set.NUM_TRAIN:,} training and {bundled_set.NUM_TEST:,} test images."
        ),
        how_to_get="nothing to do",
        load=lambda spec: _bundled(),
        locate=lambda: BUILT_IN,
        takes_path=False,
    ),
    Entry(
        name="mnist1d",
        description=(
            f"MNIST-1D: generated signals ({mnist1d.LENGTH},), {mnist1d.NUM_CLASSES} classes, "
            f"{mnist1d.NUM_TRAIN:,} training and {mnist1d.NUM_TEST:,} test examples as published, "
            "or as many as you ask for."
        ),
        how_to_get="nothing to do",
        load=_load_mnist1d,
        locate=lambda: BUILT_IN,
        takes_path=False,
        default_seed=mnist1d.SEED,
    ),
    _idx_entry(
        sources.FASHION_MNIST,
        "Fashion-MNIST: grayscale clothing images (1, 28, 28), 10 classes, 60,000 training and "
        "10,000 test images.",
        "install Debian's package dataset-fashion-mnist, or fetch the four IDX files from "
        f"https://github.com/zalandoresearch/fashion-mnist and {_PUT_THEM}",
    ),
    _idx_entry(
        sources.MNIST,
        "MNIST: grayscale handwritten digits (1, 28, 28), 10 classes, 60,000 training and "
        "10,000 test images.",
        "fetch the four IDX files (torchvision's copy in MNIST/raw will do) and " + _PUT_THEM,
    ),
    _cifar_entry(
        CIFAR10,
        "CIFAR-10: color photographs (3, 32, 32), 10 classes, 50,000 training and 10,000 test "
        "images.",
        "fetch the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or the "
        f"parquet files of Hugging Face's uoft-cs/cifar10; unpack and {_PUT_THEM}",
    ),
    _cifar_entry(
        CIFAR100,
        "CIFAR-100: color photographs (3, 32, 32), 100 classes, 50,000 training and 10,000 test "
        "images.",
        "fetch the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or the "
        f"parquet files of Hugging Face's uoft-cs/cifar100; unpack and {_PUT_THEM}",
    ),
    Entry(
        name="digits",
        description=(
            "scikit-learn's digits: handwritten digits (1, 8, 8), 10 classes, 1,297 training and "
            "500 test images."
        ),
        how_to_get="pip install scikit-learn",
        load=lambda spec: read_digits(),
        locate=_sklearn,
        takes_path=False,
    ),
    _own_files_entry(
        "npz",
        "A NumPy archive with train_inputs, train_labels, test_inputs and test_labels (or x_train, "
        "y_train, …), or a data set written by Dataset.save.",
        "write one with numpy.savez or Dataset.save",
        read_npz,
    ),
    _own_files_entry(
        "idx",
        "A folder with four IDX files named as those of MNIST, plain or compressed.",
        "see http://yann.lecun.com/exdb/mnist for the format",
        lambda folder: sources.read_idx_set(folder, sources.ANY_IDX),
    ),
    _own_files_entry(
        "hf-parquet",
        "A folder with Hugging Face image data: train-*.parquet and test-*.parquet.",
        "download a data set's parquet files from https://huggingface.co/datasets",
        read_parquet_folder,
    ),
    _own_files_entry(
        "hf-saved",
        "A folder that save_to_disk of Hugging Face's datasets wrote; without a part test, test "
        "examples are held out.",
        "write one with save_to_disk; pip install 'widthwise[huggingface]' to read it",
        lambda folder: raw_data(read_saved(folder)),
    ),
    _own_files_entry(
        "image-folder",
        "A folder of images, a folder for each class, beneath train and test or, to have test "
        "examples held out, by themselves.",
        "put each image into a folder named after its class",
        lambda folder: raw_data(read_image_folder(folder)),
    ),
)

_TABLE = {row.name: row for row in _ENTRIES}


def entry(name: str) -> Entry:
    """The row of the table.

    Raises:
        InputError: if there is no such data set; the message lists the names.
    """
    try:
        return _TABLE[name]
    except KeyError:
        raise InputError(
            f"the data set must be one of {', '.join(_TABLE)}, got {name!r}"
            f"{perhaps(name, _TABLE)}; "
            "for data of your own use image-folder, npz, idx, hf-parquet or hf-saved with a path"
        ) from None


def available() -> list[DatasetInfo]:
    """Every data set there is a name for, and whether it is on this machine."""
    return [
        DatasetInfo(
            name=row.name,
            description=row.description,
            location=row.locate(),
            how_to_get=row.how_to_get,
        )
        for row in _ENTRIES
    ]


def load(spec: DataSpec) -> Dataset:
    """Read or generate a data set, choose the examples and preprocess them.

    Raises:
        InputError: if the specification or a file is wrong.
        DataNotFoundError: if the data are not on this machine; says where they were sought.

    >>> load(DataSpec(num_train=100, num_test=1000))
    Dataset('fashion-mnist-mini', input_shape=(1, 28, 28), num_classes=10, num_train=100,
            num_test=1000, num_validation=0)
    """
    row = entry(spec.name)
    if spec.path is not None and not row.takes_path:
        raise InputError(
            f"data set {spec.name!r} does not lie on disk and takes no path, got {spec.path!r}; "
            "leave path out, or name what lies there (npz, idx, hf-parquet, ...)"
        )
    if spec.path is None and row.needs_path:
        raise InputError(
            f"data set {spec.name!r} needs the path of your files, got none; give path"
        )
    raw = row.load(spec)
    return Dataset.of_raw(
        raw,
        name=spec.name,
        num_train=spec.num_train,
        num_test=spec.num_test,
        num_validation=spec.num_validation,
        seed=spec.seed,
        preprocessing=spec.preprocessing,
    )
