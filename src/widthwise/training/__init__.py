"""One pack of runs in, its results out: building and checking networks, training, evaluation."""

from widthwise.training.trainer import (
    MAX_TRAIN_EVALUATION,
    PackJob,
    PackTrainer,
    Replica,
    RunResult,
    Status,
    train_pack,
)

__all__ = [
    "MAX_TRAIN_EVALUATION",
    "PackJob",
    "PackTrainer",
    "Replica",
    "RunResult",
    "Status",
    "train_pack",
]
