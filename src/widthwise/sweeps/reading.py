"""Whatever holds a table of runs, read into named columns. Nothing here knows what they mean."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from widthwise.errors import InputError, said_by
from widthwise.mistaken import mistaken_for

_SEPARATORS = ",;\t|"
# How an Optuna trial ended → whether it is a run; one that failed has no value.
_OPTUNA_STATES = {"COMPLETE": True, "FAIL": True, "PRUNED": False, "RUNNING": False}


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Named columns of equal length, cells as they were found.

    Attributes:
        columns: name → cells: numbers, text, or None where there is nothing.
        name: of the file, or of the kind of table.
        minimized: the column whose smallest value its maker looked for, if that is known.
        notes: what was left out.
    """

    columns: Mapping[str, Sequence[Any]]
    name: str
    minimized: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        return max((len(cells) for cells in self.columns.values()), default=0)


def read_table(source: Any) -> Table:
    """A table from a CSV or Parquet file, a DataFrame of polars or pandas, an Optuna study, a
    mapping of columns, or a list of rows.

    Raises:
        InputError: if it is none of these, cannot be read, or is empty.
    """
    table = _read(source)
    if not table.num_rows:
        raise InputError(
            f"a table needs at least one row, got none in {table.name}; give one row a run"
        )
    return table


def _read(source: Any) -> Table:
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return Table(columns=source.to_dict(as_series=False), name="the DataFrame")
    if hasattr(source, "trials") and hasattr(source, "directions"):
        return _read_optuna(source)
    if hasattr(source, "columns") and hasattr(source, "iloc"):  # pandas, which need not be here
        columns = {str(c): source.iloc[:, i].tolist() for i, c in enumerate(source.columns)}
        return Table(columns=columns, name="the DataFrame")
    if isinstance(source, Mapping):
        columns = {str(name): list(cells) for name, cells in source.items()}
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns must be of one length, got {lengths}; pad with None")
        return Table(columns=columns, name="the table")
    if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
        return Table(columns=_by_column(source), name="the table")
    raise InputError(
        "a table must be a CSV or Parquet file, a DataFrame, an Optuna study, a mapping of columns "
        f"or a list of rows, got {type(source).__name__}"
    )


def _read_file(path: Path) -> Table:
    other = mistaken_for("table", path)
    if other is not None:
        raise InputError(f"a table must be a CSV or Parquet file, got {path}, {other}")
    if not path.is_file():
        raise InputError(f"a table must be a file that exists, got {path}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            columns: Mapping[str, Sequence[Any]] = pl.read_parquet(path).to_dict(as_series=False)
        else:
            columns = _read_csv(path)
    except InputError:
        raise
    except (OSError, UnicodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{path} must be a CSV file in UTF-8, or a Parquet file whose name ends in .parquet, "
            f"got {said_by(error).splitlines()[0]}"
        ) from error
    return Table(columns=columns, name=str(path))


def _read_csv(path: Path) -> dict[str, list[Any]]:
    """Cells as text, None where they are empty: what is no number is said with its row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        separator = max(_SEPARATORS, key=first.count)
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter=separator) if row]
    if not rows:
        raise InputError(f"a table needs a line of column names, got an empty file {path}")
    names = [name.strip() for name in rows[0]]
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise InputError(f"columns must have different names, got {twice} more than once in {path}")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(names):
            raise InputError(
                f"each row must have as many cells as there are column names, {len(names)}, got "
                f"{len(row)} in row {number} of {path}; rows count from 1, without the names"
            )
    cells = [[cell.strip() or None for cell in row] for row in rows[1:]]
    return {name: [row[i] for row in cells] for i, name in enumerate(names)}


def _read_optuna(study: Any) -> Table:
    """One row a trial: its parameters, its user attributes and its value."""
    if len(study.directions) != 1:
        raise InputError(
            f"a study must have one objective, got {len(study.directions)}; give "
            "study.trials_dataframe(), and the column to judge by as score"
        )
    rows, left_out = [], 0
    for trial in study.trials:
        if not _OPTUNA_STATES.get(trial.state.name, False):
            left_out += 1
            continue
        failed = trial.state.name == "FAIL"
        value = float("nan") if failed or trial.value is None else trial.value
        rows.append({**trial.user_attrs, **trial.params, "value": value})
    notes = (f"{left_out} trials that were pruned or had not ended are left out",)
    return Table(
        columns=_by_column(rows),
        name="the Optuna study",
        minimized="value" if study.directions[0].name == "MINIMIZE" else None,
        notes=notes if left_out else (),
    )


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
