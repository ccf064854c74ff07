"""Data sets of Hugging Face as ``save_to_disk`` writes them."""

from pathlib import Path
from typing import Any

from widthwise.data.arrays import Part
from widthwise.data.items import INPUT_COLUMNS, read_items
from widthwise.errors import DataNotFoundError, InputError, said_by

_WHOLE, _ONE = "dataset_dict.json", "dataset_info.json"
_PARTS = ("train", "test", "validation")


def is_saved(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / _WHOLE).is_file() or (path / _ONE).is_file()


def read_saved(path: Path) -> dict[str, Part]:
    """Read the parts train, test and validation, or the one that was saved by itself as "train".

    Raises:
        DataNotFoundError: if there is no such folder, or the package ``datasets`` is missing.
        InputError: if it is damaged, or an item unfit.
    """
    if not is_saved(path):
        raise DataNotFoundError(
            f"{path} must be a folder written by save_to_disk, but it holds neither {_WHOLE} nor "
            f"{_ONE}; check the path"
        )
    try:
        import datasets
    except ImportError as error:
        raise DataNotFoundError(
            f"{path} needs the package datasets to be read, which cannot be imported ({error}); "
            "pip install 'widthwise[huggingface]'"
        ) from error
    try:
        found = datasets.load_from_disk(str(path.absolute()))
    except Exception as error:  # of many packages, by what is damaged
        raise InputError(
            f"{path} must be a complete folder written by save_to_disk, but it is damaged "
            f"({said_by(error)}); save it again"
        ) from error
    parts = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    if not set(parts) <= set(_PARTS) or "train" not in parts:
        raise InputError(
            f"{path} must hold the parts train, test and perhaps validation, got "
            f"{', '.join(parts)}; save those alone"
        )
    return {name: _read(part, f"{path}: {name}", datasets) for name, part in parts.items()}


def _read(part: Any, what: str, datasets: Any) -> Part:
    """Encoded images are decoded here, under the same limits as all others; those that are named
    by a path or an address are not fetched."""
    for name in INPUT_COLUMNS:
        if isinstance(part.features.get(name), datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    return read_items(part, what)
