"""What runs in a process of a way: replicas are built, trained and dropped on command."""

import importlib
import os
import traceback
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import memory
from benchmarks.peers.base import Runner, Task
from benchmarks.ways import Way


def serve(connection: Connection, way: Way, core: int | None) -> None:
    """Obey until the pipe closes.

    Orders, and their answers: a :class:`Task` ("ready"), "block" ("trained"), "losses" (a list),
    "memory" and "whole_memory" (an int: most bytes held since the replicas are built, or since
    before, beyond what was held before), "stop" ("stopped"). A failure answers with its traceback
    and ends the process.
    """
    if core is not None:
        os.sched_setaffinity(0, {core})  # before JAX counts the cores
    try:
        import torch

        from widthwise.execution.process import prepare_process

        # Alike for all but one: what is compared is how replicas are trained, and, by itself, what
        # these settings do.
        if way.prepared:
            prepare_process(way.threads)
        else:
            torch.set_num_threads(way.threads)
        start = importlib.import_module(f"benchmarks.peers.{way.module}").start
        _Server(connection, way, start).run()
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        connection.send(traceback.format_exc())


class _Server:
    def __init__(self, connection: Connection, way: Way, start: Any) -> None:
        self._connection, self._way, self._start = connection, way, start
        self._runner: Runner | None = None
        self._before = self._built = 0  # bytes

    def run(self) -> None:
        while True:
            order = self._connection.recv()
            if isinstance(order, Task):
                self._build(order)
                self._connection.send("ready")
            else:
                self._connection.send(getattr(self, f"_{order}")())

    def _build(self, task: Task) -> None:
        data = task.cell.dataset()
        self._before = memory.settle()
        self._runner = self._start(task, data, **self._way.options)
        self._built = memory.peak()
        memory.settle()  # compiling and evaluating are not training

    def _block(self) -> str:
        assert self._runner is not None
        self._runner.block()
        return "trained"

    def _losses(self) -> list[float]:
        assert self._runner is not None
        return self._runner.losses()

    def _memory(self) -> int:
        return max(0, memory.peak() - self._before)

    def _whole_memory(self) -> int:
        return max(0, self._built - self._before, self._memory())

    def _stop(self) -> str:
        self._runner = None
        memory.settle()
        return "stopped"
