"""A worker process: takes tasks from a pipe, one at a time, until the pipe closes."""

import ctypes
import os
import pickle
import platform
import threading
from multiprocessing.connection import Connection
from time import monotonic, sleep

import torch

from widthwise.errors import InputError, said_by
from widthwise.execution.base import OUT_OF_MEMORY, Emit, Failed, Finished, Noted, Progressed, Task
from widthwise.execution.bootstrap import set_death_signal, where_from
from widthwise.families.beside import look_in

_SECONDS_BETWEEN_REPORTS = 0.2
# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes


def prepare_process(threads: int = 1) -> None:
    """For training packs: one thread, no denormal numbers, memory that is kept for the next step.

    Memory: glibc gives large blocks back to the system as soon as they are free, and every step
    pays for having their pages brought in again, which costs more than a convolution's arithmetic.
    Elsewhere than with glibc that setting is left alone.

    Args:
        threads: of PyTorch.
    """
    torch.set_num_threads(threads)
    # Gradients that underflow would otherwise be hundreds of times slower to multiply.
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)


def perform(task: Task, emit: Emit) -> Finished | Failed:
    """Call a task; its failure is an answer too."""
    try:
        return task.call(emit)
    except InputError as error:
        return Failed(task.key, str(error), "bad input")
    except SystemExit as error:
        words = f"networks and data must not end the program, got SystemExit: {error}"
        return Failed(task.key, words, "bad input")
    except Exception as error:
        words = said_by(error)
        if _lacked_memory(error):
            words += f"; {OUT_OF_MEMORY}"
        return Failed(task.key, words, "raised")


def _lacked_memory(error: Exception) -> bool:
    # PyTorch's allocators raise RuntimeError.
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


class _Line:
    """This end of the pipe, for the thread that works and the one that shows that it lives."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._busy, self._last_report = False, 0.0

    def next_task(self) -> tuple[str, bytes]:
        """Its key, and the task itself, pickled."""
        key: str = self._connection.recv()
        payload = self._connection.recv_bytes()
        with self._lock:
            self._busy = True
        return key, payload

    def answer(self, event: Finished | Failed) -> None:
        with self._lock:
            self._busy = False
            self._connection.send(event)

    def report(self, event: Progressed | Noted) -> None:
        """Send progress, not more often than anyone looks; and whatever else there is."""
        now = monotonic()
        if isinstance(event, Noted):
            self._send(event)
        elif now - self._last_report >= _SECONDS_BETWEEN_REPORTS:
            self._last_report = now
            self._send(event)

    def show_life(self, seconds: float) -> None:
        """Every so many seconds, as long as there is a task: between tasks nobody reads."""
        while True:
            sleep(seconds)
            if self._busy:
                self._send(None)

    def _send(self, message: Progressed | Noted | None) -> None:
        with self._lock:
            try:
                if self._busy:
                    self._connection.send(message)
            except OSError:
                os._exit(1)  # the parent is gone: nobody waits for this pack


def main(connection: Connection) -> None:
    """Perform what arrives, and send back what came of it."""
    prepare_process()
    line = _Line(connection)
    try:
        directories, seconds_between_signs = connection.recv()
        look_in(directories)
        connection.send(None)  # it has started
        signs = threading.Thread(target=line.show_life, args=(seconds_between_signs,), daemon=True)
        signs.start()
        while True:
            key, payload = line.next_task()
            line.answer(_perform(key, payload, line.report))
    except (EOFError, OSError):
        return  # the parent is gone


def _perform(key: str, payload: bytes, emit: Emit) -> Finished | Failed:
    try:
        task: Task = pickle.loads(payload)
    except (Exception, SystemExit) as error:  # of what it imports
        words = f"a worker process could not read its task: {where_from(error)}"
        return Failed(key, words, "raised")
    set_death_signal(0)  # the large libraries are loaded
    return perform(task, emit)
