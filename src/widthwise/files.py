"""Files that are whole or absent: written aside, flushed, renamed."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from widthwise.errors import InputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EACCES: "you may not write there; choose another directory or change its permissions",
    errno.EPERM: "you may not write there; choose another directory or change its permissions",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another directory",
    errno.EEXIST: "a file stands where a directory is needed; choose another directory",
    errno.EFBIG: "the file is larger than this system allows",
}
_TEMPORARY = ".tmp-"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the failures of a file system that a user can mend into :class:`InputError`."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise InputError(
            f"{path} cannot be written: {remedy}. What had landed before is intact"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no crash, ever sees half of it.

    Raises:
        InputError: if the disk is full or the directory cannot be written.
    """
    with explained(path), written_atomically(path) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place when all of it is there; nothing of it does if the
    writer fails."""
    # In the same directory, so that the rename stays inside one file system.
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp lets nobody else read
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        InputError: if that is not allowed.
    """
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_leftovers(directory: Path, older_than: float) -> None:
    """Delete what interrupted writes left behind, unless it is younger than a POSIX time: then
    another process may be writing it."""
    for path in directory.glob(f"{_TEMPORARY}*"):
        try:
            if path.stat().st_mtime < older_than:
                path.unlink()
        except FileNotFoundError:
            continue


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise
    finally:
        os.close(descriptor)
