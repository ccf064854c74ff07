"""Bytes from files, plain or compressed, with errors that say what is wrong."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from widthwise.errors import DataNotFoundError, InputError

_GZIP_MAGIC = b"\x1f\x8b"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_PICKLE_MAGIC = b"\x80"
_CHUNK = 1 << 22
# Bytes that xz may take for itself; its highest ordinary setting needs 65 MiB.
_XZ_MEMORY = 1 << 29
# Real data above this size unpack to less than so many times their packed size.
MAX_SIZE, MAX_RATIO = 1 << 30, 20


def check_unpacked_size(unpacked: int, packed: int, *, source: str) -> None:
    """Refuse what unpacks to gigabytes out of little: no data do, but files made to fill a machine.

    Args:
        unpacked, packed: bytes; of the former as many as are known.
        source: names the file.
    """
    if unpacked > max(MAX_SIZE, MAX_RATIO * packed):
        raise InputError(
            f"{source} must unpack to at most {MAX_SIZE:,} bytes, or {MAX_RATIO} times its size, "
            f"but {packed:,} bytes hold {unpacked:,} or more; store it uncompressed if it is meant"
        )


def read_file(path: Path) -> bytes:
    """The content of a file, decompressed if it begins like a gzip or xz file."""
    try:
        check_regular(path)
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
            return _joined(_gzip_chunks(raw), len(raw), source)
        if raw.startswith(_XZ_MAGIC):
            return _joined(_xz_chunks(raw), len(raw), source)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{source} must be a complete compressed file, but it is truncated or damaged "
            f"({error}); fetch it again"
        ) from error
    return raw


def looks_pickled(raw: bytes) -> bool:
    """Whether the bytes begin like a pickle of protocol 2 or later."""
    return raw.startswith(_PICKLE_MAGIC)


def check_regular(path: Path) -> None:
    """Refuse devices and pipes, which may have no end.

    Raises:
        InputError: for those; of what does not exist, or is a folder, opening it says more.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(
            f"{path} must be a file, but it is a device or a pipe; give the path of a file"
        )


def _joined(chunks: Iterator[bytes], packed: int, source: str) -> bytes:
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        check_unpacked_size(size, packed, source=source)
        parts.append(chunk)
    return b"".join(parts)


def _gzip_chunks(raw: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _xz_chunks(raw: bytes) -> Iterator[bytes]:
    """Of all streams; what follows them and is none is ignored, as the lzma module does."""
    while raw.startswith(_XZ_MAGIC):
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        yield stream.decompress(raw, _CHUNK)
        while not stream.eof:
            if stream.needs_input:
                raise lzma.LZMAError("the end of the stream is missing")
            yield stream.decompress(b"", _CHUNK)
        raw = stream.unused_data.lstrip(b"\x00")
