"""Folders of images, one folder a class, as torchvision's ImageFolder reads them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import Part, check_num_values
from widthwise.data.readers.files import check_regular, check_unpacked_size
from widthwise.data.readers.images import decode
from widthwise.errors import DataNotFoundError, InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PART_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
_MAX_DEPTH = 64
# What file managers leave behind.
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")


def read_image_folder(root: Path) -> dict[str, Part]:
    """Read root/train/CLASS/*.png and root/test/CLASS/*.png, perhaps root/validation/CLASS/*.png,
    or, if root has no folder train or test, root/CLASS/*.png as "train" alone. Classes are
    numbered in the order of their names. Images lie anywhere below the folder of their class.

    Returns:
        Part → its images, unsigned bytes (N, height, width) if grayscale or (N, 3, height, width).

    Raises:
        DataNotFoundError: if there is no such folder.
        InputError: if images differ in shape, lie in no class, or one of them cannot be read.
    """
    if not root.is_dir():
        raise DataNotFoundError(f"{root} must be a folder of images, and is none; check the path")
    folders = _part_folders(root)
    names = [folder.name for folder in _subfolders(folders["train"])]
    if not names:
        raise InputError(
            f"{folders['train']} must hold a folder for each class with its images, got none; put "
            "each image into a folder named after its class"
        )
    parts = {part: _read(folder, names) for part, folder in folders.items()}
    shapes = {part: images.inputs.shape[1:] for part, images in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{root} must hold images of one shape, got {shapes}; resize them")
    return parts


def _part_folders(root: Path) -> dict[str, Path]:
    folders = _subfolders(root)
    if not {folder.name for folder in folders} & {"train", "test"}:
        return {"train": root}
    found: dict[str, Path] = {}
    for folder in folders:
        part = PART_FOLDERS.get(folder.name)
        if part is None or part in found:
            raise InputError(
                f"{root} must hold train, test and perhaps validation alone, got {folder.name}; "
                "move it away"
            )
        found[part] = folder
    absent = [part for part in ("train", "test") if part not in found]
    if absent:
        raise InputError(
            f"{root} must hold train and test, each with a folder for each class, but "
            f"{absent[0]} is missing; rename a folder, or put the classes into {root} itself to "
            "have a test set held out"
        )
    _refuse_unlabeled(root)
    return found


def _read(folder: Path, names: Sequence[str]) -> Part:
    _refuse_unlabeled(folder)
    files, labels = [], []
    seen: set[Path] = set()
    for subfolder in _subfolders(folder):
        if subfolder.name not in names:
            raise InputError(
                f"{folder} must hold the classes of the training images alone, got "
                f"{subfolder.name}; they are {', '.join(names[:20])}: move it away, or add "
                "training images"
            )
        found = list(_images(subfolder, seen))
        if not found:
            raise InputError(f"{subfolder} must hold images, got none; remove the folder")
        files += found
        labels += [names.index(subfolder.name)] * len(found)
    if not files:
        raise InputError(f"{folder} must hold a folder for each class, got none; add images")
    return Part(inputs=_stacked(files), labels=np.array(labels, np.int64), num_classes=len(names))


def _stacked(files: Sequence[Path]) -> NDArray[np.uint8]:
    first = _decoded(files[0])
    packed = sum(_size(file) for file in files)
    check_num_values(str(files[0].parent.parent), len(files), first.shape)
    check_unpacked_size(len(files) * first.nbytes, packed, source=str(files[0].parent.parent))
    images = np.empty((len(files), *first.shape), np.uint8)
    for row, file in enumerate(files):
        image = _decoded(file)
        if image.shape != first.shape:
            raise InputError(
                f"images must all have one shape, got {first.shape} in {files[0]} and "
                f"{image.shape} in {file}; resize or convert them"
            )
        images[row] = image
    return images


def _decoded(file: Path) -> NDArray[np.uint8]:
    check_regular(file)
    return decode(file, str(file))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"{file} must be a readable file: {error}; remove it") from error


def _images(folder: Path, seen: set[Path], depth: int = 0) -> Iterator[Path]:
    """Below the folder, in the order of their names.

    Args:
        folder: where they lie.
        seen: folders that were read, without links; grows.
        depth: of the folder.
    """
    here = folder.resolve()
    if here in seen or depth > _MAX_DEPTH:
        raise InputError(
            f"{folder} must lead to no folder that was read already, nor {_MAX_DEPTH} folders "
            f"down, but it is {here}, {depth} down; remove the link"
        )
    seen.add(here)
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _images(entry, seen, depth + 1)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry
        else:
            raise InputError(
                f"{folder} must hold images alone ({', '.join(SUFFIXES)}), got {entry.name}; "
                "move it away"
            )


def _refuse_unlabeled(folder: Path) -> None:
    loose = [entry for entry in _entries(folder) if entry.suffix.lower() in SUFFIXES]
    loose = [entry for entry in loose if not entry.is_dir()]
    if loose:
        raise InputError(
            f"{folder} must hold its images in a folder for each class, got {len(loose)} that lie "
            f"in none, {loose[0].name} among them; put each into a folder named after its class"
        )


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """Of a folder, without what is hidden, in the order of their names."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} must be a readable folder: {error}; check it") from error
    return [
        entry
        for entry in found
        if not entry.name.startswith(".") and entry.name.lower() not in _LEFT_BEHIND
    ]
