"""Arrays as they come in, and their checks: rule, value, remedy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]

# Far more than any data set has; labels above it are identifiers of something else.
MAX_CLASSES = 1_000_000
# Of one part of a data set: 8 GiB as float32, and CIFAR-10 eleven times.
MAX_VALUES = 1 << 31


@dataclass(frozen=True, kw_only=True, eq=False)
class RawData:
    """Labeled examples as a file or a generator gives them, before subsets and preprocessing;
    checked when a Dataset is built. Where there is no test set, it is held out of the training
    examples."""

    train_inputs: NDArray[Any]
    train_labels: NDArray[Any]
    test_inputs: NDArray[Any] | None
    test_labels: NDArray[Any] | None
    validation_inputs: NDArray[Any] | None = None
    validation_labels: NDArray[Any] | None = None
    num_classes: int | None = None  # None: the largest label plus one


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Labeled examples of one part of a data set, such as its training examples.

    Attributes:
        inputs: as stored, shape (num_examples, *input_shape).
        labels: one for each example.
        num_classes: where the source says it.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    num_classes: int | None = None


def raw_data(parts: Mapping[str, Part]) -> RawData:
    """Parts "train", perhaps "test" and "validation", as one set.

    Raises:
        InputError: if they disagree on the number of classes.
    """
    counts = {part.num_classes for part in parts.values() if part.num_classes is not None}
    if len(counts) > 1:
        raise InputError(
            f"all parts of a data set must have one number of classes, got {sorted(counts)}; "
            "number the classes alike"
        )
    test, validation = parts.get("test"), parts.get("validation")
    return RawData(
        train_inputs=parts["train"].inputs,
        train_labels=parts["train"].labels,
        test_inputs=None if test is None else test.inputs,
        test_labels=None if test is None else test.labels,
        validation_inputs=None if validation is None else validation.inputs,
        validation_labels=None if validation is None else validation.labels,
        num_classes=counts.pop() if counts else None,
    )


def check_num_values(what: str, num_examples: int, shape: tuple[int, ...]) -> None:
    """Refuse what would not fit in memory, before it is read."""
    values = num_examples * math.prod(shape)
    if values > MAX_VALUES:
        raise InputError(
            f"{what} must hold at most {MAX_VALUES:,} numbers in memory, got {num_examples:,} "
            f"examples of shape {shape}, {values:,} numbers; take fewer, or make them smaller"
        )


def check_channels_first(what: str, inputs: NDArray[Any]) -> None:
    """Refuse images (N, H, W, C)."""
    channels = (1, 3, 4)
    if inputs.ndim == 4 and inputs.shape[3] in channels and inputs.shape[1] not in channels:
        raise InputError(
            f"{what} must have channels first, (N, C, H, W), got shape {inputs.shape}; "
            "transpose with numpy.moveaxis(images, -1, 1)"
        )


def to_numpy(what: str, array: object) -> NDArray[Any]:
    """View anything NumPy understands (arrays, lists, CPU tensors) as an array."""
    parts: Sequence[Any] = array if isinstance(array, list | tuple) else [array]
    masked = sum(int(np.count_nonzero(np.ma.getmask(part))) for part in parts)
    if masked:
        raise InputError(
            f"{what} must have a value everywhere, but {masked} of them are masked; drop those "
            "examples, or fill the gaps with numpy.ma.filled"
        )
    try:
        result = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} must be convertible to a NumPy array, but {type(array).__name__} is not "
            f"({error}); for a tensor pass .detach().cpu().numpy()"
        ) from error
    if result.dtype == np.object_:
        raise InputError(
            f"{what} must hold numbers in one rectangular array, got dtype object; "
            "stack the examples so that all have the same shape"
        )
    return result


def check_one_unit(parts: Mapping[str, NDArray[Any]]) -> None:
    """Require unsigned bytes in all parts or in none: they alone are divided by 255. And refuse
    fractions beside integers, such as images scaled to [0, 1] beside others up to 255.

    Args:
        parts: name of a part → its inputs, which passed :func:`check_inputs`.
    """
    kinds = {part: inputs.dtype == np.uint8 for part, inputs in parts.items()}
    if len(set(kinds.values())) > 1:
        bytes_in = next(part for part, is_bytes in kinds.items() if is_bytes)
        other = next(part for part, is_bytes in kinds.items() if not is_bytes)
        raise InputError(
            "unsigned bytes are divided by 255, so inputs must be uint8 in all parts or in none, "
            f"got {_typed(parts, bytes_in)} and {_typed(parts, other)}; convert them to one type "
            "and unit"
        )
    whole = next((part for part, inputs in parts.items() if inputs.dtype.kind in "iu"), None)
    if whole is None:
        return
    for part, inputs in parts.items():
        if inputs.dtype.kind == "f" and (inputs % 1 != 0).any():
            raise InputError(
                f"inputs must have one unit in all parts, got {_typed(parts, whole)} and "
                f"{_typed(parts, part)} with fractions; scale them alike, and convert them to one "
                "type"
            )


def _typed(parts: Mapping[str, NDArray[Any]], part: str) -> str:
    return f"{part}_inputs of {parts[part].dtype}"


def check_inputs(what: str, inputs: NDArray[Any]) -> None:
    """Require real, finite inputs of shape (num_examples, *input_shape), none of it empty."""
    if inputs.dtype.kind not in "iuf":
        raise InputError(
            f"{what} must be integers or real floating-point numbers, got dtype {inputs.dtype}; "
            "convert them first"
        )
    if inputs.ndim < 2 or inputs.size == 0:
        raise InputError(
            f"{what} must have shape (num_examples, *input_shape) with at least one example, "
            f"got shape {inputs.shape}; give one row for each example"
        )
    if inputs.dtype.kind == "f" and not (finite := np.isfinite(inputs)).all():
        raise InputError(
            f"{what} must be finite, but {int(inputs.size - finite.sum())} of {inputs.size} values "
            "are NaN or infinite; remove or impute those examples"
        )


def with_channel_axis(inputs: Inputs) -> Inputs:
    """Examples of two dimensions as images of one channel; others as they are. A view.

    >>> with_channel_axis(np.zeros((5, 28, 28), np.float32)).shape
    (5, 1, 28, 28)
    >>> with_channel_axis(np.zeros((5, 40), np.float32)).shape
    (5, 40)
    """
    return inputs[:, np.newaxis] if inputs.ndim == 3 else inputs


def check_labels(what: str, labels: NDArray[Any], *, num_examples: int) -> None:
    """Require one non-negative integer label for each example."""
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be integers, got dtype {labels.dtype}; use class indices 0, 1, 2, ..."
        )
    if labels.shape != (num_examples,):
        raise InputError(
            f"{what} must have shape ({num_examples},), one label for each example, "
            f"got {labels.shape}; for one-hot labels pass their argmax over the last axis"
        )
    if int(labels.min()) < 0:
        raise InputError(
            f"{what} must not be negative, got {int(labels.min())}; "
            "use class indices 0, 1, 2, ... (-1 often marks unlabeled examples: drop them)"
        )
    if int(labels.max()) >= MAX_CLASSES:
        raise InputError(
            f"{what} must be class indices below {MAX_CLASSES:,}, got {int(labels.max())}: a "
            "network has an output for each; number the classes from 0"
        )


def check_begins_at_0(labels: Mapping[str, NDArray[np.int64]]) -> None:
    """Refuse classes numbered from 1, or from anything else: a network would have an output for
    each number below, which no example has.

    Args:
        labels: name of a part → its labels, which passed :func:`check_labels`.
    """
    first = min(int(found.min()) for found in labels.values())
    last = max(int(found.max()) for found in labels.values())
    if first > 0:
        raise InputError(
            f"labels must begin at 0, but those of {', '.join(labels)} begin at {first} and end at "
            f"{last}; subtract {first}, or give num_classes, as an array beside them or to "
            "Dataset.from_arrays, if classes have no examples here"
        )


def check_label_range(what: str, labels: NDArray[Any], num_classes: int) -> None:
    """Require every label to lie in [0, num_classes)."""
    largest = int(labels.max())
    if largest >= num_classes:
        raise InputError(
            f"{what} must lie in [0, {num_classes}), got {largest}; "
            "number the classes from 0 or give the right num_classes"
        )


def check_num_classes(num_classes: object) -> None:
    """Require a whole number of classes, two or more."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise InputError(
            f"num_classes must be a whole number, got {num_classes!r}; count the classes"
        )
    if not 2 <= num_classes <= MAX_CLASSES:
        raise InputError(
            f"num_classes must be at least 2 and at most {MAX_CLASSES:,}, got {num_classes}; "
            "a classifier needs something to tell apart"
        )
