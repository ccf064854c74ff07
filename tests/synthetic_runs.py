"""Runs that nobody trained, and stores of them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not part of the package

from benchmarks.store import group, land_quickly, synthetic_run, synthetic_study
from widthwise.runs.store import Store

__all__ = ["filled", "group", "land_quickly", "rows_of", "synthetic_run", "synthetic_study"]


def filled(path, numbers, *, evaluations=4):
    """A store with these runs, in files of their own; and the runs."""
    store, shared = Store(path), group(evaluations)
    store.prepare()
    landings = [synthetic_run(number, shared) for number in numbers]
    land_quickly(store, landings)
    return store, landings


def rows_of(store):
    """Key → what came of the run, with all its digits."""
    table, _ = store.table()
    assert table["key"].n_unique() == len(table)
    return {row["key"]: row for row in table.iter_rows(named=True)}
