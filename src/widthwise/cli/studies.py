"""Commands that run studies and show what they found."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError
from widthwise.text import printable

if TYPE_CHECKING:
    from widthwise.study import Study

_Directory = Annotated[Path, typer.Argument(help="Directory of a study.")]


def run(
    spec: Annotated[
        Path,
        typer.Argument(metavar="SPEC", help="Specification (TOML or JSON), or a study's folder."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Study directory; default studies/<name of SPEC>."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in grid.seeds=3."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default one a core.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with an interrupted one, and write its report."""
    from widthwise.study import Study

    if spec.is_dir():
        if output is not None or settings:
            raise InputError(
                f"{spec} is a study that has begun: its specification and place are fixed; "
                "leave out --output and --set"
            )
        study = Study.open(spec)
    else:
        directory = output if output is not None else Path("studies") / spec.stem
        study = Study.create(directory, spec, overrides=settings or ())
    try:
        study.run(workers, progress=not quiet)
    except KeyboardInterrupt:
        # Not status(): the plan may be what was interrupted, and takes long.
        print(
            f"interrupted: {len(study.results())} runs are safe; "
            f"go on with: widthwise run {shlex.quote(str(study.directory))}",
            file=sys.stderr,
        )
        raise
    _show_report(study, as_json)


def report(directory: _Directory, as_json: AsJson = False) -> None:
    """Write the report of what a study has found so far."""
    from widthwise.study import Study

    _show_report(Study.open(directory), as_json)


def status(directory: _Directory, as_json: AsJson = False) -> None:
    """How far a study has come."""
    from widthwise.study import Study

    study = Study.open(directory)
    now = study.status()
    if as_json:
        print_json(now)
        return
    print(f"{study.directory}: {printable(study.spec.title)}")
    print(f"runs   {now.runs_landed} of {now.runs_planned} ({now.runs_diverged} diverged)")
    print(f"packs  {now.packs_landed} of {now.packs_planned}")
    if now.damaged:
        print(f"{now.damaged} damaged shard(s) were set aside; their runs are repeated by `run`")


def compare(first: _Directory, second: _Directory, as_json: AsJson = False) -> None:
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


def _show_report(study: "Study", as_json: bool) -> None:
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
                    "score": optimum.score,
                }
                for width, optimum in summary.optima.items()
            },
            "problems": {f"{width:g}": text for width, text in summary.problems.items()},
        }
    )
