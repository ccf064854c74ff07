"""What runs in a process of a way: replicas are built, trained and dropped on command."""

import importlib
import os
import traceback
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks import memory
from benchmarks.peers.base import Runner, Task
from benchmarks.ways import Way


def serve(connection: Connection, way: Way, core: int | None) -> None:
    """Obey until the pipe closes.

    Orders, and their answers: a :class:`Task` ("ready"), "block" ("trained"), "losses" (a list),
    "memory" and "whole_memory" (an int: most bytes held since the replicas are built, or since
    before, beyond what was held before), "remark" (a list of one string, empty for most ways),
    "stop" ("stopped"). A failure answers with its traceback and ends the process.

    PyTorch computes in full float32, and a card has done what it was asked before an answer goes.
    """
    if core is not None:
        os.sched_setaffinity(0, {core})  # before JAX counts the cores
    try:
        from widthwise.execution.worker import prepare_process
        from widthwise.hardware import computing

        # Alike for all but one: what is compared is how replicas are trained, and, by itself, what
        # these settings do.
        if way.prepared:
            prepare_process(way.threads)
        else:
            torch.set_num_threads(way.threads)
        start = importlib.import_module(f"benchmarks.peers.{way.module}").start
        with computing("float32", torch.device(way.device)):
            _Server(connection, way, start).run()
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        connection.send(traceback.format_exc())


class _Server:
    def __init__(self, connection: Connection, way: Way, start: Any) -> None:
        self._connection, self._way, self._start = connection, way, start
        if way.device != "cpu":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # memory is counted from here on
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
        self._before = memory.settle(self._way.device)
        self._runner = self._start(task, data, **self._way.options)
        self._synchronize()
        self._built = memory.peak(self._way.device)
        memory.settle(self._way.device)  # compiling and evaluating are not training

    def _block(self) -> str:
        assert self._runner is not None
        self._runner.block()
        self._synchronize()
        return "trained"

    def _losses(self) -> list[float]:
        assert self._runner is not None
        return self._runner.losses()

    def _memory(self) -> int:
        return max(0, memory.peak(self._way.device) - self._before)

    def _whole_memory(self) -> int:
        return max(0, self._built - self._before, self._memory())

    def _remark(self) -> list[str]:
        return [getattr(self._runner, "remark", str)()]

    def _stop(self) -> str:
        self._runner = None
        memory.settle(self._way.device)
        return "stopped"

    def _synchronize(self) -> None:
        if self._way.device != "cpu":
            torch.cuda.synchronize(self._way.device)
