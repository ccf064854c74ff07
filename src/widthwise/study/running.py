"""Trains what a study still lacks: its packs, and round after round if it searches."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

import polars as pl

from widthwise.errors import InputError, StudyError
from widthwise.execution import (
    Emit,
    Executor,
    Failed,
    Finished,
    Progressed,
    Quiet,
    Task,
)
from widthwise.runs.schema import result_rows
from widthwise.runs.store import Store
from widthwise.study.context import Context, load_context
from widthwise.study.progress import ProgressReporter
from widthwise.study.rounds import Rounds
from widthwise.study.schedule import Schedule, ScheduledPack
from widthwise.study.scheduling import Scheduler
from widthwise.study.timing import Speed, measure_speed
from widthwise.training import PackTrainer

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What training a study needs. It stops its executor when it ends, however that happens.

    Attributes:
        store: where its results land.
        scheduler: its packs.
        results: reads its results table.
        reporter: shown what goes on.
        executor: does the training.
        workers: how many packs it trains at a time.
    """

    store: Store
    scheduler: Scheduler
    results: Callable[[], pl.DataFrame]
    reporter: ProgressReporter
    executor: Executor
    workers: int

    def run(self) -> None:
        """Train whatever is not there yet.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if a pack could not be trained.
        """
        speed: Speed | None = None
        trained = False
        with closing(self.executor):
            while True:
                schedule = self.scheduler.schedule(Rounds.read(self.store))
                missing = missing_packs(self.store, schedule)
                if missing:
                    if speed is None:
                        with self.reporter.waiting("measuring this machine's speed"):
                            speed = measure_speed(self.scheduler.context, schedule)
                    self._train(schedule, missing, speed)
                    trained = True
                if not self._begin_round():
                    break
        if not trained:
            self.reporter.note(f"all {schedule.num_runs} runs are there")

    def _train(self, schedule: Schedule, missing: Sequence[ScheduledPack], speed: Speed) -> None:
        self.reporter.begin(schedule, missing, speed, min(self.workers, len(missing)))
        with self.reporter.showing():
            while missing:
                self._pass(missing)
                missing = missing_packs(self.store, schedule)
                if missing:  # another process holds them
                    time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _pass(self, packs: Sequence[ScheduledPack]) -> None:
        for pack in packs:
            self.executor.submit(Task(pack.key, PackCall(self.store.directory, pack)))
        for event in self.executor.events():
            match event:
                case Failed(message=message, reason="bad input"):
                    raise InputError(message)
                case Failed(message=message, reason="died"):
                    raise StudyError(f"{message}. Run the same command again to go on")
                case Failed(message=message):
                    raise StudyError(message)
                case Quiet(key=key, seconds=seconds):
                    self.reporter.warn(_quiet_words(key, seconds))
                case Progressed() | Finished():
                    self.reporter.update(event)

    def _begin_round(self) -> bool:
        """Ask a search for its next round, all runs so far having landed; whether there is one."""
        rounds = Rounds.read(self.store)
        if self.scheduler.searched is None:
            return False
        if rounds.reason is None:
            with self.reporter.waiting("choosing what to run next"):
                proposal = self.scheduler.searched.following(rounds, self.results())
            rounds = rounds.after(proposal)
            rounds.write(self.store)
        if rounds.reason is not None:
            self.reporter.note(f"search ended after {len(rounds.rounds)} rounds: {rounds.reason}")
        return rounds.reason is None


def _quiet_words(key: str, seconds: float) -> str:
    return f"no progress for {seconds / 60:.0f} min: pack {key[:12]}; it is alive"


def missing_packs(store: Store, schedule: Schedule) -> list[ScheduledPack]:
    """The packs whose results have not landed."""
    landed = store.landed()
    return [pack for pack in schedule.packs if pack.key not in landed]


# A pack that is killed loses at most this, plus the way to its next evaluation.
_SECONDS_BETWEEN_CHECKPOINTS = 15.0


@dataclass(frozen=True)
class PackCall:
    """Trains one pack of the study in ``directory``; picklable."""

    directory: Path
    pack: ScheduledPack

    def __call__(self, emit: Emit) -> Finished:
        store, key = Store(self.directory), self.pack.key
        with store.claim(key) as mine:
            if not mine:
                return Finished(key, "busy")
            # Looked up under the lock: whoever held it before may have landed the pack.
            if key in store.landed():
                return Finished(key, "already landed")
            return _train(store, load_context(self.directory), self.pack, emit)


def _train(store: Store, context: Context, pack: ScheduledPack, emit: Emit) -> Finished:
    key, started = pack.key, perf_counter()
    trainer = PackTrainer(context.family, context.dataset, pack.job, context.device)
    earlier = 0.0
    checkpoint = store.read_checkpoint(key)
    if checkpoint is not None:
        trainer.restore(checkpoint["trainer"])
        earlier = checkpoint["seconds"]
    saved = monotonic()
    while not trainer.done:
        trainer.advance(lambda step: emit(Progressed(key, step, trainer.num_diverged)))
        if monotonic() - saved >= _SECONDS_BETWEEN_CHECKPOINTS and not trainer.done:
            seconds = earlier + perf_counter() - started
            store.write_checkpoint(key, {"trainer": trainer.state(), "seconds": seconds})
            saved = monotonic()
    results = trainer.results()
    rows = result_rows(
        results,
        pack.job,
        context.family,
        num_train=context.dataset.num_train,
        seconds=earlier + perf_counter() - started,
        key=key,
        spec_hash=context.spec.hash,
        data_fingerprint=context.data_fingerprint,
    )
    store.write_shard(key, rows, {"widthwise_spec": json.dumps(context.spec.fields())})
    store.forget_checkpoint(key)
    return Finished(key, "landed", sum(result.status == "diverged" for result in results))
