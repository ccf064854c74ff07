"""Standard output and error, whatever they are connected to.

A terminal may know few characters, a pipe may be closed early, a disk may be full; and where a
program reads one JSON object, nothing else may be printed, whoever prints it.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

# Where JSON goes while standard output is kept for it; None: it is not.
_kept: ContextVar[TextIO | None] = ContextVar("kept", default=None)


def adapt_streams() -> None:
    """Characters that a stream does not know are written as "?"; one that is closed takes
    everything and shows nothing."""
    # A closed descriptor would be given to the next file that is opened, and prints to its reader.
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def json_stream() -> TextIO:
    """Where JSON is to be printed."""
    return _kept.get() or sys.stdout


@contextlib.contextmanager
def kept_for_json() -> Iterator[None]:
    """Whatever else is printed, also by libraries in C and by worker processes, goes to standard
    error."""
    output = sys.stdout
    output.flush()
    with contextlib.ExitStack() as stack:
        if _is_descriptor_one(output):
            real: TextIO = stack.enter_context(
                os.fdopen(os.dup(1), "w", encoding=output.encoding, errors=output.errors)
            )
            os.dup2(2, 1)
            stack.callback(os.dup2, real.fileno(), 1)
            stack.callback(output.flush)
        else:
            real = output
        token = _kept.set(real)
        stack.callback(_kept.reset, token)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def unwritable(error: OSError) -> str | None:
    """What to say if standard output could not be written; nothing if its reader went away, which
    is no fault (`| head`)."""
    _give_up_output()
    if error.errno == errno.EPIPE:
        return None
    return f"standard output must take what is printed, got: {error.strerror}"


def _give_up_output() -> None:
    """What was not written stays unwritten: Python would try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _is_descriptor_one(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return False
