"""Where packs run."""

from widthwise.execution.base import (
    Emit,
    Event,
    Executor,
    Failed,
    Finished,
    MakeExecutor,
    Noted,
    Outcome,
    Progressed,
    Quiet,
    Reason,
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
    "Noted",
    "Outcome",
    "Progressed",
    "Quiet",
    "Reason",
    "Task",
    "available_cores",
]
