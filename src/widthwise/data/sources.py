"""Data sets on disk: where they are sought, how they are recognized and verified.

The only module of this package that looks at environment variables and the working directory.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widthwise.data.arrays import RawData
from widthwise.data.readers.files import read_file
from widthwise.data.readers.idx import parse_idx
from widthwise.errors import DataNotFoundError, InputError

DATA_VARIABLE = "WIDTHWISE_DATA"
_SUFFIXES = ("", ".gz", ".xz")


@dataclass(frozen=True)
class IdxSet:
    """Four IDX files; the hashes are SHA-256 of their decompressed content, None if unknown."""

    name: str
    sha256: tuple[str, str, str, str] | None
    folders: tuple[str, ...] = ()  # below a root
    system_folders: tuple[str, ...] = ()


IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    folders=("fashion-mnist", "FashionMNIST/raw"),
    system_folders=("/usr/share/datasets/fashion-mnist",),
)

# Not published by MNIST's authors; several independent public repositories state the same four.
MNIST = IdxSet(
    name="mnist",
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    folders=("mnist", "MNIST/raw"),
)

ANY_IDX = IdxSet(name="idx", sha256=None)


def search_places(
    path: str | None, folders: Sequence[str], system_folders: Sequence[str] = ()
) -> list[Path]:
    """Folders to look into, in order.

    A path that was given is searched alone, so that a typing error cannot be answered with
    another copy; else $WIDTHWISE_DATA, the system's folders and ./data. In each root, the root
    itself comes first, then the named folders below it.
    """

    def below(root: Path) -> list[Path]:
        return [root, *(root / folder for folder in folders)]

    if path is not None:
        return below(Path(path).expanduser())
    variable = os.environ.get(DATA_VARIABLE)
    places = below(Path(variable).expanduser()) if variable else []
    places += [Path(folder) for folder in system_folders]
    return places + below(Path("data"))[1:]


def not_found(name: str, places: Sequence[Path], how_to_get: str) -> DataNotFoundError:
    """The error that lists where a data set was sought."""
    looked = ", ".join(str(place) for place in places)
    return DataNotFoundError(
        f"data set {name!r} must be on this machine, but it is not in {looked}; {how_to_get}"
    )


def find_idx_files(folder: Path) -> tuple[Path, ...] | None:
    """The four files, plain or compressed, under their usual names; None unless all are there."""
    found = []
    for stem in IDX_STEMS:
        names = (stem, stem.replace("-idx", ".idx"))
        candidates = [folder / (name + suffix) for name in names for suffix in _SUFFIXES]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            return None
        found.append(file)
    return tuple(found)


def locate_idx_set(idx_set: IdxSet, path: str | None) -> Path | None:
    """The first place that holds the four files."""
    places = search_places(path, idx_set.folders, idx_set.system_folders)
    return next((place for place in places if find_idx_files(place) is not None), None)


def read_idx_set(folder: Path, idx_set: IdxSet) -> RawData:
    """Read and verify the four files of a folder.

    Raises:
        DataNotFoundError: if one is missing.
        InputError: if a file is damaged or not the published one.
    """
    files = find_idx_files(folder)
    if files is None:
        raise DataNotFoundError(
            f"{folder} must hold {', '.join(IDX_STEMS)} (plain, .gz or .xz), "
            "but not all are there; add them"
        )
    arrays = []
    for number, file in enumerate(files):
        content = read_file(file)
        if idx_set.sha256 is not None:
            verify(content, idx_set.sha256[number], source=str(file))
        arrays.append(parse_idx(content, source=str(file)))
    return RawData(
        train_inputs=arrays[0],
        train_labels=arrays[1],
        test_inputs=arrays[2],
        test_labels=arrays[3],
    )


def verify(content: bytes, sha256: str, *, source: str) -> None:
    """Require the published content."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{source} must have the published content (SHA-256 {sha256}, decompressed), "
            f"got {found}; fetch it again, or load data of your own with name 'idx'"
        )
