"""A study: create or open it, run it, and read what it found."""

import io
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl

from widthwise.analysis import Law, Optimum
from widthwise.data import Dataset, load
from widthwise.errors import FitError, InputError
from widthwise.execution import EXECUTORS, MakeExecutor, available_cores
from widthwise.families import refuse_while_importing
from widthwise.files import explained, write_atomically
from widthwise.hardware import precision_note
from widthwise.probes import StableLearningRate
from widthwise.runs.analyses import Summary, summarize
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.runs.store import Damage, Store
from widthwise.runs.tables import base_init_variance, selected_on
from widthwise.runs.trust import doubts
from widthwise.study.context import describe, load_context, make_context, on_this_machine
from widthwise.study.limits import refuse_many_runs, refuse_many_steps
from widthwise.study.progress import make_reporter
from widthwise.study.record import (
    DATA_FILE,
    STUDY_FILE,
    StudyRecord,
    installed_versions,
    provenance,
    read_record,
)
from widthwise.study.rounds import Rounds
from widthwise.study.running import Runner, missing_packs
from widthwise.study.schedule import Schedule
from widthwise.study.scheduling import Scheduler
from widthwise.study.spec import StudySpec, differences
from widthwise.study.stable_rates import (
    MeasuredRates,
    ProbeOptions,
    kept_rates,
    measured_rates,
    reported,
)
from widthwise.study.variation import check_variation, parameterization_doubts, seed_doubts
from widthwise.text import printable

_RESULTS_FILE = "results.parquet"
_RATES_FILE = "stable-rates.json"


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How far a study has come.

    Attributes:
        runs_planned: all runs.
        runs_landed: runs whose results are on disk.
        runs_diverged: of those landed.
        packs_planned, packs_landed: the same in packs.
        damaged: shards that were found damaged and set aside, ever.
    """

    runs_planned: int
    runs_landed: int
    runs_diverged: int
    packs_planned: int
    packs_landed: int
    damaged: int


class Study:
    """A width study in a directory. Use :meth:`create` or :meth:`open`."""

    def __init__(self, directory: Path, record: StudyRecord) -> None:
        self.directory = directory
        self.spec = record.spec
        self._record = record
        self._store = Store(directory)

    @classmethod
    def create(
        cls,
        directory: str | Path,
        spec: StudySpec | Mapping[str, Any] | str | Path,
        *,
        data: Dataset | None = None,
        overrides: Iterable[str] = (),
    ) -> Self:
        """Begin a study, or go on with the one of the same specification.

        Args:
            directory: where everything about it is kept; made if it is not there.
            spec: a :class:`StudySpec`, a dict, or the path of a TOML or JSON file.
            data: data in memory, instead of what ``spec`` names; kept in the directory.
            overrides: "key=value", as ``--set`` on the command line.

        Raises:
            InputError: if the specification is wrong, the data are not here, the directory cannot
                be written or holds a study of another specification.
        """
        refuse_while_importing()
        parsed = on_this_machine(StudySpec.parse(spec, overrides))
        refuse_many_runs(parsed.grid, parsed.limits)
        directory = Path(directory).expanduser().resolve()
        store = Store(directory)
        with explained(directory):
            begun = (directory / STUDY_FILE).exists()
        if begun:
            record = read_record(store)
            changed = differences(record.spec, parsed)
            if changed:
                raise InputError(
                    f"the study in {directory} has another specification ({'; '.join(changed)}); "
                    "choose another directory, or remove this one"
                )
            if data is not None and data.fingerprint != record.data.fingerprint:
                raise InputError(
                    f"the study in {directory} was begun with other data; choose another directory"
                )
            return cls(directory, record)
        dataset = load(parsed.data) if data is None else data
        refuse_many_steps(parsed.grid, parsed.training, dataset.num_train, parsed.limits)
        context = make_context(parsed, dataset)
        context.costs()  # every network fits the data, or nothing is begun
        check_variation(context)
        store.prepare()
        if data is not None:
            with explained(directory / DATA_FILE):
                dataset.save(directory / DATA_FILE)
        record = describe(context, in_memory=data is not None, versions=installed_versions())
        record.write(store)
        return cls(directory, record)

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Open a study that was begun before.

        Raises:
            InputError: if the directory holds none.
        """
        directory = Path(directory).expanduser().resolve()
        return cls(directory, read_record(Store(directory)))

    def identity(self, what: Literal["data", "family"]) -> Any:
        """Plain values that tell the data, or the networks, with which it was begun from others."""
        return self._record.data.fingerprint if what == "data" else self._record.family

    @cached_property
    def _scheduler(self) -> Scheduler:
        return Scheduler.of(self._store)

    @property
    def schedule(self) -> Schedule:
        """Its packs; of an adaptive search those of the rounds that have begun. Measures first how
        many runs a pack should hold, and the largest stable learning rates if the grid is written
        in noise scales; what was measured is kept, so that a resumed study has the same schedule.
        """
        return self._scheduler.schedule(Rounds.read(self._store))

    @property
    def plan(self) -> Schedule:
        """Deprecated: :attr:`schedule`."""
        warnings.warn(
            "Study.plan is called Study.schedule; a plan is what widthwise.widen returns",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.schedule

    def run(
        self,
        workers: int | None = None,
        *,
        progress: bool = True,
        executor: str | MakeExecutor = "local",
    ) -> None:
        """Train whatever is not there yet. Interrupt it at any time; run it again to go on.

        Args:
            workers: processes, one core each; None takes every core available.
            progress: show what is going on, on standard error.
            executor: who trains the packs: a name in :data:`widthwise.execution.EXECUTORS`, or a
                function of the number of workers that makes an executor.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if a pack could not be trained.
        """
        refuse_while_importing()
        make_executor = _executor_by_name(executor) if isinstance(executor, str) else executor
        reporter = make_reporter(progress)
        self._store.prepare()
        for damage in self._store.verify():
            reporter.warn(str(damage))
        with reporter.waiting("laying out the runs"):
            scheduler = self._scheduler
        note = precision_note(self.spec.training.precision, scheduler.context.device)
        if note is not None:
            reporter.note(note)
        context = scheduler.context
        for doubt in (*seed_doubts(context), *parameterization_doubts(context)):
            reporter.warn(doubt)
        at_once = available_cores() if workers is None else workers
        Runner(
            store=self._store,
            scheduler=scheduler,
            results=self.results,
            reporter=reporter,
            executor=make_executor(at_once),
            workers=at_once,
        ).run()

    def probe(
        self,
        options: ProbeOptions | None = None,
        *,
        widths: Iterable[float] | None = None,
        progress: bool = True,
        on_rate: Callable[[StableLearningRate], None] = lambda rate: None,
    ) -> MeasuredRates:
        """Measure the largest stable learning rate at its widths, with its data and recipe.

        Each is kept with the study as soon as it is known, measured once, and shown by
        :meth:`report` from then on.

        Args:
            options: how a width is measured; None are the defaults.
            widths: widening factors; None takes those of its grids.
            progress: show what is going on, on standard error.
            on_rate: told each width's rate as soon as it is known.

        Raises:
            InputError: if data or family changed since the study began, an option is out of range,
                or rates were kept that were measured with other options.
            FitError: if no learning rate is stable at a width.
        """
        refuse_while_importing()
        chosen = options or ProbeOptions()
        return measured_rates(
            self.spec,
            self.directory / _RATES_FILE,
            dataset=load_context(self.directory).dataset,
            widths=widths,
            options=chosen,
            measure=reported(chosen, make_reporter(progress)),
            on_rate=on_rate,
        )

    def results(self) -> pl.DataFrame:
        """One row a run, in a fixed order; empty if none has landed. Damaged shards are set aside
        (and repeated by the next :meth:`run`).

        Raises:
            InputError: if a shard of another study was put among its own.

        Columns are those of :data:`widthwise.runs.schema.RESULTS_SCHEMA`.
        """
        self._store.verify()
        shards = self._store.read_shards()
        table = pl.concat(shards) if shards else pl.DataFrame(schema=RESULTS_SCHEMA)
        foreign = table.filter(pl.col("spec_hash") != self.spec.hash)
        if len(foreign):
            raise InputError(
                f"every shard in {self.directory} must belong to its specification, but pack "
                f"{foreign['pack'][0]} belongs to another; move its file elsewhere"
            )
        order = ["widening_factor", "normalized_noise_scale", "batch_size", "learning_rate"]
        return table.sort(*order, "momentum", "seed")

    def summary(self) -> Summary:
        """Optima and law, with the reason for whatever could not be found.

        Raises:
            FitError: if no run has landed.
        """
        return self._summary(self.results())

    def optima(self) -> dict[float, Optimum]:
        """Widening factor → optimum of the normalized noise scale, where one could be located."""
        return dict(self.summary().optima)

    def law(self) -> Law:
        """How the optimum moves with width.

        Raises:
            FitError: if the study does not determine it.
        """
        summary = self.summary()
        if summary.law is None:
            raise FitError(summary.law_problem)
        return summary.law

    def report(self, *, command: str | None = None) -> Path:
        """Write the report; returns the path of its page.

        Args:
            command: what produced it, for the page; None takes this program's command line.

        Raises:
            FitError: if no run has landed.
            InputError: if the stable learning rates in its directory belong to another study.
        """
        from widthwise.report import ReportContent, write_report  # workers need no Matplotlib

        results = self.results()
        summary = self._summary(results)
        data = self._record.data
        rates = kept_rates(self.spec, self.directory / _RATES_FILE, fingerprint=data.fingerprint)
        self._store.prepare()
        buffer = io.BytesIO()
        results.write_parquet(buffer)
        write_atomically(self.directory / _RESULTS_FILE, buffer.getvalue())
        content = ReportContent(
            title=printable(self.spec.title),
            results=results,
            optima=summary.optima,
            law=summary.law,
            law_problem=summary.law_problem,
            optimum_problems=summary.problems,
            spec_text=_json(self.spec.fields()),
            provenance=provenance(self._record, results, self.schedule.num_runs),
            command=command or " ".join(sys.argv),
            results_files=(_RESULTS_FILE,),
            late_fraction=self.spec.training.late_fraction,
            normalization=self.spec.family.normalization,
            stable_learning_rates=() if rates is None else rates.rates,
            analysis_seed=self.spec.analysis.seed,
        )
        with explained(self.directory / "report.html"):
            return write_report(content, self.directory)

    def status(self) -> StudyStatus:
        """How far it has come; damaged shards are set aside on the way."""
        results = self.results()
        schedule = self.schedule
        return StudyStatus(
            runs_planned=schedule.num_runs,
            runs_landed=len(results),
            runs_diverged=int((results["status"] == "diverged").sum()),
            packs_planned=len(schedule.packs),
            packs_landed=len(schedule.packs) - len(missing_packs(self._store, schedule)),
            damaged=self._store.num_set_aside(),
        )

    def verify(self) -> list[Damage]:
        """Set aside shards that are damaged, and say which."""
        return self._store.verify()

    def _nothing_landed(self) -> str:
        ended = Rounds.read(self._store).reason
        if ended is not None:
            return (
                f"the search of {self.directory} ended before its first run ({ended}); raise "
                "search.max_runs in its specification, and begin another study"
            )
        return f"no run of {self.directory} has landed yet; run the study first"

    def _summary(self, results: pl.DataFrame) -> Summary:
        if results.is_empty():
            raise FitError(self._nothing_landed())
        data = self._record.data
        validated = selected_on(results) == "validation"
        found = summarize(
            results,
            num_train=data.num_train,
            num_scored=data.num_validation if validated else data.num_test,
            seed=self.spec.analysis.seed,
        )
        if found.law is None:
            return found
        law = replace(
            found.law,
            doubts=doubts(results, found.optima),
            init_variance=base_init_variance(results),
        )
        return replace(found, law=law)


def _executor_by_name(name: str) -> MakeExecutor:
    if name not in EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(EXECUTORS)}, got {name!r}")
    return EXECUTORS[name]


def _json(fields: Mapping[str, Any]) -> str:
    lines = json.dumps(fields, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(map(printable, lines))
