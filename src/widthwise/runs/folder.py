"""A folder of files with plain names: what a store is made of.

Nothing here follows a link or looks into a folder below; strangers are named, not read.
"""

import contextlib
import errno
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from widthwise.errors import InputError
from widthwise.files import (
    create_atomically,
    explained,
    is_leftover,
    is_no_file,
    make_directory,
    read_file,
    remove_leftovers,
    require_no_link,
    write_atomically,
)

_STALE_SECONDS = 3600.0
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR}


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not what its name promises.

    Attributes:
        place: where it lies now.
        problem: what is wrong with it.
        is_aside: whether it was moved out of the way.
    """

    place: Path
    problem: str
    is_aside: bool

    def __str__(self) -> str:
        return f"{self.place.name}: {self.problem}{'; set aside' if self.is_aside else ''}"


class Folder:
    """Files by name. Every method but `make` and those that write takes an absent folder for an
    empty one.

    Args:
        path: of the folder.
        root: the folder that it is part of, which must be no link either; None if it stands alone.
    """

    def __init__(self, path: Path, *, root: Path | None = None) -> None:
        self.path = path
        self._own = (path,) if root is None else (root, path)

    def make(self) -> None:
        """Make it, and clear what crashed writers left long ago.

        Raises:
            InputError: if it cannot be made, or is a link.
        """
        self._require_own()
        make_directory(self.path)
        remove_leftovers(self.path, older_than=time.time() - _STALE_SECONDS)

    def names(self) -> list[str]:
        """Of the files in it, sorted.

        Raises:
            InputError: if it is a link.
        """
        return self._names(files=True)

    def strangers(self) -> list[str]:
        """Names of what is no file: folders, links, pipes."""
        return self._names(files=False)

    def read(self, name: str) -> bytes | None:
        """Content of a file; None if there is none.

        Raises:
            OSError: if it is no file, or cannot be read.
        """
        self._require_own()
        return read_file(self.path / name)

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        """Write a file if the name is free; whether it was.

        Args:
            durable: whether it must survive that the machine loses power.

        Raises:
            InputError: if it cannot be written.
        """
        return create_atomically(self.path / name, content, durable=durable)

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file, in the place of an earlier one.

        Raises:
            InputError: if it cannot be written.
        """
        write_atomically(self.path / name, content, durable=durable)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).unlink()

    def age(self, name: str) -> float:
        """Seconds since a file was written, by this machine's clock; infinite if it is gone."""
        try:
            return time.time() - (self.path / name).lstat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def move(self, name: str, target: "Folder") -> Path | None:
        """Move whatever has this name to another folder, under a name that is free there; where it
        is now, None if it was gone.

        Raises:
            InputError: if it cannot be moved.
        """
        target._require_own()
        make_directory(target.path)
        for number in itertools.count():
            place = target.path / (f"{name}.{number}" if number else name)
            if os.path.lexists(place):
                continue
            try:
                (self.path / name).rename(place)  # a link moves as a link
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno not in _TAKEN:  # by another process, just now
                    with explained(place):
                        raise
            else:
                return place
        raise AssertionError("there is always another number")

    def put_aside(self, name: str, problem: str, aside: "Folder") -> list[Damage]:
        """Move what is not what its name promises out of the way, and say so; nothing if it was
        gone.

        Raises:
            InputError: if it cannot be moved.
        """
        place = self.move(name, aside)
        return [] if place is None else [Damage(place, problem, is_aside=True)]

    def require_readable(self, name: str) -> None:
        """What the system does not let be read may be sound: it stays where it is.

        Raises:
            InputError: if so.
        """
        try:
            self.read(name)
        except OSError as error:
            if not is_no_file(error):
                raise InputError(
                    f"{self.path / name} cannot be read: {error.strerror}; nothing was changed"
                ) from None

    def discard(self, name: str, aside: "Folder") -> None:
        """Free a name: a file or a link is removed, anything else is moved aside.

        Raises:
            InputError: if that is not allowed.
        """
        try:
            self.remove(name)
        except OSError:  # a folder; systems differ in what they say
            self.move(name, aside)

    def _require_own(self) -> None:
        for place in self._own:
            require_no_link(place)

    def _names(self, *, files: bool) -> list[str]:
        self._require_own()
        try:
            with os.scandir(self.path) as entries:
                found = [
                    entry.name
                    for entry in entries
                    if entry.is_file(follow_symlinks=False) == files and not is_leftover(entry.name)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)


def problem_of(error: Exception) -> str:
    """What is wrong with something in a folder, in words without its place."""
    if not isinstance(error, OSError):
        return str(error)
    return "it is no file" if is_no_file(error) else error.strerror or str(error)
