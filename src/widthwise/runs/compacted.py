"""Many runs in one Parquet file: files named by the hash of their bytes, listed under numbers.

A file counts once a list names it. A list takes the next free number, whoever writes it, so that
all agree which of two came first.
"""

import contextlib
import hashlib
import io
import itertools
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from widthwise.runs.address import Address
from widthwise.runs.blobs import Blobs, problem_of
from widthwise.runs.schema import LANDED_SCHEMA
from widthwise.runs.sealed import BrokenSealError, seal, unseal

_FORMAT = "widthwise-shard-1"
_LIST, _SHARD = ".json", ".parquet"
_DIGITS = 32
# 10¹² lists are not written; a longer number is no list's.
_LONGEST_NUMBER = 12
# Shard → what tells its file from another of its name, and the keys of its runs.
_keys: dict[Path | Address, tuple[Hashable, frozenset[str]]] = {}
# Place of shards → names there when all of them were sound, and the keys of their runs.
_sound: dict[Path | Address, tuple[tuple[str, ...], frozenset[str]]] = {}


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
    """Shards and their lists, in a place of their own."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    def shards(self, names: Sequence[str] | None = None) -> tuple[list[Shard], dict[str, str]]:
        """Those that count, in order; and name → what is wrong with a list.

        Args:
            names: of the blobs; None lists them.
        """
        found, damaged = [], {}
        names = self.blobs.names() if names is None else names
        lists = [name for name in names if name.endswith(_LIST)]
        for name, content in self.blobs.read_each(lists):
            try:
                found.append(_listed(name, content))
            except (BrokenSealError, OSError) as error:
                damaged[name] = problem_of(error)
        replaced = {shard.instead_of for shard in found}
        found.sort(key=lambda shard: shard.number)
        return [shard for shard in found if shard.number not in replaced], damaged

    def keys(self, shard: Shard) -> frozenset[str]:
        """Of its runs; read once by a process, as long as the file stays the same.

        Raises:
            BrokenSealError: if its bytes are not those that were listed.
        """
        place = self.blobs.place / shard.file
        try:
            mark = self.blobs.mark(shard.file)
        except OSError as error:
            raise BrokenSealError(problem_of(error)) from None
        if mark is None:
            raise BrokenSealError("is not there")
        known = _keys.get(place)
        if known is None or known[0] != mark:
            known = mark, frozenset(self.read(shard, ["key"])["key"].to_list())
            _keys[place] = known
        return known[1]

    def all_keys(self, names: tuple[str, ...] | None = None) -> frozenset[str]:
        """Of the runs in all shards that are sound.

        Args:
            names: of the blobs; None lists them.
        """
        names = tuple(self.blobs.names()) if names is None else names
        shards, damaged = self.shards(names)
        parts = []
        for shard in shards:
            with contextlib.suppress(BrokenSealError):
                parts.append(self.keys(shard))
        found = union(*parts)
        if len(parts) == len(shards) and not damaged:
            _sound[self.blobs.place] = names, found
        else:
            _sound.pop(self.blobs.place, None)
        return found

    def holds(self, key: str) -> bool:
        """Whether a run is in a shard. Where nothing was damaged and nothing came since, a list of
        names tells that it is not, however many shards there are; that it is, only the shards."""
        names, known = _sound.get(self.blobs.place, ((), frozenset[str]()))
        there = tuple(self.blobs.names())
        if names == there and key not in known:
            return False
        return key in self.all_keys(there)

    def read(self, shard: Shard, columns: list[str] | None = None) -> pl.DataFrame:
        """Its rows.

        Raises:
            BrokenSealError: if its bytes are not those that were listed, or hold anything but so
                many runs, each once.
        """
        rows = self._read(shard.file, columns)
        if len(rows) != shard.runs:
            raise BrokenSealError(f"it holds {len(rows)} runs, not {shard.runs}")
        return rows

    def unlisted_keys(self, file: str) -> frozenset[str] | None:
        """Of the runs in a file that no list names; None if it is damaged."""
        try:
            return frozenset(self._read(file, ["key"])["key"].to_list())
        except BrokenSealError:
            return None

    def _read(self, file: str, columns: list[str] | None) -> pl.DataFrame:
        try:
            content = self.blobs.read(file)
        except OSError as error:
            raise BrokenSealError(problem_of(error)) from None
        if content is None:
            raise BrokenSealError("is not there")
        if _named(content) != file:
            raise BrokenSealError("its bytes do not match its name")
        try:
            if dict(pl.read_parquet_schema(io.BytesIO(content))) != LANDED_SCHEMA:
                raise BrokenSealError("its columns are others")
            rows = pl.read_parquet(io.BytesIO(content), columns=columns)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BrokenSealError(f"it cannot be read ({str(error).splitlines()[0]})") from None
        if "key" in rows.columns and rows["key"].n_unique() < len(rows):
            raise BrokenSealError("a run stands in it twice")
        return rows

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
        if not self.blobs.create(file, content) and self._other(file, content):
            self.blobs.replace(file, content)  # it was damaged: the name says what it holds
        fields = {"format": _FORMAT, "file": file, "runs": len(rows), "instead_of": instead_of}
        return self.blobs.create(f"{after + 1:06d}{_LIST}", seal(fields))

    def behind(self, shard: Shard) -> list[Shard]:
        """Those that it replaced, and those that they did, as far as their lists can be read."""
        found: list[Shard] = []
        earlier = shard.instead_of
        while earlier is not None:
            name = f"{earlier:06d}{_LIST}"
            try:
                found.append(_listed(name, self.blobs.read(name)))
            except (BrokenSealError, OSError):
                break
            earlier = found[-1].instead_of
        return found

    def last(self) -> int:
        """The highest number that is taken; 0 without any."""
        names = itertools.chain(self.blobs.names(), self.blobs.strangers())
        taken = (_number(name) for name in names if name.endswith(_LIST))
        return max(itertools.chain([0], taken))

    def unlisted(self) -> Iterator[str]:
        """Names of files that no list names: what an interrupted compaction left."""
        shards, damaged = self.shards()
        if damaged:
            return  # a list that cannot be read may name them
        listed = {shard.file for shard in shards}
        for name in self.blobs.names():
            if name.endswith(_SHARD) and name not in listed:
                yield name

    def _other(self, file: str, content: bytes) -> bool:
        try:
            return self.blobs.read(file) != content
        except OSError:
            return True


def listed_as(shard: Shard) -> str:
    """Name of its list."""
    return f"{shard.number:06d}{_LIST}"


# Looks are many, and most find what the one before found.
@lru_cache(maxsize=4)
def union(*parts: frozenset[str]) -> frozenset[str]:
    """Of sets of keys."""
    return frozenset().union(*parts)


def _listed(name: str, content: bytes | OSError | None) -> Shard:
    if isinstance(content, OSError):
        raise content
    if content is None:
        raise BrokenSealError("is not there")
    return _read_list(name, content)


@lru_cache(maxsize=10_000)  # every look and every landing goes through all of them
def _read_list(name: str, content: bytes) -> Shard:
    fields = unseal(content)
    if fields.pop("format", None) != _FORMAT:
        raise BrokenSealError("it is no list of runs")
    number = _number(name)
    if not number:
        raise BrokenSealError("its name is no number of a list")
    try:
        shard = Shard(number=number, **fields)
    except TypeError as error:
        raise BrokenSealError(f"it is no list of runs ({error})") from None
    earlier = shard.instead_of
    if not (
        isinstance(shard.file, str)
        and re.fullmatch(f"[0-9a-f]{{{_DIGITS}}}{re.escape(_SHARD)}", shard.file)
        and type(shard.runs) is int
        and (earlier is None or (type(earlier) is int and 0 < earlier < number))
    ):
        raise BrokenSealError("it is no list of runs")
    return shard


def _number(name: str) -> int:
    """0 if it is no name of a list."""
    stem = name.removesuffix(_LIST)
    if not re.fullmatch("[0-9]+", stem) or len(stem) > _LONGEST_NUMBER:
        return 0
    number = int(stem)
    return number if stem == f"{number:06d}" else 0


def _named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS] + _SHARD
