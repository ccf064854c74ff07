"""NumPy archives (.npz), never unpickled."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import RawData
from widthwise.data.readers.files import looks_pickled
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
    num_classes = content.get("num_classes")
    return RawData(
        train_inputs=train[0],
        train_labels=train[1],
        test_inputs=test[0],
        test_labels=test[1],
        validation_inputs=None if validation is None else validation[0],
        validation_labels=None if validation is None else validation[1],
        num_classes=None if num_classes is None else int(num_classes),
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
    _check_channels_first(f"{path}: {part} images", inputs)
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


def _check_channels_first(what: str, inputs: NDArray[Any]) -> None:
    channels = (1, 3, 4)
    if inputs.ndim == 4 and inputs.shape[3] in channels and inputs.shape[1] not in channels:
        raise InputError(
            f"{what} must have channels first, (N, C, H, W), got shape {inputs.shape}; "
            "transpose with numpy.moveaxis(images, -1, 1) and save again"
        )


def _complaint(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error):
        return (
            f"{path} must hold plain numeric arrays, but some are pickled Python objects, which "
            "can run code when read; save it again with arrays of numbers"
        )
    return f"{path} must be a complete .npz archive, but it is damaged ({error}); fetch it again"
