"""What a study tells a tracker, the interface of one, and which there are.

Each kind has a module of its own, which knows nothing of studies and imports the tracker's package
when it is used.
"""

import importlib
import importlib.util
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from widthwise.errors import InputError

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class TrackedStudy:
    """A study, as trackers group its runs.

    Attributes:
        id: the name of its folder and eight digits of what its data and networks are: the same
            when it is gone on with, extended or moved.
        title: as it was given.
    """

    id: str
    title: str


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """One run that has landed.

    Attributes:
        key: what makes it this run; 32 hexadecimal digits.
        name: its setting and seed, for a list.
        settings: its hyper-parameters and noise scales, under the names of the results table.
        scores: what came of it, finite numbers; late-time means begin with "late_".
        curves: name → (step, value) of each evaluation, finite values.
        tags: where it was trained, and whether it diverged.
    """

    key: str
    name: str
    settings: Mapping[str, Value]
    scores: Mapping[str, float]
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study says when all its runs have landed.

    Attributes:
        sentence: its law, or why there is none.
        num_runs: that it rests on.
        values: exponent, optima and the ends of their intervals, finite numbers.
    """

    sentence: str
    num_runs: int
    values: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Tracker(Protocol):
    """Where the runs of a study are logged. It is used by one thread, and raises whatever it likes:
    a study that is being trained goes on without it.
    """

    @property
    def name(self) -> str:
        """What users call it, with its place."""
        ...

    def start(self, study: TrackedStudy) -> Collection[str]:
        """Begin, or go on. Returns the keys of the study's runs that are there, whole: they are not
        logged again."""
        ...

    def run(self, run: TrackedRun) -> None:
        """Log one run. If it is stopped in the middle, the next `start` does not count it."""
        ...

    def end(self, findings: Findings) -> None:
        """All runs have been logged; what an earlier end has said is replaced."""
        ...

    def close(self) -> None:
        """Nothing more comes; it need not have begun, nor ended."""
        ...


@dataclass(frozen=True)
class TrackerKind:
    """A kind of tracker.

    Attributes:
        module: with a function ``open_tracker(place, folder)`` that returns a :class:`Tracker`.
            The place is the user's or None, the folder the study's.
        packages: what the module needs; the extra ``trackers`` installs them.
        environment: variables that are set, unless they are, before the package is imported, so
            that it neither tells its makers how it is used nor chats.
    """

    module: str
    packages: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


# Name → kind of tracker.
TRACKERS: dict[str, TrackerKind] = {
    "tensorboard": TrackerKind("widthwise.trackers.tensorboard", ("tensorboard",)),
    "mlflow": TrackerKind(
        "widthwise.trackers.mlflow",
        ("mlflow", "sqlalchemy", "alembic"),
        {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
    ),
    "wandb": TrackerKind(
        "widthwise.trackers.wandb", ("wandb",), {"WANDB_ERROR_REPORTING": "false"}
    ),
}


def require_tracker(name: str, argument: str = "track") -> TrackerKind:
    """A row of :data:`TRACKERS` whose packages are installed.

    Args:
        name: of the row.
        argument: that it was given as.

    Raises:
        InputError: if there is no such row, or a package is missing.
    """
    kind = TRACKERS.get(name)
    if kind is None:
        known = ", ".join(TRACKERS)
        raise InputError(f"{argument} must be one of {known}, got {name!r}", fields=(argument,))
    for package in kind.packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{argument}={name} needs the package {package}, which is not installed: "
                "pip install 'widthwise[trackers]'",
                fields=(argument,),
            )
    return kind


def open_tracker(name: str, place: str | None, folder: Path, argument: str = "track") -> Tracker:
    """A tracker, of which nothing has been asked yet.

    Args:
        name: of a row of :data:`TRACKERS`.
        place: folder or address; None takes what the tracker's own environment variable says, or
            else a place in the study's folder.
        folder: of the study.
        argument: that the name was given as.

    Raises:
        InputError: if the row or its package is not here.
    """
    kind = require_tracker(name, argument)
    for variable, value in kind.environment.items():
        os.environ.setdefault(variable, value)
    tracker: Tracker = importlib.import_module(kind.module).open_tracker(place, folder)
    return tracker
