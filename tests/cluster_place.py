"""A small study in a folder, started by commands, whose workers wait at a gate."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable

from widthwise.study import Study

SPEC = """
title = "On a cluster"
data = { name = "npz", path = "DATA", preprocessing = "none" }
training = { steps = 400, evaluations = 8 }
packing = { size = 4 }
[family]
kind = "family.py:network"
[grid]
widening_factor = [1, 2]
learning_rate = [0.02, 0.1, 1e30]
momentum = [0.0, 0.9]
batch_size = [2, 8]
seeds = 4
"""
NUM_RUNS = 96
# Every pack that is begun is written down, with the runs of it whose landing could be seen then.
# While there is a gate, it waits behind it.
FAMILY = """
import json, os, time
from pathlib import Path
from torch import nn
import widthwise.study.pack_call as pack_call

HERE = Path(__file__).parent

if not hasattr(pack_call, "plainly"):
    pack_call.plainly = pack_call._train

    def train(store, context, pack, emit, task):
        line = {
            "process": os.getpid(),
            "keys": list(pack.keys),
            "late": sorted(store.keys().intersection(pack.keys)),
            "hand": os.environ.get("WIDTHWISE_TEST_HAND"),
            "task": os.environ.get("SLURM_ARRAY_TASK_ID"),
            "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
            "node": os.environ.get("SLURMD_NODENAME"),
        }
        with open(HERE / "begun", "a") as file:
            file.write(json.dumps(line) + "\\n")
        while (HERE / "gate").exists():
            time.sleep(0.02)
        time.sleep(float(os.environ.get("WIDTHWISE_TEST_SECONDS", 0.2)))
        return pack_call.plainly(store, context, pack, emit, task)

    pack_call._train = train

def network(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * width), nn.ReLU(), nn.Linear(4 * width, 3))
"""
PATIENCE = 240.0


def wait_for(condition, what, patience=PATIENCE):
    """Until it is true, or something else; what it was then."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)
    return found


def is_alive(process):
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Place:
    """A folder with a specification, and commands started on it."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder, self.study, self.gate = folder, folder / "study", folder / "gate"
        self.spec, self._started = folder / "spec.toml", []
        clouds(num_train=64).save(folder / "data.npz")
        self.spec.write_text(SPEC.replace("DATA", str(folder / "data.npz")))
        # One text for all places: their runs are the same.
        (folder / "family.py").write_text(FAMILY)

    def start(self, *arguments, **environment):
        """A command of widthwise, on its way."""
        process = subprocess.Popen(
            [sys.executable, "-m", "widthwise", *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self):
        """End what a test that failed has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def call(self, *arguments, **environment):
        """A command of widthwise, to its end: (exit code, standard output, standard error)."""
        return finish(self.start(*arguments, **environment))

    def begun(self):
        """Packs that workers have begun, in order."""
        file = self.folder / "begun"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def landed(self):
        """Key → when it landed, by the clock of the file system."""
        folder = self.study / "store" / "landed"
        return {path.stem: path.stat().st_mtime for path in folder.glob("*.json")}

    def results(self):
        return Study.open(self.study).results(curves=True)

    def same_as(self, reference):
        """Whether all has landed, no run was begun after its landing could be seen, and every run
        is the one that was trained undisturbed, to the bit."""
        assert [line for line in self.begun() if line["late"]] == []
        results = self.results()
        assert results["run_id"].n_unique() == len(results) == NUM_RUNS
        assert results["engine"].unique().to_list() == ["compiled"]
        assert_frame_equal(comparable(results), comparable(reference), check_exact=True)


def finish(process, patience=PATIENCE):
    """(exit code, standard output, standard error)"""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate(timeout=30)
        raise AssertionError(f"it did not end in {patience:g} s:\n{out}\n{err}") from None
    return process.returncode, out, err
