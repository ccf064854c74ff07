"""The command line: arguments in, exit codes out.

Exit codes: 0 done, 1 the work failed, 2 bad input, 130 interrupted.

A command imports its work when it runs, so that help and completion load neither PyTorch nor
Matplotlib.
"""

import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from widthwise.cli import (
    analyze,
    calibrate,
    init,
    inspect,
    probe,
    reproduce,
    run,
    studies,
    watch,
    widen,
)
from widthwise.cli.command import Command
from widthwise.cli.streams import adapt_streams, unwritable
from widthwise.errors import FitError, InputError, StudyError
from widthwise.text import printable

# In the order in which `widthwise --help` lists them; each with an example, as one would type it.
_COMMANDS: tuple[tuple[Callable[..., Any], str], ...] = (
    (
        widen.widen,
        "widthwise widen --learning-rate 1 --batch-size 64 -w 4 --parameterization ntk",
    ),
    (init.init, "widthwise init my-study"),
    (run.run, "widthwise run study.toml --set grid.seeds=3 -o studies/three-seeds"),
    (run.work, "widthwise work studies/three-seeds --for 2h"),
    (studies.status, "widthwise status studies/three-seeds"),
    (watch.watch, "widthwise watch studies/three-seeds"),
    (studies.report, "widthwise report studies/three-seeds"),
    (studies.track, "widthwise track studies/three-seeds --to tensorboard"),
    (studies.verify, "widthwise verify studies/three-seeds"),
    (studies.gc, "widthwise gc studies/three-seeds"),
    (studies.export, "widthwise export studies/three-seeds -o to-share"),
    (studies.compare, "widthwise compare studies/float32 studies/bf16"),
    (
        calibrate.calibrate,
        "widthwise calibrate study.toml --learning-rate 0.1 --batch-size 32 -w 16",
    ),
    (
        analyze.analyze,
        "widthwise analyze runs.csv --width width --x lr --seed seed --score val_acc",
    ),
    (inspect.inspect, "widthwise inspect networks.py:build --factor 1 4"),
    (probe.probe, "widthwise probe networks.py:build --data mnist1d --widths 1,4"),
    (reproduce.reproduce, "widthwise reproduce law:mlp-1-ntk --size minutes"),
    (studies.datasets, "widthwise datasets --json"),
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Help for a command: widthwise COMMAND --help",
)
for _command, _example in _COMMANDS:
    app.command(
        cls=Command,
        epilog=f"Example:\n\n{_example}",
    )(_command)


def main() -> None:
    """Entry point of the ``widthwise`` command."""
    # `kill` stops a study as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("torch").setLevel(logging.ERROR)
    adapt_streams()
    try:
        try:
            app(prog_name="widthwise", standalone_mode=True)
        finally:
            sys.stdout.flush()  # here, where what went wrong can be said
    except OSError as error:
        if error.filename is not None:
            _fail(StudyError(f"{error.filename}: {error.strerror}"), 1)
        said = unwritable(error)
        if said is not None:
            _fail(StudyError(said), 1)
        sys.exit(1)
    except InputError as error:
        _fail(error, 2)
    except (StudyError, FitError) as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    with contextlib.suppress(OSError):  # the exit code says it too
        print(f"widthwise: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    sys.exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(importlib.import_module("widthwise").__version__)  # not imported upwards
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What happens to SGD's best hyper-parameters when a network gets wider."""
