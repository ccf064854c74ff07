"""The command that puts the paper's claims on trial."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from widthwise.reproduce.claims import Trial
    from widthwise.reproduce.cost import Cost
    from widthwise.reproduce.presets import PresetName
    from widthwise.reproduce.running import TrialResult
    from widthwise.study.spec import StudySpec

_DIRECTORY = Path("reproduction")
_FILE_WIDTH = 120
# Panels of the help.
_STUDIES, _SHOW = "The studies", "Show or write, and run nothing"
_COLORS = {"confirmed": "bold blue", "contradicted": "bold red", "inconclusive": "dim"}


def reproduce(
    claims: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CLAIM",
            help="Claims, or families of them as in law:mlp-1-ntk; default all. See --list.",
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="minutes, hours or paper.")] = "minutes",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where studies, page and figures go.")
    ] = _DIRECTORY,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on though no run that is there is used.")
    ] = False,
    accept_cost: Annotated[
        bool, typer.Option("--accept-cost", help="Start --size paper, at the cost it prints.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist (default), mnist, cifar10 or mnist1d.", rich_help_panel=_STUDIES
        ),
    ] = None,
    first_seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**62 - 1,
            help="Runs have this seed and those after it; another repeats the trials "
            "independently, with an --output of its own.",
            rich_help_panel=_STUDIES,
        ),
    ] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of all studies: search.max_runs=40.",
            rich_help_panel=_STUDIES,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; default one a core.", rich_help_panel=_STUDIES),
    ] = None,
    show_list: Annotated[
        bool,
        typer.Option("--list", help="The claims and their families.", rich_help_panel=_SHOW),
    ] = False,
    write_specs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY", help="The specifications, as TOML to edit.", rich_help_panel=_SHOW
        ),
    ] = None,
    gflops: Annotated[
        float,
        typer.Option(
            min=1e-3,
            help="Speed behind the hours that --size paper prints.",
            rich_help_panel=_STUDIES,
        ),
    ] = 1000.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the paper's claims on trial: run what they need, and give each a verdict.

    A finding that contradicts a claim is no failure: the exit code is 0.
    """
    from widthwise.reproduce.claims import trials
    from widthwise.reproduce.presets import require
    from widthwise.reproduce.sizes import SIZES

    require(size, SIZES, "size")
    wanted = trials(claims or [], size)
    if show_list:
        _show_list(wanted, as_json)
        return
    if write_specs is not None:
        _write_specs(write_specs, claims, wanted, size, data, first_seed, as_json)
        return
    from rich.console import Console

    from widthwise.files import make_directory
    from widthwise.reproduce.running import judge_all, needed_fields, run_needed, specifications

    asked: dict[str, Any] = {
        "size": size,
        "data": data,
        "first_seed": first_seed,
        "overrides": settings or (),
    }
    specs = specifications(wanted, **asked)
    console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
    _announce(wanted, specs, size, gflops, console)
    if size == "paper" and not accept_cost:
        if not yes:
            raise InputError(
                "--size paper starts only with --accept-cost, because it costs what is printed "
                "above; choose --size hours, fewer claims, or add --accept-cost"
            )
        print("--yes starts --size paper in this release; say --accept-cost", file=sys.stderr)
    command = " ".join(["widthwise", *map(shlex.quote, sys.argv[1:])])
    make_directory(output)
    try:
        run_needed(
            wanted,
            specs,
            output,
            workers=workers,
            progress=not quiet,
            tell=lambda message: console.print(message, markup=False),
            command=command,
            first_seed=first_seed,
            yes=yes,
        )
    except KeyboardInterrupt:
        print("interrupted: what has landed is safe; the same command goes on", file=sys.stderr)
        raise
    findings = judge_all(wanted, specs, output, first_seed=first_seed)
    page = _write_results(findings, size, needed_fields(wanted, **asked), output, command)
    if as_json:
        print_json(_content(findings, size, page))
    else:
        _show(findings, page)


def _announce(
    wanted: Sequence["Trial"],
    specs: Mapping["PresetName", "StudySpec"],
    size: str,
    gflops: float,
    console: "Console",
) -> None:
    from rich.console import Console

    from widthwise.reproduce.cost import Cost, study_cost
    from widthwise.reproduce.running import needed_rates, needed_studies

    costs = {preset: study_cost(specs[preset]) for preset in needed_studies(wanted)}
    total = sum(costs.values(), Cost())
    # Of the cost this must be seen, also by those who asked for quiet.
    shown = Console(stderr=True, highlight=False, soft_wrap=True) if size == "paper" else console
    if size == "paper":
        for preset, cost in costs.items():
            shown.print(f"{preset}: {_cost_words(cost, gflops)}", markup=False)
    probes = len(needed_rates(wanted))
    also = f", and {probes} families whose largest stable learning rates are probed"
    shown.print(
        f"{len(wanted)} trials from {len(costs)} studies{also if probes else ''}: "
        + _cost_words(total, gflops),
        markup=False,
    )


def _cost_words(cost: "Cost", gflops: float) -> str:
    return (
        f"at most {cost.runs:,} runs, about {cost.steps:.2g} steps and {cost.flops:.2g} "
        f"floating-point operations, {cost.hours(gflops):,.3g} hours at {gflops:g} GFLOP/s"
    )


def _show_list(wanted: Sequence["Trial"], as_json: bool) -> None:
    from rich.console import Console

    from widthwise.reproduce.claims import CLAIMS
    from widthwise.reproduce.sizes import SIZES

    if as_json:
        rows = [
            {"name": trial.name, "claim": trial.claim.words, "family": str(trial.preset)}
            for trial in wanted
        ]
        print_json({"trials": rows, "sizes": dict(SIZES)})
        return
    console = Console(highlight=False, soft_wrap=True)
    for claim in CLAIMS.values():
        names = [trial.name for trial in wanted if trial.claim is claim]
        if names:
            console.print(f"{claim.key}: {claim.words}", markup=False)
            for name in names:
                console.print(f"  {name}", markup=False)
    for name, words in SIZES.items():
        console.print(f"--size {name}: {words}", markup=False)


def _write_specs(
    directory: Path,
    claims: list[str] | None,
    wanted: Sequence["Trial"],
    size: str,
    data: str | None,
    first_seed: int,
    as_json: bool,
) -> None:
    """Presets of the claims that were named, or all that go with the data."""
    from widthwise.files import make_directory, write_atomically
    from widthwise.reproduce.paper import provenance
    from widthwise.reproduce.presets import all_presets, dump, fields_of

    chosen = dict.fromkeys(trial.preset for trial in wanted) if claims else all_presets()
    make_directory(directory)
    paths = []
    for preset in chosen:
        try:
            fields = fields_of(preset, size=size, data=data, first_seed=first_seed)
        except InputError:
            if claims:
                raise
            continue
        path = directory / f"{preset}.toml"
        text = provenance(preset, fields).comment() + dump(fields) + "\n"
        write_atomically(path, text.encode())
        paths.append(path)
    if as_json:
        print_json({"specifications": paths})
        return
    for path in paths:
        print(path)
    print(f"run one with: widthwise run {shlex.quote(str(paths[0]))}")


def _write_results(
    findings: Sequence["TrialResult"],
    size: str,
    fields: Mapping["PresetName", Mapping[str, Any]],
    directory: Path,
    command: str,
) -> Path:
    from importlib.metadata import version

    from widthwise.hardware import describe_hardware
    from widthwise.reproduce.page import Shown, write_page
    from widthwise.reproduce.sizes import SIZES

    return write_page(
        Shown(
            findings=findings,
            size=size,
            fields=fields,
            directory=directory,
            command=command,
            provenance={
                "size": f"{size}: {SIZES[size]}",
                "this page was written on": describe_hardware(),
                "widthwise": version("widthwise"),
                "torch": version("torch"),
            },
        )
    )


def _show(findings: Sequence["TrialResult"], page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from widthwise.reproduce.running import in_all

    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for name in ("claim", "family", "measured", "verdict"):
        table.add_column(name, overflow="fold", no_wrap=name != "measured")
    for name in ("runs", "core min"):
        table.add_column(name, justify="right")
    previous = None
    for finding in findings:
        judged, claim = finding.judgement, finding.trial.claim
        table.add_row(
            claim.key if claim is not previous else "",
            str(finding.trial.preset),
            judged.measured(),
            f"[{_COLORS[judged.verdict]}]{judged.verdict}[/]",
            f"{finding.runs:,}",
            f"{finding.seconds / 60:.1f}",
        )
        previous = claim
    console = Console(highlight=False)
    if not console.is_terminal:  # nobody folds lines in a file
        console = Console(highlight=False, width=_FILE_WIDTH)
    console.print(table)
    plain = Console(highlight=False, soft_wrap=True)
    for symbol, words in dict.fromkeys(
        (f.judgement.symbol, f.judgement.quantity)
        for f in findings
        if f.judgement.value is not None
    ):
        plain.print(f"  {symbol}: {words}", markup=False)
    open_ones = [f for f in findings if f.judgement.would_decide]
    if open_ones:
        console.print("\nWhat would decide the inconclusive ones:")
    for finding in open_ones:
        plain.print(f"  {finding.trial.name}: {finding.judgement.would_decide}", markup=False)
    runs, seconds = in_all(findings)
    plain.print(f"\n{runs:,} runs, {seconds / 60:.1f} core minutes\n{page}", markup=False)


def _content(findings: Sequence["TrialResult"], size: str, page: Path) -> dict[str, Any]:
    from widthwise.reproduce.running import in_all

    runs, seconds = in_all(findings)
    return {
        "size": size,
        "page": page,
        "runs": runs,
        "seconds": seconds,
        "findings": [
            {
                "name": finding.trial.name,
                "claim": finding.trial.claim.words,
                "family": str(finding.trial.preset),
                "symbol": finding.judgement.symbol,
                "quantity": finding.judgement.quantity,
                "value": finding.judgement.value,
                "interval": finding.judgement.interval,
                "verdict": finding.judgement.verdict,
                "sentence": finding.judgement.sentence,
                "would_decide": finding.judgement.would_decide,
                "runs": finding.runs,
                "seconds": finding.seconds,
            }
            for finding in findings
        ],
    }
