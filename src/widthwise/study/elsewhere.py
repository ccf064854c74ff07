"""A study whose runs workers elsewhere train: starting them, and watching the store until it says
that all is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from widthwise.errors import InputError, StudyError
from widthwise.execution.crew import Crew, Work, require_starter, start_crew
from widthwise.execution.ray import RayOptions
from widthwise.execution.slurm import SlurmOptions
from widthwise.runs.store import Store
from widthwise.study.asked import Asked
from widthwise.study.context import Context
from widthwise.study.lacking import Lacking
from widthwise.study.progress import ProgressReporter
from widthwise.study.reading import explain, read_fields
from widthwise.study.rounds import Rounds
from widthwise.study.scheduling import Scheduler
from widthwise.text import count

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_LINES = 10.0
# After the last worker has ended: on a network folder, what it landed last may be seen late.
_SECONDS_OF_PATIENCE = 10.0
_WHAT = "the cluster file"


class ClusterSpec(BaseModel):
    """What a worker is given on each kind of cluster: a file of its own, no part of a question.

    Attributes:
        slurm, ray: tables of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slurm: SlurmOptions = SlurmOptions()
    ray: RayOptions = RayOptions()

    @classmethod
    def parse(cls, source: Any, *, address: str | None = None) -> "ClusterSpec":
        """
        Args:
            source: path of a TOML or JSON file, a dict, or None for the defaults.
            address: of Ray, in place of what the file says.

        Raises:
            InputError: naming the first thing that is wrong.
        """
        try:
            found = cls.model_validate({} if source is None else read_fields(source, _WHAT))
        except ValidationError as error:
            raise InputError(explain(error, cls, _WHAT)) from None
        if address is None:
            return found
        return found.model_copy(update={"ray": found.ray.model_copy(update={"address": address})})


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Starts workers on a cluster, and watches.

    Attributes:
        directory: of the study.
        store: where its runs land.
        context: its data and networks.
        reporter: shown what goes on.
        work: of the number of processes of a worker, what it does.
    """

    directory: Path
    store: Store
    context: Context
    reporter: ProgressReporter
    work: Callable[[int], Work]

    def run(self, on: str, workers: int, cluster: ClusterSpec, *, detach: bool) -> bool:
        """Whether nothing is left.

        Args:
            on: a name in :data:`widthwise.execution.crew.STARTERS`.
            workers: how many to start.
            cluster: what each is given.
            detach: return as soon as they are started.

        Raises:
            InputError: if the cluster, or what it needs, is not here.
            StudyError: if all workers have ended and runs are missing.
        """
        starter = require_starter(on)
        if detach and not starter.outlives:
            raise InputError(
                f"detach: workers on {on} end with whoever started them; leave detach out, and "
                f"start `widthwise run --on {on}` as a job of the cluster",
                fields=("detach",),
            )
        watch = _Watch(self.context, self.directory, self.store)
        if watch.is_done():
            self.reporter.note(f"all {watch.num_asked} runs are there")
            return True
        options = getattr(cluster, on)
        work = self.work(options.processes)
        crew = start_crew(on, work, workers, options, self.directory / on)
        self.reporter.note(f"{crew.name}: {crew.size} workers are started")
        if detach:
            return False
        try:
            self._watch(watch, crew)
        finally:  # those that still wait in a queue would find nothing to do
            crew.stop()
        watch.settle()  # a worker may have been stopped in the middle of it
        self.store.compact_if_many()
        self.store.sweep()
        return True

    def _watch(self, watch: "_Watch", crew: Crew) -> None:
        told = -float("inf")
        known = 0
        ended: float | None = None
        while not watch.is_done():
            answers = crew.answers()
            for problem in answers[known:]:
                if problem is not None:
                    self.reporter.warn(f"a worker has ended: {problem}")
            known = len(answers)
            if known == crew.size and ended is None:
                ended = monotonic()
            elif ended is not None and monotonic() - ended > _SECONDS_OF_PATIENCE:
                raise _abandoned(crew, answers, self.directory)
            if monotonic() - told >= _SECONDS_BETWEEN_LINES:
                told = monotonic()
                self.reporter.note(f"{watch.line()}, {crew.size - known} workers")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self.reporter.note(watch.line())


class _Watch:
    """What a study still lacks, as its store says; trains and measures nothing."""

    def __init__(self, context: Context, directory: Path, store: Store) -> None:
        self._context, self._directory, self._store = context, directory, store
        self._scheduler: Scheduler | None = None
        self._rounds = Rounds()
        self._asked: Asked | None = None
        self._lacking: Lacking | None = None

    @property
    def num_asked(self) -> int:
        return 0 if self._asked is None else len(self._asked.runs)

    def is_done(self) -> bool:
        """Whether all that is asked for has landed, with the weights that are kept, and no search
        goes on."""
        if self._scheduler is None:
            self._scheduler = Scheduler.if_known(self._context, self._directory, self._store)
        if self._scheduler is None:
            return False
        rounds = self._scheduler.rounds
        if self._asked is None or rounds != self._rounds:
            self._rounds, self._asked = rounds, self._scheduler.asked(rounds)
        if self._scheduler.searched is not None and rounds.reason is None:
            return False
        if self._lacking is None:
            self._lacking = Lacking(self._scheduler, self._store)
        done = self._store.keys() >= set(self._asked.keys)
        if done:
            self._lacking.begin(rounds)
            self._lacking.know_best()
            done = self._lacking.done() >= set(self._asked.keys)
        if done:  # what a worker wrote last may be an earlier round's
            self._asked.write(self._directory)
        return done

    def settle(self) -> None:
        """Nothing is left."""
        if self._lacking is not None:
            self._lacking.settle()

    def line(self) -> str:
        if self._asked is None:
            return "the runs are being laid out"
        asked = set(self._asked.keys)
        missing = asked - self._store.keys()
        in_flight = len(missing.intersection(self._store.leases.held()))
        return (
            f"{len(asked) - len(missing)}/{len(asked)} runs have landed, {in_flight} in flight, "
            f"{len(missing) - in_flight} waiting"
        )


def _abandoned(crew: Crew, answers: list[str | None], directory: Path) -> StudyError:
    said = dict.fromkeys(problem for problem in answers if problem is not None)
    why = f" ({'; '.join(said)})" if said else ""
    return StudyError(
        f"{count(crew.size, 'worker')} ended and runs are missing{why}. What has landed is safe; "
        f"go on with: widthwise run {directory}"
    )
