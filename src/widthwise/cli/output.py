"""What the commands print: one JSON object where a program reads it, a plan as text."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.command import in_options, options
from widthwise.cli.streams import json_stream
from widthwise.text import plain

if TYPE_CHECKING:
    from widthwise.adviser import Plan

Explain = Annotated[
    bool,
    typer.Option("--explain", help="Reasons, limits, equivalent choices, other rules and sources."),
]
_MORE = "Reasons, limits, other choices: --explain; everything: --json."
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(content: Any) -> None:
    """One line of JSON; see :func:`widthwise.text.plain`. Characters that the reader may not know
    are escaped."""
    stream = json_stream()
    unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(plain(content), ensure_ascii=not unicode)
    print(text, file=stream, flush=True)


def print_plan(plan: "Plan", command: Any, *, explain: bool) -> None:
    """The answer, or the whole explanation; what it asks for is said in the command's options."""
    from widthwise.adviser.answer import answer

    text = plan.explain() if explain else answer(plan, _MORE)
    known = options(command)
    print(in_options(text, known, known, prose=True))
