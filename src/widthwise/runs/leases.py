"""Who is training what: leases, which save double work and decide nothing.

A claim is a file named by a run's key that names its holder. A holder beats: it writes a growing
number every few seconds. A claim whose holder is gone counts for nothing. A holder is gone if it
has left no trace, if its process on this machine has ended, or if its number has not grown for a
minute by the clock of whoever looks; clocks of different machines are never compared.
"""

import atexit
import contextlib
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Container, Iterable, Iterator
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from widthwise.runs.folder import Folder
from widthwise.runs.key import is_key

_SECONDS_BETWEEN_BEATS = 5.0
_SECONDS_OF_SILENCE = 60.0
_JSON = ".json"

# Holder → (its number, when this process first saw that).
_seen: dict[str, tuple[int, float]] = {}
# Folder → what this process is called there.
_beating: dict[Path, "_Holder"] = {}
_starting = threading.Lock()


class Leases:
    """The claims of one store."""

    def __init__(self, claims: Folder, holders: Folder, aside: Folder) -> None:
        """
        Args:
            claims, holders: folders of their own.
            aside: where what is no claim is moved.
        """
        self.claims, self.holders, self._aside = claims, holders, aside

    @contextlib.contextmanager
    def hold(self, keys: Iterable[str]) -> Iterator[bool]:
        """Hold runs while training them; False if another holds one of them."""
        holder = self._holder()
        taken: list[str] = []
        try:
            for key in sorted(keys):
                if not self._take(key, holder.name):
                    break
                taken.append(key)
            else:
                yield True
                return
            self._release(taken, holder.name)
            taken = []
            yield False
        finally:
            self._release(taken, holder.name)

    def held(self) -> dict[str, float]:
        """Run in flight → seconds since it was claimed."""
        found = {}
        for name in self.claims.names():
            holder = self._claimed_by(name)
            if holder is not None and not self._is_gone(holder):
                found[name.removesuffix(_JSON)] = max(0.0, self.claims.age(name))
        return found

    def sweep(self, landed: Container[str]) -> int:
        """Remove claims that count for nothing, and holders that are gone; how many files."""
        removed = 0
        for name in self.claims.names():
            holder = self._claimed_by(name)
            if name.removesuffix(_JSON) in landed or holder is None or self._is_gone(holder):
                self.claims.remove(name)
                removed += 1
        for name in self.holders.names():
            if self._is_gone(name.removesuffix(_JSON)):
                self.holders.remove(name)
                removed += 1
        return removed

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
        with contextlib.suppress(OSError):
            for key in keys:
                if self._claimed_by(key + _JSON) == holder:
                    self.claims.remove(key + _JSON)

    def _holder(self) -> "_Holder":
        place = self.holders.path
        with _starting:
            if place not in _beating or _beating[place].process != os.getpid():
                _beating[place] = _Holder(self.holders)
            return _beating[place]

    def _claimed_by(self, name: str) -> str | None:
        """None if the claim is gone, or cannot be read."""
        try:
            holder = json.loads(self.claims.read(name) or b"{}").get("holder")
        except (OSError, ValueError, AttributeError, RecursionError):
            return None
        return holder if isinstance(holder, str) and is_key(holder) else None

    def _is_gone(self, holder: str) -> bool:
        try:
            beat = json.loads(self.holders.read(holder + _JSON) or b"")
            number, process = int(beat["number"]), beat["process"]
            machine, pid, started = process["machine"], int(process["pid"]), process["started"]
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return True
        if machine == _machine() and _started(pid) != started:
            return True
        known = _seen.get(holder)
        if known is None or known[0] != number:
            _seen[holder] = number, monotonic()
            return False
        return monotonic() - known[1] > _SECONDS_OF_SILENCE


class _Holder:
    """This process, in one store; beats until it ends."""

    def __init__(self, folder: Folder) -> None:
        self.name, self.process = secrets.token_hex(16), os.getpid()
        self._folder, self._number = folder, 0
        self._beat()
        threading.Thread(target=self._go_on, daemon=True).start()
        atexit.register(self._leave)

    def _beat(self) -> None:
        self._number += 1
        process = {"machine": _machine(), "pid": self.process, "started": _started(self.process)}
        content: dict[str, Any] = {"number": self._number, "process": process}
        self._folder.replace(self.name + _JSON, json.dumps(content).encode(), durable=False)

    def _go_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(_SECONDS_BETWEEN_BEATS):
            with contextlib.suppress(Exception):  # a full disk: others will take the work
                self._beat()

    def _leave(self) -> None:
        if self.process == os.getpid():
            with contextlib.suppress(OSError):
                self._folder.remove(self.name + _JSON)


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
