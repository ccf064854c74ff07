"""Examples out of what hands them out one by one, as map-style data sets of PyTorch do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import (
    Part,
    check_channels_first,
    check_labels,
    check_num_values,
    to_numpy,
)
from widthwise.data.readers.images import decode_embedded, is_image, pixels
from widthwise.errors import InputError, said_by

INPUT_COLUMNS = ("image", "img", "input", "inputs", "pixel_values", "x")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "y")
# So many items are read three times. Flips of every second image at random go unseen in one data
# set of 2^64.
_READ_AGAIN = 32


@dataclass(frozen=True, eq=False)
class _Item:
    values: NDArray[Any]
    label: Any

    def same_as(self, other: "_Item") -> bool:
        """To the bit."""
        return (
            (self.values.shape, self.values.dtype) == (other.values.shape, other.values.dtype)
            and self.values.tobytes() == other.values.tobytes()
            and np.array_equal(self.label, other.label)
        )


def read_items(dataset: Any, what: str) -> Part:
    """Read every item of a data set: a pair (input, label), or a mapping with one of
    ``INPUT_COLUMNS`` and one of ``LABEL_COLUMNS``.

    Args:
        dataset: has ``__len__`` and ``__getitem__``, by numbers from 0.
        what: names it.

    Raises:
        InputError: if an item cannot be read, is no such pair, differs from the first in shape or
            type, or is another when it is read again, as under random augmentation; or if they
            would not fit in memory.

    >>> read_items([([0.0, 1.0], 0), ([2.0, 3.0], 1)], "training data").inputs.tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    size = _length(dataset, what)
    first = _read(dataset, 0, what)
    check_channels_first(f"{what}: images", first.values[np.newaxis])
    check_num_values(what, size, first.values.shape)
    rows = np.linspace(0, size - 1, min(size, _READ_AGAIN)).astype(int).tolist()
    known = {row: _read(dataset, row, what) for row in rows}
    for row, item in known.items():
        _require_same(item, _read(dataset, row, what), row, what)
    inputs = np.empty((size, *first.values.shape), first.values.dtype)
    labels = []
    for row in range(size):
        item = _read(dataset, row, what)
        _require_same(known.get(row, item), item, row, what)
        if (item.values.shape, item.values.dtype) != (first.values.shape, first.values.dtype):
            raise InputError(
                f"{what}: all items must have one shape and type, got {first.values.shape} of "
                f"{first.values.dtype} in item 0 and {item.values.shape} of {item.values.dtype} in "
                f"item {row}; resize or convert them"
            )
        inputs[row] = item.values
        labels.append(item.label)
    found = to_numpy(f"{what}: labels", labels)
    check_labels(f"{what}: labels", found, num_examples=size)
    return Part(inputs=inputs, labels=found, num_classes=_num_classes(dataset))


def _length(dataset: Any, what: str) -> int:
    try:
        size = len(dataset)
    except Exception as error:  # the user's code
        raise InputError(
            f"{what} must say how many items it has, but len() of it fails "
            f"({said_by(error)}); give it a __len__"
        ) from error
    if size < 1:
        raise InputError(f"{what} must have items, got none; check how it is made")
    return size


def _read(dataset: Any, row: int, what: str) -> _Item:
    try:
        item = dataset[row]
    except Exception as error:  # the user's code
        raise InputError(
            f"{what}: every item from 0 to {len(dataset) - 1} must be readable, but item {row} is "
            f"not ({said_by(error)}); mend the data set"
        ) from error
    return _as_pair(item, f"{what}: item {row}")


def _as_pair(item: Any, what: str) -> _Item:
    if isinstance(item, Mapping):
        value, label = _column(item, INPUT_COLUMNS, what), _column(item, LABEL_COLUMNS, what)
    elif isinstance(item, tuple | list) and len(item) == 2:
        value, label = item
    else:
        many = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise InputError(
            f"{what} must be a pair (input, label), got {type(item).__name__}{many}; wrap the data "
            "set so that it gives one"
        )
    if label is None:
        raise InputError(f"{what} must have a label, got None; drop unlabeled examples")
    return _Item(_values(value, what), _plain(label))


def _column(item: Mapping[Any, Any], names: tuple[str, ...], what: str) -> Any:
    found = [name for name in names if name in item]
    if len(found) != 1:
        raise InputError(
            f"{what} must have one column of {', '.join(names)}, got "
            f"{', '.join(map(str, item))}; rename or select columns"
        )
    return item[found[0]]


def _values(value: Any, what: str) -> NDArray[Any]:
    if is_image(value):
        return pixels(value, what)
    if isinstance(value, Mapping) and "bytes" in value:
        return decode_embedded(value["bytes"], what)
    return np.array(to_numpy(what, value))  # a copy: some hand out the same memory every time


def _plain(label: Any) -> Any:
    """A scalar of NumPy or PyTorch as a number of Python."""
    item = getattr(label, "item", None)
    return item() if item is not None and getattr(label, "ndim", 1) == 0 else label


def _require_same(first: _Item, again: _Item, row: int, what: str) -> None:
    if not first.same_as(again):
        raise InputError(
            f"{what} must give the same item every time, but item {row} changed when it was read "
            "again; leave out random augmentation (training.augmentation augments the batches)"
        )


def _num_classes(dataset: Any) -> int | None:
    """Where a data set of Hugging Face says it."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return None
    labels = [features[name] for name in LABEL_COLUMNS if name in features]
    counts = [getattr(label, "num_classes", None) for label in labels]
    return counts[0] if len(counts) == 1 and isinstance(counts[0], int) else None
