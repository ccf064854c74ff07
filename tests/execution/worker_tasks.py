"""What workers are asked to do in tests."""

import importlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from widthwise.execution.base import Finished, Progressed


@dataclass(frozen=True)
class Note:
    """Writes the number of its process."""

    path: Path

    def __call__(self, emit):
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return Finished(self.path.stem, "landed", diverged=3)


@dataclass(frozen=True)
class Raise:
    error: Exception

    def __call__(self, emit):
        raise self.error


@dataclass(frozen=True)
class Die:
    number: int = signal.SIGKILL

    def __call__(self, emit):
        os.kill(os.getpid(), self.number)
        time.sleep(600)  # as good as dead, if that stops it only


@dataclass(frozen=True)
class Leave:
    def __call__(self, emit):
        os._exit(7)


@dataclass(frozen=True)
class DieLater:
    """After its answer, with nothing to do."""

    path: Path

    def __call__(self, emit):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return Note(self.path)(emit)


@dataclass(frozen=True)
class DieWithHeir:
    """Its child keeps the pipe open."""

    def __call__(self, emit):
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Sleep:
    path: Path
    seconds: float = 600

    def __call__(self, emit):
        self.path.write_text(f"{os.getpid()} ")
        time.sleep(self.seconds)
        return Finished(self.path.stem, "landed")


@dataclass(frozen=True)
class Compute:
    """Never ends, and never waits."""

    path: Path

    def __call__(self, emit):
        self.path.write_text(f"{os.getpid()} ")
        while True:
            sum(range(1000))


@dataclass(frozen=True)
class Report:
    key: str = "steps"
    every: float = 0.0
    steps: int = 999

    def __call__(self, emit):
        for step in range(1, self.steps + 1):
            emit(Progressed(self.key, step, 0))
            time.sleep(self.every)
        return Finished(self.key, "landed")


@dataclass(frozen=True)
class Import:
    name: str

    def __call__(self, emit):
        importlib.import_module(self.name)
        return Finished(self.name, "landed")


class Unreadable:
    """Cannot be read where it arrives: what it imports is missing there."""

    def __call__(self, emit):
        raise AssertionError

    def __reduce__(self):
        return __import__, ("no_such_module",)
