"""What the commands print: one JSON object where a program reads it."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(content: Any) -> None:
    """One line of JSON; see :func:`finite`."""
    print(json.dumps(finite(content), ensure_ascii=False))


def finite(value: Any) -> Any:
    """JSON knows neither infinity nor NaN: an open end is null."""
    if isinstance(value, dict):
        return {key: finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [finite(child) for child in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
