"""A store of many runs is quick to look at (docs/benchmarks/store.md has 100 000)."""

import os

import polars as pl
import pytest
from synthetic_runs import synthetic_study

from widthwise.runs.compacted import Compacted
from widthwise.runs.store import Store
from widthwise.study.asked import read_asked
from widthwise.study.status import study_status

COUNT, LOOSE, MISSING = 3000, 20, 7


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    place = tmp_path_factory.mktemp("many") / "study"
    synthetic_study(place, COUNT, loose=LOOSE, missing=MISSING)
    return place


@pytest.mark.slow
class TestManyRuns:
    def test_status_opens_few_files_and_reads_two_columns(self, directory, monkeypatch):
        opened, columns, real, read = [], [], os.open, pl.read_parquet

        def count(path, *args, **kwargs):
            if str(directory) in str(path):
                opened.append(path)
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", count)
        monkeypatch.setattr(
            pl,
            "read_parquet",
            lambda *a, columns=None: columns_of(columns, read(*a, columns=columns)),
        )

        def columns_of(asked, table):
            columns.append(asked)
            return table

        found = study_status(directory)
        assert (found.runs_landed, found.runs_planned) == (COUNT, COUNT + MISSING)
        assert LOOSE < len(opened) < LOOSE + 10
        assert columns == [["key", "status"]]

    def test_what_is_missing_is_found(self, directory):
        store = Store(directory / "store")
        assert store.verify() == []
        assert len(set(read_asked(directory).keys) - store.keys()) == MISSING

    def test_a_merged_run_takes_300_bytes(self, directory):
        folder = directory / "store" / "compacted"
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert size < 300 * COUNT

    def test_keys_of_shards_are_read_once(self, directory, monkeypatch):
        store, reads, read = Store(directory / "store"), [], Compacted.read
        store.keys()
        monkeypatch.setattr(Compacted, "read", lambda *args: reads.append(args) or read(*args))
        for _ in range(3):
            store.keys()
        assert reads == []
