"""Where runs land: each once, under its key alone; the first to land one wins (docs/runs.md)."""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from widthwise.errors import InputError
from widthwise.files import require_no_link
from widthwise.runs.compacted import Compacted, Shard
from widthwise.runs.folder import Folder
from widthwise.runs.key import canonical, is_key, sha256
from widthwise.runs.landing import Landing, decode
from widthwise.runs.leases import Leases
from widthwise.runs.schema import LANDED_SCHEMA
from widthwise.runs.sealed import BrokenSealError, seal, unseal

_JSON, _CHECKPOINT = ".json", ".checkpoint"
# Single files are quick to write and slow to read by the thousand.
COMPACT_ABOVE = 1000
_RUNS_IN_A_SHARD = 4096
# Younger files may be those of a compaction that goes on.
_STALE_SECONDS = 3600.0


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
        done = "set aside; " if self.is_aside else ""
        return f"{self.place.name}: {self.problem}; {done}its runs will be repeated"


class Store:
    """Reads and writes one store.

    Reading changes nothing; only :meth:`prepare`, :meth:`verify`, :meth:`compact`,
    :meth:`withdraw` and what lands do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.leases = Leases(Folder(path / "claims"), Folder(path / "holders"))
        self._landed = Folder(path / "landed")
        self._compacted = Compacted(Folder(path / "compacted"))
        self._measured = Folder(path / "measured")
        self._checkpoints = Folder(path / "checkpoints")
        self._aside = Folder(path / "set-aside")
        self._withdrawn = Folder(path / "withdrawn")

    def prepare(self) -> None:
        """Make its folders, and clear what crashed writers left long ago.

        Raises:
            InputError: if it cannot be written, or a folder of it is a link.
        """
        require_no_link(self.path)
        for folder in (
            self._landed,
            self._compacted.folder,
            self._measured,
            self._checkpoints,
            self.leases.claims,
            self.leases.holders,
        ):
            folder.make()

    # What has landed

    def keys(self) -> frozenset[str]:
        """Keys under which something has landed. Single files are taken at their name's word."""
        return self._merged().union(self._loose())

    def land(self, landing: Landing) -> bool:
        """Land a run; whether it was the first. If not, nothing changes.

        Raises:
            InputError: if the disk is full or the store cannot be written.
        """
        key = landing.key
        return key not in self._merged() and self._landed.create(key + _JSON, landing.encode())

    def table(
        self, keys: Collection[str] | None = None, *, columns: Sequence[str] | None = None
    ) -> tuple[pl.DataFrame, list[Damage]]:
        """Runs that have landed, each once, and what is damaged.

        Args:
            keys: of the runs wanted; None takes all.
            columns: of :data:`LANDED_SCHEMA`; None takes all. "key" is always there.

        Returns:
            Rows in no particular order; damage, which is left where it lies.
        """
        names = ["key", *(c for c in columns or LANDED_SCHEMA if c != "key")]
        parts, damage = [], []
        shards, lists = self._compacted.shards()
        damage += [self._damage(self._compacted.folder, n, p) for n, p in lists.items()]
        for shard in shards:
            try:
                parts.append(self._compacted.read(shard, names))
            except BrokenSealError as error:
                damage.append(self._damage(self._compacted.folder, shard.file, str(error)))
        # The wanted first: single files are opened one by one.
        loose, problems = self._read_loose(None if keys is None else set(keys))
        damage += [self._damage(self._landed, n, p) for n, p in problems.items()]
        parts.append(loose.select(names))
        whole = pl.concat(parts).unique("key", keep="first", maintain_order=True)
        if keys is not None:
            whole = whole.filter(pl.col("key").is_in(list(keys)))
        return whole, damage

    def verify(self) -> list[Damage]:
        """Set aside whatever is not what its name promises, and say what that was.

        Raises:
            InputError: if it cannot be moved.
        """
        found = []
        shards, lists = self._compacted.shards()
        for name, problem in lists.items():
            found += self._put_aside(self._compacted.folder, name, problem)
        for shard in shards:
            try:
                self._compacted.read(shard, ["key"])
            except BrokenSealError as error:
                listed = f"{shard.number:06d}{_JSON}"
                found += self._put_aside(self._compacted.folder, shard.file, str(error))
                self._put_aside(self._compacted.folder, listed, "its shard is damaged")
        _, problems = self._read_loose(None)
        for name, problem in problems.items():
            found += self._put_aside(self._landed, name, problem)
        for folder in (self._compacted.folder, self._measured, self._checkpoints):
            for name in folder.strangers():
                found += self._put_aside(folder, name, "it is no file")
        for name in self._measured.names():
            try:
                self._measurement(name)
            except (BrokenSealError, OSError) as error:
                found += self._put_aside(self._measured, name, str(error))
        return found

    def num_set_aside(self) -> int:
        """How many things were ever set aside."""
        return len(self._aside.names()) + len(self._aside.strangers())

    def compact(self) -> int:
        """Merge single files into shards; how many runs were. Can be interrupted anywhere, and go
        on in several processes at once.

        Raises:
            InputError: if the store cannot be written.
        """
        merged = 0
        while True:
            last = self._compacted.last()
            there, loose = self._merged(), self._loose()
            for key in loose:
                if key in there:  # another process has merged it
                    self._landed.remove(key + _JSON)
            keys = [key for key in loose if key not in there][:_RUNS_IN_A_SHARD]
            rows, _ = self._read_loose(set(keys))
            if rows.is_empty():
                return merged
            # Whoever takes the number first is right; the other looks again.
            if self._compacted.add(rows, after=last):
                for key in rows["key"]:
                    self._landed.remove(key + _JSON)
                merged += len(rows)

    def compact_if_many(self) -> None:
        """:meth:`compact`, once there are many single files."""
        if len(self._loose()) > COMPACT_ABOVE:
            self.compact()

    def withdraw(self, keys: Collection[str]) -> int:
        """Take runs out, so that they are trained again; how many there were. They are kept in a
        folder of their own. What is damaged is left to :meth:`verify`.

        Raises:
            InputError: if the store cannot be written.
        """
        wanted, count = set(keys), 0
        for shard in self._shards():
            try:
                rows = self._compacted.read(shard)
            except BrokenSealError:
                continue
            out = pl.col("key").is_in(list(wanted))
            leaving = rows.filter(out)
            if leaving.is_empty():
                continue
            count += len(leaving)
            while not self._compacted.add(
                rows.filter(~out), after=self._compacted.last(), instead_of=shard.number
            ):
                continue
            self._compacted.folder.move(shard.file, self._withdrawn)
        for key in wanted.intersection(self._loose()):
            count += self._landed.move(key + _JSON, self._withdrawn) is not None
        return count

    # What was measured for a question

    def measurement(self, what: Mapping[str, Any]) -> Any:
        """What was measured under this description; None if nothing was.

        Args:
            what: plain values that say what was measured.
        """
        with contextlib.suppress(BrokenSealError, OSError):
            return self._measurement(_named(what))
        return None

    def keep_measurement(self, what: Mapping[str, Any], value: Any) -> Any:
        """Keep what was measured, unless another was faster; what is kept from then on.

        Raises:
            InputError: if the store cannot be written.
        """
        name = _named(what)
        if not self._measured.create(name, seal({"what": dict(what), "value": value})):
            try:
                return self._measurement(name)
            except (BrokenSealError, OSError) as error:
                self._put_aside(self._measured, name, str(error))
                return self.keep_measurement(what, value)
        return value

    # Packs in flight

    def write_checkpoint(self, name: str, keys: Sequence[str], state: bytes) -> None:
        """Keep the state of a pack; it replaces an earlier one.

        Args:
            name: of the pack.
            keys: of its runs, in order.
            state: as its trainer wrote it.
        """
        body = json.dumps(list(keys)).encode() + b"\n" + state
        self._checkpoints.replace(name + _CHECKPOINT, _digest(body) + b"\n" + body)

    def read_checkpoint(self, name: str, keys: Sequence[str]) -> bytes | None:
        """The state of a pack; None if there is none.

        Raises:
            BrokenSealError: if what lies there is damaged, or holds other runs.
        """
        try:
            content = self._checkpoints.read(name + _CHECKPOINT)
        except OSError as error:
            raise BrokenSealError(str(error)) from None
        if content is None:
            return None
        digest, _, body = content.partition(b"\n")
        if digest != _digest(body):
            raise BrokenSealError("its content does not match its checksum")
        head, _, state = body.partition(b"\n")
        if json.loads(head) != list(keys):
            raise BrokenSealError("it holds other runs")
        return state

    def forget_checkpoint(self, name: str) -> None:
        """Its runs have landed, or it is of no use."""
        with contextlib.suppress(IsADirectoryError, PermissionError):
            self._checkpoints.remove(name + _CHECKPOINT)

    def sweep(self) -> int:
        """Remove what finished and crashed work left: checkpoints of runs that have landed, claims
        and holders that are gone, shards that no list names. How many files that were."""
        there, removed = self.keys(), 0
        for name in self._checkpoints.names():
            keys = self._checkpointed(name)
            if keys and set(keys) <= there:
                self._checkpoints.remove(name)
                removed += 1
        for name in list(self._compacted.unlisted()):
            if self._compacted.folder.age(name) > _STALE_SECONDS:
                self._compacted.folder.remove(name)
                removed += 1
        return removed + self.leases.sweep(there)

    # Parts

    def _loose(self) -> list[str]:
        names = self._landed.names()
        keys = [name.removesuffix(_JSON) for name in names if name.endswith(_JSON)]
        return [key for key in keys if is_key(key)]

    def _shards(self) -> list[Shard]:
        return self._compacted.shards()[0]

    def _merged(self) -> frozenset[str]:
        """Keys of the runs in shards."""
        found: frozenset[str] = frozenset()
        for shard in self._shards():
            with contextlib.suppress(BrokenSealError):
                found |= self._compacted.keys(shard)
        return found

    def _read_loose(self, wanted: set[str] | None) -> tuple[pl.DataFrame, dict[str, str]]:
        """Runs of single files; and name → what is wrong, with all that is no landing at all if
        `wanted` is None."""
        rows, problems = [], {}
        if wanted is None:
            problems = dict.fromkeys(self._landed.strangers(), "it is no file")
        for name in self._landed.names():
            key = name.removesuffix(_JSON)
            if not (name.endswith(_JSON) and is_key(key)):
                if wanted is None:
                    problems[name] = "its name is no key of a run"
                continue
            if wanted is not None and key not in wanted:
                continue
            try:
                content = self._landed.read(name)
                if content is not None:  # else it has been compacted
                    rows.append((name, decode(content, key).row()))
            except (BrokenSealError, OSError) as error:
                problems[name] = str(error)
        try:
            return _frame([row for _, row in rows]), problems
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            return _sound_frame(rows, problems), problems

    def _measurement(self, name: str) -> Any:
        content = self._measured.read(name)
        if content is None:
            return None
        fields = unseal(content)
        if set(fields) != {"what", "value"} or _named(fields["what"]) != name:
            raise BrokenSealError("it is another measurement than its name promises")
        return fields["value"]

    def _checkpointed(self, name: str) -> list[str]:
        try:
            content = self._checkpoints.read(name) or b""
            keys = json.loads(content.split(b"\n", 2)[1])
        except (OSError, ValueError, IndexError):
            return []
        return keys if isinstance(keys, list) else []

    def _damage(self, folder: Folder, name: str, problem: str) -> Damage:
        return Damage(folder.path / name, problem, is_aside=False)

    def _put_aside(self, folder: Folder, name: str, problem: str) -> list[Damage]:
        place = folder.move(name, self._aside)
        return [] if place is None else [Damage(place, problem, is_aside=True)]


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The sealed object in a file.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        InputError: if it is not there or not whole.
    """
    folder = Folder(path.parent)
    try:
        content = folder.read(path.name)
        if content is None:
            raise BrokenSealError("it is not there")
        return unseal(content)
    except (BrokenSealError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be read: {reason}; {remedy}") from None


def _frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LANDED_SCHEMA)


def _sound_frame(rows: Iterable[tuple[str, dict[str, Any]]], problems: dict[str, str]) -> Any:
    frames = [_frame([])]
    for name, row in rows:
        try:
            frames.append(_frame([row]))
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            problems[name] = f"it holds a value of another type ({str(error).splitlines()[0]})"
    return pl.concat(frames)


def _named(what: Mapping[str, Any]) -> str:
    return sha256(canonical(what))[:32] + _JSON


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
