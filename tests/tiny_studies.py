"""Small data, small specifications and a way to run packs without starting processes."""

import shutil
from collections import deque

import numpy as np

from widthwise.data import Dataset
from widthwise.execution import EXECUTORS
from widthwise.execution.worker import perform
from widthwise.study import Study

INPUT_SHAPE = (1, 2, 3)
NUM_CLASSES = 3


def clouds(num_train=64, num_test=40, num_validation=0, seed=0):
    """Gaussian clouds, one a class: learned in a few dozen steps."""
    rng = np.random.default_rng(seed)
    total = num_train + num_test + num_validation
    labels = rng.integers(NUM_CLASSES, size=total)
    labels[:NUM_CLASSES] = range(NUM_CLASSES)
    centers = rng.normal(size=(NUM_CLASSES, *INPUT_SHAPE))
    inputs = (centers[labels] + 1.5 * rng.normal(size=(total, *INPUT_SHAPE))).astype(np.float32)
    ends = [num_train, num_train + num_test]
    (train, test, validation), classes = np.split(inputs, ends), np.split(labels, ends)
    own = {"validation_inputs": validation, "validation_labels": classes[2]}
    return Dataset.from_arrays(
        train, classes[0], test, classes[1], name="clouds", **(own if num_validation else {})
    )


def fields(*, family=None, grid=None, training=None, **others):
    """A specification of 2 widths × 2 learning rates × 2 seeds, with changes."""
    basic = {
        "widening_factor": [1, 2],
        "learning_rate": [0.05, 0.1],
        "batch_size": 8,
        "seeds": 2,
    }
    return {
        "family": {"base_width": 4} if family is None else family,
        "grid": basic if grid is None else ({**basic, **grid} if isinstance(grid, dict) else grid),
        "training": {"steps": 24, "evaluations": 8} if training is None else training,
        # Not measured: tests compare packs, and must not depend on how busy the machine is.
        "packing": {"size": 16},
        **others,
    }


class InlineExecutor:
    """Runs tasks one after the other in this process; notes which runs landed."""

    ran: list = []  # noqa: RUF012 - shared on purpose: a study makes its own executors

    def __init__(self, workers):
        self._waiting = deque()

    def submit(self, task):
        self._waiting.append(task)

    def events(self):
        while self._waiting:
            task = self._waiting.popleft()
            said = []
            answer = perform(task, said.append)
            if getattr(answer, "outcome", None) == "landed":
                self.ran.extend(task.call.pack.keys)
            yield from said
            yield answer

    def close(self):
        self._waiting.clear()


def in_this_process(monkeypatch):
    """Studies train here; returns the growing list of the keys of runs that were trained."""
    trained = []
    monkeypatch.setattr(InlineExecutor, "ran", trained)
    monkeypatch.setitem(EXECUTORS, "local", InlineExecutor)
    return trained


def finished_study(directory, spec=None, data=None):
    study = Study.create(directory, fields() if spec is None else spec, data=data or clouds())
    study.run(1, progress=False)
    return study


def copied_study(kept, place, spec, data=None):
    """A copy in ``place`` of a study that the first caller has trained in the folder ``kept``."""
    if not (kept / "study").exists():
        finished_study(kept / "study", spec, data)
    shutil.copytree(kept / "study", place / "study")
    return Study.open(place / "study")


def comparable(table):
    """All columns but the time they took, and in which company: a run is the same in any pack."""
    return table.drop("seconds", "pack")


def landed_files(directory):
    """The single files of a study's own store, one a run."""
    return sorted((directory / "store" / "landed").glob("*.json"))


def compacted_files(directory):
    """The shards of a study's own store, many runs each."""
    return sorted((directory / "store" / "compacted").glob("*.parquet"))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
