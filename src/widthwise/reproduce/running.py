"""Runs what claims need, resumably, and judges them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from widthwise.errors import InputError
from widthwise.reproduce.claims import Trial
from widthwise.reproduce.judging import Evidence, Judgement
from widthwise.reproduce.presets import PresetName, fields_of
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.study import Study
from widthwise.study.rates_file import kept_rates
from widthwise.study.reading import override_fields
from widthwise.study.spec import StudySpec
from widthwise.study.stable_rates import ProbeOptions, measured_rates

_RATES = "stable-rates"
_STORE = "store"  # claims share runs
_SEARCH_KEY = "search."


@dataclass(frozen=True, kw_only=True, eq=False)
class Spent:
    """Runs and seconds (summed over processes) of a study, or of probing a preset's widths."""

    what: Literal["study", "rates"]
    preset: PresetName
    runs: int
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialResult:
    """What came out for one trial.

    Attributes:
        trial: claim and family.
        judgement: verdict, value and interval.
        spent: on what it rests, shared with other claims.
        evidence: what it was judged by.
    """

    trial: Trial
    judgement: Judgement
    spent: tuple[Spent, ...]
    evidence: Evidence

    @property
    def runs(self) -> int:
        return sum(spent.runs for spent in self.spent)

    @property
    def seconds(self) -> float:
        return sum(spent.seconds for spent in self.spent)


def in_all(findings: Iterable[TrialResult]) -> tuple[int, float]:
    """Runs and seconds, each study and each probe counted once."""
    once = {(spent.what, spent.preset): spent for f in findings for spent in f.spent}
    return sum(s.runs for s in once.values()), sum(s.seconds for s in once.values())


class Telling(Protocol):
    """What the user is told while things run."""

    def __call__(self, message: str, /) -> None: ...


def needed_fields(
    wanted: Sequence[Trial],
    *,
    size: str,
    data: str | None = None,
    first_seed: int = 0,
    overrides: Sequence[str] = (),
) -> dict[PresetName, dict[str, Any]]:
    """Preset → fields of the specification of every preset that the trials need, each once, in
    their order.

    Raises:
        InputError: if the data do not go with a network, or an override replaces a whole table.
    """
    needed = {}
    for preset in dict.fromkeys(trial.preset for trial in wanted):
        fields = fields_of(preset, size=size, data=data, first_seed=first_seed)
        for override in overrides:
            key = override.partition("=")[0].strip()
            if key in fields and isinstance(fields[key], Mapping | list):
                raise InputError(
                    f"{key!r} is a table of every study, of which single keys can be overridden, "
                    f"as in search.max_runs=40; got {override!r}"
                )
            # What belongs to a search means nothing to a grid.
            if "search" in fields or not override.startswith(_SEARCH_KEY):
                fields = override_fields(fields, override)
        needed[preset] = fields
    return needed


def specifications(
    wanted: Sequence[Trial],
    *,
    size: str,
    data: str | None = None,
    first_seed: int = 0,
    overrides: Sequence[str] = (),
) -> dict[PresetName, StudySpec]:
    """As :func:`needed_fields`, checked.

    Raises:
        InputError: if the data do not go with a network, or an override is wrong.
    """
    needed = needed_fields(wanted, size=size, data=data, first_seed=first_seed, overrides=overrides)
    return {preset: StudySpec.parse(fields) for preset, fields in needed.items()}


def needed_studies(wanted: Sequence[Trial]) -> list[PresetName]:
    """Presets that are run as studies, each once; the others are only probed."""
    return list(dict.fromkeys(trial.preset for trial in wanted if trial.claim.needs_study))


def needed_rates(wanted: Sequence[Trial]) -> list[PresetName]:
    """Presets whose largest stable learning rates are measured."""
    return list(dict.fromkeys(trial.preset for trial in wanted if trial.claim.needs_rates))


def run_needed(
    wanted: Sequence[Trial],
    specs: Mapping[PresetName, StudySpec],
    directory: Path,
    *,
    workers: int | None,
    progress: bool,
    tell: Telling,
    command: str,
    first_seed: int = 0,
    yes: bool = False,
) -> None:
    """Train and probe whatever is not there yet; each study is a folder of its own, and all share
    one store.

    Args:
        first_seed: of the probes; the specifications have theirs.
        yes: as for :meth:`widthwise.study.Study.create`.

    Raises:
        InputError, StudyError, FitError: as :meth:`widthwise.study.Study.run`.
    """
    probes, studies = needed_rates(wanted), needed_studies(wanted)
    total = len(probes) + len(studies)
    for number, preset in enumerate(probes, start=1):
        tell(f"[{number}/{total}] {preset}: largest stable learning rates")
        measured_rates(
            specs[preset],
            rates_file(directory, preset),
            # Without momentum whatever the study has: what the claims are of is plain SGD.
            options=ProbeOptions(momentum=0.0, first_seed=first_seed),
            on_width=lambda width: tell(f"  w = {width:g}"),
        )
    for number, preset in enumerate(studies, start=len(probes) + 1):
        tell(f"[{number}/{total}] {specs[preset].title}")
        study = Study.create(
            directory / str(preset), specs[preset], store=directory / _STORE, yes=yes
        )
        study.run(workers, progress=progress)
        study.report(command=command)


def judge_all(
    wanted: Sequence[Trial],
    specs: Mapping[PresetName, StudySpec],
    directory: Path,
    *,
    first_seed: int = 0,
) -> list[TrialResult]:
    """Judge what has landed; everything that :func:`run_needed` makes must be there."""
    found = []
    studies: dict[PresetName, tuple[Evidence, Spent]] = {}
    for trial in wanted:
        claim, preset = trial.claim, trial.preset
        evidence, spent = _no_study(), []
        if claim.needs_study:
            if preset not in studies:
                studies[preset] = study_evidence(preset, Study.open(directory / str(preset)))
            evidence, of_study = studies[preset]
            spent.append(of_study)
        if claim.needs_rates:
            path = rates_file(directory, preset)
            measured = kept_rates(specs[preset], path, first_seed=first_seed)
            if measured is None:
                raise InputError(f"{path} is not there; probe the family first")
            evidence = replace(evidence, rates=measured.rates)
            spent.append(
                Spent(
                    what="rates",
                    preset=preset,
                    runs=measured.num_runs,
                    seconds=measured.seconds,
                )
            )
        found.append(
            TrialResult(
                trial=trial,
                judgement=claim.judge(evidence),
                spent=tuple(spent),
                evidence=evidence,
            )
        )
    return found


def study_evidence(preset: PresetName, study: Study) -> tuple[Evidence, Spent]:
    """What a study found, and its runs.

    Raises:
        FitError: if no run has landed.
    """
    results, summary = study.results(curves=True), study.summary()
    widths = {width for grid in study.spec.grid for width in grid.widening_factor}
    # A search may end before it has begun a width.
    never = widths.difference(results["widening_factor"].to_list())
    evidence = Evidence(
        results=results,
        optima=summary.optima,
        problems={**summary.problems, **dict.fromkeys(sorted(never), "nothing was run there")},
        law=summary.law,
        law_problem=summary.law_problem,
        search_end=study.search_end(),
        seed=study.spec.analysis.seed,
    )
    seconds = float(results["seconds"].sum())
    return evidence, Spent(what="study", preset=preset, runs=len(results), seconds=seconds)


def rates_file(directory: Path, preset: PresetName) -> Path:
    """Where the largest stable learning rates of a preset are kept."""
    return directory / _RATES / f"{preset}.json"


def _no_study() -> Evidence:
    return Evidence(
        results=pl.DataFrame(schema=RESULTS_SCHEMA),
        optima={},
        problems={},
        law=None,
        law_problem="no study was run",
    )
