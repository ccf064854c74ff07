"""The command line: arguments in, exit codes out.

Exit codes: 0 done, 1 the work failed, 2 bad input, 130 interrupted.
"""

import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from widthwise.cli import calibrate, inspect, probe, reproduce, studies, widen
from widthwise.cli.command import Command
from widthwise.errors import FitError, InputError, StudyError

# In the order in which `widthwise --help` lists them.
_COMMANDS: tuple[Callable[..., Any], ...] = (
    widen.widen,
    studies.run,
    studies.status,
    studies.report,
    studies.compare,
    calibrate.calibrate,
    inspect.inspect,
    probe.probe,
    reproduce.reproduce,
    studies.datasets,
)

app = typer.Typer(
    help="What happens to SGD's best hyper-parameters when a network gets wider.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in _COMMANDS:
    app.command(cls=Command)(_command)


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
