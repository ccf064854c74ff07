"""Arrays as they come in, and their checks: rule, value, remedy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RawData:
    """Labeled examples as a file or a generator gives them, before subsets and preprocessing;
    checked when a Dataset is built."""

    train_inputs: NDArray[Any]
    train_labels: NDArray[Any]
    test_inputs: NDArray[Any]
    test_labels: NDArray[Any]
    validation_inputs: NDArray[Any] | None = None
    validation_labels: NDArray[Any] | None = None
    num_classes: int | None = None  # None: the largest label plus one


def to_numpy(what: str, array: object) -> NDArray[Any]:
    """View anything NumPy understands (arrays, lists, CPU tensors) as an array."""
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


def check_inputs(what: str, inputs: NDArray[Any]) -> None:
    """Require real, finite inputs of shape (num_examples, *input_shape), none of it empty."""
    if not (np.issubdtype(inputs.dtype, np.integer) or np.issubdtype(inputs.dtype, np.floating)):
        raise InputError(
            f"{what} must be integers or real floating-point numbers, got dtype {inputs.dtype}; "
            "convert them first"
        )
    if inputs.ndim < 2 or inputs.size == 0:
        raise InputError(
            f"{what} must have shape (num_examples, *input_shape) with at least one example, "
            f"got shape {inputs.shape}; give one row for each example"
        )
    if np.issubdtype(inputs.dtype, np.floating) and not (finite := np.isfinite(inputs)).all():
        raise InputError(
            f"{what} must be finite, but {int(inputs.size - finite.sum())} of {inputs.size} values "
            "are NaN or infinite; remove or impute those examples"
        )


def check_labels(what: str, labels: NDArray[Any], *, num_examples: int) -> None:
    """Require one non-negative integer label for each example."""
    if not np.issubdtype(labels.dtype, np.integer):
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


def check_label_range(what: str, labels: NDArray[Any], num_classes: int) -> None:
    """Require every label to lie in [0, num_classes)."""
    largest = int(labels.max())
    if largest >= num_classes:
        raise InputError(
            f"{what} must lie in [0, {num_classes}), got {largest}; "
            "number the classes from 0 or give the right num_classes"
        )
