"""Tasks in real worker processes: order, reuse, failures, an end at once."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from widthwise.errors import InputError
from widthwise.execution import Failed, Finished, LocalExecutor, Progressed, Task, available_cores


@dataclass(frozen=True)
class Note:
    """Writes the number of its process."""

    path: Path

    def __call__(self, emit):
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return Finished(self.path.stem, "landed", diverged=3)


@dataclass(frozen=True)
class Raise:
    error: Exception

    def __call__(self, emit):
        raise self.error


@dataclass(frozen=True)
class Die:
    def __call__(self, emit):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Sleep:
    path: Path

    def __call__(self, emit):
        self.path.write_text(str(os.getpid()))
        time.sleep(600)


@dataclass(frozen=True)
class Report:
    def __call__(self, emit):
        for step in range(1, 1000):
            emit(Progressed("steps", step, 0))
        return Finished("steps", "landed")


@pytest.fixture
def executor():
    executor = LocalExecutor(1)
    yield executor
    executor.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def numbers(path):
    return [int(line) for line in path.read_text().split()]


@pytest.mark.slow
def test_one_worker_does_everything_in_order_and_survives_failures(executor, tmp_path):
    tasks = [
        Task("a", Note(tmp_path / "a")),
        Task("user", Raise(InputError("wrong family"))),
        Task("ours", Raise(ZeroDivisionError("oops"))),
        Task("steps", Report()),
        Task("b", Note(tmp_path / "b")),
    ]
    for task in tasks:
        executor.submit(task)
    events = list(executor.events())
    ends = [event for event in events if not isinstance(event, Progressed)]
    assert ends == [
        Finished("a", "landed", 3),
        Failed("user", "wrong family", bad_input=True),
        Failed("ours", "ZeroDivisionError: oops", bad_input=False),
        Finished("steps", "landed"),
        Finished("b", "landed", 3),
    ]
    told = [event for event in events if isinstance(event, Progressed)]
    assert 1 <= len(told) < 999  # the first, then not more often than anyone looks
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")  # one process for all
    assert numbers(tmp_path / "a") != [os.getpid()]

    executor.submit(Task("a", Note(tmp_path / "a")))
    assert list(executor.events()) == [Finished("a", "landed", 3)]
    assert len(set(numbers(tmp_path / "a"))) == 1  # and the same one later

    executor.submit(Task("die", Die()))
    executor.submit(Task("a", Note(tmp_path / "a")))
    death, after = list(executor.events())
    assert isinstance(death, Failed)
    assert death.key == "die"
    assert not death.bad_input
    assert "a worker process died (exit code -9)" in death.message
    assert "Run the same command again" in death.message
    assert after == Finished("a", "landed", 3)
    assert len(set(numbers(tmp_path / "a"))) == 2  # a new one took its place

    executor.submit(Task("asleep", Sleep(tmp_path / "asleep")))
    executor.submit(Task("never", Note(tmp_path / "never")))
    executor._hand_out()
    while not (tmp_path / "asleep").exists() or not (tmp_path / "asleep").read_text():
        time.sleep(0.01)
    pid = int((tmp_path / "asleep").read_text())
    assert alive(pid)
    executor.close()
    assert not alive(pid)
    assert not (tmp_path / "never").exists()
    assert list(executor.events()) == []
    executor.close()  # twice does no harm


@pytest.mark.slow
def test_files_named_like_modules_do_not_kill_workers(tmp_path, monkeypatch):
    """Neither in the working directory of a script nor in that of a prompt, where "" is sought."""
    for name in ("queue", "random", "types", "copy", "secrets", "numpy", "torch", "widthwise"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    executor = LocalExecutor(1)
    try:
        executor.submit(Task("a", Note(tmp_path / "a")))
        assert list(executor.events()) == [Finished("a", "landed", 3)]
    finally:
        executor.close()


def test_workers_begin_only_when_there_is_work():
    executor = LocalExecutor(4)
    assert list(executor.events()) == []
    assert executor._workers == {}
    executor.close()


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_are_at_least_one(workers):
    with pytest.raises(InputError, match=f"workers must be at least 1, got {workers}"):
        LocalExecutor(workers)


def test_available_cores_respects_the_affinity_mask():
    if not hasattr(os, "sched_setaffinity"):
        assert available_cores() >= 1
        return
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, mask)
    assert available_cores() == len(mask)


@pytest.mark.slow
def test_a_worker_goes_when_its_parent_is_not_its_parent(tmp_path):
    """Whoever was started by a process that died meanwhile ends at once."""
    import subprocess

    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "widthwise.execution.worker", str(ours), "1"],
        pass_fds=[ours],
    )
    try:
        assert process.wait(120) == 1
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
