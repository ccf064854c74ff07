"""Packs in processes of this machine: one process a core, one thread a process."""

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic

from widthwise.errors import InputError
from widthwise.execution import bootstrap
from widthwise.execution.base import (
    OUT_OF_MEMORY,
    Event,
    Failed,
    Finished,
    MakeExecutor,
    Progressed,
    Quiet,
    Task,
)
from widthwise.families.beside import working_directories

_WORKER = "widthwise.execution.worker"
_SECONDS_TO_DIE = 2.0
# Until a worker shows that it lives: on a busy machine importing PyTorch takes long.
_SECONDS_TO_START = 300.0
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_SIGNS = 2.0


def available_cores() -> int:
    """Cores this process may use (an affinity mask or a container's set counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Worker:
    """A process, and what is known of it.

    Attributes:
        process: itself.
        task: the key of what it does; None if it waits.
        started: whether it has shown that it lives.
        silent: seconds since anything came from it, while it had a task.
        quiet: seconds since its task progressed or began.
        warnings: how many :class:`Quiet` were told of that.
    """

    process: subprocess.Popen[bytes]
    task: str | None = None
    started: bool = False
    silent: float = 0.0
    quiet: float = 0.0
    warnings: int = 0

    def begins(self, task: str) -> None:
        self.task, self.silent = task, 0.0
        self.moved()

    def moved(self) -> None:
        self.quiet, self.warnings = 0.0, 0


class LocalExecutor:
    """See :class:`widthwise.execution.base.Executor`.

    Workers are new interpreters: a forked PyTorch can hang in its thread pool, and what
    ``multiprocessing`` spawns runs the caller's script again. They end when this process does,
    however that happens; while they start, also when the thread ends that iterates over the events.

    Args:
        workers: how many tasks are done at a time.
        silence_seconds: a worker from which nothing came for so long is frozen: it is killed, its
            task fails. Workers show that they live every two seconds, unless code in C holds
            Python's lock.
        quiet_seconds: a task that has not progressed for so long is told of, and again after each
            further such time.

    Raises:
        InputError: if one of them is out of range.
    """

    def __init__(
        self, workers: int, *, silence_seconds: float = 60.0, quiet_seconds: float = 600.0
    ) -> None:
        if workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}", fields=("workers",))
        for name, seconds in (
            ("silence_seconds", silence_seconds),
            ("quiet_seconds", quiet_seconds),
        ):
            if not seconds > 0.0:
                raise InputError(f"{name} must be above 0, got {seconds}", fields=(name,))
        self._target = workers
        self._silence, self._quiet = silence_seconds, quiet_seconds
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._workers: dict[Connection, _Worker] = {}

    def submit(self, task: Task) -> None:
        # At once: whoever gave what cannot be pickled is told so here.
        self._waiting.append((task.key, pickle.dumps(task)))

    def events(self) -> Iterator[Event]:
        patience = min(_SECONDS_BETWEEN_LOOKS, self._silence / 4, self._quiet / 4)
        looked = monotonic()
        while self._waiting or self._busy():
            self._hand_out()
            ready = wait(self._busy(), patience)
            # However long this process was stopped, or its caller did something else, its workers
            # are not blamed for more than a moment; and what they sent meanwhile is read first.
            passed, looked = min(monotonic() - looked, 2 * patience), monotonic()
            for connection in self._busy():
                if connection not in self._workers:
                    continue  # closed by whoever gets these events
                if connection in ready:
                    event = self._read(connection)
                else:
                    event = self._judge(connection, passed)
                if event is not None:
                    yield event

    def close(self) -> None:
        workers, self._workers = self._workers, {}
        self._waiting.clear()
        try:
            for worker in workers.values():
                worker.process.terminate()
            deadline = monotonic() + _SECONDS_TO_DIE
            for worker in workers.values():
                try:
                    worker.process.wait(max(0.0, deadline - monotonic()))
                except subprocess.TimeoutExpired:
                    break
        finally:  # also if a second Ctrl-C cut that short
            for connection, worker in workers.items():
                worker.process.kill()
                connection.close()
            for worker in workers.values():
                _reap(worker.process)

    def _busy(self) -> list[Connection]:
        return [c for c, worker in self._workers.items() if worker.task is not None]

    def _hand_out(self) -> None:
        while self._waiting:
            idle = (c for c, worker in self._workers.items() if worker.task is None)
            connection = next(idle, None)
            if connection is None and len(self._workers) < self._target:
                connection = self._start()
            if connection is None:
                return
            key, payload = self._waiting[0]
            try:
                connection.send(key)
                connection.send_bytes(payload)
            except OSError:
                if self._workers[connection].started:
                    self._remove(connection)  # it died with nothing to do, which costs no task
                    continue
                # It could not start, and the next one may not either: reading from it says so.
            self._waiting.popleft()
            self._workers[connection].begins(key)

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        descriptor, parent = theirs.fileno(), os.getpid()
        process = subprocess.Popen(
            # Without -P, files beside the script would be taken for modules.
            [sys.executable, "-P", bootstrap.__file__, _WORKER, str(descriptor), str(parent)],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            # A group of its own: Ctrl-C reaches this process alone, which decides what stops.
            process_group=0,
        )
        self._workers[ours] = _Worker(process)
        theirs.close()
        # What a worker imports lies where this process found it. The directory it is in does not
        # count: files there may be named like modules of the standard library.
        path = [entry for entry in sys.path if entry]
        with suppress(OSError):  # it died already: reading from it will say so
            ours.send_bytes(pickle.dumps((path, _places())))
            # Tasks may name modules that only this process finds.
            ours.send((working_directories(), min(_SECONDS_BETWEEN_SIGNS, self._silence / 4)))
        return ours

    def _read(self, connection: Connection) -> Event | None:
        worker = self._workers[connection]
        assert worker.task is not None
        try:
            message: Event | str | None = connection.recv()
        except (EOFError, OSError):
            return self._bury(connection)
        worker.started, worker.silent = True, 0.0
        if isinstance(message, str):
            return self._bury(connection, message)
        if isinstance(message, Progressed):
            worker.moved()
        elif isinstance(message, Finished | Failed):
            worker.task = None
        return message

    def _judge(self, connection: Connection, passed: float) -> Event | None:
        """What it means that nothing came from a worker.

        Args:
            connection: to the worker.
            passed: seconds since the last look.
        """
        worker = self._workers[connection]
        assert worker.task is not None
        if worker.process.poll() is not None and not connection.poll():
            return self._bury(connection)  # a process that it started holds the pipe open
        worker.silent += passed
        limit = self._silence if worker.started else max(self._silence, _SECONDS_TO_START)
        if worker.silent >= limit:
            worker.process.kill()
            return self._bury(
                connection, f"a worker process gave no sign of life for {limit:g} s; it was ended"
            )
        if worker.started:
            worker.quiet += passed
        if worker.quiet >= (worker.warnings + 1) * self._quiet:
            worker.warnings += 1
            return Quiet(worker.task, worker.warnings * self._quiet)
        return None

    def _bury(self, connection: Connection, why: str | None = None) -> Failed:
        key = self._workers[connection].task
        assert key is not None
        code = self._remove(connection)
        return Failed(key, why or _death(code), "died")

    def _remove(self, connection: Connection) -> int:
        code = _reap(self._workers[connection].process)
        del self._workers[connection]
        connection.close()
        return code


def _reap(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process, which is killed if it does not end."""
    for _ in range(2):
        try:
            return process.wait(_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            process.kill()
    return -signal.SIGKILL  # the kill takes effect once a disk or a network has answered it


def _death(code: int) -> str:
    if code >= 0:
        return f"a worker process died (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    words = f"a worker process died (killed by {name})"
    return f"{words}; {OUT_OF_MEMORY}" if -code == signal.SIGKILL else words


def _places() -> dict[str, str]:
    """Top-level module → the directory in which this process found it, if that is on its path."""
    path = {Path(entry).absolute() for entry in sys.path}  # of "": the working directory
    places = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if "." in name or spec is None or not spec.has_location or spec.name != name:
            continue
        file = Path(spec.origin).absolute()
        place = file.parents[0 if spec.submodule_search_locations is None else 1]
        # This package also if a finder of its own found it, as in some installations.
        if place in path or name == __name__.partition(".")[0]:
            places[name] = str(place)
    return places


# Name → executor: who can be asked to train. A program may add its own, or put its own in the place
# of one: tests train in their own process that way.
EXECUTORS: dict[str, MakeExecutor] = {"local": LocalExecutor}
