"""What a store is made of: named bytes, whole or absent, in a folder, in memory or in an object
store.

Creation only if the name is free is all that landings and leases rest on. Nothing here locks.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from widthwise.errors import StudyError
from widthwise.files import is_no_file
from widthwise.runs.address import Address


class UnreachableError(StudyError):
    """An object store does not answer, though it was asked again for long."""


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not what its name promises.

    Attributes:
        place: where it lies now.
        problem: what is wrong with it.
        is_aside: whether it was moved out of the way.
    """

    place: Path | Address
    problem: str
    is_aside: bool

    def __str__(self) -> str:
        return f"{self.place.name}: {self.problem}{'; set aside' if self.is_aside else ''}"


class Blobs(ABC):
    """Named bytes in one place. What is not there is read as empty.

    Every method raises :class:`UnreachableError` if the place does not answer.
    """

    place: Path | Address

    @abstractmethod
    def make(self) -> None:
        """Make the place, and clear what crashed writers left long ago.

        Raises:
            InputError: if it cannot be made.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Of the blobs, sorted.

        Raises:
            InputError: if it is no place of blobs, or may not be read.
        """

    @abstractmethod
    def strangers(self) -> list[str]:
        """Names of what is something else: folders, links, pipes."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content of a blob; None if there is none.

        Raises:
            OSError: if it is no blob, or cannot be read.
        """

    @abstractmethod
    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        """Write a blob if the name is free; whether it was. Of several at once one finds it free.

        Args:
            durable: whether it must survive that the machine loses power.

        Raises:
            InputError: if it cannot be written.
        """

    @abstractmethod
    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a blob, in the place of an earlier one.

        Raises:
            InputError: if it cannot be written.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a blob, if it is there."""

    def remove_each(self, names: Sequence[str]) -> None:
        """Remove those of these blobs that are there."""
        for name in names:
            self.remove(name)

    @abstractmethod
    def age(self, name: str) -> float:
        """Seconds since a blob was written, roughly: clocks may differ; infinite if it is gone."""

    @abstractmethod
    def mark(self, name: str) -> Hashable | None:
        """Changes with the content of a blob; None if it is gone.

        Raises:
            OSError: if it cannot be looked at.
        """

    @abstractmethod
    def move(self, name: str, target: Self) -> Path | Address | None:
        """Move whatever has this name to another place of the same store, under a name that is free
        there; where it is now, None if it was gone.

        Raises:
            InputError: if it cannot be moved.
        """

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | OSError | None]]:
        """Each name with what :meth:`read` gives or raises, as it is now or as it was when names
        were last listed."""
        for name in names:
            try:
                yield name, self.read(name)
            except OSError as error:
                yield name, error

    def put_aside(self, name: str, problem: str, aside: Self) -> list[Damage]:
        """Move what is not what its name promises out of the way, and say so; nothing if it was
        gone.

        Raises:
            InputError: if it cannot be moved.
        """
        place = self.move(name, aside)
        return [] if place is None else [Damage(place, problem, is_aside=True)]

    def require_readable(self, name: str) -> None:  # noqa: B027 - where reading always tells
        """What the system does not let be read may be sound: it stays where it is.

        Raises:
            InputError: if so.
        """

    def discard(self, name: str, aside: Self) -> None:
        """Free a name: what can be removed is, anything else is moved aside.

        Raises:
            InputError: if that is not allowed.
        """
        self.remove(name)


class Parts(Protocol):
    """A store that is neither a folder nor has an address: its blobs by the name of their part."""

    def part(self, name: str) -> Blobs: ...


def problem_of(error: Exception) -> str:
    """What is wrong with something in a store, in words without its place."""
    if not isinstance(error, OSError):
        return str(error)
    return "it is no file" if is_no_file(error) else error.strerror or str(error)
