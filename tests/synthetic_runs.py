"""Runs that nobody trained, and stores of them."""

import os
import random
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not part of the package

from benchmarks.synthetic import group, land_quickly, synthetic_run, synthetic_study
from widthwise.runs import store as stores
from widthwise.runs.store import Store

__all__ = [
    "filled",
    "group",
    "land_and_merge",
    "land_quickly",
    "merge",
    "rows_of",
    "synthetic_run",
    "synthetic_study",
]


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


# These run in processes of their own, where nothing loses power.


def land_and_merge(path, numbers, salt, die_after):
    """Land some runs in this order, merging now and then; die somewhere if asked to."""
    os.fsync = lambda descriptor: None
    stores._RUNS_IN_A_SHARD = 16
    store, rng = Store(Path(path)), random.Random(salt)
    store.prepare()
    for place, number in enumerate(numbers):
        if place == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        store.land(synthetic_run(number, group(4), salt=salt))
        if rng.random() < 0.05:
            store.compact()


def merge(path):
    """Merge all, in small parts."""
    os.fsync = lambda descriptor: None
    stores._RUNS_IN_A_SHARD = 4
    Store(Path(path)).compact()
