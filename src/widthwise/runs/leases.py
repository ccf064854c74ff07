"""Who is training what: leases, which save double work and decide nothing.

A claim is a file named by a run's key that names its holder. A holder beats: while it holds
anything it writes a growing number every few seconds. A claim whose holder is gone counts for
nothing. A holder is gone if it has left no trace, if its process on this machine has ended, or if
its number has not grown for a minute by the clock of whoever looks; clocks of different machines
are never compared.
"""

import atexit
import contextlib
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Container, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from widthwise.runs.address import Address
from widthwise.runs.blobs import Blobs, UnreachableError
from widthwise.runs.key import is_key

_SECONDS_BETWEEN_BEATS = 5.0
_SECONDS_OF_SILENCE = 60.0
# After so many refusals in a row it is crowded for so long.
_REFUSALS, _SECONDS_OF_CROWD = 8, 2.0
# A process that ends waits so long for its farewell.
_SECONDS_TO_LEAVE = 2.0
_JSON = ".json"

# Holder → (its number, when this process first saw that).
_seen: dict[str, tuple[int, float]] = {}
# Place → refusals in a row, and when the last one was.
_refusals: dict[Path | Address, tuple[int, float]] = {}
# Place → what this process is called there. No store is asked while the lock is held: one that does
# not answer would silence the holders of all others.
_beating: dict[Path | Address, "_Holder"] = {}
_listing = threading.Lock()


class Party(Protocol):
    """Whoever holds runs and looks at what others hold.

    Attributes:
        seen: holder → (its number, when by this party's clock it was first seen).
        refusals: place → (how many in a row, when by its clock the last one was).
    """

    @property
    def seen(self) -> MutableMapping[str, tuple[int, float]]: ...

    @property
    def refusals(self) -> MutableMapping[Path | Address, tuple[int, float]]: ...

    def now(self) -> float:
        """Seconds, by a clock of its own that never goes back."""
        ...

    def present_in(self, holders: Blobs) -> AbstractContextManager[str]:
        """What it is called there; it beats at least until the end of the context."""
        ...


class Leases:
    """The claims of one store."""

    def __init__(
        self, claims: Blobs, holders: Blobs, aside: Blobs, party: Party | None = None
    ) -> None:
        """
        Args:
            claims, holders: places of their own.
            aside: where what is no claim is moved.
            party: who asks; None is this process.
        """
        self.claims, self.holders, self._aside = claims, holders, aside
        self._party = _ThisProcess() if party is None else party

    @contextlib.contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[bool]:
        """Hold runs while training them; False if another holds one of them."""
        with self._party.present_in(self.holders) as holder:
            taken: list[str] = []
            try:
                for key in sorted(keys):
                    if not self._take(key, holder):
                        break
                    taken.append(key)
                else:
                    self._refused(False)
                    yield True
                    return
                self._release(taken, holder)
                taken = []
                self._refused(True)
                yield False
            finally:
                self._release(taken, holder)

    @contextlib.contextmanager
    def hold_aside(self, key: str) -> Iterator[bool]:
        """Hold what is no run, but work that one does for all; False if another does. That is no
        refusal of runs."""
        with self._party.present_in(self.holders) as holder:
            mine = self._take(key, holder)
            try:
                yield mine
            finally:
                if mine:
                    self._release([key], holder)

    def claimed(self) -> frozenset[str]:
        """Runs that somebody claims, be they there or gone: known without looking at each."""
        return frozenset(name.removesuffix(_JSON) for name in self.claims.names())

    def held(self) -> dict[str, float]:
        """Run in flight → seconds since it was claimed."""
        return {key: since for key, (_, since) in self.held_by().items()}

    def held_by(self) -> dict[str, tuple[str, float]]:
        """Run in flight → (who holds it, seconds since it was claimed)."""
        return {
            name.removesuffix(_JSON): (holder, max(0.0, self.claims.age(name)))
            for name, holder in self._all_claims()
            if holder is not None
        }

    def sweep(self, landed: Container[str]) -> int:
        """Remove claims that count for nothing, and holders that are gone; how many files."""
        removed = 0
        for name, holder in self._all_claims():
            if holder is None or name.removesuffix(_JSON) in landed:
                self.claims.remove(name)
                removed += 1
        for name in self.holders.names():
            if self._is_gone(name.removesuffix(_JSON)):
                self.holders.remove(name)
                removed += 1
        return removed

    def is_crowded(self) -> bool:
        """Whether others held all runs that this process asked for lately, many times in a row and
        the last time a few seconds ago: then it had better wait."""
        number, since = self._party.refusals.get(self.claims.place, (0, 0.0))
        if number >= _REFUSALS and self.now() - since >= _SECONDS_OF_CROWD:
            self._refused(False)
            return False
        return number >= _REFUSALS

    def _refused(self, is_refused: bool) -> None:
        refusals, place = self._party.refusals, self.claims.place
        number = refusals.get(place, (0, 0.0))[0] + 1 if is_refused else 0
        refusals[place] = number, self.now()

    def now(self) -> float:
        """Seconds, by the clock of who asks."""
        return self._party.now()

    def _take(self, key: str, holder: str) -> bool:
        name, content = key + _JSON, json.dumps({"holder": holder}).encode()
        if self.claims.create(name, content, durable=False):
            return True
        other = self._claimed_by(name)
        if other == holder:
            return True
        if other is not None and not self._is_gone(other):
            return False
        # Two may see that at once, and both train: the first to land wins.
        self.claims.discard(name, self._aside)
        return self.claims.create(name, content, durable=False)

    def _release(self, keys: Iterable[str], holder: str) -> None:
        with contextlib.suppress(OSError, UnreachableError):
            for key in keys:
                if self._claimed_by(key + _JSON) == holder:
                    self.claims.remove(key + _JSON)

    def _all_claims(self) -> Iterator[tuple[str, str | None]]:
        """Each claim with its holder; None if that is gone, or cannot be read."""
        gone: dict[str, bool] = {}
        for name, content in self.claims.read_each(self.claims.names()):
            holder = _holder_in(None if isinstance(content, OSError) else content)
            if holder is not None and holder not in gone:
                gone[holder] = self._is_gone(holder)
            yield name, None if holder is None or gone[holder] else holder

    def _claimed_by(self, name: str) -> str | None:
        """None if the claim is gone, or cannot be read."""
        try:
            return _holder_in(self.claims.read(name))
        except OSError:
            return None

    def _is_gone(self, holder: str) -> bool:
        try:
            beat = json.loads(self.holders.read(holder + _JSON) or b"")
            number, process = int(beat["number"]), beat["process"]
            machine, pid, started = process["machine"], int(process["pid"]), process["started"]
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return True
        if machine == _machine() and _started(pid) != started:
            return True
        known = self._party.seen.get(holder)
        if known is None or known[0] != number:
            self._party.seen[holder] = number, self._party.now()
            return False
        return self._party.now() - known[1] > _SECONDS_OF_SILENCE


class _ThisProcess:
    """One party, whatever stores it works in."""

    @property
    def seen(self) -> dict[str, tuple[int, float]]:
        return _seen

    @property
    def refusals(self) -> dict[Path | Address, tuple[int, float]]:
        return _refusals

    def now(self) -> float:
        return monotonic()

    @contextlib.contextmanager
    def present_in(self, holders: Blobs) -> Iterator[str]:
        place = holders.place
        with _listing:
            if place not in _beating or _beating[place].process != os.getpid():
                _beating[place] = _Holder(holders)
            holder = _beating[place]
            holder.holds += 1
        try:
            holder.begin()
            yield holder.name
        finally:
            with _listing:
                holder.holds -= 1


class _Holder:
    """This process, in one store; beats until it holds nothing at a beat, or ends."""

    def __init__(self, blobs: Blobs) -> None:
        self.name, self.process = secrets.token_hex(16), os.getpid()
        self.holds = 0
        self._blobs, self._number = blobs, 0
        self._beginning, self.has_begun = threading.Lock(), False
        self.is_over, self.has_left = threading.Event(), threading.Event()

    def begin(self) -> None:
        """Beat, unless it does already."""
        with self._beginning:
            if not self.has_begun:
                self._beat()
                threading.Thread(target=self._go_on, daemon=True).start()
                self.has_begun = True

    def _beat(self) -> None:
        self._number += 1
        process = {"machine": _machine(), "pid": self.process, "started": _started(self.process)}
        write_beat(self._blobs, self.name, self._number, process)

    def _go_on(self) -> None:
        while not self.is_over.wait(_SECONDS_BETWEEN_BEATS) and not self._is_idle():
            with contextlib.suppress(Exception):  # a full disk: others will take the work
                self._beat()
        with contextlib.suppress(Exception):  # others see it end without this
            self._blobs.remove(self.name + _JSON)
        self.has_left.set()

    def _is_idle(self) -> bool:
        """Then it is no longer the one that this process goes by there."""
        with _listing:
            if self.holds:
                return False
            if _beating.get(self._blobs.place) is self:
                del _beating[self._blobs.place]
            return True


def _after_fork() -> None:
    """A thread of the parent's may have held it."""
    global _listing
    _listing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _leave() -> None:
    with _listing:
        ours = [h for h in _beating.values() if h.process == os.getpid() and h.has_begun]
    for holder in ours:
        holder.is_over.set()
    until = monotonic() + _SECONDS_TO_LEAVE  # a store may not answer
    for holder in ours:
        holder.has_left.wait(max(0.0, until - monotonic()))


def write_beat(holders: Blobs, holder: str, number: int, process: dict[str, Any]) -> None:
    """A holder says that it is there.

    Args:
        holders: the place of all.
        holder: its name.
        number: higher than any that it wrote before.
        process: its "machine", "pid" and when it "started", which others there may look up.
    """
    content = json.dumps({"number": number, "process": process})
    holders.replace(holder + _JSON, content.encode(), durable=False)


def _holder_in(content: bytes | None) -> str | None:
    """Who holds a claim; None if it is none."""
    try:
        holder = json.loads(content or b"{}").get("holder")
    except (ValueError, AttributeError, RecursionError):
        return None
    return holder if isinstance(holder, str) and is_key(holder) else None


@cache
def _machine() -> str:
    """Tells processes that see each other's numbers from others: a hash, which says no name."""
    parts = []
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            path = Path(place)
            parts.append(path.readlink().name if path.is_symlink() else path.read_text())
    if not parts:
        import uuid

        parts.append(str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _started(pid: int) -> str | None:
    """When a process of this machine began, in ticks of its own; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _is_alive(pid)
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A dead process that nobody has waited for holds nothing.
    return None if fields[0] in "ZX" else fields[19]


def _is_alive(pid: int) -> str | None:
    """Where there is no /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "alive"
