"""Bytes from files, plain or compressed, with errors that say what is wrong."""

import gzip
import lzma
import zlib
from pathlib import Path

from widthwise.errors import DataNotFoundError, InputError

_GZIP_MAGIC = b"\x1f\x8b"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_PICKLE_MAGIC = b"\x80"


def read_file(path: Path) -> bytes:
    """The content of a file, decompressed if it begins like a gzip or xz file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise DataNotFoundError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise InputError(f"{path} must be a readable file: {error}; check the path") from error
    return decompress(raw, source=str(path))


def decompress(raw: bytes, *, source: str) -> bytes:
    """Undo gzip or xz, recognized by the first bytes; anything else is returned as it is."""
    try:
        if raw.startswith(_GZIP_MAGIC):
            return gzip.decompress(raw)
        if raw.startswith(_XZ_MAGIC):
            return lzma.decompress(raw, format=lzma.FORMAT_XZ)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{source} must be a complete compressed file, but it is truncated or damaged "
            f"({error}); fetch it again"
        ) from error
    return raw


def looks_pickled(raw: bytes) -> bool:
    """Whether the bytes begin like a pickle of protocol 2 or later."""
    return raw.startswith(_PICKLE_MAGIC)
