"""From stored numbers to network inputs."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError

Preprocessing = Literal["center-scale", "none"]
"""Before training, inputs are centred at each coordinate and divided by one number; or left."""

_ROWS_AT_A_TIME = 4096  # bounds the float64 temporaries


@dataclass(frozen=True, eq=False)
class CenterScale:
    """Subtract a mean for each input coordinate, then divide everything by one number."""

    mean: NDArray[np.float64]  # shape input_shape
    scale: float

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        result = np.empty(inputs.shape, dtype=np.float32)
        for rows in _row_blocks(inputs):
            result[rows] = (inputs[rows] - self.mean) / self.scale
        return result


def to_float(inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Convert to C-contiguous float32; unsigned bytes (image files) are divided by 255.

    >>> to_float(np.array([[0, 255]], dtype=np.uint8)).tolist()
    [[0.0, 1.0]]
    """
    with np.errstate(over="ignore"):  # what overflows is rejected as infinite later
        result = np.ascontiguousarray(inputs, dtype=np.float32)
    return result / np.float32(255) if inputs.dtype == np.uint8 else result


def fit_center_scale(train_inputs: NDArray[np.floating[Any]]) -> CenterScale:
    """Statistics after which the training inputs have mean 0 per coordinate and mean square 1.

    Sums run over rows in a fixed order and then through math.fsum, so that the data fingerprint
    does not depend on how a machine vectorizes a sum.

    Args:
        train_inputs: shape (num_train, *input_shape).

    Raises:
        InputError: if all training inputs are equal.

    >>> fit_center_scale(np.array([[1.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0]])).scale
    1.0
    """
    total = np.zeros(train_inputs.shape[1:], dtype=np.float64)
    for rows in _row_blocks(train_inputs):
        total += train_inputs[rows].sum(axis=0, dtype=np.float64)
    mean = total / len(train_inputs)
    squares = np.zeros_like(mean)
    for rows in _row_blocks(train_inputs):
        squares += np.square(train_inputs[rows] - mean).sum(axis=0)
    mean_square = math.fsum(squares.ravel().tolist()) / train_inputs.size
    if not mean_square > 0.0:
        raise InputError(
            f"center-scale needs training inputs that differ, got {len(train_inputs)} equal "
            "examples; use more examples or preprocessing='none'"
        )
    return CenterScale(mean=mean, scale=math.sqrt(mean_square))


_SAID = {
    "center-scale": (
        "training mean of each coordinate removed, then all divided by one number that makes the "
        "training mean square 1"
    ),
    "none": "",
}


def described(dtype: np.dtype[Any], preprocessing: Preprocessing) -> str:
    """What was done to inputs of this type.

    >>> described(np.dtype(np.uint8), "none")
    'unsigned bytes divided by 255'
    """
    unit = "unsigned bytes divided by 255" if dtype == np.uint8 else ""
    said = [part for part in (unit, _SAID[preprocessing]) if part]
    return "; ".join(said) or "values as they were given"


def _row_blocks(inputs: NDArray[Any]) -> list[slice]:
    return [slice(i, i + _ROWS_AT_A_TIME) for i in range(0, len(inputs), _ROWS_AT_A_TIME)]
