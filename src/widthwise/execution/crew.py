"""Workers started elsewhere, that pull what they train from the store of a study.

Nothing is scheduled here: an engine that a cluster has starts so many workers, each asks the store
what to do, and the store says when all is done.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from widthwise.errors import InputError

# What a worker does, until nothing is left; picklable. It answers what was wrong, in a line, or
# None.
Work = Callable[[], str | None]


class Crew(Protocol):
    """Workers that were started elsewhere.

    Attributes:
        name: what users call them.
        size: how many were started.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def answers(self) -> list[str | None]:
        """Of each worker that has ended for good: what was wrong, or None. A worker that is queued,
        or lost and started again, has not ended."""
        ...

    def stop(self) -> None:
        """End all that have not ended; further calls do nothing."""
        ...


@dataclass(frozen=True)
class Starter:
    """A way of starting workers elsewhere.

    Attributes:
        module: with a function ``start(work, workers, options, folder)`` that returns a
            :class:`Crew`. The folder, which need not be there, is for what the engine keeps.
        package: what the module imports; the extra of this way's name installs it.
        outlives: whether the workers go on when who started them ends.
    """

    module: str
    package: str
    outlives: bool


# Name → way of starting workers.
STARTERS: dict[str, Starter] = {
    "slurm": Starter("widthwise.execution.slurm", "submitit", outlives=True),
    "ray": Starter("widthwise.execution.ray", "ray", outlives=False),
}


def require_starter(name: str) -> Starter:
    """A row of :data:`STARTERS` whose package is installed.

    Raises:
        InputError: if there is no such row, or the package is missing.
    """
    starter = STARTERS.get(name)
    if starter is None:
        known = ", ".join(map(repr, STARTERS))
        raise InputError(f"on must be one of {known}, got {name!r}", fields=("on",))
    if importlib.util.find_spec(starter.package) is None:
        raise InputError(
            f"on={name} needs the package {starter.package}, which is not installed: "
            f"pip install 'widthwise[{name}]'",
            fields=("on",),
        )
    return starter


def start_crew(name: str, work: Work, workers: int, options: Any, folder: Path) -> Crew:
    """Start workers elsewhere.

    Args:
        name: of a row of :data:`STARTERS`.
        work: what each does.
        workers: how many.
        options: what the engine is told; of the type that the row's module expects.
        folder: for what the engine keeps; every machine must reach it.

    Raises:
        InputError: if the row, its package or its engine is not here, or refuses an option.
    """
    start = importlib.import_module(require_starter(name).module).start
    crew: Crew = start(work, workers, options, folder)
    return crew
