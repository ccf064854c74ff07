"""Packs in processes of this machine: one process a core, one thread a process."""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from widthwise.errors import InputError
from widthwise.execution.base import Event, Failed, Finished, MakeExecutor, Task
from widthwise.families.beside import working_directories

_SECONDS_TO_DIE = 2.0
# What a worker imports lies where this process found it. The directory it is in does not count:
# files there may be named like modules of the standard library.
_BOOTSTRAP = """import json, sys
sys.path[:] = json.loads(sys.argv[3])
from widthwise.execution.worker import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""


def available_cores() -> int:
    """Cores this process may use (an affinity mask or a container's set counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor:
    """See :class:`widthwise.execution.base.Executor`.

    Workers are new interpreters: a forked PyTorch can hang in its thread pool, and what
    ``multiprocessing`` spawns runs the caller's script again. They end when this process does,
    however that happens, because their pipe closes.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}", fields=("workers",))
        self._waiting: deque[Task] = deque()
        self._target = workers
        self._workers: dict[Connection, subprocess.Popen[bytes]] = {}
        self._busy: dict[Connection, Task] = {}

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def events(self) -> Iterator[Event]:
        while self._waiting or self._busy:
            self._hand_out()
            for connection in wait(list(self._busy)):
                assert isinstance(connection, Connection)
                try:
                    event: Event = connection.recv()
                except (EOFError, OSError):
                    event = self._bury(connection)
                if isinstance(event, Finished | Failed):
                    self._busy.pop(connection, None)
                yield event

    def close(self) -> None:
        for process in self._workers.values():
            process.terminate()
        for connection, process in self._workers.items():
            connection.close()
            try:
                process.wait(_SECONDS_TO_DIE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers.clear()
        self._busy.clear()
        self._waiting.clear()

    def _hand_out(self) -> None:
        idle = [connection for connection in self._workers if connection not in self._busy]
        while self._waiting and (idle or len(self._workers) < self._target):
            connection = idle.pop() if idle else self._start()
            task = self._waiting.popleft()
            self._busy[connection] = task
            try:
                connection.send(task)
            except OSError:
                continue  # it died while idle: reading from it will say so

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        descriptor = theirs.fileno()
        path = json.dumps([entry for entry in sys.path if entry])
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOTSTRAP, str(descriptor), str(os.getpid()), path],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            # A group of its own: Ctrl-C reaches this process alone, which decides what stops.
            process_group=0,
        )
        theirs.close()
        # Tasks may name modules that only this process finds.
        ours.send(working_directories())
        self._workers[ours] = process
        return ours

    def _bury(self, connection: Connection) -> Failed:
        process = self._workers.pop(connection)
        code = process.wait()
        task = self._busy[connection]
        connection.close()
        return Failed(
            task.key,
            f"a worker process died (exit code {code}); if the machine ran out of "
            "memory, use fewer workers or a smaller packing.memory_mb. "
            "Run the same command again to go on",
            reason="died",
        )


# Name → executor: who can be asked to train. A program may add its own, or put its own in the place
# of one: tests train in their own process that way.
EXECUTORS: dict[str, MakeExecutor] = {"local": LocalExecutor}
