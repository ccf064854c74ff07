"""One pack of runs in, its results out: building and checking networks, training, evaluation."""

from widthwise.training.trainer import (
    EVALUATED,
    MAX_TRAIN_EVALUATION,
    VALIDATED,
    PackJob,
    PackTrainer,
    Replica,
    RunResult,
    Status,
    train_pack,
)

__all__ = [
    "EVALUATED",
    "MAX_TRAIN_EVALUATION",
    "VALIDATED",
    "PackJob",
    "PackTrainer",
    "Replica",
    "RunResult",
    "Status",
    "train_pack",
]
