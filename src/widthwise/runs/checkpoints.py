"""Packs in flight: the state of a pack, bound to its runs."""

import hashlib
import json
from collections.abc import Sequence

from widthwise.runs.blobs import Blobs, problem_of
from widthwise.runs.sealed import BrokenSealError

_SUFFIX = ".checkpoint"


class Checkpoints:
    """The checkpoints of one store.

    Args:
        blobs: a place of its own.
        aside: where what is no checkpoint is moved.
    """

    def __init__(self, blobs: Blobs, aside: Blobs) -> None:
        self.blobs, self._aside = blobs, aside

    def write(self, name: str, keys: Sequence[str], state: bytes) -> None:
        """Keep the state of a pack; it replaces an earlier one.

        Args:
            name: of the pack.
            keys: of its runs, in order.
            state: as its trainer wrote it.

        Raises:
            InputError: if the store cannot be written.
        """
        body = json.dumps(list(keys)).encode() + b"\n" + state
        self.blobs.replace(name + _SUFFIX, _digest(body) + b"\n" + body)

    def read(self, name: str, keys: Sequence[str]) -> bytes | None:
        """The state of a pack; None if there is none.

        Raises:
            BrokenSealError: if what lies there is damaged, or holds other runs.
        """
        try:
            content = self.blobs.read(name + _SUFFIX)
        except OSError as error:
            raise BrokenSealError(problem_of(error)) from None
        if content is None:
            return None
        digest, _, body = content.partition(b"\n")
        if digest != _digest(body):
            raise BrokenSealError("its content does not match its checksum")
        head, _, state = body.partition(b"\n")
        if head != json.dumps(list(keys)).encode():
            raise BrokenSealError("it holds other runs")
        return state

    def forget(self, name: str) -> None:
        """Its runs have landed, or it is of no use."""
        self.blobs.discard(name + _SUFFIX, self._aside)

    def sweep(self, landed: frozenset[str]) -> int:
        """Remove those whose runs have all landed; how many."""
        removed = 0
        for name in self.blobs.names():
            keys = self._keys(name)
            if keys and landed.issuperset(keys):
                self.blobs.remove(name)
                removed += 1
        return removed

    def _keys(self, name: str) -> list[str]:
        try:
            content = self.blobs.read(name) or b""
            keys = json.loads(content.split(b"\n", 2)[1])
        except (OSError, ValueError, IndexError, RecursionError):
            return []
        return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
