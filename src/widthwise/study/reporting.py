"""A study's report: what it found, with all that the page says of where it comes from."""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from widthwise.files import explained, write_atomically
from widthwise.runs.analyses import Summary
from widthwise.runs.blobs import Damage
from widthwise.runs.tables import setting_rows
from widthwise.study.asked import read_asked
from widthwise.study.next_steps import next_steps
from widthwise.study.provenance import provenance
from widthwise.study.rates_file import RATES_FILE, kept_rates
from widthwise.study.record import StudyRecord
from widthwise.text import printable

_RESULTS_FILE = "results.parquet"


def write_study_report(
    directory: Path,
    record: StudyRecord,
    results: pl.DataFrame,
    damage: Sequence[Damage],
    summary: Summary,
    *,
    place: Path,
    command: str | None,
) -> Path:
    """Write the page, its figures and the results; returns the path of the page.

    Args:
        directory: of the study.
        record: what it asks.
        results: its runs that have landed, at least one.
        damage: what in its store is not counted.
        summary: of the results.
        place: folder to write to.
        command: what produced it, for the page; None takes this program's command line.

    Raises:
        InputError: if the stable learning rates in the directory belong to another study, or the
            report cannot be written.
    """
    from widthwise.report import NextSteps, ReportContent, write_report  # they load Matplotlib

    rates = None
    if not record.is_old:  # theirs are of other initial weights
        rates = kept_rates(
            record.spec,
            directory / RATES_FILE,
            fingerprint=record.data.fingerprint,
            family=record.family,
        )
    buffer = io.BytesIO()
    results.write_parquet(buffer)
    write_atomically(place / _RESULTS_FILE, buffer.getvalue())
    spec = record.spec
    num_asked = None if record.is_old else len(read_asked(directory).runs)
    steps: tuple[str, ...] = ()
    following = None
    if not record.is_old:
        steps, following = next_steps(
            spec, setting_rows(results), summary, record.data.num_train, _seen(directory, place)
        )
    content = ReportContent(
        title=printable(spec.title),
        results=results,
        optima=summary.optima,
        law=summary.law,
        law_problem=summary.law_problem,
        optimum_problems=summary.problems,
        spec_text=_json(_shown_fields(record)),
        provenance=provenance(record, results, num_asked, damage),
        command=command or " ".join(sys.argv),
        results_files=(_RESULTS_FILE,),
        late_fraction=spec.training.late_fraction,
        normalization=spec.family.normalization,
        stable_learning_rates=() if rates is None else rates.rates,
        analysis_seed=spec.analysis.seed,
        next_steps=NextSteps(steps=steps, command=following) if steps else None,
    )
    with explained(place / "report.html"):
        return write_report(content, place)


def _shown_fields(record: StudyRecord) -> dict[str, Any]:
    """The specification, in which data that were given in memory stand as what they are: the file
    in which the study keeps them holds inputs as they were prepared, so that its own
    ``preprocessing`` would say the contrary of what was done."""
    fields = record.spec.portable_fields()
    if not record.data.in_memory:
        return fields
    data = record.data
    said = {"given in memory": data.name, "kept in": fields["data"]["path"]}
    if data.preparation:
        said["inputs"] = data.preparation
    return {**fields, "data": said}


def _seen(directory: Path, place: Path) -> str:
    """A study's folder as it is named from here; of an export, which goes elsewhere, its name."""
    here = Path.cwd()
    if directory != place or not directory.is_relative_to(here):
        return directory.name
    return str(directory.relative_to(here))


def _json(fields: Mapping[str, Any]) -> str:
    lines = json.dumps(fields, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(map(printable, lines))
