"""The binary version of CIFAR-10 and CIFAR-100: records of labels and pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widthwise.data.readers.files import looks_pickled, read_file
from widthwise.errors import InputError

IMAGE_SHAPE = (3, 32, 32)
_IMAGE_BYTES = 3 * 32 * 32

Bytes = NDArray[np.uint8]


def read_cifar_binary(files: Sequence[Path], *, label_bytes: int) -> tuple[Bytes, Bytes]:
    """Images of shape (N, 3, 32, 32) and labels, from all the files in order.

    Args:
        files: for example data_batch_1.bin and so on.
        label_bytes: 1 for CIFAR-10, 2 for CIFAR-100 (coarse, then fine: the fine one is used).

    Raises:
        InputError: if a file is not a whole number of records.
    """
    blocks = [_read_records(file, label_bytes) for file in files]
    records = np.concatenate(blocks)
    images = records[:, label_bytes:].reshape(-1, *IMAGE_SHAPE)
    return images, records[:, label_bytes - 1]


def _read_records(file: Path, label_bytes: int) -> Bytes:
    content = read_file(file)
    size = label_bytes + _IMAGE_BYTES
    if looks_pickled(content):
        raise InputError(
            f"{file} must be of the binary version of CIFAR, but it is a Python pickle, which can "
            "run code when read; fetch the binary version from "
            "https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    if not content or len(content) % size:
        raise InputError(
            f"{file} must be a whole number of records of {size} bytes, got {len(content)} bytes "
            "(truncated, or another format); fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
