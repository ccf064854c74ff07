"""What users give as data: data sets of PyTorch and Hugging Face, arrays, tensors, folders."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from widthwise.data.arrays import Part, RawData, check_channels_first, raw_data, to_numpy
from widthwise.data.items import read_items
from widthwise.data.readers.image_folder import PART_FOLDERS, read_image_folder
from widthwise.data.readers.npz import read_npz
from widthwise.data.readers.saved_datasets import is_saved, read_saved
from widthwise.errors import InputError

_FORMS = (
    "a pair (train, test) or a mapping with train and test, each a data set of PyTorch or Hugging "
    "Face or a pair (inputs, labels); or one of them, of which a test set is held out; or the "
    "path of a folder of images, of a saved data set of Hugging Face or of an .npz file"
)


def read_given(data: Any) -> tuple[str, RawData]:
    """What is given as data, read into memory, and what to call it.

    Raises:
        InputError: if it is none of the forms in which data can be given, or unfit.
        DataNotFoundError: if there is no such path.
    """
    if isinstance(data, str | Path):
        return _read_path(Path(data).expanduser())
    parts = _split(data)
    name = _name(next(iter(parts.values())))
    return name, raw_data({part: _read_part(one, f"{part} data") for part, one in parts.items()})


def _read_path(path: Path) -> tuple[str, RawData]:
    if path.is_file():
        return path.stem, read_npz(path)
    return path.name, raw_data(read_saved(path) if is_saved(path) else read_image_folder(path))


def _split(data: Any) -> dict[str, Any]:
    """Part → what was given for it."""
    if isinstance(data, Mapping):
        names = {name: PART_FOLDERS.get(name) for name in data}
        if None in names.values() or len(set(names.values())) < len(names):
            raise InputError(
                f"parts of data must be named train, test and validation, got "
                f"{', '.join(map(str, data))}; pick them, as in {{'train': d['train'], 'test': "
                "d['test']}"
            )
        parts = {str(part): data[name] for name, part in names.items()}
    elif isinstance(data, tuple) and len(data) == 2 and not _are_arrays(data):
        parts = {"train": data[0], "test": data[1]}
    else:
        parts = {"train": data}
    if "train" not in parts or ("validation" in parts and "test" not in parts):
        raise InputError(
            f"data must have train, and test beside validation, got {', '.join(parts)}; to test on "
            "the validation examples name them test"
        )
    return parts


def _read_part(part: Any, what: str) -> Part:
    if isinstance(part, tuple) and len(part) == 2 and _are_arrays(part):
        return _of_arrays(part, what)
    tensors = _tensors_of(part)
    if tensors is not None:
        return _of_arrays(tensors, what)
    _refuse_streams(part, what)
    known = hasattr(part, "__getitem__") and hasattr(part, "__len__")
    if not known or isinstance(part, str | bytes | tuple | list | Mapping) or _is_array(part):
        raise InputError(f"{what} must be {_FORMS}; got {_described(part)}")
    return read_items(part, what)


def _of_arrays(pair: tuple[Any, Any], what: str) -> Part:
    inputs, labels = to_numpy(f"{what}: inputs", pair[0]), to_numpy(f"{what}: labels", pair[1])
    check_channels_first(f"{what}: inputs", inputs)
    return Part(inputs=inputs, labels=labels)


def _are_arrays(values: tuple[Any, ...]) -> bool:
    """Lists count as arrays, tuples as pairs."""
    return all(isinstance(value, list) or _is_array(value) for value in values)


def _is_array(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _tensors_of(part: Any) -> tuple[Any, Any] | None:
    """Those of a TensorDataset, which need not be read one by one."""
    torch = sys.modules.get("torch")
    if torch is not None and type(part) is torch.utils.data.TensorDataset:
        tensors = part.tensors
        return (tensors[0], tensors[1]) if len(tensors) == 2 else None
    return None


def _refuse_streams(part: Any, what: str) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(part, torch.utils.data.DataLoader):
        raise InputError(
            f"{what} must be a data set, got a DataLoader, whose batches are its own; give its "
            ".dataset"
        )
    stream = torch is not None and isinstance(part, torch.utils.data.IterableDataset)
    if stream or (hasattr(part, "__iter__") and not hasattr(part, "__getitem__")):
        raise InputError(
            f"{what} must give its items by number, so that all runs can draw the same batches, "
            f"got {type(part).__name__}, which can only be iterated over; give a data set with "
            "__len__ and __getitem__, such as list items put into arrays"
        )


def _name(part: Any) -> str:
    """What reports call it."""
    if isinstance(part, tuple):
        return "arrays"
    stated = getattr(getattr(part, "info", None), "dataset_name", None)
    return stated if isinstance(stated, str) and stated else type(part).__name__


def _described(part: Any) -> str:
    if isinstance(part, tuple):
        return f"a tuple of {len(part)}"
    return f"a {type(part).__name__}"
