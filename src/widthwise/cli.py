"""The command line: arguments in, exit codes out.

Exit codes: 0 done, 1 the work failed, 2 bad input, 130 interrupted.
"""

import json
import logging
import math
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from widthwise.analysis.comparison import summarize_shifts
from widthwise.data import available
from widthwise.errors import FitError, InputError, StudyError
from widthwise.study import Study
from widthwise.study.comparing import compare_studies

app = typer.Typer(
    help="What happens to SGD's best hyper-parameters when a network gets wider.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
_Directory = Annotated[Path, typer.Argument(help="Directory of a study.")]


@app.command()
def run(
    spec: Annotated[
        Path, typer.Argument(help="Specification (TOML or JSON), or a study's folder.")
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
    as_json: _AsJson = False,
) -> None:
    """Run a study, or go on with an interrupted one, and write its report."""
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


@app.command()
def report(directory: _Directory, as_json: _AsJson = False) -> None:
    """Write the report of what a study has found so far."""
    _show_report(Study.open(directory), as_json)


@app.command()
def status(directory: _Directory, as_json: _AsJson = False) -> None:
    """How far a study has come."""
    study = Study.open(directory)
    now = study.status()
    if as_json:
        _print_json(asdict(now))
        return
    print(f"{study.directory}: {study.spec.title}")
    print(f"runs   {now.runs_landed} of {now.runs_planned} ({now.runs_diverged} diverged)")
    print(f"packs  {now.packs_landed} of {now.packs_planned}")
    if now.damaged:
        print(f"{now.damaged} damaged shard(s) were set aside; their runs are repeated by `run`")


@app.command()
def compare(first: _Directory, second: _Directory, as_json: _AsJson = False) -> None:
    """Whether the optima moved between two studies that differ in precision, device or packing."""
    shifts = compare_studies(Study.open(first), Study.open(second))
    if as_json:
        _print_json([asdict(shift) for shift in shifts])
        return
    for shift in shifts:
        print(shift.sentence())
    print(summarize_shifts(shifts))


@app.command()
def datasets(as_json: _AsJson = False) -> None:
    """Which data sets there are, whether they are here, and how to get them."""
    rows = available()
    if as_json:
        _print_json([asdict(row) for row in rows])
        return
    for row in rows:
        print(f"{row.name}\n  {row.description}")
        print(f"  here: {row.location}" if row.location else f"  not here: {row.how_to_get}")


def _show_report(study: Study, as_json: bool) -> None:
    page = study.report(command=" ".join(["widthwise", *map(shlex.quote, sys.argv[1:])]))
    summary = study.summary()
    verdict = summary.law.sentence() if summary.law else summary.law_problem
    if not as_json:
        Console(highlight=False, soft_wrap=True).print(f"{page}\n{verdict}", markup=False)
        return
    law = summary.law
    _print_json(
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


def _print_json(content: Any) -> None:
    print(json.dumps(_finite(content), ensure_ascii=False))


def _finite(value: Any) -> Any:
    """JSON knows neither infinity nor NaN: an open end is null."""
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Entry point of the ``widthwise`` command."""
    # `kill` stops a study as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        app(standalone_mode=True)
    except InputError as error:
        _fail(error, 2)
    except (StudyError, FitError) as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    print(f"widthwise: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
