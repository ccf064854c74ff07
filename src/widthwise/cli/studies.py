"""Commands that show and look after what studies found."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.files import whole_path
from widthwise.text import clock, printable

if TYPE_CHECKING:
    from widthwise.study import Study

StudyDirectory = Annotated[Path, typer.Argument(help="Directory of a study.")]


def status(directory: StudyDirectory, as_json: AsJson = False) -> None:
    """How far a study has come, from its files alone."""
    from widthwise.study.status import study_status

    place = whole_path(directory)
    now = study_status(place)
    if as_json:
        print_json(now)
        return
    of = "" if now.runs_planned is None else f" of {now.runs_planned}"
    print(f"{place}: {printable(now.title)}")
    print(f"runs   {now.runs_landed}{of} ({now.runs_diverged} diverged)")
    if now.longest_in_flight is not None:
        since = clock(now.longest_in_flight)
        print(f"       {now.runs_in_flight} in flight, the first of them for {since}")
    if now.runs_failed:
        print(f"       {now.runs_failed} failed; `widthwise run` tries them again")
    if now.runs_waiting:
        print(f"       {now.runs_waiting} waiting")
    if now.kept:
        print(f"       {now.kept} more in the store, not asked for")
    if now.runs_planned is None:
        print("format 2, of Widthwise 0.1: it can be read and not gone on with")
    if now.damaged:
        repeated = "" if now.runs_planned is None else "; their runs are repeated by `run`"
        print(f"{now.damaged} damaged file(s) are not counted{repeated}")


def report(directory: StudyDirectory, as_json: AsJson = False) -> None:
    """Write the report of what a study has found so far."""
    from widthwise.study import Study

    show_report(Study.open(directory), as_json)


def track(
    directory: StudyDirectory,
    to: Annotated[str, typer.Option(metavar="NAME", help="tensorboard, mlflow or wandb.")],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Folder, or an address that the tracker knows; default: what its own environment "
            "variable says, or else a place in the study's folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Log the runs of a study to an experiment tracker, those that are not there yet.

    Weights & Biases logs offline, unless WANDB_MODE says otherwise.
    """
    from widthwise.study import Study
    from widthwise.study.tracking import named_tracker

    study = Study.open(directory)
    tracker = named_tracker(to, study.directory, at=at, argument="to")
    logged = study.track(tracker)
    total = len(study.results())
    if as_json:
        print_json({"tracker": tracker.name, "logged": logged, "there": total - logged})
        return
    print(f"{tracker.name}: {logged} runs logged, {total - logged} were there")


def verify(directory: StudyDirectory, as_json: AsJson = False) -> None:
    """Look at every result of a study, and set aside what is damaged (of Widthwise 0.1: say so)."""
    from widthwise.study import Study

    study = Study.open(directory)
    damage = study.verify()
    if as_json:
        print_json([{"place": d.place, "problem": d.problem} for d in damage])
    else:
        for found in damage:
            print(found)
        print(f"{len(study.results())} runs are sound, {len(damage)} files are damaged")
    if damage:
        raise typer.Exit(1)


def gc(directory: StudyDirectory, as_json: AsJson = False) -> None:
    """Clear what finished and crashed work left in a study's store, and merge its single files."""
    from widthwise.study import Study

    removed, merged = Study.open(directory).collect_garbage()
    if as_json:
        print_json({"removed": removed, "merged": merged})
    else:
        print(f"{removed} leftover files removed, {merged} runs merged")


def export(
    directory: StudyDirectory,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; made if it is not there.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write what can be given away: the results as one Parquet file, and the report.

    No path of this machine is in it.
    """
    from widthwise.study import Study

    page = Study.open(directory).export(output)
    if as_json:
        print_json({"report": page, "results": page.parent / "results.parquet"})
    else:
        print(f"{page.parent / 'results.parquet'}\n{page}")


def compare(first: StudyDirectory, second: StudyDirectory, as_json: AsJson = False) -> None:
    """Whether the optima moved between two studies that differ in precision, device or packing."""
    from widthwise.analysis.comparison import summarize_shifts
    from widthwise.study import Study
    from widthwise.study.comparing import compare_studies

    shifts = compare_studies(Study.open(first), Study.open(second))
    if as_json:
        print_json(shifts)
        return
    for shift in shifts:
        print(shift.sentence())
    print(summarize_shifts(shifts))


def datasets(as_json: AsJson = False) -> None:
    """Which data sets there are, whether they are here, and how to get them."""
    from widthwise.data import available

    rows = available()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row.name}\n  {row.description}")
        print(f"  here: {row.location}" if row.location else f"  not here: {row.how_to_get}")


def show_report(study: "Study", as_json: bool) -> None:
    from rich.console import Console

    page = study.report(command=" ".join(["widthwise", *map(shlex.quote, sys.argv[1:])]))
    summary = study.summary()
    verdict = summary.law.sentence() if summary.law else summary.law_problem
    if not as_json:
        Console(highlight=False, soft_wrap=True).print(f"{page}\n{verdict}", markup=False)
        return
    law = summary.law
    print_json(
        {
            "report": str(page),
            "verdict": law.verdict if law else None,
            "sentence": verdict,
            "exponent": law.exponent if law else None,
            "interval": list(law.interval) if law else None,
            "optima": {
                f"{width:g}": {
                    "normalized_noise_scale": optimum.noise_scale,
                    "interval": list(optimum.interval),
                    "censoring": optimum.censoring,
                    "reason": optimum.reason,
                    "doubts": list(optimum.doubts),
                    "score": optimum.score,
                }
                for width, optimum in summary.optima.items()
            },
            "problems": {f"{width:g}": text for width, text in summary.problems.items()},
        }
    )
