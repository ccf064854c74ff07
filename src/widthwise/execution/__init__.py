"""Where packs run."""

from widthwise.execution.base import (
    Emit,
    Event,
    Executor,
    Failed,
    Finished,
    MakeExecutor,
    Outcome,
    Progressed,
    Task,
)
from widthwise.execution.local import EXECUTORS, LocalExecutor, available_cores

__all__ = [
    "EXECUTORS",
    "Emit",
    "Event",
    "Executor",
    "Failed",
    "Finished",
    "LocalExecutor",
    "MakeExecutor",
    "Outcome",
    "Progressed",
    "Task",
    "available_cores",
]
