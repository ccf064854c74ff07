"""The errors a user can meet. Each message gives the rule, the value and the remedy."""

import difflib
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

# Longer ones are no misspelling, and comparing them takes time.
_LONGEST_NAME = 60


class InputError(ValueError):
    """Something the user gave is wrong; the command line ends with exit code 2.

    Messages speak of arguments by their names in Python. Those in ``fields`` a front end may
    write as its own: the command line puts ``--factor`` where a message says
    ``widening_factor``, if the command that ran has that option.

    Attributes:
        fields: names of arguments, as they stand in the message.

    >>> InputError("seeds must be at least 2, got 1", fields=("seeds",)).fields
    ('seeds',)
    """

    def __init__(self, message: str = "", *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


@contextmanager
def exits_raise() -> Iterator[None]:
    """While code of the user's runs in this thread, ``os._exit`` raises SystemExit as ``sys.exit``
    does: nothing else could say that the program did not end by itself. Processes that are forked
    meanwhile, and other threads, end as ever."""
    exit_at_once, process, thread = os._exit, os.getpid(), threading.current_thread()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process or threading.current_thread() is not thread:
            exit_at_once(status)
        raise SystemExit(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = exit_at_once


def said_by(error: BaseException) -> str:
    """The kind of an error and what it says, if it can say it: those of users may not.

    >>> said_by(KeyError("w"))
    "KeyError: 'w'"
    """
    try:
        words = str(error)
    except Exception:  # its __str__ is the user's code
        words = "(its message cannot be read)"
    return f"{type(error).__name__}: {words}"


def real_number(name: str, value: Any) -> float:
    """A number, or a scalar of NumPy or PyTorch, as a float.

    Args:
        name: of the argument.
        value: as given; truth values and text are no numbers.

    Raises:
        InputError: if it is none.

    >>> real_number("epochs", 4)
    4.0
    """
    try:
        if not isinstance(value, bool | str | bytes):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name} must be a number, got {value!r}", fields=(name,))


def perhaps(given: object, known: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """What ends a message about an unknown name: the known one that it may stand for, as when case,
    accents or hyphens differ; nothing if it resembles none.

    Args:
        given: what was given.
        known: names that there are.
        others: other words for them, in lower case without hyphens → the name.

    >>> perhaps("NTK", ["standard", "ntk"]), perhaps("µP", ["mup"]), perhaps("Batch Norm", ["mlp"])
    ('; perhaps ntk?', '; perhaps mup?', '')
    >>> perhaps("Kaiming", ["standard"], {"kaiming": "standard"})
    '; perhaps standard?'
    """
    if not isinstance(given, str) or len(given) > _LONGEST_NAME:
        return ""
    plain = {_plain(name): name for name in known}
    words = dict(others or {}) | plain
    near = difflib.get_close_matches(_plain(given), words, n=1, cutoff=0.7)
    return f"; perhaps {words[near[0]]}?" if near else ""


def _plain(name: str) -> str:
    """Without case, accents and whatever is neither letter nor digit; µ is mu."""
    letters = unicodedata.normalize("NFKD", name.casefold()).replace("μ", "mu")
    return "".join(c for c in letters if c.isalnum())


def seconds_of(name: str, text: str) -> float:
    """A time as it is written on a command line, in seconds.

    Args:
        name: of the argument.
        text: as given.

    Raises:
        InputError: if it is none, or 0.

    >>> seconds_of("time", "90s"), seconds_of("time", "1.5h")
    (90.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or float(found[1]) <= 0:
        raise InputError(
            f"{name} must be a number of seconds, minutes or hours, as in 90s, 30m or 2h, got "
            f"{text!r}",
            fields=(name,),
        )
    return float(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


class DataNotFoundError(InputError):
    """A data set is not on this machine; the message says where it was sought and how to get it."""


class FitError(RuntimeError):
    """The measurements do not determine the quantity that was asked for."""


class StudyError(RuntimeError):
    """A study could not go on (a worker died, the disk is full); what has landed is safe."""
