"""One pack of runs in, its results out: building and checking networks, training, evaluation."""

from typing import TYPE_CHECKING, Any

from widthwise.deprecated import old_name
from widthwise.training.job import PackJob, Replica, RunResult, Status
from widthwise.training.trainer import MAX_TRAIN_EVALUATION, PackTrainer, train_pack

__all__ = [
    "MAX_TRAIN_EVALUATION",
    "PackJob",
    "PackTrainer",
    "Replica",
    "RunResult",
    "Status",
    "train_pack",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
