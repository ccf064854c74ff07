"""Tables of plain text."""

from collections.abc import Sequence
from unicodedata import combining


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart, each as wide as its widest cell; the last is not padded.

    >>> print(table(["name", "n"], [["a", "10"], ["weight", "2"]]))
    name    n
    a       10
    weight  2
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    """Columns on a screen: the bar over ḡ may be a character of its own."""
    return sum(not combining(character) for character in text)
