"""Where runs land: each once, under its key alone; the first to land one wins (docs/runs.md)."""

import contextlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl

from widthwise.runs.address import Address
from widthwise.runs.blobs import Blobs, Damage, Parts, problem_of
from widthwise.runs.checkpoints import Checkpoints
from widthwise.runs.compacted import Compacted, Shard, listed_as, union
from widthwise.runs.failures import Failures
from widthwise.runs.folder import Folder
from widthwise.runs.key import RUN_FIELDS, Run, is_key, sha256
from widthwise.runs.landing import Landing, decode, group_of
from widthwise.runs.leases import Leases, Party
from widthwise.runs.measured import Measured
from widthwise.runs.schema import LANDED_SCHEMA
from widthwise.runs.sealed import BrokenSealError
from widthwise.runs.weights import Weights

_JSON = ".json"
# Single files are quick to write and slow to read by the thousand.
COMPACT_ABOVE = 1000
_RUNS_IN_A_SHARD = 4096
# Runs may be withdrawn meanwhile.
_SECONDS_OF_MEMORY = 60.0
# Store → when this process last looked, and what had landed there: in shards, and in single files.
_lately: dict[Path | Address | Parts, tuple[float, frozenset[str], frozenset[str]]] = {}
# Who merges holds this as if it were a run: one is enough.
_MERGING = sha256("merging")[:32]


class Store:
    """Reads and writes one store.

    Reading changes nothing; only :meth:`prepare`, :meth:`verify`, :meth:`compact`,
    :meth:`withdraw` and what lands do.

    Args:
        place: a folder, an address in an object store, or a store of another kind.
        party: who claims runs; None is this process.

    Raises:
        InputError: if what speaks to an object store is not installed.
    """

    def __init__(self, place: Path | Address | Parts, party: Party | None = None) -> None:
        self.place = place
        self._landed = part_of(place, "landed")
        self._compacted = Compacted(part_of(place, "compacted"))
        self._aside = part_of(place, "set-aside")
        self._withdrawn = part_of(place, "withdrawn")
        self.measured = Measured(part_of(place, "measured"), self._aside)
        self.checkpoints = Checkpoints(part_of(place, "checkpoints"), self._aside)
        self.failures = Failures(part_of(place, "failed"))
        kept, so_far = part_of(place, "weights"), part_of(place, "weights-so-far")
        self.weights = Weights(kept, so_far, self._aside)
        claims, holders = part_of(place, "claims"), part_of(place, "holders")
        self.leases = Leases(claims, holders, self._aside, party)

    def prepare(self) -> None:
        """Make its parts, and clear what crashed writers left long ago.

        Raises:
            InputError: if it cannot be written, or a folder of it is a link.
        """
        for part in self._parts():
            part.make()

    # What has landed

    def keys(self) -> frozenset[str]:
        """Keys under which something has landed. Single files are taken at their name's word."""
        return union(*self._look())

    def missing(self, keys: Collection[str]) -> set[str]:
        """Those of these under which nothing has landed: :meth:`keys` for who asks about few."""
        merged, loose = self._look()
        return {key for key in keys if key not in merged and key not in loose}

    def had_landed(self, keys: Collection[str]) -> bool:
        """Whether all of these had landed when this process last looked, at most a minute ago: then
        the store need not be asked."""
        if self.place not in _lately:
            return False
        since, merged, loose = _lately[self.place]
        return self.leases.now() - since < _SECONDS_OF_MEMORY and all(
            key in merged or key in loose for key in keys
        )

    def landed_ago(self) -> dict[str, float]:
        """Run → seconds since it landed, roughly; those that were merged have lost their time."""
        return {key: max(0.0, self._landed.age(key + _JSON)) for key in self._loose()}

    def land(self, landing: Landing) -> bool:
        """Land a run; whether it was the first. If not, nothing changes.

        Raises:
            InputError: if the disk is full or the store cannot be written.
        """
        key, content = landing.key, landing.encode()
        while not self._landed.create(key + _JSON, content):
            problem = self._problem_of_landing(key + _JSON)
            if problem is None:
                return False
            self._put_landing_aside(key + _JSON, problem)
        # Looked up last: its name is free also where the first has just been merged.
        if self._compacted.holds(key):
            self._landed.remove(key + _JSON)
            return False
        return True

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
        # Single files first: what is merged meanwhile is in the shards by then.
        loose, problems = self._read_loose(None if keys is None else set(keys), names)
        damage = [self._damage(self._landed, n, p) for n, p in problems.items()]
        parts = []
        shards, lists = self._compacted.shards()
        damage += [self._damage(self._compacted.blobs, n, p) for n, p in lists.items()]
        for shard in shards:
            try:
                parts.append(self._compacted.read(shard, names))
            except BrokenSealError as error:
                damage.append(self._damage(self._compacted.blobs, shard.file, str(error)))
        parts.append(loose)  # last: where a run is twice, the listed one counts
        whole = pl.concat(parts).unique("key", keep="first", maintain_order=True)
        if keys is not None:
            wanted = pl.DataFrame({"key": list(keys)}, schema={"key": pl.String})
            whole = whole.join(wanted, on="key", how="semi")
        return whole, damage

    def verify(self, *, weights: bool = True) -> list[Damage]:
        """Set aside whatever is not what its name promises, and say what that was.

        Args:
            weights: whether to read trained weights too, which are large.

        Raises:
            InputError: if it cannot be moved, or the system does not let something be read.
        """
        found: list[Damage] = []
        for part in self._parts():
            for name in part.strangers():
                found += part.put_aside(name, "it is no file", self._aside)
        shards, lists = self._compacted.shards()
        for name, problem in lists.items():
            found += self._compacted.blobs.put_aside(name, problem, self._aside)
        for shard in shards:
            wrong = self._problem_of_shard(shard)
            if wrong is not None and shard in self._shards():  # else it was just replaced
                blobs = self._compacted.blobs
                self._forget(self._compacted.behind(shard))
                found += blobs.put_aside(listed_as(shard), f"{shard.file}: {wrong}", self._aside)
                blobs.put_aside(shard.file, wrong, self._aside)
        _, problems = self._read_loose(None, ["key"])
        for name, problem in problems.items():
            self._landed.require_readable(name)
            found += self._put_landing_aside(name, problem)
        found += self.weights.verify() if weights else []
        return found + self.measured.verify()

    def num_set_aside(self) -> int:
        """How many things were ever set aside."""
        return len(self._aside.names()) + len(self._aside.strangers())

    def compact(self) -> int:
        """Merge single files into shards; how many runs were. Can be interrupted anywhere, and go
        on in several processes at once. What lands meanwhile is left to the next.

        Raises:
            InputError: if the store cannot be written.
        """
        merged, wanted = 0, frozenset(self._loose())
        while True:
            last = self._compacted.last()
            there, loose = self._compacted.all_keys(), self._loose()
            # Another process has merged them.
            self._landed.remove_each([key + _JSON for key in there.intersection(loose)])
            keys = [key for key in loose if key in wanted and key not in there][:_RUNS_IN_A_SHARD]
            rows, _ = self._read_loose(set(keys))
            if rows.is_empty():
                return merged
            # Whoever takes the number first is right; the other looks again.
            if self._compacted.add(rows, after=last):
                self._landed.remove_each([key + _JSON for key in rows["key"]])
                merged += len(rows)

    def compact_if_many(self) -> None:
        """:meth:`compact`, once there are many single files and nobody else does it: of many
        workers each would merge the same."""
        if len(self._loose()) > COMPACT_ABOVE:
            with self.leases.hold_aside(_MERGING) as mine:
                if mine:
                    self.compact()

    def withdraw(self, keys: Collection[str]) -> int:
        """Take runs out, so that they are trained again; how many there were. They are kept, with
        their weights, in a folder of their own. What is damaged is left to :meth:`verify`.

        Raises:
            InputError: if the store cannot be written.
        """
        _lately.pop(self.place, None)
        wanted, count, replaced = set(keys), 0, set()
        self.weights.withdraw(wanted, self._withdrawn)
        for shard in self._shards():
            try:
                rows = self._compacted.read(shard)
            except BrokenSealError:
                continue  # nothing of it counts
            out = pl.col("key").is_in(list(wanted))
            leaving = rows.filter(out)
            if leaving.is_empty():
                continue
            count += len(leaving)
            while not self._compacted.add(
                rows.filter(~out), after=self._compacted.last(), instead_of=shard.number
            ):
                continue
            replaced.add(shard.file)
        for file in replaced - {shard.file for shard in self._shards()}:
            self._compacted.blobs.move(file, self._withdrawn)
        for key in wanted.intersection(self._loose()):
            count += self._landed.move(key + _JSON, self._withdrawn) is not None
        return count

    def sweep(self) -> int:
        """Remove what finished and crashed work left: checkpoints and failures of runs that have
        landed, claims and holders that are gone, shards that no list names. How many files that
        were."""
        there = self.keys()
        removed = self.checkpoints.sweep(there) + self.failures.forget(there)
        # In this order: what is listed in between is not taken for unlisted. A file whose runs are
        # all in listed ones can no longer be listed by whoever is compacting now.
        merged = self._compacted.all_keys()
        for name in list(self._compacted.unlisted()):
            held = self._compacted.unlisted_keys(name)
            if held is not None and held <= merged:
                self._compacted.blobs.remove(name)
                removed += 1
        return removed + self.leases.sweep(there)

    # Parts

    def _loose(self) -> tuple[str, ...]:
        return _keys_named_by(tuple(self._landed.names()))

    def _shards(self) -> list[Shard]:
        return self._compacted.shards()[0]

    def _look(self) -> tuple[frozenset[str], frozenset[str]]:
        """What has landed: in shards, and in single files."""
        loose = frozenset(self._loose())  # first: what is merged meanwhile is in the shards by then
        found = self._compacted.all_keys(), loose
        _lately[self.place] = self.leases.now(), *found
        return found

    def _forget(self, replaced: Sequence[Shard]) -> None:
        """Shards that others stand for must not count again once those are gone: runs in them were
        withdrawn."""
        for shard in replaced:
            self._compacted.blobs.move(listed_as(shard), self._withdrawn)
        for file in {shard.file for shard in replaced} - {shard.file for shard in self._shards()}:
            self._compacted.blobs.move(file, self._withdrawn)

    def _read_loose(
        self, wanted: set[str] | None, columns: Sequence[str] = tuple(LANDED_SCHEMA)
    ) -> tuple[pl.DataFrame, dict[str, str]]:
        """Runs of single files; and name → what is wrong, with all that is no landing at all if
        `wanted` is None."""
        schema = {name: LANDED_SCHEMA[name] for name in columns}
        frames, rows, problems = [pl.DataFrame(schema=schema)], [], {}
        if wanted is None:
            problems = dict.fromkeys(self._landed.strangers(), "it is no file")
        names = []
        for name in self._landed.names():
            key = name.removesuffix(_JSON)
            if name.endswith(_JSON) and is_key(key):
                if wanted is None or key in wanted:
                    names.append(name)
            elif wanted is None:
                problems[name] = "its name is no key of a run"
        for name, content in self._landed.read_each(names):
            try:
                if isinstance(content, OSError):
                    raise content
                if content is not None:  # else it has been compacted
                    row = decode(content, name.removesuffix(_JSON)).row()
                    rows.append({column: row[column] for column in columns})
            except (BrokenSealError, OSError) as error:
                problems[name] = problem_of(error)
            if len(rows) == _RUNS_IN_A_SHARD:  # as dictionaries they take much memory
                frames.append(pl.DataFrame(rows, schema=schema))
                rows = []
        frames.append(pl.DataFrame(rows, schema=schema))
        return pl.concat(frames), problems

    def _problem_of_shard(self, shard: Shard) -> str | None:
        """What is wrong with it; its runs are told from others by all of their fields."""
        try:
            rows = self._compacted.read(shard, ["key", "group", *RUN_FIELDS])
            for (group,), runs in rows.group_by("group"):
                shared = group_of(str(group))
                for key, *values in runs.select("key", *RUN_FIELDS).iter_rows():
                    if shared.key(Run(**dict(zip(RUN_FIELDS, values, strict=True)))) != key:
                        return "a run in it is not the one that its key promises"
        except (BrokenSealError, TypeError) as error:
            return str(error)
        return None

    def _problem_of_landing(self, name: str) -> str | None:
        """What is wrong with what has landed under a name; None also if that is gone."""
        try:
            content = self._landed.read(name)
            if content is not None:
                decode(content, name.removesuffix(_JSON))
        except (BrokenSealError, OSError) as error:
            self._landed.require_readable(name)
            return problem_of(error)
        return None

    def _parts(self) -> tuple[Blobs, ...]:
        return (
            self._landed,
            self._compacted.blobs,
            self.measured.blobs,
            self.checkpoints.blobs,
            self.failures.blobs,
            self.weights.kept,
            self.weights.so_far,
            self.leases.claims,
            self.leases.holders,
        )

    def _damage(self, blobs: Blobs, name: str, problem: str) -> Damage:
        return Damage(blobs.place / name, problem, is_aside=False)

    def _put_landing_aside(self, name: str, problem: str) -> list[Damage]:
        found = self._landed.put_aside(name, problem, self._aside)
        for damage in found:
            # Another process may have repaired it meanwhile: then that is what has landed.
            with contextlib.suppress(BrokenSealError, OSError):
                content = self._aside.read(damage.place.name)
                if content is not None:
                    decode(content, name.removesuffix(_JSON))
                    self._landed.create(name, content)
                    return []
        return found


@lru_cache(maxsize=1)
def _keys_named_by(names: tuple[str, ...]) -> tuple[str, ...]:
    keys = [name.removesuffix(_JSON) for name in names if name.endswith(_JSON)]
    return tuple(key for key in keys if is_key(key))


def part_of(place: Path | Address | Parts, name: str) -> Blobs:
    """The blobs of one part of a store: "landed", "claims" and so on.

    Raises:
        InputError: if what speaks to an object store is not installed.
    """
    if isinstance(place, Path):
        return Folder(place / name, root=place)
    if isinstance(place, Address):
        from widthwise.runs.cloud import Cloud

        return Cloud(place / name)
    return place.part(name)
