"""NumPy archives (.npz), never unpickled."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import RawData, check_channels_first
from widthwise.data.readers.files import check_regular, check_unpacked_size, looks_pickled
from widthwise.errors import DataNotFoundError, InputError

_INPUTS = ("{0}_inputs", "x_{0}", "X_{0}", "{0}_images", "{0}_x", "{0}_data")
_LABELS = ("{0}_labels", "y_{0}", "Y_{0}", "{0}_targets", "{0}_y", "{0}_label")
_PARTS = {
    "train": ("train",),
    "test": ("test",),
    "validation": ("validation", "val", "valid"),
}


def open_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the archive.

    Raises:
        DataNotFoundError: if there is no such file.
        InputError: if it is not an archive, damaged, or holds pickled objects.
    """
    try:
        if not path.exists():
            raise DataNotFoundError(f"{path} does not exist; check the path")
        check_regular(path)
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                pickled = looks_pickled(file.read(1))
            problem = (
                "it is a Python pickle, which can run code when read"
                if pickled
                else "it is not a zip file (truncated, or another format)"
            )
            raise InputError(
                f"{path} must be a complete .npz archive, but {problem}; "
                "write it again with numpy.savez"
            )
        # Opened here, because numpy.load leaves a damaged archive open.
        _check_sizes(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except (InputError, MemoryError):
        raise
    except (OSError, EOFError, ValueError, KeyError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(_complaint(path, error)) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(_complaint(path, error)) from error
    others = [key for key, array in content.items() if not isinstance(array, np.ndarray)]
    if others:
        raise InputError(
            f"{path} must hold NumPy arrays only, but {', '.join(others)} is not one; "
            "write it again with numpy.savez"
        )
    return content


def read_npz(path: Path) -> RawData:
    """Read labeled examples under any of the usual key names.

    Inputs: train_inputs, x_train, X_train, train_images, train_x, train_data; labels:
    train_labels, y_train, Y_train, train_targets, train_y, train_label; the same with test, and
    for a validation set with validation, val or valid. Labels of shape (N, 1) are accepted.
    """
    content = open_npz(path)
    train, test, validation = (_examples(content, part, path) for part in _PARTS)
    if train is None or test is None:
        raise InputError(
            f"{path} must hold inputs and labels for training and test, such as x_train, y_train, "
            f"x_test, y_test; it holds {', '.join(sorted(content)) or 'nothing'}; rename the keys"
        )
    given = content.get("num_classes")
    num_classes = None if given is None else whole_number(given, f"{path}: num_classes")
    return RawData(
        train_inputs=train[0],
        train_labels=train[1],
        test_inputs=test[0],
        test_labels=test[1],
        validation_inputs=None if validation is None else validation[0],
        validation_labels=None if validation is None else validation[1],
        num_classes=num_classes,
    )


def whole_number(array: NDArray[Any], what: str) -> int:
    """The one whole number that an array holds.

    Raises:
        InputError: if it holds something else.

    >>> whole_number(np.array([4.0]), "num_classes")
    4
    """
    if array.size == 1 and array.dtype.kind in "iuf" and float(array.item()).is_integer():
        return int(array.item())
    held = repr(array.item()) if array.size == 1 else f"an array of shape {array.shape}"
    raise InputError(f"{what} must be one whole number, got {held}; write it again")


def _check_sizes(path: Path) -> None:
    """Before anything is allocated: what the archive unpacks to, and that each array has the size
    that its header announces."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        check_unpacked_size(unpacked, path.stat().st_size, source=str(path))
        for member in archive.infolist():
            with archive.open(member) as file:
                _check_header(file, member.file_size, f"{path}: {member.filename}")


def _check_header(file: IO[bytes], size: int, what: str) -> None:
    prefix = np.lib.format.MAGIC_PREFIX
    if file.read(len(prefix)) != prefix:
        return  # no array, which is said of all such members together
    version = tuple(file.read(2))
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    announced = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and announced != size - file.tell():
        raise InputError(
            f"{what} must hold the {announced:,} bytes that its header announces (shape {shape}, "
            f"{dtype}), got {size - file.tell():,}; write it again"
        )


def _examples(
    content: dict[str, NDArray[Any]], part: str, path: Path
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    inputs = _pick(content, part, _INPUTS, path)
    labels = _pick(content, part, _LABELS, path)
    if inputs is None and labels is None:
        return None
    if inputs is None or labels is None:
        raise InputError(
            f"{path} must hold {part} inputs and labels together, got only one of them among "
            f"{', '.join(sorted(content))}; add or rename the other"
        )
    check_channels_first(f"{path}: {part} images", inputs)
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    return inputs, labels[:, 0] if is_column else labels


def _pick(
    content: dict[str, NDArray[Any]], part: str, patterns: tuple[str, ...], path: Path
) -> NDArray[Any] | None:
    names = [pattern.format(word) for word in _PARTS[part] for pattern in patterns]
    found = [name for name in names if name in content]
    if len(found) > 1:
        raise InputError(
            f"{path} must hold one array for each purpose, got {' and '.join(found)}; "
            "remove all but one"
        )
    return content[found[0]] if found else None


def _complaint(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error):
        return (
            f"{path} must hold plain numeric arrays, but some are pickled Python objects, which "
            "can run code when read; save it again with arrays of numbers"
        )
    return f"{path} must be a complete .npz archive, but it is damaged ({error}); fetch it again"
