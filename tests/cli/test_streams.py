"""Terminals that know few characters, pipes that close, full disks, and what other code prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_studies import clouds

WIDEN = (
    *("widen", "--learning-rate", "0.5", "--batch-size", "32", "--factor", "4"),
    *("--parameterization", "ntk"),
)
NETWORKS = """
import os
from torch import nn

print("importing")
os.system("echo from a program")


def build(w=1):
    print("building")
    os.write(1, b"past Python\\n")
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8 * w), nn.ReLU(), nn.Linear(8 * w, 3))
"""


# Imports what lies beside it under other names, and builds a network.
CROWDED = """
import random, json, types, logging, dataclasses
import torch
from torch import nn

assert random.random and json.dumps and types.ModuleType and logging.getLogger


def build(w=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8 * w), nn.ReLU(), nn.Linear(8 * w, 3))
"""
COMMANDS = {
    "widen": WIDEN,
    "inspect": ("inspect", "nets.py:build"),
    "run": ("run", "spec.json", "-q"),
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A folder with files named like the standard library and what else is imported."""
    folder = tmp_path_factory.mktemp("crowded")
    for name in (*sys.stdlib_module_names, "torch", "numpy", "scipy", "polars", "typer"):
        (folder / f"{name}.py").write_text("raise ImportError('not this one')\n")
    (folder / "nets.py").write_text(CROWDED)
    clouds().save(folder / "d.npz")
    spec = {
        "family": {"kind": "nets.py:build"},
        "data": {"name": "npz", "path": "d.npz"},
        "grid": {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 8, "seeds": 2},
        "training": {"steps": 8, "evaluations": 8},
        "packing": {"size": 2},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def start(*words, **options):
    command = [sys.executable, "-P", "-m", "widthwise", *words]  # -P as of the command itself
    return subprocess.run(command, check=False, timeout=120, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
def test_terminals_that_know_few_characters(variables):
    environment = {**os.environ, **variables}
    text = start(*WIDEN, env=environment, capture_output=True)
    assert (text.returncode, text.stderr) == (0, b"")
    assert b"?" in text.stdout
    found = start(*WIDEN, "--json", env=environment, capture_output=True)
    known = start(*WIDEN, "--json", capture_output=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert json.loads(found.stdout.decode("ascii")) == json.loads(known.stdout.decode("utf-8"))
    assert not known.stdout.isascii()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["widen", pytest.param("inspect", marks=pytest.mark.cluster), "run"]
)
def test_among_files_named_like_the_standard_library(crowded, command):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = start(*COMMANDS[command], cwd=crowded, env=environment, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.isascii()
    assert len(ended.stdout) > 20


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only on Linux")
def test_a_full_disk_is_one_line_of_a_run(crowded):
    with Path("/dev/full").open("w") as full:
        ended = start(*COMMANDS["run"], cwd=crowded, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"widthwise: standard output must take what is printed")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.cluster
def test_output_closed_early_is_silent_of_a_network(crowded):
    reader, writer = os.pipe()
    os.close(reader)
    ended = start(*COMMANDS["inspect"], cwd=crowded, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only on Linux")
@pytest.mark.parametrize("option", ["--explain", "--json", "--help"])
def test_a_full_disk_is_one_line(option):
    with Path("/dev/full").open("w") as full:
        ended = start(*WIDEN, option, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr == (
        b"widthwise: standard output must take what is printed, got: No space left on device\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--explain", "--json"])
def test_output_closed_early_is_no_traceback(option):
    reader, writer = os.pipe()
    os.close(reader)
    ended = start(*WIDEN, option, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "closed"),
    [
        ("widen", ">&-"),
        ("widen", ">&- 2>&-"),
        pytest.param("run", "<&- >&- 2>&-", marks=pytest.mark.cluster),
    ],
)
def test_closed_streams(crowded, command, closed):
    script = f'exec "$0" -P -m widthwise "$@" {closed}'
    ended = subprocess.run(
        ["sh", "-c", script, sys.executable, *COMMANDS[command]],
        check=False,
        capture_output=True,
        timeout=120,
        cwd=crowded,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@pytest.mark.slow
def test_an_error_that_cannot_be_printed_keeps_its_exit_code():
    with Path(os.devnull).open() as unwritable:
        assert start("run", "absent.toml", stderr=unwritable).returncode == 2


@pytest.mark.slow
def test_json_stands_alone(tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    ended = start("inspect", "nets.py:build", "--json", cwd=tmp_path, capture_output=True)
    assert json.loads(ended.stdout)["parameters"]
    printed = ended.stderr.decode().splitlines()
    assert sorted(printed) == ["building", "from a program", "importing", "past Python"]


@pytest.mark.cluster
def test_without_json_user_code_prints_where_it_prints(tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    ended = start("inspect", "nets.py:build", cwd=tmp_path, capture_output=True)
    assert b"building" in ended.stdout
    assert ended.stderr == b""


@pytest.mark.cluster
def test_json_stands_alone_beside_workers(tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    clouds().save(tmp_path / "d.npz")
    spec = {
        "title": "a\x1b[2J\x9b",
        "family": {"kind": "nets.py:build"},
        "data": {"name": "npz", "path": "d.npz"},
        "grid": {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 8, "seeds": 2},
        "training": {"steps": 8, "evaluations": 8},
        "packing": {"size": 2},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    ended = start("run", "spec.json", "-q", "--json", cwd=tmp_path, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    report = Path(json.loads(ended.stdout)["report"])
    assert b"building" in ended.stderr
    page = report.read_text(encoding="utf-8")
    assert "a\ufffd[2J\ufffd" in page
    assert "\x1b" not in page
    status = start("status", "studies/spec", cwd=tmp_path, capture_output=True)
    assert b"\x1b" not in status.stdout
    assert status.returncode == 0
