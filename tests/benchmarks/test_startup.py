"""The benchmark of the command line's start: what it measures, writes and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are not part of the package

from benchmarks import startup

BUSY = "sum(range(30_000_000))"


@pytest.mark.slow
def test_cpu_time_counts_work_and_not_waiting():
    waits = startup.cpu_seconds(("-c", "import time; time.sleep(1.0)"))
    works = startup.cpu_seconds(("-c", BUSY))
    assert 0.0 < waits < works


def test_a_command_that_fails_is_no_time():
    with pytest.raises(subprocess.CalledProcessError):
        startup.cpu_seconds(("-c", "raise SystemExit(3)"))


def test_all_take_turns_and_the_first_round_does_not_count(monkeypatch):
    seen = []
    monkeypatch.setattr(startup, "cpu_seconds", lambda arguments: seen.append(arguments) or 1.0)
    assert startup.in_turns({"a": ("1",), "b": ("2",)}, 2) == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert seen == [("1",), ("2",)] * 3


@pytest.mark.parametrize(("seconds", "code"), [(0.5, 0), (2.0, 1)])
def test_the_page_and_the_limit(monkeypatch, tmp_path, capsys, seconds, code):
    def fake(arguments):
        return 1.0 if arguments == startup.COMMANDS[startup.TORCH] else seconds

    monkeypatch.setattr(startup, "cpu_seconds", fake)
    page = tmp_path / "startup.md"
    assert startup.main(["--output", str(page), "--rounds", "9"]) == code
    assert f"| `widthwise --help` | {1e3 * seconds:.0f} (" in page.read_text()
    record = json.loads(page.with_suffix(".json").read_text())
    assert record["times"]["widthwise --help"] == [seconds] * 9
    assert ("takes longer" in capsys.readouterr().err) == bool(code)


def test_few_rounds_are_refused(capsys):
    with pytest.raises(SystemExit):
        startup.main(["--rounds", "3"])
    assert "must be at least 9" in capsys.readouterr().err
