"""Files that are whole or absent: written aside, flushed, renamed; links are not followed."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from widthwise.errors import InputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EACCES: "you may not write there; choose another directory or change its permissions",
    errno.EPERM: "you may not write there; choose another directory or change its permissions",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another directory",
    errno.EEXIST: "a file stands where a directory is needed; choose another directory",
    errno.EISDIR: "a directory stands where a file is needed; remove it",
    errno.ENOENT: "its directory is gone; put it back and run the same command again",
    errno.ESTALE: "its directory is gone; put it back and run the same command again",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reports an error",
    errno.EFBIG: "the file is larger than this system allows",
}
_Result = TypeVar("_Result")
_TEMPORARY = ".tmp-"
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe among the files must not block
# A file system without hard links says one of these.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What opening a link, a folder, a pipe or a socket without following it says.
_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.ENOTDIR}
# A process whose clock is wrong may take a file that is being written for one left behind.
_TRIALS = 3


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


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that no reader, and no crash, ever sees half of it.

    Args:
        durable: whether it must survive that the machine loses power.

    Raises:
        InputError: if the disk is full or the directory cannot be written.
    """

    def write() -> None:
        with written_atomically(path, durable=durable) as file:
            file.write(content)

    with explained(path):
        _again_if_swept(path.parent, write)


@contextmanager
def written_atomically(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place when all of it is there; nothing of it does if the
    writer fails."""
    # In the same directory, so that the rename stays inside one file system.
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            _finish(file, durable)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(path.parent)


def create_atomically(path: Path, content: bytes, *, durable: bool = True) -> bool:
    """Write a file if there is none of its name, whole or not at all; whether it did.

    Args:
        durable: as for :func:`write_atomically`.

    Raises:
        InputError: if the disk is full or the directory cannot be written.
    """

    def create() -> bool:
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                _finish(file, durable)
            return _given_name(temporary, path, content)
        finally:
            temporary.unlink(missing_ok=True)

    with explained(path):
        created = _again_if_swept(path.parent, create)
        if created and durable:
            _sync_directory(path.parent)
        return created


def read_file(path: Path) -> bytes | None:
    """What is in a file of this very place; None if there is none. Links are not followed: what is
    received may point anywhere.

    Raises:
        OSError: if it is a link, a directory, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read()


def is_no_file(error: OSError) -> bool:
    """Whether :func:`read_file` failed because something else has the name: a link, a directory, a
    pipe; and not because the system would not let it read."""
    return error.errno in _NO_FILE


def whole_path(path: Path | str) -> Path:
    """From the root, without links.

    Raises:
        InputError: if links lead in a circle, or there is no such home.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{str(path)!r} must name a place: {error}") from None


def require_no_link(path: Path) -> None:
    """Make sure that a folder, if it is there, is itself and not a link to elsewhere.

    Raises:
        InputError: if it is a link.
    """
    if path.is_symlink():
        raise InputError(
            f"{path} must be a folder, got a link to another place, which is not followed; "
            "remove the link"
        )


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        InputError: if that is not allowed.
    """
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file of this name is one that a write has not finished."""
    return name.startswith(_TEMPORARY)


def remove_leftovers(directory: Path, older_than: float) -> None:
    """Delete what interrupted writes left behind, unless it is younger than a POSIX time: then
    another process may be writing it."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if is_leftover(entry.name)]
    for name in names:
        path = directory / name
        try:
            if path.lstat().st_mtime < older_than:
                path.unlink()
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            continue


def _finish(file: IO[bytes], durable: bool) -> None:
    file.flush()
    os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp lets nobody else read
    if durable:
        os.fsync(file.fileno())


def _given_name(temporary: Path, path: Path, content: bytes) -> bool:
    """Give a file that is whole its name, if the name is free."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return True
    # Here a crash may leave a part, which readers recognize by its checksum.
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def _again_if_swept(directory: Path, write: Callable[[], _Result]) -> _Result:
    for _ in range(_TRIALS - 1):
        try:
            return write()
        except FileNotFoundError:
            if not directory.is_dir():
                raise
    return write()


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
