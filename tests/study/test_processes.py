"""Studies as users run them: real processes, killed, interrupted, two at once."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable

from widthwise.study import Study

pytestmark = pytest.mark.slow

SPEC = """
title = "Killed and resumed"
data = { name = "npz", path = "DATA", preprocessing = "none" }
training = { steps = 3000, evaluations = 40 }
packing = { size = 16 }
[family]
kind = "family.py:network"
[grid]
widening_factor = [1, 2]
learning_rate = [0.02, 0.1, 1e30]
momentum = [0.0, 0.9]
batch_size = [1, 2, 4, 8]
seeds = 2
"""
# Checkpoints at every evaluation, so that kills meet them; a mark when a worker begins to train.
FAMILY = """
import sys
from pathlib import Path
from torch import nn
import widthwise.study.pack_call

widthwise.study.pack_call._SECONDS_BETWEEN_CHECKPOINTS = 0.0

def network(width):
    if "widthwise.execution.worker" in " ".join(sys.orig_argv):
        (Path(__file__).parent / "started").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * width), nn.ReLU(), nn.Linear(4 * width, 3))
"""
# Starts commands by forking, so that most of them need not load everything first.
NURSERY = """
import os, sys
import widthwise.cli, widthwise.study.study

for line in sys.stdin:
    sys.argv = ["widthwise", *line.strip().split("|")]
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        widthwise.cli.main()
    try:
        os.setpgid(child, child)
    except OSError:
        pass  # it was faster
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
NUM_RUNS = 96
PATIENCE = 400.0
# Two or three on a quiet machine.
SECONDS_TO_STOP = 15.0
# Reading a network's layers patches nn.Module for the whole process: one thread at a time.
LEADING = threading.Lock()


class Place:
    """A folder with a specification, and processes started on it."""

    def __init__(self, folder):
        self.folder, self.started = folder, folder / "started"
        folder.mkdir(exist_ok=True)
        clouds(num_train=64).save(folder / "data.npz")
        (folder / "spec.toml").write_text(SPEC.replace("DATA", str(folder / "data.npz")))
        # One text for all places: their runs are the same.
        (folder / "family.py").write_text(FAMILY)
        self.study = folder / "study"

    def arguments(self):
        spec = str(self.folder / "spec.toml")
        return ["run", spec, "-o", str(self.study), "--workers", "1"]

    def popen(self, command, **pipes):
        self.started.unlink(missing_ok=True)
        mark = {"OMP_NUM_THREADS": "1", "WIDTHWISE_TEST_PLACE": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **mark},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **pipes,
        )

    def start(self, *options):
        command = ["-m", "widthwise", *self.arguments(), *options]
        return self.popen(command, stderr=subprocess.PIPE)

    def run(self, workers=2):
        """To the end, led from this process."""
        with LEADING:
            Study.create(self.study, self.folder / "spec.toml").run(workers, progress=False)

    def wait_until_training(self):
        deadline = time.monotonic() + PATIENCE
        while not self.started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def living(self):
        """Processes that were started from here, or by what was."""
        wanted = f"WIDTHWISE_TEST_PLACE={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended
        return found

    def all_gone(self, within, but=()):
        deadline = time.monotonic() + within
        while set(self.living()) - set(but):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def results(self):
        return Study.open(self.study).results(curves=True)


def finish(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out, err


def landed(place):
    """Landing → what would change if it were written again."""
    folder = place.study / "store" / "landed"
    files = sorted(folder.glob("*.json")) if folder.exists() else []
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def same_runs(table, reference):
    """Equal bit for bit, but for times."""
    assert_frame_equal(comparable(table), comparable(reference), check_exact=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The study, run without being disturbed."""
    place = Place(tmp_path_factory.mktemp("reference"))
    place.run()
    table = place.results()
    assert len(table) == NUM_RUNS
    assert set(table["status"]) == {"ok", "diverged"}
    return table


def kill_at(place, nursery, delay, *, training):
    """SIGKILL to the whole group, ``delay`` seconds after the start, or after training began."""
    place.started.unlink(missing_ok=True)
    nursery.stdin.write("|".join([*place.arguments(), "-q"]) + "\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    if training:
        place.wait_until_training()
    time.sleep(delay)
    os.killpg(child, signal.SIGKILL)
    assert int(nursery.stdout.readline()) == signal.SIGKILL, "it had ended before it was killed"
    assert place.all_gone(SECONDS_TO_STOP, but=[nursery.pid]), "workers outlived their parent"


def kill_ten_times(folder, seed):
    place, moments = Place(folder), random.Random(seed)
    before = {}
    with place.popen(["-c", NURSERY], stdin=subprocess.PIPE) as nursery:
        for attempt in range(10):
            training = attempt >= 2
            delay = moments.uniform(0.0, 0.5 if training else 3.0)
            kill_at(place, nursery, delay, training=training)
            now = landed(place)
            assert before.items() <= now.items(), "a run was trained again after it had landed"
            before = now
        nursery.stdin.close()
    place.run(workers=1)
    assert before.items() <= landed(place).items()
    return place


def interrupt(place, number):
    process = place.start()
    place.wait_until_training()
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS_TO_STOP)
    assert process.returncode == 130
    assert re.search(rf"interrupted: \d+ .*go on with: widthwise run {place.study}", err)
    assert "Traceback" not in err
    assert place.all_gone(SECONDS_TO_STOP)


class TestKilled:
    @pytest.mark.cluster
    def test_at_twenty_random_moments(self, reference, tmp_path):
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(kill_ten_times, tmp_path / str(seed), seed) for seed in (1, 2)]
            places = [run.result() for run in runs]
        for place in places:
            assert len(landed(place)) == NUM_RUNS
            same_runs(place.results(), reference)

    @pytest.mark.cluster
    def test_the_comparison_notices_the_smallest_change(self, reference):
        changed = reference.with_columns(pl.col("initial_train_loss") * (1 + 1e-15))
        with pytest.raises(AssertionError):
            same_runs(changed, reference)


class TestThreeAtOnce:
    @pytest.mark.cluster
    def test_nothing_is_lost(self, reference, tmp_path):
        place = Place(tmp_path)
        three = [place.start("-q") for _ in range(3)]
        for process in three:
            finish(process)
        assert len(landed(place)) == NUM_RUNS
        same_runs(place.results(), reference)


class TestInterrupted:
    @pytest.mark.parametrize(
        "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.cluster)]
    )
    def test_stops_and_says_how_to_go_on(self, number, tmp_path):
        interrupt(Place(tmp_path), number)

    @pytest.mark.cluster
    def test_goes_on(self, reference, tmp_path):
        place = Place(tmp_path)
        interrupt(place, signal.SIGINT)
        place.run()
        same_runs(place.results(), reference)


class TestWorkersKilled:
    @pytest.mark.cluster
    def test_ten_times(self, reference, tmp_path):
        place, moments = Place(tmp_path), random.Random(3)
        process = place.start("-q")
        killed = set()
        deadline = time.monotonic() + PATIENCE
        while len(killed) < 10 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(moments.uniform(0.0, 0.3))
            for worker in set(place.living()) - {process.pid} - killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
                place.started.unlink(missing_ok=True)
                place.wait_until_training()
        assert len(killed) == 10, "it ended before"
        finish(process)
        assert len(landed(place)) == NUM_RUNS
        same_runs(place.results(), reference)


class TestWork:
    @pytest.mark.cluster
    def test_beside_a_worker_that_is_killed_and_started_again(self, reference, tmp_path):
        place = Place(tmp_path)
        with LEADING:
            Study.create(place.study, place.folder / "spec.toml")
        command = ["work", str(place.study)]
        steady = place.popen(["-m", "widthwise", *command], stderr=subprocess.PIPE)
        moments = random.Random(4)
        with place.popen(["-c", NURSERY], stdin=subprocess.PIPE) as nursery:
            for _ in range(4):
                nursery.stdin.write("|".join([*command, "-q"]) + "\n")
                nursery.stdin.flush()
                child = int(nursery.stdout.readline())
                time.sleep(moments.uniform(0.0, 2.0))
                os.killpg(child, signal.SIGKILL)
                nursery.stdout.readline()
            nursery.stdin.close()
        out, _ = finish(steady)
        assert out == f"nothing is left: {NUM_RUNS} of {NUM_RUNS} runs have landed\n"
        assert len(landed(place)) == NUM_RUNS
        same_runs(place.results(), reference)
        assert not (place.study / "report.html").exists()

    def test_other_files_are_refused_in_a_line(self, tmp_path):
        place = Place(tmp_path)
        with LEADING:
            Study.create(place.study, place.folder / "spec.toml")
        family = place.folder / "family.py"
        family.write_text(family.read_text().replace("4 * width", "5 * width"))
        process = place.popen(["-m", "widthwise", "work", str(place.study)], stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert len(err.splitlines()) == 1
        assert "family.py" in err
        assert landed(place) == {}
