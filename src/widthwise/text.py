"""How numbers, lists and tables are written. A missing number is a dash, never "nan"."""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import PurePath
from typing import Any
from unicodedata import category, combining

MISSING = "—"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, with a power of ten where it is very large or small.

    >>> number(0.01249), number(1234567.0), number(2e-7), number(float("nan"))
    ('0.0125', '1.23 × 10⁶', '2 × 10⁻⁷', '—')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0.0 and not 1e-4 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        power = str(int(exponent)).translate(_SUPERSCRIPTS)
        return f"{mantissa} × 10{power}".replace("-", "−")
    return f"{float(f'{value:.{digits}g}'):.15g}".replace("-", "−")


def exact(value: float | None) -> str:
    """A number that was chosen, not measured: as many digits as it needs, at most six.

    >>> exact(1024.0), exact(0.1)
    ('1024', '0.1')
    """
    return number(value, digits=6)


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals, without the sign.

    >>> percent(0.76031), percent(None)
    ('76.03', '—')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{100.0 * value:.2f}".replace("-", "−")


def points(value: float | None) -> str:
    """A difference of two accuracies in percentage points, with its sign.

    >>> points(0.0012), points(-0.03)
    ('+0.12', '−3.00')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{100.0 * value:+.2f}".replace("-", "−")


def clock(seconds: float) -> str:
    """A time that passes.

    >>> clock(75.2), clock(7200.0)
    ('1:15', '2:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """An interval whose ends 0 and infinity are open; a dash if both are.

    >>> interval(0.5, 2.0), interval(0.5, float("inf")), interval(0.0, 2.0)
    ('0.5 to 2', 'above 0.5', 'below 2')
    """
    if low <= 0.0 and math.isinf(high):
        return MISSING
    if math.isinf(high):
        return f"above {number(low, digits)}"
    if low <= 0.0:
        return f"below {number(high, digits)}"
    return f"{number(low, digits)} to {number(high, digits)}"


def percent_interval(low: float, high: float) -> str:
    """An interval of fractions, in percent.

    >>> percent_interval(0.75, 0.765)
    '75.00 to 76.50'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return MISSING
    return f"{percent(low)} to {percent(high)}"


def count(value: int, noun: str) -> str:
    """A whole number with its noun.

    >>> count(1, "seed"), count(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{value} {noun}" if value == 1 else f"{value} {noun}s"


def listing(words: list[str]) -> str:
    """Words with commas and a final "and".

    >>> listing(["1", "2", "4"]), listing(["1"])
    ('1, 2 and 4', '1')
    """
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def exact_list(values: Iterable[float]) -> str:
    """Chosen numbers with commas and a final "and"."""
    return listing([exact(value) for value in values])


def points_error(value: float | None) -> str:
    """A standard error in percentage points, without a sign."""
    return points(value).lstrip("+")


def in_points(value: float) -> str:
    """A difference of fractions in percentage points.

    >>> in_points(0.01), in_points(0.005)
    ('1 point', '0.5 points')
    """
    number = f"{100.0 * value:.3g}"
    return f"{number} point" if number == "1" else f"{number} points"


def signed(value: float) -> str:
    """A difference of fractions in percentage points, with its sign and without the unit.

    >>> signed(-0.012)
    '−1.20'
    """
    return f"{100.0 * value:+.2f}".replace("-", "−")


def estimate(value: float, interval: tuple[float, float]) -> str:
    """A value with its interval, or the one bound that holds.

    >>> estimate(1.0, (0.8, 1.2)), estimate(-1.0, (-math.inf, -0.8))
    ('1.00 (0.80 to 1.20)', 'at most −0.80')
    """
    low, high = interval
    if math.isfinite(low) and math.isfinite(high):
        text = f"{value:.2f} ({low:.2f} to {high:.2f})"
    elif math.isfinite(low):
        text = f"at least {low:.2f}"
    else:
        text = f"at most {high:.2f}" if math.isfinite(high) else "anything"
    return text.replace("-", "−")


def same(before: float, after: float) -> bool:
    """Whether nothing but rounding differs.

    >>> same(0.1, 0.1 * 3 / 3), same(0.1, 0.1001)
    (True, False)
    """
    return math.isclose(before, after, rel_tol=1e-9)


def first_sentence(text: str) -> str:
    """Up to the first full stop that a capital letter, or a symbol, follows.

    >>> first_sentence("At w^0.5 it grows. Measure it."), first_sentence("ε grows. ḡ stays")
    ('At w^0.5 it grows.', 'ε grows.')
    """
    return re.split(r"(?<=\.)\s+(?=[A-ZḡεσµΣ])", text, maxsplit=1)[0]


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


def html_table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """A small table for a notebook: a name and what it says in each row.

    >>> html_table("a < b", [("w", "2")]).replace(' style="text-align: left"', "")
    '<table><caption>a &lt; b</caption><tr><th>w</th><td>2</td></tr></table>'
    """
    left = 'style="text-align: left"'
    body = "".join(
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(said)}</td></tr>"
        for name, said in rows
    )
    return f"<table><caption {left}>{escape(caption)}</caption>{body}</table>"


def printable(text: str) -> str:
    """The text for a terminal or a page: a character that would steer it, or that no encoding
    knows, is shown as a replacement character.

    >>> printable("a" + chr(27) + "[2J"), printable("ḡ")
    ('a�[2J', 'ḡ')
    """
    return "".join("\ufffd" if category(c) in ("Cc", "Cs") else c for c in text)


def plain(value: Any, *, without: Iterable[str] = (), infinite: bool = False) -> Any:
    """What JSON can hold: dictionaries, lists, strings, numbers and None.

    Args:
        value: of these, dataclasses, tuples, arrays and paths, one in another.
        without: fields to leave out of a dataclass, if that is what ``value`` is; not of those
            inside it.
        infinite: whether infinite numbers and NaN stay. JSON knows neither: otherwise an open end
            or an unknown number is None.

    >>> plain({2: (1.5, float("inf"))}), plain({2: (1.5, float("inf"))}, infinite=True)
    ({'2': [1.5, None]}, {'2': [1.5, inf]})
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        value = {name: getattr(value, name) for name in names if name not in set(without)}
    elif hasattr(value, "tolist"):  # arrays and their scalars, without importing their library
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(child, infinite=infinite) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child, infinite=infinite) for child in value]
    if isinstance(value, PurePath):
        return str(value)
    unknown = isinstance(value, float) and not (infinite or math.isfinite(value))
    return None if unknown else value


def _width(text: str) -> int:
    """Columns on a screen: the bar over ḡ may be a character of its own."""
    return sum(not combining(character) for character in text)
