"""Where packs run."""

from widthwise.execution.base import (
    Emit,
    Event,
    Executor,
    Failed,
    Finished,
    Outcome,
    Progressed,
    Task,
)
from widthwise.execution.local import LocalExecutor, available_cores

__all__ = [
    "Emit",
    "Event",
    "Executor",
    "Failed",
    "Finished",
    "LocalExecutor",
    "Outcome",
    "Progressed",
    "Task",
    "available_cores",
]
