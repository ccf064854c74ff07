"""Trains what a study still lacks: its runs, and round after round if it searches."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

import polars as pl

from widthwise.engines.build import not_compiled
from widthwise.errors import InputError, StudyError
from widthwise.execution import (
    Executor,
    Failed,
    Finished,
    Noted,
    Progressed,
    Quiet,
    Task,
)
from widthwise.runs.store import Store
from widthwise.study.context import Context
from widthwise.study.lacking import Lacking
from widthwise.study.pack_call import PackCall
from widthwise.study.progress import ProgressReporter
from widthwise.study.rounds import Rounds
from widthwise.study.schedule import Schedule, ScheduledPack
from widthwise.study.scheduling import Scheduler
from widthwise.study.timing import Speed, measure_speed
from widthwise.study.turns import in_own_order, next_pause
from widthwise.text import count

# A pack that fails is tried again, twice; then each of its runs alone, once.
_TRIALS = 3
# So many packs given up, and nothing trained: what is wrong is not with some runs.
_HOPELESS = 3


@dataclass(kw_only=True)
class Runner:
    """What training a study needs. It stops its executor when it ends, however that happens.

    Attributes:
        directory: of the study.
        store: where its runs land.
        scheduler: its runs and packs.
        results: reads its results table.
        reporter: shown what goes on.
        executor: does the training.
        workers: how many packs it trains at a time.
        until: when to stop, by :func:`time.monotonic`; None when nothing is left.
        order: in which it goes through packs of about a size; that decides no result.
        speed: of this machine, once it was measured: where progress is shown.
    """

    directory: Path
    store: Store
    scheduler: Scheduler
    results: Callable[[], pl.DataFrame]
    reporter: ProgressReporter
    executor: Executor
    workers: int
    until: float | None = None
    order: random.Random = field(default_factory=random.Random)
    speed: Speed | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    def run(self) -> bool:
        """Train whatever is not there yet; whether nothing is left.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if runs could not be trained; it names them. All others have landed.
        """
        trained, announced = False, False
        lacking = Lacking(self.scheduler, self.store)
        failures = _Failures(self.store.failures.note)
        with closing(self.executor), suppress(_TimeOverError):
            while True:
                self._watch_time()
                lacking.begin(self.scheduler.rounds)
                lacking.asked.write(self.directory)
                if not announced:
                    self.store.failures.forget(frozenset(lacking.asked.keys))
                if not announced and (kept := lacking.announcement()) is not None:
                    self.reporter.note(kept)
                announced = True
                trained |= self._train(lacking, failures)
                if not self._begin_round(lacking.rounds):
                    lacking.know_best()
                    trained |= self._train(lacking, failures)
                    lacking.settle()
                    self.store.compact_if_many()
                    if not trained:
                        self.reporter.note(f"all {len(lacking.asked.runs)} runs are there")
                    return True
        return False

    def _watch_time(self) -> None:
        if self.until is not None and monotonic() >= self.until:
            raise _TimeOverError

    def _train(self, lacking: Lacking, failures: "_Failures") -> bool:
        """Train what is missing; whether anything was.

        Raises:
            StudyError: if runs could not be trained.
        """
        missing = lacking.packs()
        if missing.packs:
            if not self._told and (note := _slower(self.scheduler.context)) is not None:
                self.reporter.note(note)
            self._told = True
            if number := lacking.num_again():
                self.reporter.note(
                    f"{count(number, 'run')} landed without weights: trained again for them"
                )
            at_once = min(self.workers, len(missing.packs))
            num_asked = len(lacking.asked.runs)
            measure = partial(self._measured, missing)
            self.reporter.begin(missing, measure, at_once, num_asked, lacking.done)
            with self.reporter.showing():
                self._train_all(missing, lacking, failures)
        failures.raise_if_any()
        return bool(missing.packs)

    def _measured(self, missing: Schedule) -> Speed:
        if self.speed is None:
            with self.reporter.waiting("measuring this machine's speed"):
                self.speed = measure_speed(self.scheduler.context, missing)
        return self.speed

    def _train_all(self, missing: Schedule, lacking: Lacking, failures: "_Failures") -> None:
        pause = 0.0
        while True:
            claimed = self.store.leases.claimed()
            trained = self._pass(missing.packs, claimed, failures)
            self.store.compact_if_many()
            missing = lacking.packs(failures.given_up)
            if not missing.packs:
                return
            self._watch_time()
            pause = next_pause(0.0 if trained else pause, len(claimed))
            time.sleep(pause)  # another process trains them

    def _pass(
        self, packs: Sequence[ScheduledPack], claimed: frozenset[str], failures: "_Failures"
    ) -> bool:
        """Go through packs; whether any of them was trained here."""
        in_hand = {pack.name: pack for pack in packs}
        any_landed = False
        for pack in in_own_order(packs, claimed, self.order):
            self._submit(pack)
        for event in self.executor.events():
            self._watch_time()
            match event:
                case Failed(message=message, reason="bad input"):
                    raise InputError(message)
                case Failed(key=name, message=message):
                    for again in failures.after(in_hand[name], message):
                        in_hand[again.name] = again
                        self._submit(again)
                case Noted(message=message):
                    self.reporter.warn(message)
                case Quiet(key=name, seconds=seconds):
                    job = in_hand[name].job
                    self.reporter.warn(
                        f"no progress for {seconds / 60:.0f} min at w = {job.widening_factor:g}, "
                        f"B = {job.batch_size}; its process is alive"
                    )
                case Progressed() | Finished():
                    self.reporter.update(event)
                    failures.note(event)
                    if isinstance(event, Finished):
                        any_landed |= event.outcome == "landed"
                        self.store.compact_if_many()  # who opens it reads single files one by one
        return any_landed

    def _submit(self, pack: ScheduledPack) -> None:
        self.executor.submit(Task(pack.name, PackCall(self.directory, self.store.place, pack)))

    def _begin_round(self, rounds: Rounds) -> bool:
        """Ask a search for its next round, all runs so far having landed; whether there is one."""
        searched, kept = self.scheduler.searched, self.scheduler.kept
        if searched is None or kept is None:
            return False
        known = len(rounds.rounds)
        if rounds.reason is None:
            with self.reporter.waiting("choosing what to run next"):
                proposal = searched.following(rounds, self.results())
            rounds = kept.add(rounds, rounds.after(proposal))
        # Another process, or an earlier session, may have known more rounds and their end.
        if rounds.reason is None or len(rounds.rounds) > known:
            return True
        self.reporter.note(f"search ended after {known} rounds: {rounds.reason}")
        return False


class _TimeOverError(Exception):
    """The time that was given is over."""


def _slower(context: Context) -> str | None:
    """What to know if this machine lacks the compiled code that the networks are for; as the
    narrowest one says, for they differ in nothing but size."""
    if context.device.type != "cpu" or context.spec.packing.engine != "auto":
        return None
    module = context.family.build(min(context.costs()), seed=0)
    reason = not_compiled(module, context.spec.training.recipe)
    return None if reason is None else f"training without compiled code, which is slower: {reason}"


@dataclass
class _Failures:
    """What could not be trained so far.

    Attributes:
        tell: told the key of each run that is given up, and why.
        given_up: key of a run → why.
        any_landed: whether anything else could.
    """

    tell: Callable[[str, str], None]
    given_up: dict[str, str] = field(default_factory=dict)
    any_landed: bool = False
    _reached: dict[str, int] = field(default_factory=dict)
    _trials: dict[str, list[int]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def note(self, event: Progressed | Finished) -> None:
        """Something went well."""
        if isinstance(event, Progressed):
            self._reached[event.key] = max(event.steps, self._reached.get(event.key, 0))
        elif event.outcome == "landed":
            self.any_landed = True

    def after(self, pack: ScheduledPack, message: str) -> list[ScheduledPack]:
        """What to try once a pack has failed again.

        Raises:
            StudyError: if nothing has ever worked.
        """
        reached, trials = self._reached.get(pack.name, 0), self._trials.setdefault(pack.name, [])
        if trials and reached > max(trials):
            trials.clear()  # it came further than ever: what stopped it was something else
        trials.append(reached)
        if len(trials) < _TRIALS:
            return [pack]
        if len(pack.keys) > 1:
            parts = pack.alone()
            for part in parts:  # they were tried before, among others
                self._trials[part.name] = [reached] * (_TRIALS - 1)
            return parts
        (key,), (run,) = pack.keys, pack.runs
        self.given_up[key] = message
        self.tell(key, message)
        self._names[key] = (
            f"w = {run.widening_factor:g}, ε = {run.learning_rate:g}, B = {run.batch_size}, "
            f"m = {run.momentum:g}, seed {run.seed}"
        )
        if len(self.given_up) >= _HOPELESS and not self.any_landed:
            self.raise_if_any()
        return []

    def raise_if_any(self) -> None:
        """
        Raises:
            StudyError: naming the runs that were given up.
        """
        if self.given_up:
            listed = "; ".join(f"{self._names[k]}: {why}" for k, why in self.given_up.items())
            raise StudyError(
                f"{count(len(self.given_up), 'run')} failed {_TRIALS} times and "
                f"{'was' if len(self.given_up) == 1 else 'were'} left out ({listed}). What has "
                "landed is safe; the same command tries them again"
            )
