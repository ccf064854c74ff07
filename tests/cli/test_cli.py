"""The command line: exit codes, one line about what is wrong, JSON that parses."""

import contextlib
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from polars.testing import assert_frame_equal
from report_samples import content, results_table
from tiny_studies import (
    clouds,
    compacted_files,
    comparable,
    fields,
    finished_study,
    flip_a_bit,
    in_this_process,
    landed_files,
)

from widthwise import cli
from widthwise.analysis.doubts import KINK
from widthwise.cli.output import print_json
from widthwise.cli.studies import show_report
from widthwise.errors import InputError
from widthwise.execution import EXECUTORS
from widthwise.execution.crew import STARTERS, Starter
from widthwise.study import Study

SPEC = {
    "grid": {"widening_factor": 1, "learning_rate": 0.1, "batch_size": [1, 4, 16], "seeds": 2},
    "family": {"base_width": 4},
    "training": {"steps": 24, "evaluations": 8},
    "packing": {"size": 16},
}


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    yield in_this_process(monkeypatch)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command in this process; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["widthwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def write_spec(folder, **changes):
    """A specification on a small .npz, as a file."""
    if not (folder / "d.npz").exists():
        clouds().save(folder / "d.npz")
    data = {"name": "npz", "path": str(folder / "d.npz"), "preprocessing": "none"}
    spec = {**SPEC, "data": data, **changes}
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def one_clear_line(code, out, err, message):
    assert code == 2
    assert out == ""
    assert err.startswith("widthwise: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err


class TestRun:
    @pytest.mark.slow
    def test_begins_reports_and_goes_on(self, call, tmp_path, trained):
        spec, place = write_spec(tmp_path), tmp_path / "s"
        code, out, err = call("run", spec, "-o", place, "-q")
        assert (code, err) == (0, "")
        assert str(place / "report.html") in out
        assert "a law needs the optima of at least 2 widths" in out
        assert len(trained) == 6
        trained.clear()
        for arguments in (("run", spec, "-o", place, "-q"), ("run", place)):
            code, out, _ = call(*arguments)
            assert code == 0
            assert str(place / "report.html") in out
        assert trained == []

    @pytest.mark.slow
    def test_default_place(self, call, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert call("run", write_spec(tmp_path), "-q", "--workers", 1)[0] == 0
        assert (tmp_path / "studies" / "spec" / "report.html").exists()

    @pytest.mark.slow
    def test_overrides(self, call, tmp_path):
        spec = write_spec(tmp_path)
        options = ("--set", "grid.seeds=1", "--set", "grid.batch_size=8")
        assert call("run", spec, "-o", tmp_path / "s", "-q", *options)[0] == 0
        table = Study.open(tmp_path / "s").results()
        assert (len(table), table["batch_size"][0]) == (1, 8)

    @pytest.mark.slow
    def test_a_begun_study_takes_other_keys(self, call, tmp_path, trained):
        place = tmp_path / "s"
        call("run", write_spec(tmp_path), "-o", place, "-q")
        one_clear_line(*call("run", place, "-o", tmp_path / "t"), "leave out --output")
        trained.clear()
        code, _, err = call("run", place, "--set", "grid.seeds=3")
        assert code == 0
        assert "(grid[0].seeds: [0, 1] became [0, 1, 2]): 6 runs of it are there, 3 to train" in err
        assert len(trained) == 3
        code, _, err = call("run", place, "--set", "training.steps=30")
        one_clear_line(code, "", err, "none of the 9 runs .* would be used.* give --yes")
        assert call("run", place, "--set", "training.steps=30", "--yes", "-q")[0] == 0
        assert "9 more in the store, not asked for" in call("status", place)[1]

    @pytest.mark.slow
    def test_an_extended_specification(self, call, tmp_path, trained):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        trained.clear()
        wider = write_spec(tmp_path, grid={**SPEC["grid"], "widening_factor": [1, 2]})
        assert call("run", wider, "-o", tmp_path / "s", "-q")[0] == 0
        assert len(trained) == 6
        assert len(Study.open(tmp_path / "s").results()) == 12

    @pytest.mark.slow
    def test_two_studies_in_one_store(self, call, tmp_path, trained):
        for name in ("a", "b"):
            spec = write_spec(tmp_path, title=name)
            place = ("-o", tmp_path / name, "--store", tmp_path / "runs")
            assert call("run", spec, *place, "-q")[0] == 0
        assert len(trained) == 6
        # Once said, it stays.
        assert call("run", tmp_path / "b", "--set", "grid.seeds=3", "-q")[0] == 0
        assert len(trained) == 9
        assert not (tmp_path / "b" / "store").exists()

    @pytest.mark.slow
    def test_an_engine_that_is_asked_for(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q", "--engine", "vmap")
        assert set(Study.open(tmp_path / "s").results()["engine"]) == {"vmap"}
        answer = call("run", tmp_path / "s", "-q", "--engine", "fastest")
        one_clear_line(*answer, r"packing\.engine: .*'fastest'")

    @pytest.mark.slow
    def test_runs_are_withdrawn_and_trained_again(self, call, tmp_path, trained):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        trained.clear()
        code, _, err = call("run", tmp_path / "s", "--retrain-where", "batch_size=4")
        assert code == 0
        assert "2 runs are withdrawn, and trained again\n" in err
        assert len(trained) == 2
        assert "damaged" not in call("status", tmp_path / "s")[1]
        answer = call("run", tmp_path / "s", "--retrain-where", "speed=3", "-q")
        one_clear_line(*answer, "--retrain-where must be a column of the results")

    @pytest.mark.slow
    def test_nothing_to_do_is_said(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        assert "all 6 runs are there" in call("run", tmp_path / "s")[2]

    @pytest.mark.slow
    def test_a_damaged_run_is_named(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        victim = landed_files(tmp_path / "s")[0]
        victim.write_bytes(victim.read_bytes()[:-2])
        code, _, err = call("run", tmp_path / "s")
        assert code == 0
        assert victim.name in err
        assert "1 damaged" in call("status", tmp_path / "s")[1]


class TestVerifyAndTidy:
    @pytest.mark.slow
    def test_verify(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        assert call("verify", tmp_path / "s") == (
            0, "6 runs are sound, 0 files are damaged\n", ""
        )  # fmt: skip
        victim = landed_files(tmp_path / "s")[0]
        flip_a_bit(victim)
        code, out, _ = call("verify", tmp_path / "s", "--json")
        (found,) = json.loads(out)
        assert code == 1
        assert Path(found["place"]).name == victim.name
        assert Path(found["place"]).exists()
        code, out, _ = call("verify", tmp_path / "s")
        assert (code, out) == (0, "5 runs are sound, 0 files are damaged\n")

    @pytest.mark.slow
    def test_gc(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        before = Study.open(tmp_path / "s").results()
        code, out, _ = call("gc", tmp_path / "s", "--json")
        assert (code, json.loads(out)["merged"]) == (0, 6)
        assert landed_files(tmp_path / "s") == []
        assert len(compacted_files(tmp_path / "s")) == 1
        assert Study.open(tmp_path / "s").results().equals(before)
        assert "0 runs merged" in call("gc", tmp_path / "s")[1]

    @pytest.mark.slow
    def test_export(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        code, out, _ = call("export", tmp_path / "s", "-o", tmp_path / "away")
        assert code == 0
        assert out.splitlines() == [
            str(tmp_path / "away" / name) for name in ("results.parquet", "report.html")
        ]
        assert all(Path(line).exists() for line in out.splitlines())
        assert str(tmp_path) not in (tmp_path / "away" / "report.html").read_text()
        answer = call("export", tmp_path / "s", "-o", tmp_path / "s")
        one_clear_line(*answer, "must have a folder of its own")


class TestJSON:
    def test_doubts_stand_beside_the_interval(self, capsys):
        made = content(results_table(widths=(1.0, 2.0)))
        doubted = {w: replace(o, doubts=(KINK,)) for w, o in made.optima.items()}
        summary = SimpleNamespace(optima=doubted, problems={}, law=None, law_problem="none")
        study = SimpleNamespace(report=lambda command: "report.html", summary=lambda: summary)
        show_report(study, True)
        optima = json.loads(capsys.readouterr().out)["optima"]
        assert optima["1"]["doubts"] == optima["2"]["doubts"] == [KINK]
        assert optima["1"]["interval"] == pytest.approx(doubted[1.0].interval)

    @pytest.mark.slow
    def test_every_command(self, call, tmp_path):
        spec, place = write_spec(tmp_path), tmp_path / "s"
        code, out, _ = call("run", spec, "-o", place, "-q", "--json")
        first = json.loads(out)
        assert code == 0
        assert Path(first["report"]).exists()
        assert first["verdict"] is None
        assert first["problems"] or first["optima"]
        assert json.loads(call("report", place, "--json")[1]) == first
        assert json.loads(call("status", place, "--json")[1]) == {
            "title": "Width study",
            "runs_planned": 6,
            "runs_landed": 6,
            "runs_diverged": 0,
            "runs_in_flight": 0,
            "longest_in_flight": None,
            "runs_failed": 0,
            "runs_waiting": 0,
            "damaged": 0,
            "kept": 0,
        }
        names = {row["name"] for row in json.loads(call("datasets", "--json")[1])}
        assert {"fashion-mnist-mini", "mnist1d", "npz"} <= names

    def test_neither_infinity_nor_nan(self, capsys):
        print_json({"a": [float("inf"), -float("inf"), float("nan"), 1.5], "b": Path("x")})
        out = capsys.readouterr().out
        assert json.loads(out, parse_constant=pytest.fail) == {
            "a": [None, None, None, 1.5],
            "b": "x",
        }


class TestText:
    @pytest.mark.slow
    def test_status(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        _, out, _ = call("status", tmp_path / "s")
        assert out == f"{tmp_path / 's'}: Width study\nruns   6 of 6 (0 diverged)\n"

    def test_datasets(self, call):
        code, out, _ = call("datasets")
        assert code == 0
        assert "fashion-mnist-mini\n" in out
        assert "here: part of Widthwise" in out

    def test_report_before_anything_landed(self, call, tmp_path):
        Study.create(tmp_path / "s", write_spec(tmp_path))
        code, out, err = call("report", tmp_path / "s")
        assert (code, out) == (1, "")
        assert err.startswith("widthwise: no run of ")

    @pytest.mark.parametrize(
        "command", ["", "run", "report", "status", "verify", "gc", "export", "datasets"]
    )
    def test_help(self, call, command):
        code, out, _ = call(*filter(None, [command]), "--help")
        assert code == 0
        assert "Usage" in out

    @pytest.mark.parametrize(
        "arguments",
        [
            ("run",),
            ("no-such-command",),
            ("status",),
            ("run", "x", "--workers", "0"),
            ("run", "-z"),
        ],
    )
    def test_usage_errors(self, call, arguments):
        code, _, err = call(*arguments)
        assert code == 2
        assert "Usage" in err
        assert "Traceback" not in err


WRONG = {
    "unknown key": ({"trianing": {}}, "unknown key 'trianing' .*did you mean 'training'"),
    "negative rate": ({"grid": {**SPEC["grid"], "learning_rate": -1}}, "greater than 0, got -1"),
    "momentum": ({"grid": {**SPEC["grid"], "momentum": 1.0}}, "less than 1, got 1.0"),
    "large batch": (
        {"grid": {**SPEC["grid"], "batch_size": 65}},
        "must not exceed the 64 training examples, got 65",
    ),
    "family": ({"family": {"kind": "transformer"}}, "unknown family 'transformer'"),
    "width": ({"grid": {**SPEC["grid"], "widening_factor": 1.1}}, "whole number of units"),
    "missing data": (
        {"data": {"name": "npz", "path": "/no/such/file.npz"}},
        "/no/such/file.npz does not exist",
    ),
    "unknown data": ({"data": {"name": "imagenet"}}, "must be one of .*imagenet"),
    "memory": ({"packing": {"memory_mb": 0.001}}, "needs about .* MB"),
}


class TestBadInput:
    @pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
    def test_one_clear_line(self, call, tmp_path, changes, message):
        answer = call("run", write_spec(tmp_path, **changes), "-o", tmp_path / "s", "-q")
        one_clear_line(*answer, message)

    def test_data_that_are_not_here_say_how_to_get_them(self, call, tmp_path, monkeypatch):
        empty = str(tmp_path)
        data = {"name": "cifar10", "path": empty}
        answer = call("run", write_spec(tmp_path, data=data), "-o", tmp_path / "s", "-q")
        one_clear_line(*answer, r"cifar10.*(fetch|download)")

    def test_not_a_number_in_the_data(self, call, tmp_path):
        x = np.zeros((8, 4), dtype=np.float32)
        x[3, 2] = np.nan
        y = np.arange(8) % 2
        np.savez(tmp_path / "nan.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
        data = {"name": "npz", "path": str(tmp_path / "nan.npz")}
        answer = call("run", write_spec(tmp_path, data=data), "-o", tmp_path / "s", "-q")
        one_clear_line(*answer, r"(?i)nan|finite")

    def test_no_such_specification(self, call, tmp_path):
        one_clear_line(*call("run", tmp_path / "absent.toml"), "cannot be read: No such file")

    @pytest.mark.parametrize("command", ["status", "report", "run", "verify", "gc"])
    def test_not_a_study(self, call, tmp_path, command):
        one_clear_line(*call(command, tmp_path), "is not a study: it has no study.json")

    @pytest.mark.slow
    def test_another_specification(self, call, tmp_path):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        other = write_spec(tmp_path, training={"steps": 30, "evaluations": 8})
        answer = call("run", other, "-o", tmp_path / "s", "-q")
        one_clear_line(
            *answer, r"none of the 6 runs .* training.steps: 24 became 30.* give --yes to go on"
        )

    def test_a_family_that_raises(self, call, tmp_path):
        (tmp_path / "nets.py").write_text("def build(w):\n    raise ValueError('two\\nlines')\n")
        spec = write_spec(tmp_path, family={"kind": "nets.py:build"})
        answer = call("run", spec, "-o", tmp_path / "s", "-q")
        one_clear_line(*answer, "raised ValueError: two lines")

    @pytest.mark.slow
    def test_by_a_real_process(self, tmp_path):
        spec = tmp_path / "spec.toml"
        spec.write_text("[grid]\nmomentum = 0.9.9\n")
        done = subprocess.run(
            [sys.executable, "-m", "widthwise", "run", str(spec), "-o", str(tmp_path / "s")],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        one_clear_line(done.returncode, done.stdout, done.stderr, "spec.toml cannot be parsed")
        assert not (tmp_path / "s").exists()


class TestUnwritable:
    def test_a_file_where_the_directory_should_be(self, call, tmp_path):
        (tmp_path / "s").write_text("in the way")
        answer = call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        one_clear_line(*answer, "a file stands where a directory is needed")
        answer = call("run", write_spec(tmp_path), "-o", tmp_path / "s" / "deeper", "-q")
        one_clear_line(*answer, "a file stands where a directory is needed")
        assert (tmp_path / "s").read_text() == "in the way"

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [(errno.EACCES, "you may not write there"), (errno.EROFS, "read-only")],
    )
    def test_no_permission(self, call, tmp_path, monkeypatch, number, remedy):
        def refuse(*arguments, **options):
            raise OSError(number, os.strerror(number))

        spec = write_spec(tmp_path)
        monkeypatch.setattr(Path, "mkdir", refuse)
        one_clear_line(*call("run", spec, "-o", tmp_path / "s", "-q"), remedy)

    def test_a_directory_that_may_not_even_be_entered(self, call, tmp_path, monkeypatch):
        def refuse(self, **options):
            raise PermissionError(errno.EACCES, "Permission denied")

        spec = write_spec(tmp_path)
        monkeypatch.setattr(Path, "exists", refuse)
        with pytest.raises(InputError, match="you may not write there"):
            Study.create(tmp_path / "s", fields(), data=clouds())
        assert spec


class DiskFull:
    """The n-th time that bytes should reach the disk, there is no room."""

    def __init__(self, monkeypatch, at):
        self.left, self._fsync = at, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor):
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)

    @property
    def reached(self):
        return self.left <= 0


class TestFullDisk:
    @pytest.mark.slow
    def test_at_every_write_of_a_study(self, tmp_path, monkeypatch):
        """Nothing is damaged, and the study is completed when there is room again."""
        monkeypatch.setattr("widthwise.study.pack_call._SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        spec = fields(grid={"widening_factor": [1], "seeds": 1})
        expected = comparable(finished_study(tmp_path / "reference", spec).results())
        at = 0
        while True:
            at += 1
            place = tmp_path / str(at)
            with monkeypatch.context() as patch, contextlib.suppress(InputError):
                disk = DiskFull(patch, at)
                finished_study(place, spec)
                assert not disk.reached
            if not disk.reached:
                break
            study = finished_study(place, spec)
            assert study.verify() == []
            assert_frame_equal(comparable(study.results()), expected, check_exact=True)
            assert list(place.rglob(".tmp-*")) == []
        # Question, 2 runs and a pack with 7 checkpoints: file and directory each.
        assert at - 1 >= 2 + 2 * 2 + 2 * 7

    @pytest.mark.slow
    @pytest.mark.parametrize("at", [1, 3])
    def test_while_the_report_is_written(self, call, tmp_path, monkeypatch, at):
        call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
        before = (tmp_path / "s" / "report.html").read_bytes()
        with monkeypatch.context() as patch:
            DiskFull(patch, at)
            answer = call("report", tmp_path / "s")
        one_clear_line(*answer, "the disk is full; free some space")
        assert (tmp_path / "s" / "report.html").read_bytes() == before
        assert call("report", tmp_path / "s")[0] == 0

    @pytest.mark.slow
    def test_a_limit_met_in_the_middle_of_a_file(self, tmp_path):
        """By the operating system itself, not by a patch."""
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(InputError, match="cannot be written"):
                study.run(1, progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert landed_files(study.directory) == []
        assert list(study.directory.rglob(".tmp-*")) == []
        study.run(1, progress=False)
        assert len(study.results()) == 8


class TestInterrupt:
    def test_message_and_code(self, call, tmp_path, monkeypatch):
        class Interrupted:
            def __init__(self, workers):
                pass

            def submit(self, task):
                raise KeyboardInterrupt

            def close(self):
                pass

        monkeypatch.setitem(EXECUTORS, "local", Interrupted)
        code, out, err = call("run", write_spec(tmp_path), "-o", tmp_path / "s s", "-q")
        assert (code, out) == (130, "")
        assert "interrupted: 0 " in err
        assert f"go on with: widthwise run '{tmp_path / 's s'}'" in err

    def test_while_stable_rates_are_measured(self, call, tmp_path, monkeypatch):
        """They are not measured again, only to say how far it had come."""
        calls = []

        def interrupted(*arguments, **options):
            calls.append(arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr("widthwise.study.scheduling.stable_learning_rate", interrupted)
        grid = {"widening_factor": 1, "normalized_noise_scale": [0.01, 0.1], "seeds": 1}
        code, _, err = call("run", write_spec(tmp_path, grid=grid), "-o", tmp_path / "s", "-q")
        assert code == 130
        assert "go on with" in err
        assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.cluster)]
)
def test_ctrl_c_and_kill_end_a_real_process_with_130(tmp_path, number):
    network = "import pathlib, time\ndef build():\n    pathlib.Path('begun').touch()\n"
    (tmp_path / "nets.py").write_text(network + "    time.sleep(240)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "widthwise", "inspect", "nets.py:build"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.slow
def test_what_fails_in_the_work_is_1(call, tmp_path, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("widthwise.study.pack_call._train", broken)
    code, out, err = call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
    assert (code, out) == (1, "")
    assert err.startswith("widthwise: 3 runs failed 3 times and were left out (w = 1, ")
    assert "ZeroDivisionError: oops" in err
    assert "What has landed is safe; the same command tries them again\n" in err


@pytest.mark.slow
def test_what_could_be_trained_is_reported_all_the_same(call, tmp_path, monkeypatch):
    from widthwise.study import pack_call

    real = pack_call._train

    def broken(store, context, pack, *others):
        if pack.job.batch_size == 16:
            raise ZeroDivisionError("oops")
        return real(store, context, pack, *others)

    monkeypatch.setattr(pack_call, "_train", broken)
    code, out, err = call("run", write_spec(tmp_path), "-o", tmp_path / "s", "-q")
    assert code == 1
    assert "2 runs failed 3 times" in err
    assert str(tmp_path / "s" / "report.html") in out
    assert len(Study.open(tmp_path / "s").results()) == 4


class TestCompare:
    """Did the optima move between two studies that differ in how they were computed?"""

    GRID = {  # noqa: RUF012
        "widening_factor": [1, 2],
        "learning_rate": 0.1,
        "batch_size": [1, 2, 4, 8, 16, 32],
        "seeds": 4,
    }

    def studies(self, call, tmp_path, grid=GRID, **changes):
        options = {"grid": grid, "training": {"steps": 60, "evaluations": 8}}
        call("run", write_spec(tmp_path, **options), "-o", tmp_path / "a", "-q")
        call("run", write_spec(tmp_path, **options, **changes), "-o", tmp_path / "b", "-q")
        return tmp_path / "a", tmp_path / "b"

    @pytest.mark.slow
    def test_other_packs(self, call, tmp_path):
        places = self.studies(call, tmp_path, packing={"size": 3})
        code, out, _ = call("compare", *places)
        assert code == 0
        assert out.count("At widening factor") == 2
        code, out, _ = call("compare", *places, "--json")
        rows = json.loads(out)
        assert [row["widening_factor"] for row in rows] == [1.0, 2.0]
        assert {row["verdict"] for row in rows} <= {"did not move", "inconclusive"}

    @pytest.mark.slow
    def test_other_networks(self, call, tmp_path):
        few = {**self.GRID, "widening_factor": 1, "batch_size": 32, "seeds": 1}
        places = self.studies(call, tmp_path, few, family={"base_width": 5})
        one_clear_line(
            *call("compare", *places), "differ in precision, device and packing only, got family"
        )


class TestWork:
    @pytest.fixture
    def begun(self, tmp_path):
        Study.create(tmp_path / "s", write_spec(tmp_path))
        return tmp_path / "s"

    def test_until_nothing_is_left_without_a_report(self, begun, call):
        code, out, _ = call("work", begun, "-q")
        assert (code, out) == (0, "nothing is left: 6 of 6 runs have landed\n")
        assert not (begun / "report.html").exists()
        code, out, _ = call("work", begun, "--json", "-q")
        assert (code, json.loads(out)) == (0, {"done": True, "landed": 6, "asked": 6})

    def test_until_the_time_is_over(self, begun, call):
        code, out, _ = call("work", begun, "-q", "--for", "0.000001s")
        assert (code, out) == (0, "the time is over: 0 of 6 runs have landed\n")
        assert call("work", begun, "-q", "--for", "1h")[1].startswith("nothing is left: 6 of 6")

    @pytest.mark.parametrize("time", ["2", "h", "-1s", "0s", "2d", "infs", "1e400s"])
    def test_times_that_are_none(self, begun, call, time):
        one_clear_line(*call("work", begun, f"--for={time}"), "--for must be a number of seconds")

    def test_a_study_that_has_not_begun(self, tmp_path, call):
        one_clear_line(*call("work", tmp_path), "study.json")


class TestOnACluster:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--on", "pbs", "--workers", 2], "--on must be one of 'slurm', 'ray', got 'pbs'"),
            (["--on", "slurm"], "--on=slurm needs --workers: how many to start there"),
            (["--detach"], "--detach is for clusters; give --on as well"),
            (["--address", "a:1"], "--address is for clusters; give --on"),
            (["--on", "slurm", "--workers", 2, "--cluster", "absent.toml"], "cannot be read"),
        ],
    )
    def test_what_is_wrong_is_said_before_a_study_begins(
        self, call, tmp_path, monkeypatch, options, message
    ):
        monkeypatch.setitem(STARTERS, "slurm", Starter("crew_here", "polars", outlives=True))
        place = tmp_path / "s"
        one_clear_line(*call("run", write_spec(tmp_path), "-o", place, *options), message)
        assert not place.exists()

    def test_a_package_that_is_missing(self, call, tmp_path, monkeypatch):
        monkeypatch.setitem(STARTERS, "ray", Starter("crew_here", "absent", outlives=False))
        arguments = ("run", write_spec(tmp_path), "--on", "ray", "--workers", 2)
        one_clear_line(*call(*arguments), r"--on=ray needs the package absent.*'widthwise\[ray\]'")
