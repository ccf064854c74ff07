"""A worker process: takes tasks from a pipe, one at a time, until the pipe closes."""

import ctypes
import os
import platform
import sys
import threading
from multiprocessing.connection import Connection
from time import monotonic, sleep

import torch

from widthwise.errors import InputError
from widthwise.execution.base import Failed, Finished, Noted, Progressed, Task
from widthwise.families.beside import look_in

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_BETWEEN_LOOKS = 0.5
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


def serve(connection: Connection) -> None:
    """Perform what arrives, and send back what came of it."""
    prepare_process()
    try:
        look_in(connection.recv())
        while True:
            task: Task = connection.recv()
            connection.send(perform(task, _Reporter(connection)))
    except (EOFError, OSError):
        return  # the parent is gone


def perform(task: Task, emit: "_Reporter") -> Finished | Failed:
    """Call a task; its failure is an answer too."""
    try:
        return task.call(emit)
    except InputError as error:
        return Failed(task.key, str(error), reason="bad input")
    except SystemExit as error:
        words = f"networks and data must not end the program, got SystemExit: {error}"
        return Failed(task.key, words, reason="bad input")
    except Exception as error:
        return Failed(task.key, f"{type(error).__name__}: {error}", reason="raised")


class _Reporter:
    """Sends progress, not more often than anyone looks."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._last = connection, 0.0

    def __call__(self, event: Progressed | Noted) -> None:
        now = monotonic()
        if isinstance(event, Noted) or now - self._last >= _SECONDS_BETWEEN_REPORTS:
            self._last = now
            try:
                self._connection.send(event)
            except OSError:
                os._exit(1)  # the parent is gone: nobody waits for this pack


def _die_with(parent: int) -> None:
    """A pack in the middle of a long step would not notice a closed pipe for minutes."""
    while os.getppid() == parent:
        sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def main(descriptor: int, parent: int) -> None:
    """Serve what comes from a pipe, as long as this process has this parent."""
    del sys.argv[1:]  # a script that is imported for its networks may look at them
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    serve(Connection(descriptor))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
