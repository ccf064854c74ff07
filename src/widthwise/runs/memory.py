"""A store in memory: for tests and simulations, and the plainest account of what a store does."""

import itertools
import secrets
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Self

from widthwise.runs.address import Address
from widthwise.runs.blobs import Blobs


class Memory:
    """A store that ends with the process.

    Args:
        clock: seconds, by which blobs have their age.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._place = Address("memory", secrets.token_hex(8))
        self._parts: dict[str, MemoryBlobs] = {}

    def part(self, name: str) -> "MemoryBlobs":
        return self._parts.setdefault(name, MemoryBlobs(self._place / name, self._clock))


class MemoryBlobs(Blobs):
    """Blobs of one part."""

    def __init__(self, place: Address, clock: Callable[[], float]) -> None:
        self.place: Address = place
        self._clock = clock
        # Name → content, when it was written, the how manieth blob it is.
        self._held: dict[str, tuple[bytes, float, int]] = {}
        self._numbers = itertools.count()
        self._one_at_a_time = threading.Lock()
        self._names: list[str] = []  # of those, sorted

    def make(self) -> None:
        pass

    def names(self) -> list[str]:
        with self._one_at_a_time:
            return self._names.copy()

    def strangers(self) -> list[str]:
        return []

    def read(self, name: str) -> bytes | None:
        found = self._held.get(name)
        return None if found is None else found[0]

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        with self._one_at_a_time:
            if name in self._held:
                return False
            self._write(name, content)
            return True

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        with self._one_at_a_time:
            self._write(name, content)

    def remove(self, name: str) -> None:
        self._pop(name)

    def age(self, name: str) -> float:
        found = self._held.get(name)
        return float("inf") if found is None else self._clock() - found[1]

    def mark(self, name: str) -> Hashable | None:
        found = self._held.get(name)
        return None if found is None else found[2]

    def move(self, name: str, target: Self) -> Address | None:
        found = self._pop(name)
        if found is None:
            return None
        for number in itertools.count():
            free = f"{name}.{number}" if number else name
            if target.create(free, found[0]):
                return target.place / free
        raise AssertionError("there is always another number")

    def _pop(self, name: str) -> tuple[bytes, float, int] | None:
        with self._one_at_a_time:
            if name in self._held:
                del self._names[bisect_left(self._names, name)]
            return self._held.pop(name, None)

    def _write(self, name: str, content: bytes) -> None:
        if name not in self._held:
            insort(self._names, name)
        self._held[name] = content, self._clock(), next(self._numbers)
