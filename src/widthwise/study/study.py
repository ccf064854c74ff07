"""A study: create or open it, run it, and read what it found."""

import io
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl

from widthwise.analysis import Law, Optimum
from widthwise.data import Dataset, load
from widthwise.errors import FitError, InputError
from widthwise.execution import available_cores
from widthwise.families import refuse_while_importing
from widthwise.files import explained, write_atomically
from widthwise.hardware import (
    card_memory,
    describe_hardware,
    precision_note,
    require_precision,
    resolve_device,
)
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.runs.store import Damage, Store
from widthwise.runs.summary import Summary, score_column, summarize
from widthwise.study.context import (
    DATA_FILE,
    STUDY_FILE,
    describe,
    make_context,
    read_description,
)
from widthwise.study.planning import Planner
from widthwise.study.progress import make_reporter
from widthwise.study.rounds import Rounds
from widthwise.study.running import Runner, missing_packs
from widthwise.study.schedule import Plan
from widthwise.study.spec import HardwareSpec, StudySpec, differences

_RESULTS_FILE = "results.parquet"
_SECONDS_BETWEEN_LOOKS = 1.0


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

    def __init__(self, directory: Path, spec: StudySpec, description: Mapping[str, Any]) -> None:
        self.directory = directory
        self.spec = spec
        self._description = description
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
        parsed = _on_this_machine(StudySpec.parse(spec, overrides))
        directory = Path(directory).expanduser().resolve()
        store = Store(directory)
        with explained(directory):
            begun = (directory / STUDY_FILE).exists()
        if begun:
            existing, description = read_description(store)
            changed = differences(existing, parsed)
            if changed:
                raise InputError(
                    f"the study in {directory} has another specification ({'; '.join(changed)}); "
                    "choose another directory, or remove this one"
                )
            if data is not None and data.fingerprint != description["data"]["fingerprint"]:
                raise InputError(
                    f"the study in {directory} was begun with other data; choose another directory"
                )
            return cls(directory, existing, description)
        dataset = load(parsed.data) if data is None else data
        context = make_context(parsed, dataset)
        context.costs()  # every network fits the data, or nothing is begun
        store.prepare()
        if data is not None:
            with explained(directory / DATA_FILE):
                dataset.save(directory / DATA_FILE)
        description = describe(context, in_memory=data is not None, versions=_versions())
        store.write_json(STUDY_FILE, description)
        return cls(directory, parsed, description)

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Open a study that was begun before.

        Raises:
            InputError: if the directory holds none.
        """
        directory = Path(directory).expanduser().resolve()
        spec, description = read_description(Store(directory))
        return cls(directory, spec, description)

    def identity(self, what: Literal["data", "family"]) -> Any:
        """Plain values that tell the data, or the networks, with which it was begun from others."""
        described = self._description[what]
        return described["fingerprint"] if what == "data" else described

    @cached_property
    def _planner(self) -> Planner:
        return Planner.of(self._store)

    @property
    def plan(self) -> Plan:
        """Its packs; of an adaptive search those of the rounds that have begun. Measures first how
        many runs a pack should hold, and the largest stable learning rates if the grid is written
        in noise scales; what was measured is kept, so that a resumed study has the same plan."""
        return self._planner.plan(Rounds.read(self._store))

    def run(self, workers: int | None = None, *, progress: bool = True) -> None:
        """Train whatever is not there yet. Interrupt it at any time; run it again to go on.

        Args:
            workers: processes, one core each; None takes every core available.
            progress: show what is going on, on standard error.

        Raises:
            InputError: if something of the user's is wrong, or the disk is full.
            StudyError: if a pack could not be trained.
        """
        refuse_while_importing()
        reporter = make_reporter(progress)
        self._store.prepare()
        for damage in self._store.verify():
            reporter.warn(str(damage))
        with reporter.waiting("planning"):
            planner = self._planner
        note = precision_note(self.spec.training.precision, planner.context.device)
        if note is not None:
            reporter.note(note)
        Runner(
            store=self._store,
            planner=planner,
            results=self.results,
            reporter=reporter,
            workers=available_cores() if workers is None else workers,
        ).run()

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
        """
        from widthwise.report import ReportContent, write_report  # workers need no Matplotlib

        results = self.results()
        summary = self._summary(results)
        self._store.prepare()
        buffer = io.BytesIO()
        results.write_parquet(buffer)
        write_atomically(self.directory / _RESULTS_FILE, buffer.getvalue())
        content = ReportContent(
            title=self.spec.title,
            results=results,
            optima=summary.optima,
            law=summary.law,
            law_problem=summary.law_problem,
            optimum_problems=summary.problems,
            spec_text=_json(self._description["spec"]),
            provenance=self._provenance(results),
            command=command or " ".join(sys.argv),
            results_files=(_RESULTS_FILE,),
            late_fraction=self.spec.training.late_fraction,
            normalization=self.spec.family.normalization,
            analysis_seed=self.spec.analysis.seed,
        )
        with explained(self.directory / "report.html"):
            return write_report(content, self.directory)

    def status(self) -> StudyStatus:
        """How far it has come; damaged shards are set aside on the way."""
        results = self.results()
        plan = self.plan
        return StudyStatus(
            runs_planned=plan.num_runs,
            runs_landed=len(results),
            runs_diverged=int((results["status"] == "diverged").sum()),
            packs_planned=len(plan.packs),
            packs_landed=len(plan.packs) - len(missing_packs(self._store, plan)),
            damaged=self._store.num_set_aside(),
        )

    def verify(self) -> list[Damage]:
        """Set aside shards that are damaged, and say which."""
        return self._store.verify()

    def _summary(self, results: pl.DataFrame) -> Summary:
        if results.is_empty():
            raise FitError(f"no run of {self.directory} has landed yet; run the study first")
        sizes = self._description["data"]
        validated = score_column(results) == "validation_accuracy"
        return summarize(
            results,
            num_train=sizes["num_train"],
            num_scored=sizes["num_validation" if validated else "num_test"],
            seed=self.spec.analysis.seed,
        )

    def _provenance(self, results: pl.DataFrame) -> dict[str, str]:
        from widthwise.report.training import family_description, training_description

        data = self._description["data"]
        seeds = sorted(results["seed"].unique().to_list())
        sizes = f"{data['num_train']} training, {data['num_test']} test"
        if data["num_validation"]:
            sizes += f", {data['num_validation']} validation"
        return {
            "data": f"{data['name']} ({sizes} examples of shape {tuple(data['input_shape'])})",
            "data fingerprint (SHA-256)": data["fingerprint"],
            "family": family_description(self.spec.family.model_dump(mode="json")),
            "training": training_description(self.spec.training.recipe),
            "specification (SHA-256)": self.spec.hash,
            "seeds": ", ".join(str(seed) for seed in seeds),
            "runs": f"{len(results)} of {self.plan.num_runs} planned",
            "training time": f"{results['seconds'].sum() / 60:.1f} core minutes",
            "device": self.spec.hardware.device,
            "this page was written on": describe_hardware(),
            "engine": ", ".join(sorted(results["engine"].unique().to_list())),
            **self._description["versions"],
        }


def _on_this_machine(spec: StudySpec) -> StudySpec:
    """With the device that "auto" stands for here, and packs that suit it.

    Raises:
        InputError: if it cannot compute in the precision asked for.
    """
    device = resolve_device(spec.hardware.device)
    require_precision(spec.training.precision, device)
    memory = card_memory(device)
    packing = spec.packing if memory is None else spec.packing.on_card(memory)
    return spec.model_copy(
        update={"hardware": HardwareSpec(device=str(device)), "packing": packing}
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("widthwise", "torch", "numpy", "scipy", "polars", "numba"):
        with suppress(PackageNotFoundError):  # numba is optional
            versions[name] = version(name)
    return versions


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=2, ensure_ascii=False)
