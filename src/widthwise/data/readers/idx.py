"""IDX, the format of MNIST and Fashion-MNIST: big-endian arrays behind a short header."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.data.readers.files import read_file
from widthwise.errors import InputError

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
# The format has room for 255, arrays of NumPy 1 do not.
_MAX_DIMENSIONS = 32
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def parse_idx(content: bytes, *, source: str) -> NDArray[Any]:
    """The array in the bytes of an uncompressed IDX file, in native byte order.

    Raises:
        InputError: if the header is not IDX or the length differs from what it announces.

    >>> parse_idx(format_idx(np.array([[1, 2]], dtype=np.uint8)), source="memory").tolist()
    [[1, 2]]
    """
    header = f"{source} must be an IDX file"
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in _DTYPES:
        raise InputError(
            f"{header}, but it begins with {content[:4].hex(' ') or 'nothing'} instead of 00 00, "
            "a type and a number of dimensions; check that this is the right file"
        )
    dtype, ndim = _DTYPES[content[2]], content[3]
    start = 4 + 4 * ndim
    if ndim == 0 or len(content) < start:
        raise InputError(f"{header} with a complete header, got {ndim} dimensions; fetch it again")
    if ndim > _MAX_DIMENSIONS:
        raise InputError(
            f"{header} of at most {_MAX_DIMENSIONS} dimensions, got {ndim}; check that this is the "
            "right file"
        )
    shape = struct.unpack(f">{ndim}I", content[4:start])
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if expected != found:
        raise InputError(
            f"{header} of shape {shape}, which takes {expected} bytes of data, "
            f"got {found} ({'truncated' if found < expected else 'too long'}); fetch it again"
        )
    if expected == 0:
        raise InputError(f"{header} with something in it, got shape {shape}; check the file")
    array = np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def format_idx(array: NDArray[Any]) -> bytes:
    """The bytes of an uncompressed IDX file."""
    big_endian = array.dtype.newbyteorder(">")
    if big_endian not in _CODES or not 1 <= array.ndim <= 255:
        raise InputError(
            f"IDX holds {', '.join(d.name for d in _CODES)} in 1 to 255 dimensions, "
            f"got {array.dtype} in {array.ndim}; convert the array"
        )
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, _CODES[big_endian], array.ndim, *array.shape)
    return header + array.astype(big_endian).tobytes()


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, plain or compressed."""
    return parse_idx(read_file(path), source=str(path))
