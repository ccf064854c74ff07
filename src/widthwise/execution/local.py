"""Packs in processes of this machine: one process a core, one thread a process."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any

from widthwise.errors import InputError
from widthwise.execution.base import Event, Failed, Finished, Progressed, Task

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_TO_DIE = 2.0


def available_cores() -> int:
    """Cores this process may use (an affinity mask or a container's set counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor:
    """See :class:`widthwise.execution.base.Executor`.

    Workers are spawned, not forked: a forked PyTorch can hang in its thread pool. They end when
    this process does, however that happens, because their pipe closes.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}")
        self._context = multiprocessing.get_context("spawn")
        self._waiting: deque[Task] = deque()
        self._target = workers
        self._workers: dict[Connection, SpawnProcess] = {}
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
                if not isinstance(event, Progressed):
                    self._busy.pop(connection, None)
                yield event

    def close(self) -> None:
        for process in self._workers.values():
            process.terminate()
        for connection, process in self._workers.items():
            process.join(_SECONDS_TO_DIE)
            if process.is_alive():
                process.kill()
                process.join()
            connection.close()
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
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupts_ignored():
            process.start()
        theirs.close()
        self._workers[ours] = process
        return ours

    def _bury(self, connection: Connection) -> Failed:
        process = self._workers.pop(connection)
        process.join()
        task = self._busy[connection]
        connection.close()
        return Failed(
            task.key,
            f"a worker process died (exit code {process.exitcode}); if the machine ran out of "
            "memory, use fewer workers or a smaller packing.memory_mb. "
            "Run the same command again to go on",
            bad_input=False,
        )


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A child inherits an ignored Ctrl-C: the parent alone decides when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection) -> None:
    import torch  # here, so that the parent can describe tasks without it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # Gradients that underflow would otherwise be hundreds of times slower to multiply.
    torch.set_flush_denormal(True)
    try:
        while True:
            task: Task = connection.recv()
            connection.send(_perform(task, _Reporter(connection)))
    except (EOFError, OSError):
        return  # the parent is gone


class _Reporter:
    """Sends progress, not more often than anyone looks."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._last = connection, 0.0

    def __call__(self, event: Progressed) -> None:
        now = monotonic()
        if now - self._last >= _SECONDS_BETWEEN_REPORTS:
            self._last = now
            try:
                self._connection.send(event)
            except OSError:
                os._exit(1)  # the parent is gone: nobody waits for this pack


def _perform(task: Task, emit: Any) -> Finished | Failed:
    try:
        return task.call(emit)
    except InputError as error:
        return Failed(task.key, str(error), bad_input=True)
    except Exception as error:
        return Failed(task.key, f"{type(error).__name__}: {error}", bad_input=False)
