"""What is going on in a study, from its files alone, as often as somebody looks."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from time import localtime, monotonic, strftime
from typing import TYPE_CHECKING

import polars as pl

from widthwise.errors import FitError, InputError, StudyError
from widthwise.files import whole_path
from widthwise.runs.key import RUN_FIELDS, Run
from widthwise.runs.store import Store
from widthwise.study.asked import Asked, read_asked
from widthwise.study.record import StudyRecord, read_record
from widthwise.study.study import Study
from widthwise.study.time_left import TimeLeft, time_left
from widthwise.text import clock, count, exact_list, printable

if TYPE_CHECKING:
    from widthwise.report.live_page import Findings, LastRun, LiveContent, Tally

_LAST_RUNS = 10
# Runs that failed alike are named up to this number.
_NAMED = 3
# Analysis takes at most this part of a core from those who train.
_SHARE_OF_A_CORE = 0.1


class LiveStudy:
    """Looks at a study that others may be writing to; writes nothing there.

    Args:
        directory: of the study.
        now: seconds, by a clock that never goes back.

    Raises:
        InputError: if it is no study, or one of Widthwise 0.1.
    """

    def __init__(self, directory: str | Path, now: Callable[[], float] = monotonic) -> None:
        self.directory = whole_path(directory)
        if read_record(self.directory).is_old:
            raise InputError(
                f"{self.directory} holds a study of Widthwise 0.1, in which nothing runs any more; "
                "read it with: widthwise report"
            )
        self._now = now
        self._results: tuple[tuple[StudyRecord, frozenset[str]], pl.DataFrame, int] | None = None
        self._findings: tuple[tuple[StudyRecord, frozenset[str]], Findings | None] | None = None
        self._next_analysis = 0.0

    def page(self, refresh: float | None) -> tuple[bool, str]:
        """The page as it is now; whether the study could be read.

        Args:
            refresh: seconds until a browser asks again; None if it does not.
        """
        from widthwise.report.live_page import render_live, render_trouble

        try:
            return True, render_live(self.content(refresh))
        except (InputError, StudyError, OSError) as error:
            said = printable(" ".join(str(error).split()))
            return False, render_trouble(printable(str(self.directory)), said, refresh)

    def content(self, refresh: float | None = None) -> "LiveContent":
        """What the page says now.

        Raises:
            InputError: if the study cannot be read.
            StudyError: if its store does not answer.
        """
        from widthwise.report.live_page import LiveContent

        record = read_record(self.directory)
        study, store = Study(self.directory, record), record.store_in(self.directory)
        asked = read_asked(self.directory)
        # Before what has landed: a run that lands in between is not in flight.
        in_flight = {key: by for key, by in store.leases.held_by().items() if by[1] < float("inf")}
        missing = store.missing(asked.keys)
        landed = frozenset(asked.keys) - missing
        in_flight = {key: by for key, by in in_flight.items() if key in missing}
        results, damaged = self._read(study, record, landed)
        failed = {key: why for key, why in store.failures.noted().items() if key in missing}
        failed = {key: why for key, why in failed.items() if key not in in_flight}
        runs = _runs(asked)
        left = time_left(
            ((_run(row), row["seconds"]) for row in results.iter_rows(named=True)),
            {key: runs[key] for key in missing - failed.keys()},
            in_flight,
        )
        state, command = self._state(study, len(runs), in_flight, left, len(missing))
        findings = self._analyzed(study, record, landed) if len(results) else None
        return LiveContent(
            title=printable(record.spec.title),
            place=printable(str(self.directory)),
            now=strftime("%H:%M:%S", localtime()),
            refresh=refresh,
            tallies=_tallies(runs, missing, in_flight, failed, results),
            state=state,
            command=None if command is None else f"widthwise {command} {self._shell_place()}",
            time_left=_time_left(left, is_search=asked.rounds is not None),
            findings=findings,
            last=_last_runs(store, results),
            cautions=_cautions(damaged + store.num_set_aside()),
            failures=_failures(failed, runs),
        )

    def _shell_place(self) -> str:
        return printable(shlex.quote(str(self.directory)))

    def _read(
        self, study: Study, record: StudyRecord, landed: frozenset[str]
    ) -> tuple[pl.DataFrame, int]:
        """The results, read anew if others have landed; and how many files are damaged."""
        known = record, landed
        if self._results is None or self._results[0] != known:
            results, damage = study.results_and_damage()
            self._results = known, results, len(damage)
        return self._results[1:]

    def _analyzed(
        self, study: Study, record: StudyRecord, landed: frozenset[str]
    ) -> "Findings | None":
        """What the runs say; of some runs fewer if the last look was expensive and lately."""
        from widthwise.report.live_page import draw_findings

        known = record, landed
        is_other = self._findings is None or self._findings[0][0] != record
        is_due = self._findings is None or (
            self._findings[0] != known and self._now() >= self._next_analysis
        )
        if is_other or is_due:
            started = self._now()
            try:
                summary = study.summary()
            except FitError:  # all was withdrawn just now
                return None
            law = summary.law
            sentence = summary.law_problem if law is None else law.sentence()
            found = draw_findings(
                study.results(curves=True), summary.optima, summary.problems, str(sentence)
            )
            ended = self._now()
            self._next_analysis = ended + (ended - started) / _SHARE_OF_A_CORE
            self._findings = known, found
        assert self._findings is not None
        return self._findings[1]

    def _state(
        self,
        study: Study,
        num_asked: int,
        in_flight: Mapping[str, tuple[str, float]],
        left: TimeLeft,
        num_missing: int,
    ) -> tuple[str, str | None]:
        """What goes on, and the command to go on with."""
        if not num_asked:
            ended = study.search_end()
            if ended is None:
                return "Its runs have not been laid out yet.", None
            return f"The search ended before its first run: {ended}.", None
        if in_flight:
            first = clock(max(since for _, since in in_flight.values()))
            hands = "1 process" if left.hands == 1 else f"{left.hands} processes"
            runs = count(len(in_flight), "run")
            return f"{runs} in flight on {hands}, the first for {first}.", None
        if num_missing:
            return "Nobody is training. Go on with:", "run"
        return "All runs have landed. Read what they say with:", "report"


def _runs(asked: Asked) -> dict[str, Run]:
    return {row["key"]: _run(row) for row in asked.runs.iter_rows(named=True)}


def _run(row: Mapping[str, object]) -> Run:
    return Run(**{name: row[name] for name in RUN_FIELDS})  # type: ignore[arg-type]


def _tallies(
    runs: Mapping[str, Run],
    missing: set[str],
    in_flight: Mapping[str, object],
    failed: Mapping[str, object],
    results: pl.DataFrame,
) -> dict[float, "Tally"]:
    """Widening factor → its runs, by width."""
    from widthwise.report.live_page import Tally

    diverged = set(results.filter(pl.col("status") == "diverged")["run_id"].to_list())
    tallies: dict[float, Tally] = {}
    for key, run in runs.items():
        if key not in missing:
            one = Tally(landed=1, diverged=int(key in diverged))
        elif key in in_flight:
            one = Tally(in_flight=1)
        else:
            one = Tally(failed=1) if key in failed else Tally(waiting=1)
        tallies[run.widening_factor] = tallies.get(run.widening_factor, Tally()) + one
    return dict(sorted(tallies.items()))


def _last_runs(store: Store, results: pl.DataFrame) -> list["LastRun"]:
    from widthwise.report.live_page import LastRun

    ago = store.landed_ago()
    ours = set(results["run_id"].to_list())
    last = sorted(ours.intersection(ago), key=lambda key: (ago[key], key))[:_LAST_RUNS]
    rows = {
        row["run_id"]: row
        for row in results.filter(pl.col("run_id").is_in(last)).iter_rows(named=True)
    }
    return [
        LastRun(
            ago=clock(ago[key]),
            widening_factor=rows[key]["widening_factor"],
            learning_rate=rows[key]["learning_rate"],
            batch_size=rows[key]["batch_size"],
            momentum=rows[key]["momentum"],
            normalized_noise_scale=rows[key]["normalized_noise_scale"],
            seed=rows[key]["seed"],
            accuracy=rows[key]["test_accuracy"] if rows[key]["status"] == "ok" else None,
        )
        for key in last
    ]


def _time_left(left: TimeLeft, *, is_search: bool) -> str | None:
    """In a sentence; None if nothing can be said."""
    if left.seconds is None:
        return None
    said = f"About {clock(left.seconds)} left"
    if left.unknown:
        said += f", besides w = {exact_list(left.unknown)}, of which no run has landed yet"
    if is_search:
        said += "; the search may ask for more"
    return f"{said}."


def _failures(failed: Mapping[str, str], runs: Mapping[str, Run]) -> dict[str, str]:
    """Why runs were given up → which, in words."""
    names: dict[str, list[str]] = {}
    for key, why in sorted(failed.items()):
        run = runs[key]
        names.setdefault(printable(" ".join(why.split())), []).append(
            f"w = {run.widening_factor:g}, ε = {run.learning_rate:g}, B = {run.batch_size}, "
            f"m = {run.momentum:g}, seed {run.seed}"
        )
    return {
        why: "; ".join(listed[:_NAMED]) + _and_others(len(listed) - _NAMED)
        for why, listed in names.items()
    }


def _and_others(number: int) -> str:
    return f" and {count(number, 'other')}" if number > 0 else ""


def _cautions(damaged: int) -> list[str]:
    if not damaged:
        return []
    files = "1 file of its store is" if damaged == 1 else f"{damaged} files of its store are"
    return [f"{files} damaged and not counted; `widthwise verify` names what it sets aside."]
