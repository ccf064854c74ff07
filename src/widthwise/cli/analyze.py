"""``widthwise analyze``: a table of runs that somebody trained, to a verdict."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError

_ROWS = "What the table holds"


def analyze(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV or Parquet file, one row a run.")
    ],
    width: Annotated[
        list[str],
        typer.Option(metavar="COLUMN", help="Column of widths.", rich_help_panel=_ROWS),
    ],
    x: Annotated[
        list[str],
        typer.Option(metavar="COLUMN", help="Column of values.", rich_help_panel=_ROWS),
    ],
    score: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of scores.", rich_help_panel=_ROWS),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of seeds.", rich_help_panel=_ROWS),
    ] = None,
    minimize: Annotated[
        bool | None,
        typer.Option(
            "--minimize/--maximize",
            help="Whether the smallest or the largest score is best; losses need one of the two.",
            show_default=False,
            rich_help_panel=_ROWS,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Only such rows, as batch_size=64; may be repeated.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    log_base: Annotated[
        float | None,
        typer.Option(help="Values are logarithms to this base.", rich_help_panel=_ROWS),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory for a page with figures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Where the best of any hyper-parameter lies at each width, and whether it moves, by a table.

    The options width, x and score may be repeated, or name several columns by a pattern.
    """
    from widthwise import sweeps

    found = sweeps.analyze(
        table,
        width=width,
        x=x,
        score=score or None,
        seed=seed,
        minimize=minimize,
        where=dict(_equation(text) for text in where or ()),
        log_base=log_base,
    )
    page = None
    if output is not None:
        command = " ".join(["widthwise", *map(shlex.quote, sys.argv[1:])])
        page = found.write_report(output, command=command)
    if as_json:
        print_json({**found.to_dict(), "report": page})
        return
    print(found)
    if page is not None:
        print(f"\nReport: {page}")


def _equation(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError(
            f"where must be COLUMN=VALUE, as in batch_size=64, got {text!r}", fields=("where",)
        )
    return name, value
