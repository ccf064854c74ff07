"""``widthwise calibrate``: measure the law on one's own networks, and plan with it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from widthwise.cli.command import widening_factors
from widthwise.cli.output import AsJson, Explain, print_json, print_plan
from widthwise.errors import InputError

_STUDY = "The study that measures"


def calibrate(
    context: typer.Context,
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC", help="TOML or JSON file with tables family, data and training; no grid."
        ),
    ],
    learning_rate: Annotated[float, typer.Option(help="Tuned at widening factor 1.")],
    batch_size: Annotated[int, typer.Option(help="Tuned at widening factor 1.")],
    widening_factor: Annotated[
        float, typer.Option("--factor", "-w", help="Widening factor to plan for.")
    ],
    momentum: Annotated[float, typer.Option(help="Tuned at widening factor 1.")] = 0.0,
    keep: Annotated[
        str | None, typer.Option(help="What the plan leaves as it is: see `widthwise widen`.")
    ] = None,
    widths: Annotated[
        str,
        typer.Option(help="Widening factors to measure at, at least two.", rich_help_panel=_STUDY),
    ] = "1,2,4",
    seeds: Annotated[int, typer.Option(help="Runs a setting.", rich_help_panel=_STUDY)] = 5,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Directory; default studies/<name of SPEC>-law.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key, as in data.num_train=9.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; default one a core.", rich_help_panel=_STUDY),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Measure on your networks and data how the best noise scale moves with width, then plan.

    Trains a few small widths round the tuned setting. Interrupted, the same command goes on.
    """
    from widthwise.adviser import Setting
    from widthwise.adviser.solving import NEEDS_MAX_STABLE
    from widthwise.study.calibration import calibrate as run_calibration
    from widthwise.study.calibration import default_directory

    directory = output if output is not None else default_directory(spec)
    if keep in NEEDS_MAX_STABLE:
        raise InputError(
            f"--keep {keep} needs the largest stable learning rate, which this command does not "
            f"take; leave it out, then give both to `widthwise widen --law {directory}`"
        )
    advice: dict[str, Any] = {} if keep is None else {"keep": keep}
    found = run_calibration(
        directory,
        spec,
        Setting(learning_rate=learning_rate, batch_size=batch_size, momentum=momentum),
        widening_factor=widening_factor,
        widths=widening_factors(widths),
        seeds=seeds,
        overrides=settings or (),
        workers=workers,
        progress=not quiet,
        **advice,
    )
    page, law = found.study.report(), found.law
    if as_json:
        print_json(
            {
                "plan": found.plan.to_dict(),
                "exponent": None if law is None else law.exponent,
                "interval": None if law is None else list(law.interval),
                "verdict": None if law is None else law.verdict,
                "notes": list(found.notes),
                "report": page,
            }
        )
        return
    print_plan(found.plan, context.command, explain=explain)
    if law is not None:
        print(f"\nThe law behind it: {law.sentence()}")
    print(f"\nThe study's report: {page}")
    for note in found.notes:
        print(f"Note: {note}.")
