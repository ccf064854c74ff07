"""Merging of single files is interrupted anywhere, and done by several: nothing is lost, doubled
or changed."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from synthetic_runs import (
    filled,
    group,
    land_and_merge,
    land_quickly,
    merge,
    rows_of,
    synthetic_run,
)

from widthwise.runs import store as stores
from widthwise.runs.store import Store

pytestmark = pytest.mark.slow

# What changes the file system on the way; a process may die before each of them.
OPERATIONS = ("mkstemp", "fsync", "link", "unlink", "rename", "replace")


# Starts a process that merges for each line it reads. It waits for it after the next line, so that
# the number it says is that of a process until then.
NURSERY = """
import os, sys
from pathlib import Path
from widthwise.runs import store as stores
stores._RUNS_IN_A_SHARD = 16
os.fsync = lambda descriptor: None
child = None
for _ in sys.stdin:
    if child is not None:
        os.waitpid(child, 0)
    child = os.fork()
    if child == 0:
        stores.Store(Path(sys.argv[1])).compact()
        os._exit(0)
    print(child, flush=True)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    print("it ended", flush=True)
"""


class Killed(BaseException):
    """As a process ends: nothing may catch it and go on."""


@pytest.fixture
def die(monkeypatch):
    """Make the n-th operation of the file system, and every one after it, fail."""
    import tempfile

    own = threading.current_thread()

    def after(number):
        count = [0]

        def wrapped(real):
            def operation(*args, **kwargs):
                if threading.current_thread() is not own:
                    return real(*args, **kwargs)  # a holder of another test beats
                count[0] += 1
                if count[0] > number:
                    raise Killed
                return real(*args, **kwargs)

            return operation

        for name in OPERATIONS:
            module = tempfile if name == "mkstemp" else os
            monkeypatch.setattr(module, name, wrapped(getattr(module, name)))
        return count

    return after


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "_RUNS_IN_A_SHARD", 16)


def expected(landings):
    return {landing.key: landing.row() for landing in landings}


class TestInterrupted:
    @pytest.mark.parametrize("number", range(24))
    def test_at_any_operation(self, tmp_path, monkeypatch, die, number):
        store, landings = filled(tmp_path / "store", range(40))
        die(number * 3)
        with pytest.raises(Killed):
            store.compact()
        monkeypatch.undo()
        assert rows_of(store) == expected(landings)
        assert store.keys() == set(expected(landings))
        store = Store(store.place)
        assert store.verify() == []
        store.compact()
        store.sweep()
        assert rows_of(store) == expected(landings)
        assert list((store.place / "landed").glob("*.json")) == []
        listed = {shard.file for shard in store._compacted.shards()[0]}
        assert {path.name for path in (store.place / "compacted").glob("*.parquet")} == listed

    def test_it_has_more_operations_than_that(self, tmp_path, die):
        store, _ = filled(tmp_path / "store", range(40))
        count = die(10**9)
        store.compact()
        assert count[0] > 23 * 3

    def test_by_a_kill_of_the_process(self, tmp_path):
        """20 times in a row, each somewhere else."""
        store, landings = filled(tmp_path / "store", [])
        rng, killed = random.Random(5), 0
        with subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(store.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        ) as nursery:
            for turn in range(20):
                new = [synthetic_run(100 * turn + n, group(4)) for n in range(40)]
                land_quickly(store, new)
                landings += new
                print(file=nursery.stdin, flush=True)
                pid = int(nursery.stdout.readline())
                time.sleep(rng.uniform(0.0, 0.1))
                os.kill(pid, signal.SIGKILL)
                assert nursery.stdout.readline() == "it ended\n"
                killed += any((store.place / "landed").glob("*.json"))
                assert store.keys() == set(expected(landings))
            nursery.stdin.close()
        assert killed >= 5
        assert rows_of(store) == expected(landings)
        assert store.verify() == []
        store.compact()
        assert rows_of(store) == expected(landings)

    def test_a_file_that_vanishes_before_it_is_listed_costs_no_run(self, tmp_path, monkeypatch):
        """Another process may take it for a leftover, if its clock is wrong."""
        store, landings = filled(tmp_path / "store", range(8))
        real = stores.Folder.create

        def create(folder, name, content, **options):
            if name == "000001.json":
                assert Store(store.place).sweep() == 0
            return real(folder, name, content, **options)

        monkeypatch.setattr(stores.Folder, "create", create)
        store.compact()
        assert rows_of(store) == expected(landings)


@pytest.fixture(scope="module")
def processes():
    """Start quickly: forked from one that has loaded everything and used nothing."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["widthwise.runs.store", "synthetic_runs"])
    yield context
    del os.environ["POLARS_MAX_THREADS"]


def test_sixteen_processes_land_overlapping_runs(tmp_path, processes):
    """Each with results of its own, some killed: the first of each run stays, to the byte."""
    rng = random.Random(3)
    path, runs = tmp_path / "store", range(60)
    store, _ = filled(path, [])
    workers = []
    for salt in range(16):
        numbers = rng.sample(runs, 30)
        die_after = rng.randrange(30) if salt % 3 == 0 else None
        arguments = (str(path), numbers, salt, die_after)
        workers.append(processes.Process(target=land_and_merge, args=arguments))
    for worker in workers:
        worker.start()
    first, looks = {}, 0
    while any(worker.is_alive() for worker in workers):
        for key, row in rows_of(store).items():
            assert first.setdefault(key, row) == row
        looks += 1
    for worker in workers:
        worker.join()
    codes = [worker.exitcode for worker in workers]
    assert codes.count(-signal.SIGKILL) == 6
    assert codes.count(0) == 10
    after = rows_of(store)
    assert looks > 1
    assert len(first) > 10
    assert all(after[key] == row for key, row in first.items())
    assert set(after) <= {synthetic_run(number, group(4)).key for number in runs}
    assert store.verify() == []
    store.compact()
    store.sweep()
    assert rows_of(store) == after
    for number in runs:  # whoever comes later changes nothing
        store.land(synthetic_run(number, group(4), salt=99))
    store.compact()
    assert {key: row for key, row in rows_of(store).items() if key in after} == after
    assert len(rows_of(store)) == len(runs)


def test_several_merge_at_once(tmp_path, processes):
    store, landings = filled(tmp_path / "store", range(100))
    workers = [processes.Process(target=merge, args=(str(store.place),)) for _ in range(6)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert store.keys() == set(expected(landings))
        assert rows_of(store) == expected(landings)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert rows_of(store) == expected(landings)
    shards = store._compacted.shards()[0]
    assert sum(shard.runs for shard in shards) == 100
    assert list((store.place / "landed").iterdir()) == []
