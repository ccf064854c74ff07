"""What a user sees while a study runs: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from widthwise.execution import Finished, Progressed
from widthwise.study.schedule import Schedule
from widthwise.study.timing import Speed
from widthwise.text import clock

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN_LINES = 10.0
# Between looks at what other processes have landed.
_SECONDS_BETWEEN_LOOKS = 5.0
# Processes take these to load: a rate over them says nothing.
_SECONDS_TO_START = 10.0

# Keys of all runs that have landed, whoever trained them.
Landed = Callable[[], Collection[str]]
# How fast this machine is.
Measure = Callable[[], Speed]


class ProgressReporter(Protocol):
    """What a running study tells."""

    def note(self, message: str) -> None:
        """Something worth a line of its own."""
        ...

    def warn(self, message: str) -> None:
        """Something the user must know even if progress is not shown."""
        ...

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Around something that takes seconds and has no progress."""
        ...

    def begin(
        self, missing: Schedule, measure: Measure, workers: int, num_asked: int, landed: Landed
    ) -> None:
        """Before the first pack: the estimated cost, if it is told: measuring takes a second.

        What others land counts too.
        """
        ...

    def showing(self) -> AbstractContextManager[object]:
        """Around the training of all packs."""
        ...

    def update(self, event: Progressed | Finished) -> None:
        """A pack has moved on."""
        ...


def make_reporter(progress: bool) -> ProgressReporter:
    """A silent reporter, a bar (on a terminal) or lines, all on standard error."""
    if not progress:
        return _Silent()
    from rich.console import Console  # slow to import, and workers show nothing

    console = Console(stderr=True, highlight=False)
    return _Bar(console) if console.is_terminal else _Lines()


class _Silent:
    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        return nullcontext()

    def begin(
        self, missing: Schedule, measure: Measure, workers: int, num_asked: int, landed: Landed
    ) -> None:
        pass

    def showing(self) -> AbstractContextManager[object]:
        return nullcontext()

    def update(self, event: Progressed | Finished) -> None:
        pass


class _Tally:
    """How much is done, in the seconds that packs were predicted to take."""

    def __init__(
        self, missing: Schedule, speed: Speed, workers: int, num_asked: int, landed: Landed
    ) -> None:
        self._landed = landed
        self._packs = {pack.name: pack for pack in missing.packs}
        self._predicted = {pack.name: speed.seconds(pack) for pack in missing.packs}
        self._share = dict.fromkeys(self._packs, 0.0)
        self._diverged = dict.fromkeys(self._packs, 0)
        self._finished: set[str] = set()
        self._workers = workers
        self.total = sum(self._predicted.values())
        self.num_runs = num_asked
        self._before = num_asked - missing.num_runs
        self._started = self._looked = monotonic()

    def update(self, event: Progressed | Finished) -> None:
        if monotonic() - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._looked = monotonic()
            self._count_others()
        if event.key not in self._packs:  # put together anew
            return
        if isinstance(event, Progressed):
            self._share[event.key] = event.steps / self._packs[event.key].job.steps
        elif event.outcome != "busy":
            self._finish(event.key)
        self._diverged[event.key] = max(self._diverged[event.key], event.diverged)

    def _count_others(self) -> None:
        landed = self._landed()
        for name, pack in self._packs.items():
            if name not in self._finished and all(key in landed for key in pack.keys):
                self._finish(name)

    def _finish(self, name: str) -> None:
        self._share[name] = 1.0
        self._finished.add(name)

    @property
    def done(self) -> float:
        return sum(self._share[key] * self._predicted[key] for key in self._packs)

    @property
    def runs_done(self) -> int:
        return self._before + sum(len(self._packs[k].job.replicas) for k in self._finished)

    @property
    def num_diverged(self) -> int:
        return sum(self._diverged.values())

    @property
    def rate(self) -> float | None:
        """Runs a minute, those in flight counted by their share; None while workers start."""
        elapsed = monotonic() - self._started
        if elapsed < _SECONDS_TO_START and not self._finished:
            return None
        runs = sum(self._share[k] * len(self._packs[k].job.replicas) for k in self._packs)
        return 60.0 * runs / max(elapsed, 1e-9)

    @property
    def seconds_left(self) -> float:
        left = self.total - self.done
        elapsed = monotonic() - self._started
        # The prediction at first, then more and more what was seen.
        seen = elapsed * left / self.done if self.done > 0 else left / self._workers
        trust = min(1.0, self.done / max(0.2 * self.total, 1e-9))
        return trust * seen + (1.0 - trust) * left / self._workers

    def line(self) -> str:
        parts, rate = [f"{self.runs_done}/{self.num_runs} runs"], self.rate
        parts += [] if rate is None else [f"{rate:.0f} runs/min"]
        parts.append(f"{clock(self.seconds_left)} left")
        parts.append(f"{self.num_diverged} diverged")
        return " · ".join(parts)


class _Counting(_Silent):
    """What a bar and lines have in common; a search begins once a round."""

    def __init__(self) -> None:
        self._tally: _Tally | None = None
        self._unreachable: Sequence[tuple[float, float]] = ()

    def begin(
        self, missing: Schedule, measure: Measure, workers: int, num_asked: int, landed: Landed
    ) -> None:
        speed = measure()
        self._tally = _Tally(missing, speed, workers, num_asked, landed)
        self.note(_estimate(missing, speed, workers, num_asked))
        if missing.unreachable and missing.unreachable != self._unreachable:
            cases = ", ".join(f"ḡ = {scale:.3g} at w = {w:g}" for w, scale in missing.unreachable)
            self.note(f"not reachable with a stable learning rate and a whole batch: {cases}")
            self._unreachable = missing.unreachable


class _Lines(_Counting):
    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def note(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def update(self, event: Progressed | Finished) -> None:
        assert self._tally is not None
        self._tally.update(event)
        finished = self._tally.runs_done == self._tally.num_runs
        if finished or monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = monotonic()
            self.note(self._tally.line())


class _Bar(_Counting):
    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__()
        self._console = console
        self._progress = Progress(BarColumn(), TextColumn("{task.description}"), console=console)

    def note(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        return self._console.status(f"{what} …")

    @contextmanager
    def showing(self) -> Iterator[None]:
        assert self._tally is not None
        with self._progress:
            self._task = self._progress.add_task(self._tally.line(), total=self._tally.total)
            yield

    def update(self, event: Progressed | Finished) -> None:
        assert self._tally is not None
        self._tally.update(event)
        self._progress.update(
            self._task, completed=self._tally.done, description=self._tally.line()
        )


def _estimate(missing: Schedule, speed: Speed, workers: int, num_asked: int) -> str:
    runs = missing.num_runs
    seconds = sum(speed.seconds(pack) for pack in missing.packs) / workers
    already = "" if runs == num_asked else f" of {num_asked}"
    return (
        f"to train: {runs}{already} runs in {len(missing.packs)} packs, {missing.num_steps:.3g} "
        f"steps, {missing.flops:.2g} FLOP, about {clock(seconds)} on {workers} "
        f"{'process' if workers == 1 else 'processes'}"
    )
