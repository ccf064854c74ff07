"""Experiment trackers behind one small interface: TensorBoard, MLflow, Weights & Biases."""

from widthwise.trackers.base import (
    TRACKERS,
    Findings,
    TrackedRun,
    TrackedStudy,
    Tracker,
    open_tracker,
    require_tracker,
)

__all__ = [
    "TRACKERS",
    "Findings",
    "TrackedRun",
    "TrackedStudy",
    "Tracker",
    "open_tracker",
    "require_tracker",
]
