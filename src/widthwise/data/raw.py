"""What a reader hands over: arrays as stored, before subsets and preprocessing."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class RawData:
    """Labeled examples as a file or a generator gives them; checked when a Dataset is built."""

    train_inputs: NDArray[Any]
    train_labels: NDArray[Any]
    test_inputs: NDArray[Any]
    test_labels: NDArray[Any]
    validation_inputs: NDArray[Any] | None = None
    validation_labels: NDArray[Any] | None = None
    num_classes: int | None = None  # None: the largest label plus one
