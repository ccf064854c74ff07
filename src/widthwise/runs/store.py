"""A study's directory: the frozen specification and one immutable Parquet shard a pack.

::

    study.json                     specification, data fingerprint, versions
    data.npz                       the data, if they were given in memory
    shards/<what>-<content>.parquet   results of one pack
    set-aside/                     shards that were damaged
    checkpoints/, locks/           packs in flight

A shard's name holds the hash of what it ran and the hash of its bytes: the first makes resuming a
set difference, the second lets anyone see a truncated or altered file.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from widthwise.errors import InputError
from widthwise.files import (
    explained,
    make_directory,
    remove_leftovers,
    write_atomically,
)

_CONTENT_DIGITS = 32
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Damage:
    """A shard that was set aside.

    Attributes:
        path: where it lies now.
        problem: what is wrong with it.
    """

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path.name} {self.problem}; set aside, its runs will be repeated"


class Store:
    """Reads and writes one study directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shards = directory / "shards"
        self._set_aside = directory / "set-aside"
        self._checkpoints = directory / "checkpoints"
        self._locks = directory / "locks"

    def prepare(self) -> None:
        """Make the directories, and clear what crashed writers left.

        Raises:
            InputError: if the directory cannot be written.
        """
        for folder in (self.directory, self.shards, self._checkpoints, self._locks):
            make_directory(folder)
            remove_leftovers(folder, older_than=time.time() - _STALE_SECONDS)

    def landed(self) -> set[str]:
        """Keys of packs whose shard is there (not yet verified)."""
        return {path.stem.partition("-")[0] for path in self.shards.glob("*.parquet")}

    def verify(self) -> list[Damage]:
        """Set aside every shard whose bytes are not those its name promises."""
        return [
            damage
            for path in sorted(self.shards.glob("*.parquet"))
            if (problem := _problem(path)) is not None
            and (damage := self._put_aside(path, problem)) is not None
        ]

    def num_set_aside(self) -> int:
        """How many shards were ever set aside."""
        return len(list(self._set_aside.glob("*.parquet")))

    def write_shard(self, key: str, rows: pl.DataFrame, metadata: dict[str, str]) -> Path:
        """Land a pack's results.

        Raises:
            InputError: if the disk is full or the directory cannot be written.
        """
        buffer = io.BytesIO()
        rows.write_parquet(buffer, metadata=metadata)
        content = buffer.getvalue()
        path = self.shards / f"{key}-{_digest(content)}.parquet"
        write_atomically(path, content)
        return path

    def read_shards(self) -> list[pl.DataFrame]:
        """One shard a pack, in a fixed order.

        Two processes that raced for a pack may both have landed it; either will do.
        """
        by_key: dict[str, Path] = {}
        for path in sorted(self.shards.glob("*.parquet")):
            by_key.setdefault(path.stem.partition("-")[0], path)
        return [pl.read_parquet(by_key[key]) for key in sorted(by_key)]

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold a pack while training it; False if another process holds it.

        The lock is the operating system's and goes with its process, however that dies.
        """
        path = self._locks / f"{key}.lock"
        with explained(path):
            file = path.open("wb")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            # Whoever waited for this very file sees, under its lock, that the pack has landed.
            if key in self.landed():
                path.unlink(missing_ok=True)

    def write_checkpoint(self, key: str, state: dict[str, Any]) -> None:
        """Keep a pack's state; it replaces an earlier one."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_atomically(self._checkpoint(key), _digest(content).encode() + content)

    def read_checkpoint(self, key: str) -> dict[str, Any] | None:
        """A pack's state, or None if there is none that is whole."""
        try:
            content = self._checkpoint(key).read_bytes()
        except OSError:
            return None
        head, body = content[:_CONTENT_DIGITS], content[_CONTENT_DIGITS:]
        if head != _digest(body).encode():
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
        return state

    def forget_checkpoint(self, key: str) -> None:
        self._checkpoint(key).unlink(missing_ok=True)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_atomically(self.directory / name, text.encode() + b"\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Raises:
        InputError: if the file is not there or not whole.
        """
        path = self.directory / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InputError(
                f"{self.directory} is not a study: it has no {name}; "
                "begin one with `widthwise run SPEC`"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); restore or remove it") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold a table, got {type(content).__name__}")
        return content

    def _checkpoint(self, key: str) -> Path:
        return self._checkpoints / f"{key}.checkpoint"

    def _put_aside(self, path: Path, problem: str) -> Damage | None:
        make_directory(self._set_aside)
        target = self._set_aside / path.name
        try:
            with explained(target):
                path.replace(target)
        except FileNotFoundError:  # another process was faster
            return None
        return Damage(target, problem)


def _problem(path: Path) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another process set it aside
        return None
    if path.stem.partition("-")[2] != _digest(content):
        return "is damaged (its bytes do not match its name)"
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_CONTENT_DIGITS]
