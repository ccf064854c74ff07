"""Commands that train studies."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.cli.studies import StudyDirectory, show_report
from widthwise.errors import InputError, StudyError, seconds_of
from widthwise.trackers import require_tracker

if TYPE_CHECKING:
    from widthwise.study import Study

_RUNS = "Runs"
_CLUSTER = "Clusters"
# What a worker on a cluster is given, unless another file is named.
_CLUSTER_FILE = Path("cluster.toml")


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
        int | None,
        typer.Option(
            min=1,
            help="Processes, default one a core; with --on how many workers to start there.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    on: Annotated[
        str, typer.Option(help="Who trains: local, slurm or ray.", rich_help_panel=_CLUSTER)
    ] = "local",
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML with a table \\[slurm] or \\[ray]: what a worker is given. Default: "
            "cluster.toml in this folder, if there is one.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster; default auto.", rich_help_panel=_CLUSTER),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="Return once Slurm has the workers.", rich_help_panel=_CLUSTER
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Folder or address (s3://bucket/prefix) of the runs; default the study's own.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="auto, compiled, chain, graph or vmap: who trains what is missing.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    retrain_where: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Withdraw its runs of which this is true, as in engine=vmap; train them again.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Go on though no run that is there is used.", rich_help_panel=_RUNS
        ),
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=PLACE]",
            help="Log runs as they land, to tensorboard, mlflow or wandb (offline); repeatable.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with an interrupted or changed one, and write its report.

    What has landed is kept and used: with more seeds, widths or noise scales only what is missing
    is trained.
    """
    if spec.is_file() or not spec.exists():
        _say_at_once_if_unreadable(spec)
    from widthwise.study import Study

    train = _trained_by(on, workers, cluster, address, detach, track or [])
    overrides = [*(settings or ()), *([f"packing.engine={engine}"] if engine is not None else [])]
    if not spec.is_dir():
        directory = output if output is not None else Path("studies") / spec.stem
        study = _create(directory, spec, overrides=overrides, store=store, yes=yes)
    elif output is not None:
        raise InputError(f"{spec} is a study that has begun, in this place; leave out --output")
    else:
        study = Study.open(spec)
        if overrides or store is not None:
            known = study.spec
            store = store or known.store
            study = _create(spec, known, overrides=overrides, store=store, yes=yes)
    if retrain_where is not None:
        withdrawn = study.withdraw(retrain_where)
        if not quiet:
            print(f"{withdrawn} runs are withdrawn, and trained again", file=sys.stderr)
    try:
        if not train(study, not quiet):
            _say_detached(study, as_json)
            return
    except KeyboardInterrupt:
        # Not status(): what was interrupted may be what it reads.
        print(
            f"interrupted: {len(study.results())} runs are safe; "
            f"go on with: widthwise run {shlex.quote(str(study.directory))}",
            file=sys.stderr,
        )
        raise
    except StudyError:
        if len(study.results()):
            show_report(study, as_json)
        raise
    if not quiet:
        print("writing the report …", file=sys.stderr, flush=True)
    show_report(study, as_json)


def _trained_by(
    on: str,
    workers: int | None,
    cluster: Path | None,
    address: str | None,
    detach: bool,
    track: list[str],
) -> Callable[["Study", bool], bool]:
    """What trains a study, told whether to show progress; whether nothing is left then. Whatever is
    wrong with the options is said before a study begins."""
    for name in track:
        require_tracker(name.partition("=")[0])
    if on == "local":
        given = {"cluster": cluster, "address": address, "detach": detach or None}
        for name in (name for name, value in given.items() if value is not None):
            raise InputError(f"{name} is for clusters; give on as well", fields=(name, "on"))
        return lambda study, progress: study.run(workers, progress=progress, track=track)
    from widthwise.execution.crew import require_starter
    from widthwise.study.elsewhere import ClusterSpec

    require_starter(on)
    if workers is None:
        raise InputError(
            f"on={on} needs workers: how many to start there", fields=("on", "workers")
        )
    number = workers
    file = cluster or (_CLUSTER_FILE if _CLUSTER_FILE.exists() else None)
    asked = ClusterSpec.parse(file, address=address)
    return lambda study, progress: study.run_on(
        on, number, cluster=asked, detach=detach, progress=progress, track=track
    )


def _say_detached(study: "Study", as_json: bool) -> None:
    now = study.status()
    if as_json:
        print_json({"done": False, "landed": now.runs_landed, "asked": now.runs_planned})
        return
    place = shlex.quote(str(study.directory))
    print(f"watch with: widthwise status {place}\nthen: widthwise report {place}")


def work(
    directory: StudyDirectory,
    time: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="Stop after 90s, 30m or 2h; default: never."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train runs of a study that has begun, until nothing is left; write no report.

    Any number of these can work on one study, on all machines that reach its folder, and beside
    `run`: each takes what no other holds. Who can write to the folder can run code here.
    """
    from widthwise.study import Study

    seconds = None if time is None else seconds_of("time", time)
    study = Study.open(directory)
    done = study.run(workers, progress=not quiet, seconds=seconds)
    now = study.status()
    if as_json:
        print_json({"done": done, "landed": now.runs_landed, "asked": now.runs_planned})
        return
    left = "nothing is left" if done else "the time is over"
    print(f"{left}: {now.runs_landed} of {now.runs_planned} runs have landed")


def _say_at_once_if_unreadable(spec: Path) -> None:
    """Before PyTorch is loaded, which takes seconds."""
    from widthwise.study.reading import read_fields

    read_fields(spec)


def _create(directory: Path, spec: Any, *, yes: bool, **options: Any) -> "Study":
    """Begin or change a study; on a terminal, ask where `--yes` is wanted elsewhere."""
    from widthwise.study import Study

    try:
        return Study.create(directory, spec, yes=yes, **options)
    except InputError as error:
        if "yes" not in error.fields or not sys.stdin.isatty():
            raise
        typer.confirm(f"{str(error).partition('; give yes')[0]}. Go on?", abort=True, err=True)
        return Study.create(directory, spec, yes=True, **options)
