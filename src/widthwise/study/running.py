"""Trains what a study still lacks: its packs, and round after round if it searches."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from widthwise.errors import InputError, StudyError
from widthwise.execution import (
    Executor,
    Failed,
    Finished,
    LocalExecutor,
    Progressed,
    Task,
)
from widthwise.runs.store import Store
from widthwise.study.planning import Planner
from widthwise.study.progress import ProgressReporter
from widthwise.study.rounds import Rounds
from widthwise.study.schedule import Plan, PlannedPack
from widthwise.study.speed import Speed, measure_speed
from widthwise.study.worker import PackCall

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What training a study needs.

    Attributes:
        store: where its results land.
        planner: its packs.
        results: reads its results table.
        reporter: shown what goes on.
        workers: processes.
    """

    store: Store
    planner: Planner
    results: Callable[[], pl.DataFrame]
    reporter: ProgressReporter
    workers: int

    def run(self) -> None:
        """Train whatever is not there yet.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if a pack could not be trained.
        """
        speed: Speed | None = None
        trained = False
        with _closing(LocalExecutor(self.workers)) as executor:
            while True:
                plan = self.planner.plan(Rounds.read(self.store))
                missing = missing_packs(self.store, plan)
                if missing:
                    if speed is None:
                        with self.reporter.waiting("measuring this machine's speed"):
                            speed = measure_speed(self.planner.context, plan)
                    self._train(plan, missing, executor, speed)
                    trained = True
                if not self._begin_round():
                    break
        if not trained:
            self.reporter.note(f"all {plan.num_runs} runs are there")

    def _train(
        self, plan: Plan, missing: Sequence[PlannedPack], executor: Executor, speed: Speed
    ) -> None:
        self.reporter.begin(plan, missing, speed, min(self.workers, len(missing)))
        with self.reporter.showing():
            while missing:
                self._pass(missing, executor)
                missing = missing_packs(self.store, plan)
                if missing:  # another process holds them
                    time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _pass(self, packs: Sequence[PlannedPack], executor: Executor) -> None:
        for pack in packs:
            executor.submit(Task(pack.key, PackCall(self.store.directory, pack)))
        for event in executor.events():
            match event:
                case Failed(message=message, bad_input=True):
                    raise InputError(message)
                case Failed(message=message):
                    raise StudyError(message)
                case Progressed() | Finished():
                    self.reporter.update(event)

    def _begin_round(self) -> bool:
        """Ask a search for its next round, all runs so far having landed; whether there is one."""
        rounds = Rounds.read(self.store)
        if self.planner.searched is None:
            return False
        if rounds.reason is None:
            with self.reporter.waiting("choosing what to run next"):
                proposal = self.planner.searched.following(rounds, self.results())
            rounds = rounds.after(proposal)
            rounds.write(self.store)
        if rounds.reason is not None:
            self.reporter.note(f"search ended after {len(rounds.rounds)} rounds: {rounds.reason}")
        return rounds.reason is None


def missing_packs(store: Store, plan: Plan) -> list[PlannedPack]:
    """The packs whose results have not landed."""
    landed = store.landed()
    return [pack for pack in plan.packs if pack.key not in landed]


@contextmanager
def _closing(executor: Executor) -> Iterator[Executor]:
    try:
        yield executor
    finally:
        executor.close()
