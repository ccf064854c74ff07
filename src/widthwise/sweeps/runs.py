"""Which column is what: a table's cells, checked, as runs of a hyper-parameter at each width."""

import difflib
import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError
from widthwise.sweeps.reading import Table
from widthwise.text import listing

FloatArray = NDArray[np.float64]

# What exports put before the name of a column: MLflow, Optuna, W&B.
_PREFIXES = ("params.", "metrics.", "tags.", "params_", "user_attrs_", "config.", "config/")
# So many rows are named in a message.
_NAMED_ROWS = 5
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Runs in the order of the table, and the names of what they hold.

    Attributes:
        width, value, score: shape (R,); a score that is not finite is NaN: the run diverged.
        seed: shape (R,), whole numbers that stand for what the table holds.
        seeds_given: whether the table says which runs have one seed.
        names: of the columns: width, x, score.
        notes: what was left out, and what looks odd.
    """

    width: FloatArray
    value: FloatArray
    score: FloatArray
    seed: NDArray[np.intp]
    seeds_given: bool
    names: Mapping[str, str]
    notes: tuple[str, ...]


Columns = str | Sequence[str]


def read_runs(
    table: Table,
    *,
    width: Columns,
    x: Columns,
    score: Columns | None,
    seed: str | None,
    where: Mapping[str, Any],
    log_base: float | None,
) -> Runs:
    """The runs of a long table, one a row, or of a wide one, several scores a row.

    Several columns, or a pattern with *, may stand for one of `width`, `x` and `score`: their
    cells are then scores, and their names hold the width, the value of x, or the seed.

    Raises:
        InputError: naming the column and the rows that are not as they must be.
    """
    kept = _where(table, where)
    wide = {
        role: found
        for role, asked in (("width", width), ("x", x), ("score", score))
        if asked is not None and len(found := _columns(table, role, asked)) > 1
    }
    if len(wide) > 1 or (wide and "score" not in wide and score is not None):
        raise InputError(
            "several columns may stand for one of width, x and score, and hold the scores "
            f"themselves, got {dict(wide)} and score {score!r}; leave the others, or score, out",
            fields=("score",),
        )
    if not wide and score is None:
        raise InputError(
            "score must name the column of scores; only where width or x name several columns do "
            "these hold them",
            fields=("score",),
        )
    role = next(iter(wide), "score")
    columns = wide[role] if wide else _columns(table, "score", score or "")
    single = {
        name: _columns(table, name, asked)[0]
        for name, asked in (("width", width), ("x", x), ("seed", seed))
        if name not in wide and asked is not None
    }
    rows, per_row = kept.size, len(columns)
    cells = np.concatenate([_scores(table, column, kept)[:, None] for column in columns], axis=1)
    long: dict[str, Any] = {
        name: np.repeat(_numbers(table, column, kept, name), per_row)
        for name, column in single.items()
        if name != "seed"
    }
    if role in ("width", "x"):
        long[role] = np.tile([_number_in(column, role) for column in columns], rows)
    seeds = np.zeros(rows * per_row, dtype=np.intp)
    if "seed" in single:
        labels = [str(table.columns[single["seed"]][row]) for row in kept]
        seeds = np.repeat(np.unique(labels, return_inverse=True)[1], per_row)
    if role == "score" and per_row > 1:
        seeds = seeds * per_row + np.tile(np.arange(per_row), rows)
    value = _undone(long["x"], single.get("x", "x"), kept, per_row, log_base)
    place = np.repeat(kept, per_row)
    _require_positive(long["width"], single.get("width", "width"), place, "")
    flat = cells.ravel()
    ran = ~np.isneginf(flat)  # see _scores
    names = {
        "width": single.get("width", "width"),
        "x": single.get("x", "x"),
        "score": _common(columns) if role == "score" else "score",
    }
    seeds_given = "seed" in single or (role == "score" and per_row > 1)
    if seeds_given:
        _require_one_each(long["width"], value, seeds, place, ran, names)
    else:
        seeds = _numbered(long["width"], value)
    return Runs(
        width=long["width"][ran],
        value=value[ran],
        score=flat[ran],
        seed=seeds[ran],
        seeds_given=seeds_given,
        names={
            role: _without_log(_bare(name)) if role == "x" and log_base else _bare(name)
            for role, name in names.items()
        },
        notes=(*table.notes, *_empty_note(ran, place, per_row, columns)),
    )


def _where(table: Table, where: Mapping[str, Any]) -> NDArray[np.intp]:
    """Rows (R,) whose cells are as asked: equal as numbers, or as text."""
    kept = np.ones(table.num_rows, dtype=bool)
    for name, wanted in where.items():
        cells = table.columns[_columns(table, "where", name)[0]]
        kept &= np.array([_alike(cell, wanted) for cell in cells], dtype=bool)
        if not kept.any():
            held = listing(sorted({str(cell) for cell in cells})[:_NAMED_ROWS])
            raise InputError(
                f"where must leave rows over, got none with {name} = {wanted}; the column holds "
                f"{held}",
                fields=("where",),
            )
    return np.flatnonzero(kept)


def _alike(cell: Any, wanted: Any) -> bool:
    first, second = _as_number(cell), _as_number(wanted)
    if first is not None and second is not None:
        return math.isclose(first, second, rel_tol=1e-9)
    return str(cell) == str(wanted)


def _columns(table: Table, role: str, asked: Columns) -> list[str]:
    """The columns that are meant: by their name, by it behind a prefix, or by a pattern."""
    names = [asked] if isinstance(asked, str) else [str(name) for name in asked]
    found = [column for name in names for column in _named(table, role, name)]
    if len(set(found)) < len(found) or not found:
        raise InputError(f"{role} must name different columns, got {found}")
    return found


def _named(table: Table, role: str, name: str) -> list[str]:
    if name in table.columns:
        return [name]
    behind = [column for column in table.columns if _bare(column) == name]
    if len(behind) == 1:
        return behind
    if len(behind) > 1:
        raise InputError(f"{role} must be one column, got {name}: {behind}; give the whole name")
    matching = [
        column for column in table.columns if "*" in name and fnmatch.fnmatchcase(column, name)
    ]
    if matching:
        return matching
    near = difflib.get_close_matches(name, table.columns, n=1)
    meant = f"; perhaps {near[0]}?" if near else ""
    raise InputError(
        f"{role} must be a column of {table.name}, got {name!r}; it has "
        f"{listing([str(column) for column in table.columns])}{meant}"
    )


def _bare(column: str) -> str:
    """A column's name without what an export puts before it.

    >>> _bare("params.lr"), _bare("lr")
    ('lr', 'lr')
    """
    for prefix in _PREFIXES:
        if column.startswith(prefix) and len(column) > len(prefix):
            return column[len(prefix) :]
    return column


def _without_log(name: str) -> str:
    """What a column of logarithms holds the logarithms of.

    >>> _without_log("log2_learning_rate"), _without_log("lr")
    ('learning_rate', 'lr')
    """
    return re.sub(r"^(?:log(?:2|10|e)?|ln)[ _-]+(?=.)", "", name, flags=re.I)


def _common(columns: Sequence[str]) -> str:
    """What the names of columns have in common at their beginning.

    >>> _common(["val_acc_0", "val_acc_1"]), _common(["a", "b"])
    ('val_acc', 'score')
    """
    if len(columns) == 1:
        return columns[0]
    first, last = min(columns), max(columns)
    shared = 0
    while shared < len(first) and first[shared] == last[shared]:
        shared += 1
    return first[:shared].rstrip("_-. /") or "score"


def _number_in(column: str, role: str) -> float:
    """The one number in a column's name.

    >>> _number_in("width_256", "width")
    256.0
    """
    found = _NUMBER.findall(column if _as_number(column) is not None else column.replace("-", " "))
    if len(found) != 1:
        raise InputError(
            f"a column that holds scores of one {role} must have one number in its name, got "
            f"{column!r}; rename it, or give columns that have"
        )
    return float(found[0])


def _as_number(cell: Any) -> float | None:
    if cell is None or isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _numbers(table: Table, column: str, kept: NDArray[np.intp], role: str) -> FloatArray:
    """Cells (R,) of a column, all of which must be finite numbers."""
    numbers = [_as_number(table.columns[column][row]) for row in kept]
    bad = [r for r, n in zip(kept, numbers, strict=True) if n is None or not math.isfinite(n)]
    if bad:
        shown = table.columns[column][bad[0]]
        raise InputError(
            f"column {column} must hold numbers, for it is {role}, got "
            f"{'nothing' if shown is None else repr(shown)} in {_rows(bad)}; mend or remove "
            f"{'it' if len(bad) == 1 else 'them'}",
        )
    return np.array(numbers, dtype=np.float64)


def _scores(table: Table, column: str, kept: NDArray[np.intp]) -> FloatArray:
    """Scores (R,): NaN for a run that diverged, minus infinity where there is no run."""
    found = np.empty(kept.size)
    bad = []
    for i, row in enumerate(kept):
        cell = table.columns[column][row]
        number = -math.inf if cell is None else _as_number(cell)
        if number is None:
            bad.append(row)
        elif cell is not None and not math.isfinite(number):
            number = math.nan
        found[i] = math.nan if number is None else number
    if bad:
        raise InputError(
            f"column {column} must hold scores, got {table.columns[column][bad[0]]!r} in "
            f"{_rows(bad)}; write nan for a run that diverged, and nothing for one that was not "
            "made"
        )
    return found


def _undone(
    x: FloatArray, column: str, kept: NDArray[np.intp], per_row: int, log_base: float | None
) -> FloatArray:
    """Values of the hyper-parameter, where the column holds their logarithms."""
    if log_base is not None:
        if not (math.isfinite(log_base) and log_base > 1.0):
            raise InputError(
                f"log_base must be above 1, got {log_base}; 2, 10 or 2.718281828",
                fields=("log_base",),
            )
        with np.errstate(over="ignore", under="ignore"):
            x = np.asarray(log_base**x)
        if not np.all(np.isfinite(x) & (x > 0.0)):
            raise InputError(
                f"column {column} must hold logarithms to base {log_base:g}, got some whose values "
                "no float holds; leave log_base out if it holds the values",
                fields=("log_base",),
            )
        return x
    remedy = "; if the column holds logarithms, give their base as log_base"
    if np.all(x >= 0.0):
        remedy = "; 0 has no place on a logarithmic axis: leave these rows out"
    _require_positive(x, column, np.repeat(kept, per_row), remedy)
    return x


def _require_positive(numbers: FloatArray, column: str, rows: Any, remedy: str) -> None:
    bad = np.flatnonzero(~(numbers > 0.0))
    if bad.size:
        raise InputError(
            f"column {column} must hold positive numbers, got {numbers[bad[0]]:g} in "
            f"{_rows(rows[bad])}{remedy}",
            fields=("log_base",),
        )


def _require_one_each(
    width: FloatArray,
    value: FloatArray,
    seed: NDArray[np.intp],
    rows: NDArray[np.intp],
    ran: NDArray[np.bool_],
    names: Mapping[str, str],
) -> None:
    seen: dict[tuple[float, float, int], int] = {}
    for i in np.flatnonzero(ran):
        key = (float(width[i]), float(value[i]), int(seed[i]))
        if key in seen:
            raise InputError(
                f"runs of one {names['width']}, {names['x']} and seed must be one, got "
                f"{_rows([seen[key], rows[i]])}; if another column tells them apart, choose by it "
                "with where",
                fields=("where",),
            )
        seen[key] = int(rows[i])


def _numbered(width: FloatArray, value: FloatArray) -> NDArray[np.intp]:
    """Runs of one setting, counted in the order of the table."""
    counts: dict[tuple[float, float], int] = {}
    numbers = []
    for key in zip(width.tolist(), value.tolist(), strict=True):
        numbers.append(counts.get(key, 0))
        counts[key] = numbers[-1] + 1
    return np.array(numbers, dtype=np.intp)


def _empty_note(
    ran: NDArray[np.bool_], rows: NDArray[np.intp], per_row: int, columns: Sequence[str]
) -> list[str]:
    empty = np.unique(rows[~ran])
    if ran.all():
        return []
    if not ran.any():
        raise InputError(
            f"column {listing(list(columns))} must hold scores, got nothing in any row"
        )
    what = "no score" if per_row == 1 else "an empty score"
    return [
        f"{_rows(empty)} with {what} {'counts' if empty.size == 1 else 'count'} as not run; a run "
        "that diverged is written as nan"
    ]


def _rows(rows: Sequence[int] | NDArray[np.intp]) -> str:
    """
    >>> _rows([2]), _rows([0, 1]), _rows(list(range(9)))
    ('row 3', 'rows 1 and 2', 'rows 1, 2, 3, 4 and 5 and 4 more')
    """
    named = listing([str(int(row) + 1) for row in rows[:_NAMED_ROWS]])
    more = len(rows) - _NAMED_ROWS
    return f"row{'s' if len(rows) > 1 else ''} {named}{f' and {more} more' if more > 0 else ''}"
