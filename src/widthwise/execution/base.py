"""Where packs run: three methods, whatever is behind them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["landed", "already landed", "busy"]
Reason = Literal["bad input", "raised", "died"]


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
class Quiet:
    """A task has not moved on for long; whoever does it is alive.

    Attributes:
        key: the task's.
        seconds: since it last progressed, or began.
    """

    key: str
    seconds: float


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
        reason: "bad input" is for the user to mend, "raised" is any other exception; "died": the
            process that did it went away, or was killed because it fell silent. Such a task may
            succeed if it is submitted again.
    """

    key: str
    message: str
    reason: Reason


@dataclass(frozen=True)
class Noted:
    """Something about a task that the user must know; it goes on.

    Attributes:
        key: the task's.
        message: what.
    """

    key: str
    message: str


# For failures that a lack of memory may have caused.
OUT_OF_MEMORY = "if the machine ran out of memory, use fewer workers or a smaller packing.memory_mb"

Event = Progressed | Quiet | Noted | Finished | Failed
Emit = Callable[[Progressed | Noted], None]


@dataclass(frozen=True)
class Task:
    """Something to do elsewhere.

    Attributes:
        key: names it in events.
        call: what to do; picklable, and small: data are found where it is done; told how to emit
            progress.
    """

    key: str
    call: Callable[[Emit], Finished]


class Executor(Protocol):
    """Runs tasks somewhere. After an interrupt nothing it started goes on."""

    def submit(self, task: Task) -> None:
        """Queue a task; tasks begin in the order given. Also while events are iterated over."""
        ...

    def events(self) -> Iterator[Event]:
        """What happens, until every submitted task has finished or failed. A failure costs its own
        task only."""
        ...

    def close(self) -> None:
        """Stop at once, whatever is in flight; further calls do nothing."""
        ...


MakeExecutor = Callable[[int], Executor]  # of the number of workers
