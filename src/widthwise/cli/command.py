"""What all commands do alike: errors name the options of the command that ran, and old spellings
of options work; widening factors are read.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from typer.core import TyperCommand

from widthwise.cli.streams import kept_for_json
from widthwise.cli.usual import meant
from widthwise.deprecated import LAST
from widthwise.errors import InputError, exits_raise

# Old spelling of an option → the one that is meant.
_OLD_SPELLINGS = {"--widening-factor": "--factor"}
# Command → the table of a specification that it makes itself, or makes no use of.
_UNUSED = {"calibrate": "grid", "probe": "grid", "reproduce": "grid"}


class Command(TyperCommand):
    """A command that says which of its options an error is about."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for names in options(self).values() for name in names}
        try:
            return super().parse_args(ctx, [_new_spelling(word, known) for word in args])
        except Exception as error:  # whichever library typer parses with
            name = getattr(error, "option_name", None)
            if isinstance(name, str) and hasattr(error, "possibilities"):
                # "-lr" is parsed as -l.
                typed = next((word for word in args if word.startswith(name)), name)
                unused = _UNUSED.get(self.name or "", "")
                found = meant(typed.partition("=")[0], known, without=unused)
                error.possibilities = [found] if found else error.possibilities
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            kept = kept_for_json() if ctx.params.get("as_json") else nullcontext()
            with kept, exits_raise():
                return super().invoke(ctx)
        except SystemExit as error:  # no command ends so by itself
            if isinstance(error.__context__, BrokenPipeError):  # rich says so of standard output
                raise error.__context__ from None
            raise InputError(
                f"networks and data must not end the program, got SystemExit: {error}"
            ) from error
        except InputError as error:
            error.args = (in_options(str(error), error.fields, options(self)),)
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What is hidden in the list of arguments is not in the line above it either."""
        shown = [self.options_metavar] if self.options_metavar else []
        for parameter in self.get_params(ctx):
            if not getattr(parameter, "hidden", False):
                shown += parameter.get_usage_pieces(ctx)
        return shown


def options(command: Any) -> dict[str, tuple[str, ...]]:
    """Parameter → its option; a flag that can be negated has two."""
    return {
        parameter.name: tuple(
            max(names, key=len) for names in (parameter.opts, parameter.secondary_opts) if names
        )
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    }


def in_options(
    message: str,
    fields: Iterable[str],
    options: Mapping[str, tuple[str, ...]],
    *,
    prose: bool = False,
) -> str:
    """The message with each of the fields written as its option; a field without one stays.

    Args:
        message: what was said.
        fields: names of arguments in it.
        options: as :func:`options` gives them.
        prose: whether names such as keep and residual are words as well: then a field is one only
            after "say" or "give", or before "=".

    >>> known = {"widening_factor": ("--factor",), "residual": ("--residual", "--no-residual")}
    >>> in_options("widening_factor must be positive", ["widening_factor"], known)
    '--factor must be positive'
    >>> in_options("say residual=False, or give epochs", ["residual", "epochs"], known)
    'say --no-residual, or give epochs'
    >>> in_options("residual sums: say residual", ["residual"], known, prose=True)
    'residual sums: say --residual / --no-residual'
    """
    for field in set(fields) & options.keys():
        # Neither a longer word nor a key of a table (grid.momentum) is this field.
        pattern = (
            rf"(?P<asked>\b(?:say|give)\s+)?(?<![\w.-]){re.escape(field)}"
            r"(?:=(?P<said>True|False)\b)?(?=(?P<equals>=)?)(?![\w-]|\.\w)"
        )
        message = re.sub(pattern, partial(_named, options[field], prose), message)
    return message


def _new_spelling(word: str, known: Iterable[str]) -> str:
    """The word, or the option that it means; that is noted on stderr."""
    old, equals, value = word.partition("=")
    new = _OLD_SPELLINGS.get(old)
    if new is None or new not in known:
        return word
    print(f"widthwise: {old} is {new}; the old spelling goes with {LAST}", file=sys.stderr)
    return f"{new}{equals}{value}"


def _named(names: tuple[str, ...], prose: bool, found: re.Match[str]) -> str:
    asked, said = found["asked"] or "", found["said"]
    if prose and not (asked or said or found["equals"]):
        return found.group()
    if said is None:
        return asked + " / ".join(names)
    if said == "True":
        return asked + names[0]
    return asked + names[1] if len(names) > 1 else found.group()


def widening_factors(text: str) -> list[float]:
    """The positive numbers of "1,2,4", ascending.

    Raises:
        InputError: if they are not.

    >>> widening_factors("4, 1,2")
    [1.0, 2.0, 4.0]
    """
    try:
        factors = sorted({float(word) for word in text.replace(",", " ").split()})
    except ValueError:
        factors = []
    if not factors or not all(0.0 < factor < float("inf") for factor in factors):
        raise InputError(
            f"widths must be positive widening factors, as in 1,2,4, got {text!r}",
            fields=("widths",),
        )
    return factors
