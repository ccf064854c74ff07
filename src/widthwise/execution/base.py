"""Where packs run: three methods, whatever is behind them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["landed", "already landed", "busy"]


@dataclass(frozen=True)
class Progressed:
    """A task in flight has come this far.

    Attributes:
        key: the task's.
        steps: steps done, of the task's own total.
        diverged: its runs that have diverged so far.
    """

    key: str
    steps: int
    diverged: int


@dataclass(frozen=True)
class Finished:
    """A task came to its end.

    Attributes:
        key: the task's.
        outcome: "busy" if another process holds the pack; it may be submitted again.
        diverged: its runs that diverged.
    """

    key: str
    outcome: Outcome
    diverged: int = 0


@dataclass(frozen=True)
class Failed:
    """A task could not be done.

    Attributes:
        key: the task's.
        message: why, for the user.
        reason: whether it is for the user to mend ("bad input"), its call raised something else, or
            whoever performed it died.
    """

    key: str
    message: str
    reason: Literal["bad input", "raised", "died"]


@dataclass(frozen=True)
class Noted:
    """Something about a task that the user must know.

    Attributes:
        key: the task's.
        message: what.
    """

    key: str
    message: str


@dataclass(frozen=True)
class Quiet:
    """A living task has not reported anything for long.

    Attributes:
        key: the task's.
        seconds: for how long.
    """

    key: str
    seconds: float


Event = Progressed | Finished | Failed | Noted | Quiet
Emit = Callable[[Progressed | Noted], None]


@dataclass(frozen=True)
class Task:
    """Something to do elsewhere.

    Attributes:
        key: names it in events.
        call: what to do; picklable; told how to emit progress.
    """

    key: str
    call: Callable[[Emit], Finished]


class Executor(Protocol):
    """Runs tasks somewhere. After an interrupt nothing it started goes on."""

    def submit(self, task: Task) -> None:
        """Queue a task; tasks begin in the order given."""
        ...

    def events(self) -> Iterator[Event]:
        """What happens, until every submitted task has finished or failed."""
        ...

    def close(self) -> None:
        """Stop at once, whatever is in flight."""
        ...


MakeExecutor = Callable[[int], Executor]  # of the number of workers
