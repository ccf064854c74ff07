"""What the commands print: one JSON object where a program reads it."""

import json
from typing import Annotated, Any

import typer

from widthwise.text import plain

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(content: Any) -> None:
    """One line of JSON; see :func:`widthwise.text.plain`."""
    print(json.dumps(plain(content), ensure_ascii=False))
