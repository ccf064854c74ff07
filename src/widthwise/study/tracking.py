"""What trackers are told of a study: its runs, each once, and what they say."""

import hashlib
import json
import math
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl

from widthwise.errors import InputError, StudyError, said_by
from widthwise.runs.analyses import Summary
from widthwise.runs.schema import MEASURED, PROVENANCE
from widthwise.study.record import StudyRecord
from widthwise.text import count, printable
from widthwise.trackers import (
    Findings,
    TrackedRun,
    TrackedStudy,
    Tracker,
    open_tracker,
)

# Keys that are known → rows of the results of all others that have landed.
Unseen = Callable[[Collection[str]], pl.DataFrame]

_ID_DIGITS = 8
_SECONDS_BETWEEN_LOOKS = 5.0
# A tracker that has logged nothing for so long is not waited for any longer.
_SECONDS_OF_PATIENCE = 60.0
_SECONDS_AFTER_CTRL_C = 5.0
_SETTINGS = (
    *("family", "parameterization", "widening_factor", "learning_rate", "batch_size", "momentum"),
    *("seed", "noise_scale", "init_variance", "normalized_noise_scale", "steps", "epochs"),
    *("physical_time", "num_parameters", "nesterov", "weight_decay", "schedule", "warmup"),
    *("loss", "label_smoothing", "augmentation", "ghost_batch_size", "precision"),
)
_SCORES = ("plateau_slope", "initial_train_loss", "final_train_loss", "diverged_at_step", "seconds")
_TAGS = ("status", *(name for name in PROVENANCE if name != "seconds"), "data_fingerprint")


def tracked_study(directory: Path, record: StudyRecord) -> TrackedStudy:
    """A study, as trackers group its runs."""
    asked = json.dumps([record.family, record.data.fingerprint], sort_keys=True)
    digits = hashlib.sha256(asked.encode()).hexdigest()[:_ID_DIGITS]
    name = printable(directory.name).replace("'", "_").replace("/", "_") or "study"
    return TrackedStudy(id=f"{name}-{digits}", title=printable(record.spec.title))


def tracked_run(row: Mapping[str, Any]) -> TrackedRun:
    """A row of :data:`widthwise.runs.schema.RESULTS_SCHEMA`, curves and all, for trackers."""
    return TrackedRun(
        key=row["run_id"],
        name=(
            f"w = {row['widening_factor']:g}, ε = {row['learning_rate']:g}, "
            f"B = {row['batch_size']}, m = {row['momentum']:g}, seed {row['seed']}"
        ),
        settings={name: row[name] for name in _SETTINGS if row[name] is not None},
        scores={
            **_finite({f"late_{name}": row[name] for name in MEASURED}),
            **_finite({name: row[name] for name in _SCORES}),
        },
        curves={
            name: points
            for name in MEASURED
            if (points := _points(row["curve_step"], row[f"curve_{name}"]))
        },
        tags={name: str(row[name]) for name in _TAGS if row[name] is not None},
    )


def findings(summary: Summary, num_runs: int) -> Findings:
    """What a study says, for trackers.

    Args:
        summary: of its runs.
        num_runs: how many there are.
    """
    law = summary.law
    values: dict[str, float] = {}
    for width, optimum in sorted(summary.optima.items()):
        low, high = optimum.interval
        values |= {
            f"optimum_w{width:g}": optimum.noise_scale,
            f"optimum_w{width:g}_low": low,
            f"optimum_w{width:g}_high": high,
        }
    if law is not None:
        low, high = law.interval
        values |= {"exponent": law.exponent, "exponent_low": low, "exponent_high": high}
    sentence = summary.law_problem if law is None else law.sentence()
    return Findings(sentence=str(sentence), num_runs=num_runs, values=_finite(values))


def named_tracker(
    asked: str | Tracker, folder: Path, *, at: str | None = None, argument: str = "track"
) -> Tracker:
    """The tracker that is meant.

    Args:
        asked: itself, or "NAME" or "NAME=PLACE".
        folder: of the study.
        at: the place.
        argument: that it was given as.

    Raises:
        InputError: if there is no such tracker, or its package is missing.
    """
    if not isinstance(asked, str):
        if isinstance(asked, Tracker):
            return asked
        raise InputError(
            f"{argument} must be the name of a tracker, or a tracker with name, start, run, end "
            f"and close, got {type(asked).__name__}",
            fields=(argument,),
        )
    name, equals, place = asked.partition("=")
    if equals and (at is not None or not place):
        raise InputError(
            f"{argument} must name a tracker and one place, as in tensorboard=runs, got {asked!r}",
            fields=(argument,),
        )
    return open_tracker(name, place or at, folder, argument)


def named_trackers(asked: Iterable[str | Tracker], folder: Path) -> list[Tracker]:
    """The trackers that are meant, as for :func:`named_tracker`.

    Raises:
        InputError: as there, and if two names mean the same place: it would have each run twice.
    """
    trackers: list[Tracker] = []
    ours: set[str] = set()
    for one in [asked] if isinstance(asked, str) else asked:
        tracker = named_tracker(one, folder)
        if isinstance(one, str):
            if tracker.name in ours:
                raise InputError(f"track must name each place once, got {tracker.name} twice")
            ours.add(tracker.name)
        trackers.append(tracker)
    return trackers


class Tracking:
    """Logs the runs of a study to one tracker, each once.

    Args:
        study: as the tracker groups its runs.
        unseen: reads what has landed.
        tracker: is told.

    Attributes:
        num_logged: runs that it was told here.
    """

    def __init__(self, study: TrackedStudy, unseen: Unseen, tracker: Tracker) -> None:
        self._study, self._unseen, self.tracker = study, unseen, tracker
        self._known: set[str] | None = None
        self.num_logged = 0

    def log(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Log all that has landed and is not there.

        Args:
            is_over: asked before each run; whether to leave it at that.
        """
        if self._known is None:
            self._known = set(self.tracker.start(self._study))
        for row in self._unseen(self._known).iter_rows(named=True):
            if is_over():
                return
            self.tracker.run(tracked_run(row))
            self._known.add(row["run_id"])
            self.num_logged += 1


def log_all(tracking: Tracking, said: Findings | None) -> int:
    """After the fact; how many runs were logged.

    Args:
        tracking: of the study.
        said: by its runs, if all of them have landed.

    Raises:
        InputError: if the place cannot be written.
        StudyError: if the tracker fails otherwise.
    """
    tracker = tracking.tracker
    try:
        try:
            tracking.log()
            if said is not None:
                tracker.end(said)
        finally:
            tracker.close()
    except InputError:
        raise
    except Exception as error:
        logged = count(tracking.num_logged, "run")
        raise StudyError(
            f"{tracker.name}: {_line(error)}; {logged} logged before. The same command logs what "
            "is missing"
        ) from error
    return tracking.num_logged


class _Live:
    """One tracker, fed while a study is trained, by a thread of its own.

    Args:
        tracking: of the study.
        warn: told, once, why it ended early.
        seconds_between_looks: at what has landed.
    """

    def __init__(
        self, tracking: Tracking, warn: Callable[[str], None], seconds_between_looks: float
    ) -> None:
        self._tracking, self._warn, self._pause = tracking, warn, seconds_between_looks
        self._trained, self._over = threading.Event(), threading.Event()
        self._said: Findings | None = None
        # A tracker that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def finish(self, said: Findings | None, patience: float) -> None:
        """Log what is left.

        Args:
            said: by the runs, if all of them have landed.
            patience: seconds without a run after which it is left alone.
        """
        self._said = said
        self._trained.set()
        logged = -1
        while self._thread.is_alive() and logged != self._tracking.num_logged:
            logged = self._tracking.num_logged
            self._thread.join(patience)
        if self._thread.is_alive():
            self._over.set()
            self._tell(f"has not answered for {patience:g} s")

    def abandon(self) -> None:
        """Leave it at what is logged, and at the run in hand."""
        self._over.set()
        self._trained.set()

    def wait(self) -> None:
        """For the run in hand, once it was abandoned."""
        self._thread.join(_SECONDS_AFTER_CTRL_C)

    def _work(self) -> None:
        tracker = self._tracking.tracker
        try:
            is_last = False
            while not is_last and not self._over.is_set():
                is_last = self._trained.wait(self._pause)
                self._tracking.log(self._over.is_set)
            if self._said is not None and not self._over.is_set():
                tracker.end(self._said)
        except Exception as error:  # the study goes on, whatever it is
            if not self._over.is_set():
                self._tell(_line(error))
        finally:
            with suppress(Exception):
                tracker.close()

    def _tell(self, problem: str) -> None:
        self._warn(
            f"{_name(self._tracking.tracker)}: {problem}; the study goes on, and `widthwise track` "
            "logs what is missing there"
        )


@contextmanager
def tracked(
    trackings: Sequence[Tracking],
    warn: Callable[[str], None],
    *,
    seconds_between_looks: float = _SECONDS_BETWEEN_LOOKS,
    patience: float = _SECONDS_OF_PATIENCE,
) -> Iterator[list[Findings]]:
    """Around the training of a study: what lands is logged. A tracker that fails costs a warning.

    Args:
        trackings: of the study.
        warn: told of each that failed.
        seconds_between_looks: at what has landed.
        patience: seconds for which a tracker that logs nothing is waited for in the end.

    Yields:
        Where to put what the runs say once all have landed.
    """
    live = [_Live(tracking, warn, seconds_between_looks) for tracking in trackings]
    said: list[Findings] = []
    try:
        yield said
    except Exception:  # what has landed is logged all the same
        _finish(live, None, patience)
        raise
    except BaseException:
        for one in live:
            one.abandon()
        for one in live:
            one.wait()
        raise
    _finish(live, said[-1] if said else None, patience)


def _finish(live: Iterable[_Live], said: Findings | None, patience: float) -> None:
    for one in live:
        one.finish(said, patience)


def _points(steps: Sequence[int], values: Sequence[float] | None) -> list[tuple[int, float]]:
    """The finite ones."""
    if values is None:
        return []
    return [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if value is not None and math.isfinite(value)
    ]


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _name(tracker: Tracker) -> str:
    try:
        return tracker.name
    except Exception:
        return type(tracker).__name__


def _line(error: BaseException) -> str:
    """In one line, as it is said to users."""
    words = str(error) if isinstance(error, InputError) else said_by(error)
    return printable(" ".join(words.split()))
