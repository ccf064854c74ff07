"""Tasks in real worker processes: order, reuse, failures, an end at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import light_worker
import pytest
from worker_tasks import (
    Compute,
    Die,
    DieLater,
    DieWithHeir,
    Import,
    Leave,
    Note,
    Raise,
    Report,
    Sleep,
    Unreadable,
)

from widthwise.errors import InputError
from widthwise.execution import (
    Failed,
    Finished,
    LocalExecutor,
    Progressed,
    Quiet,
    Task,
    available_cores,
    local,
)
from widthwise.execution.bootstrap import where_from

HERE = str(Path(__file__).parent)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system does not watch elsewhere")


@pytest.fixture
def make_executor():
    made = []

    def make(workers=1, **options):
        made.append(LocalExecutor(workers, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def light(monkeypatch):
    monkeypatch.setattr(local, "_WORKER", light_worker.__name__)


def run(executor, calls):
    for key, call in calls.items():
        executor.submit(Task(key, call))
    return {event.key: event for event in executor.events() if not isinstance(event, Progressed)}


def alive(pid):
    """Whoever is adopted by a process that does not ask stays as a zombie. Threads that end later
    than the first keep its files open."""
    try:
        stat, threads = Path(f"/proc/{pid}/stat"), Path(f"/proc/{pid}/task")
        if stat.exists():
            ended = stat.read_text().rpartition(")")[2].split()[0] in "ZX"
            return not ended or len(list(threads.iterdir())) > 1
        os.kill(pid, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def seconds_until(condition, limit=60.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit
        time.sleep(0.01)
    return time.monotonic() - began


def numbers(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def number_in(path):
    seconds_until(lambda: path.exists() and path.read_text().endswith(" "))
    return int(path.read_text())


@pytest.mark.slow
def test_one_worker_does_everything_in_order_and_survives_failures(make_executor, tmp_path):
    executor = make_executor()
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
        Failed("user", "wrong family", "bad input"),
        Failed("ours", "ZeroDivisionError: oops", "raised"),
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


@pytest.mark.slow
def test_files_named_like_modules_do_not_kill_workers(make_executor, tmp_path, monkeypatch):
    """Neither in the working directory of a prompt, where "" is sought, nor in a folder that comes
    first on the path."""
    # Not needed by this process so far.
    late = next(name for name in ("pyclbr", "tabnanny", "this") if name not in sys.modules)
    loaded = ("queue", "random", "types", "copy", "secrets", "numpy", "torch", "widthwise")
    for name in (*loaded, late):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    assert run(make_executor(), {"a": Note(tmp_path / "a"), late: Import(late)}) == {
        "a": Finished("a", "landed", 3),
        late: Finished(late, "landed"),
    }


@pytest.mark.slow
def test_nor_the_command_when_it_is_a_module(tmp_path):
    for name in ("queue", "random", "copy", "numpy", "torch", "click", "typer"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    command = [sys.executable, "-m", "widthwise", "datasets"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class TestDeaths:
    @pytest.mark.slow
    def test_ten_cost_ten_tasks(self, light, make_executor, tmp_path):
        calls = {}
        for n in range(10):
            calls |= {f"note{n}": Note(tmp_path / f"note{n}"), f"die{n}": Die()}
        ends = run(make_executor(2), calls)
        assert ends.keys() == calls.keys()
        for n in range(10):
            assert ends[f"note{n}"] == Finished(f"note{n}", "landed", 3)
            assert ends[f"die{n}"].reason == "died"

    @pytest.mark.slow
    def test_of_what(self, light, make_executor):
        calls = {
            "kill": Die(),
            "segv": Die(signal.SIGSEGV),
            "exit": Leave(),
            "full": Raise(MemoryError("no more")),
            "torch": Raise(RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        }
        advice = (
            "if the machine ran out of memory, use fewer workers or a smaller packing.memory_mb"
        )
        assert run(make_executor(), calls) == {
            "kill": Failed("kill", f"a worker process died (killed by SIGKILL); {advice}", "died"),
            "segv": Failed("segv", "a worker process died (killed by SIGSEGV)", "died"),
            "exit": Failed("exit", "a worker process died (exit code 7)", "died"),
            "full": Failed("full", f"MemoryError: no more; {advice}", "raised"),
            "torch": Failed(
                "torch",
                f"RuntimeError: DefaultCPUAllocator: can't allocate memory; {advice}",
                "raised",
            ),
        }

    @pytest.mark.slow
    def test_with_nothing_to_do_costs_nothing(self, light, make_executor, tmp_path):
        executor = make_executor()
        run(executor, {"a": DieLater(tmp_path / "a")})
        (first,) = numbers(tmp_path / "a")
        seconds_until(lambda: not alive(first))
        assert run(executor, {"b": Note(tmp_path / "b")}) == {"b": Finished("b", "landed", 3)}
        assert numbers(tmp_path / "b") != [first]

    @pytest.mark.slow
    def test_a_child_that_keeps_the_pipe_open_does_not_hide_it(self, light, make_executor):
        began = time.monotonic()
        assert run(make_executor(), {"a": DieWithHeir()})["a"].reason == "died"
        assert time.monotonic() - began < 4.0

    @pytest.mark.slow
    def test_failed_tasks_are_submitted_again_meanwhile(self, light, make_executor, tmp_path):
        executor, again = make_executor(), iter([Die(), Note(tmp_path / "a")])
        executor.submit(Task("a", Die()))
        ends = []
        for event in executor.events():
            ends.append(type(event))
            if isinstance(event, Failed):
                executor.submit(Task("a", next(again)))
        assert ends == [Failed, Failed, Finished]


class TestStarting:
    @pytest.mark.slow
    def test_what_cannot_start_fails_each_task_once(self, make_executor, tmp_path, monkeypatch):
        (tmp_path / "broken_worker.py").write_text("\nraise RuntimeError('not\\nthis one')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(local, "_WORKER", "broken_worker")
        words = (
            "a worker process could not start: RuntimeError: not this one "
            f"({tmp_path}/broken_worker.py, line 2)"
        )
        ends = run(make_executor(2), {key: Leave() for key in "abc"})
        assert ends == {key: Failed(key, words, "died") for key in "abc"}

    @pytest.mark.slow
    def test_what_dies_while_it_starts(self, make_executor, tmp_path, monkeypatch):
        (tmp_path / "dead_worker.py").write_text("import os\nos._exit(3)")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(local, "_WORKER", "dead_worker")
        ends = run(make_executor(), {key: Leave() for key in "abc"})
        words = "a worker process died (exit code 3)"
        assert ends == {key: Failed(key, words, "died") for key in "abc"}

    @pytest.mark.slow
    def test_takes_long_on_a_busy_machine(self, make_executor, tmp_path, monkeypatch):
        """Longer than what would be silence later; but not for ever."""
        (tmp_path / "late_worker.py").write_text(
            "import time, light_worker\ntime.sleep(1)\nmain = light_worker.main"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(local, "_WORKER", "late_worker")
        executor = make_executor(silence_seconds=0.6)
        assert run(executor, {"steps": Report(steps=1)})["steps"] == Finished("steps", "landed")
        executor.close()
        monkeypatch.setattr(local, "_SECONDS_TO_START", 0.5)
        executor = make_executor(silence_seconds=0.4)
        assert "no sign of life for 0.5 s" in run(executor, {"steps": Report()})["steps"].message

    @pytest.mark.slow
    def test_a_task_that_cannot_be_read_is_a_failure(self, light, make_executor):
        failed = run(make_executor(), {"a": Unreadable()})["a"]
        assert failed.reason == "raised"
        assert "could not read its task: ModuleNotFoundError: No module named" in failed.message

    def test_a_task_that_cannot_be_sent_is_refused_at_once(self, make_executor):
        executor = make_executor()
        with pytest.raises(AttributeError, match="Can't pickle"):
            executor.submit(Task("a", lambda emit: None))
        assert list(executor.events()) == []

    def test_errors_of_syntax_name_the_file_themselves(self):
        with pytest.raises(SyntaxError) as raised:
            compile("x = (", "some/file.py", "exec")
        said = where_from(raised.value)
        assert said == "SyntaxError: '(' was never closed (file.py, line 1)"


class TestSilence:
    @pytest.mark.slow
    def test_a_stopped_worker_is_noticed(self, light, make_executor, tmp_path):
        calls = {"frozen": Die(signal.SIGSTOP), "after": Note(tmp_path / "after")}
        began = time.monotonic()
        ends = run(make_executor(silence_seconds=1.0), calls)
        assert 1.0 <= time.monotonic() - began < 10.0
        words = "a worker process gave no sign of life for 1 s; it was ended"
        assert ends == {
            "frozen": Failed("frozen", words, "died"),
            "after": Finished("after", "landed", 3),
        }

    @pytest.mark.slow
    def test_a_living_one_is_let_be(self, light, make_executor, tmp_path):
        ends = run(make_executor(silence_seconds=0.8), {"a": Sleep(tmp_path / "a", seconds=2.5)})
        assert ends == {"a": Finished("a", "landed")}

    @pytest.mark.slow
    def test_of_the_parent_is_not_the_workers(self, tmp_path):
        """Both are stopped, for longer than a worker may be silent; the parent wakes up first."""
        options = "1, silence_seconds=1.5"
        parent = light_parent(f"Sleep(Path({str(tmp_path / 'a')!r}), 5)", options)
        try:
            worker = number_in(tmp_path / "a")
            for pid in (worker, parent.pid):
                os.kill(pid, signal.SIGSTOP)
            time.sleep(2.5)
            os.kill(parent.pid, signal.SIGCONT)
            time.sleep(0.1)
            os.kill(worker, signal.SIGCONT)
            out, _ = parent.communicate(timeout=60)
        finally:
            parent.kill()
        assert out == "Finished(key='a', outcome='landed', diverged=0)\n"


class TestQuiet:
    @pytest.mark.slow
    def test_is_told_again_and_again(self, light, make_executor, tmp_path):
        executor = make_executor(quiet_seconds=0.4)
        executor.submit(Task("a", Sleep(tmp_path / "a", seconds=1.1)))
        *quiet, end = executor.events()
        assert quiet[:2] == [Quiet("a", 0.4), Quiet("a", 0.8)]
        assert end == Finished("a", "landed")

    @pytest.mark.slow
    def test_is_nobody_who_moves_on(self, light, make_executor):
        executor = make_executor(quiet_seconds=1.2)
        executor.submit(Task("steps", Report(every=0.3, steps=8)))
        assert not any(isinstance(event, Quiet) for event in executor.events())


PARENT = """
import sys
sys.path.insert(0, {here!r})
import light_worker
light_worker.without_torch()
from pathlib import Path
from widthwise.execution import Task, local
from worker_tasks import *
local._WORKER = {worker!r}
executor = local.LocalExecutor({options})
executor.submit(Task("a", {call}))
for event in executor.events():
    print(event, flush=True)
"""
# While it starts, its only thread that runs holds Python's lock, as loading a library does.
HOLDS_THE_LOCK = """
import ctypes, os
from pathlib import Path
Path({path!r}).write_text(f"{{os.getpid()}} ")
ctypes.PyDLL(None).sleep(600)
"""
STARTS_SLOWLY = """
import ctypes, os, time
from pathlib import Path
from widthwise.execution.bootstrap import set_death_signal
set_death_signal(0)
Path({path!r}).write_text(f"{{os.getpid()}} ")
time.sleep(600)
"""


def light_parent(call, options="1", worker="light_worker", **others):
    code = PARENT.format(here=HERE, worker=worker, options=options, call=call)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **others
    )


class TestParents:
    """Two seconds after their parent's end workers are gone."""

    def seconds_to_follow(self, path, parent):
        try:
            worker = number_in(path)
            assert alive(worker)
        finally:
            parent.kill()
            parent.communicate()
        return seconds_until(lambda: not alive(worker))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "text", [pytest.param(HOLDS_THE_LOCK, marks=ON_LINUX), STARTS_SLOWLY], ids=["lock", "slow"]
    )
    def test_while_they_start(self, text, tmp_path):
        path = tmp_path / "started"
        (tmp_path / "slow_worker.py").write_text(text.format(path=str(path)))
        extra = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": extra}
        parent = light_parent("None", worker="slow_worker", env=env)
        assert self.seconds_to_follow(path, parent) < 2.0

    @pytest.mark.slow
    @pytest.mark.parametrize("task", [Sleep, Compute])
    def test_while_they_work(self, task, tmp_path):
        path = tmp_path / "started"
        parent = light_parent(f"{task.__name__}(Path({str(path)!r}))")
        assert self.seconds_to_follow(path, parent) < 2.0

    @pytest.mark.slow
    def test_that_ended_before_they_began(self):
        """Whoever was started by a process that died meanwhile ends at once."""
        ours, theirs = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-P", local.bootstrap.__file__, "no_such_module", str(ours), "1"],
            pass_fds=[ours],
        )
        try:
            assert process.wait(60) == 1
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)

    @pytest.mark.slow
    def test_that_take_another_thread_for_what_follows(self, light, make_executor, tmp_path):
        """What the system watches is the thread that started a worker; later it must not."""
        import threading

        executor = make_executor()
        first = threading.Thread(target=run, args=(executor, {"a": Note(tmp_path / "a")}))
        first.start()
        first.join()
        time.sleep(0.2)
        run(executor, {"b": Note(tmp_path / "b")})
        assert numbers(tmp_path / "a") == numbers(tmp_path / "b")


class TestClose:
    @pytest.mark.slow
    def test_ends_what_works_and_drops_what_waits(self, light, make_executor, tmp_path):
        executor, pids = make_executor(2, quiet_seconds=0.2), []
        for key in "ab":
            executor.submit(Task(key, Sleep(tmp_path / key)))
        executor.submit(Task("never", Note(tmp_path / "never")))
        for event in executor.events():
            assert isinstance(event, Quiet)
            pids = [number_in(tmp_path / key) for key in "ab"]
            executor.close()  # while events are iterated over
        assert len(pids) == 2
        assert not any(alive(pid) for pid in pids)
        assert not (tmp_path / "never").exists()
        assert list(executor.events()) == []
        executor.close()  # twice does no harm

    @pytest.mark.slow
    def test_kills_what_does_not_end(self, light, make_executor, tmp_path, monkeypatch):
        monkeypatch.setattr(local, "_SECONDS_TO_DIE", 0.2)
        executor = make_executor(2)
        for key in "ab":
            executor.submit(Task(key, Sleep(tmp_path / key)))
        executor._hand_out()
        pids = [number_in(tmp_path / key) for key in "ab"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        executor.close()
        assert not any(alive(pid) for pid in pids)

    @pytest.mark.slow
    def test_does_not_wait_for_what_cannot_die(self, light, make_executor, tmp_path, monkeypatch):
        """As while a disk does not answer."""
        monkeypatch.setattr(local, "_SECONDS_TO_DIE", 0.1)
        executor = make_executor()
        executor.submit(Task("a", Sleep(tmp_path / "a")))
        executor._hand_out()
        (worker,) = executor._workers.values()
        pid = number_in(tmp_path / "a")
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(worker.process, "send_signal", lambda number: None)
        executor.close()
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)
        worker.process.wait()

    @pytest.mark.slow
    def test_while_workers_start(self, make_executor, tmp_path):
        executor = make_executor(2)
        for key in "ab":
            executor.submit(Task(key, Note(tmp_path / key)))
        executor._hand_out()
        pids = [worker.process.pid for worker in executor._workers.values()]
        began = time.monotonic()
        executor.close()
        assert time.monotonic() - began < 2.0
        assert not any(alive(pid) for pid in pids)

    @pytest.mark.slow
    def test_is_not_cut_short_by_another_interrupt(
        self, light, make_executor, tmp_path, monkeypatch
    ):
        executor = make_executor()
        executor.submit(Task("a", Sleep(tmp_path / "a")))
        executor._hand_out()
        pid = number_in(tmp_path / "a")
        os.kill(pid, signal.SIGSTOP)
        (worker,) = executor._workers.values()

        def interrupted(timeout):
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(worker.process, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.close()
        assert not alive(pid)


def test_workers_begin_only_when_there_is_work(make_executor):
    executor = make_executor(4)
    assert list(executor.events()) == []
    assert executor._workers == {}


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_are_at_least_one(workers):
    with pytest.raises(InputError, match=f"workers must be at least 1, got {workers}"):
        LocalExecutor(workers)


@pytest.mark.parametrize("name", ["silence_seconds", "quiet_seconds"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_times_are_positive(name, seconds):
    with pytest.raises(InputError, match=f"{name} must be above 0, got {seconds}"):
        LocalExecutor(1, **{name: seconds})


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
