"""Many runs in one Parquet file: files named by the hash of their bytes, listed under numbers.

A file counts once a list names it. A list takes the next free number, whoever writes it, so that
all agree which of two came first.
"""

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from widthwise.runs.folder import Folder
from widthwise.runs.schema import LANDED_SCHEMA
from widthwise.runs.sealed import BrokenSealError, seal, unseal

_FORMAT = "widthwise-shard-1"
_LIST, _SHARD = ".json", ".parquet"
# Shard → keys of its runs. What a name that is a hash stands for never changes.
_keys: dict[Path, frozenset[str]] = {}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A list's entry.

    Attributes:
        number: of the list; earlier ones win.
        file: name of the Parquet file.
        runs: rows in it.
        instead_of: number of the list that this one replaces, without runs that were withdrawn.
    """

    number: int
    file: str
    runs: int
    instead_of: int | None = None


class Compacted:
    """The folder of shards and their lists."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def shards(self) -> tuple[list[Shard], dict[str, str]]:
        """Those that count, in order; and name → what is wrong with a list."""
        found, damaged = [], {}
        for name in self.folder.names():
            if name.endswith(_LIST):
                try:
                    found.append(self._listed(name))
                except (BrokenSealError, OSError) as error:
                    damaged[name] = str(error)
        replaced = {shard.instead_of for shard in found}
        return [shard for shard in found if shard.number not in replaced], damaged

    def keys(self, shard: Shard) -> frozenset[str]:
        """Of its runs; read once by a process.

        Raises:
            BrokenSealError: if its bytes are not those that were listed.
        """
        place = self.folder.path / shard.file
        if place not in _keys:
            _keys[place] = frozenset(self.read(shard, ["key"])["key"].to_list())
        return _keys[place]

    def read(self, shard: Shard, columns: list[str] | None = None) -> pl.DataFrame:
        """Its rows.

        Raises:
            BrokenSealError: if its bytes are not those that were listed.
        """
        try:
            content = self.folder.read(shard.file)
        except OSError as error:
            raise BrokenSealError(str(error)) from None
        if content is None:
            raise BrokenSealError("is not there")
        if _named(content) != shard.file:
            raise BrokenSealError("its bytes do not match its name")
        return pl.read_parquet(io.BytesIO(content), columns=columns)

    def add(self, rows: pl.DataFrame, *, after: int, instead_of: int | None = None) -> bool:
        """List rows as the shard after the one of this number; whether that number was free.

        Args:
            rows: of :data:`LANDED_SCHEMA`, one a run, none of them in an earlier shard.
            after: number of the last list that was looked at.
            instead_of: number of a list to replace.
        """
        buffer = io.BytesIO()
        rows.select(list(LANDED_SCHEMA)).write_parquet(buffer, compression="zstd")
        content = buffer.getvalue()
        file = _named(content)
        self.folder.create(file, content)
        fields = {"format": _FORMAT, "file": file, "runs": len(rows), "instead_of": instead_of}
        return self.folder.create(f"{after + 1:06d}{_LIST}", seal(fields))

    def last(self) -> int:
        """The highest number that is taken; 0 without any."""
        taken = (_number(name) for name in self.folder.names() if name.endswith(_LIST))
        return max(itertools.chain([0], taken))

    def unlisted(self) -> Iterator[str]:
        """Names of files that no list names: what an interrupted compaction left."""
        shards, damaged = self.shards()
        if damaged:
            return  # a list that cannot be read may name them
        listed = {shard.file for shard in shards}
        for name in self.folder.names():
            if name.endswith(_SHARD) and name not in listed:
                yield name

    def _listed(self, name: str) -> Shard:
        content = self.folder.read(name)
        if content is None:
            raise BrokenSealError("is not there")
        fields = unseal(content)
        if fields.pop("format", None) != _FORMAT:
            raise BrokenSealError("it is no list of runs")
        try:
            return Shard(number=_number(name), **fields)
        except TypeError as error:
            raise BrokenSealError(f"it is no list of runs ({error})") from None


def _number(name: str) -> int:
    stem = name.removesuffix(_LIST)
    return int(stem) if stem.isdecimal() else 0


def _named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32] + _SHARD
