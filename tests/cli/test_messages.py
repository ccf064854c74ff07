"""No command speaks of an option that it does not have: bad input of every command."""

import ast
import json
import re
import signal
import sys
import textwrap
from pathlib import Path

import pytest
import typer
from tiny_studies import clouds

from widthwise import cli

COMMANDS = typer.main.get_command(cli.app).commands
TUNED = ("--learning-rate", "0.1", "--batch-size", "32")
NTK = (*TUNED, "--factor", "4", "--parameterization", "ntk")

TABLE = ("--width", "width", "--x", "lr", "--score", "score")

NETWORKS = """
import torch
from torch import nn


def build(w):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 64 * w), nn.ReLU(), nn.Linear(64 * w, 3))


def plain():
    return build(2)


def wrong():
    return 3


def mixed(w):
    return nn.Sequential(nn.Linear(20, 64 * w), nn.Linear(64 * w, 32 * w * w),
                         nn.Linear(32 * w * w, 10))


def odd(w):
    layer = nn.Linear(20 * w, 10)
    nn.init.zeros_(layer.weight)
    return layer


def small():
    return mixed(1)


def large():
    return mixed(2)
"""

# {} is the folder with networks, specification and data.
BAD = [
    ("run", "{}/absent.toml"),
    ("run", "{}"),
    ("run", "{}/runs.csv"),
    ("run", "{}/nets.py:build"),
    ("run", "{}/spec.json", "--set", "grid.momentum=2"),
    ("run", "{}/spec.json", "--set", "grid.batch_size=65"),
    ("run", "{}/spec.json", "--set", "grid.widening_factor=1.1"),
    ("run", "{}/spec.json", "--set", "trianing.steps=3"),
    ("run", "{}/spec.json", "--set", "data.path=/no/such/file.npz"),
    ("run", "{}/spec.json", "--set", "packing.memory_mb=0.001"),
    ("run", "{}/spec.json", "--engine", "fastest"),
    ("run", "{}/spec.json", "--store", "{}/spec.json", "-q"),
    ("run", "{}/spec.json", "--retrain-where", "speed=3", "-q"),
    ("run", "{}/spec.json", "--track", "nothing"),
    ("run", "{}/spec.json", "--track", "tensorboard="),
    ("track", "{}", "--to", "tensorboard"),
    ("track", "{}", "--to", "nothing"),
    ("work", "{}"),
    ("work", "{}", "--for", "2"),
    ("init", "{}", "--example", "nothing"),
    ("status", "{}"),
    ("status", "{}/spec.json"),
    ("report", "{}"),
    ("watch", "{}"),
    ("verify", "{}"),
    ("gc", "{}"),
    ("export", "{}", "-o", "{}/away"),
    ("compare", "{}", "{}"),
    ("analyze", "{}/absent.csv", *TABLE),
    ("analyze", "{}/spec.json", *TABLE),
    ("analyze", "{}/losses.csv", "--width", "width", "--x", "lr", "--score", "loss"),
    ("analyze", "{}/runs.csv", *TABLE, "--log-base", "1"),
    ("analyze", "{}/runs.csv", *TABLE, "--where", "lr"),
    ("analyze", "{}/runs.csv", *TABLE, "--where", "lr=7"),
    ("analyze", "{}/runs.csv", *TABLE, "--seed", "lr"),
    ("analyze", "{}/runs.csv", *TABLE, "--x", "score"),
    ("analyze", "{}/runs.csv", "--width", "width", "--x", "lr"),
    ("analyze", "{}/runs.csv", "--width", "width", "--x", "lr", "--score", "acc"),
    ("inspect", "{}/nets.py:none"),
    ("inspect", "{}/nets.py:wrong"),
    ("inspect", "{}/nets.py:plain", "--factor", "2"),
    ("inspect", "{}/nets.py:build", "--factor", "1", "2", "3"),
    ("inspect", "{}/nets.py:build", "--factor", "-1"),
    ("inspect", "{}/nets.py:build", "3"),
    ("inspect", "{}/nets.py:plain", "--batch-size", "4"),
    ("inspect", "{}/nets.py:plain", "--learning-rate", "-1"),
    ("inspect", "{}/nets.py:plain", "--momentum", "1"),
    ("inspect", "{}/nets.py:plain", "--confidence", "2"),
    ("inspect", "{}/nets.py:build", "--target", "{}/nets.py:build", "--factor", "2"),
    ("probe", "nets"),
    ("probe", "{}/runs.csv"),
    ("probe", "{}/spec.json", "--widths", "1,two"),
    ("probe", "{}/spec.json", "--spec", "other.toml"),
    ("probe", "{}/spec.json", "--momentum", "1", "-q"),
    ("probe", "{}/spec.json", "--set", "grid.momentum=[0.0, 0.9]", "-q"),
    ("probe", "{}/spec.json", "--batch-size", "1000", "-q"),
    ("probe", "{}/spec.json", "--tolerance", "9", "-q"),
    ("calibrate", "{}/spec.json", *TUNED, "--factor", "4"),
    ("calibrate", "{}/own.json", *TUNED, "--factor", "4", "--widths", "1"),
    ("calibrate", "{}/own.json", *TUNED, "--factor", "4", "--widths", "one"),
    ("calibrate", "{}/own.json", *TUNED, "--factor", "4", "--seeds", "1"),
    ("calibrate", "{}/own.json", *TUNED, "--factor", "4", "--momentum", "2"),
    ("calibrate", "{}/own.json", "--learning-rate", "0", "--batch-size", "4", "--factor", "4"),
    ("widen", *TUNED, "--factor", "4"),
    ("widen", *TUNED, "--parameterization", "ntk"),
    ("widen", *TUNED, "--factor", "-4", "--parameterization", "ntk"),
    ("widen", *NTK, "--keep", "nothing"),
    ("widen", *NTK, "--momentum", "1"),
    ("widen", *NTK, "--target", "nets:build"),
    ("widen", *NTK, "--law", "/nowhere"),
    ("widen", *NTK, "--gradient-noise", "mnist1d"),
    ("widen", *TUNED, "--base", "{}/nets.py:build"),
    ("widen", *TUNED, "--base", "{}/nets.py:plain", "--target", "{}/nets.py:build"),
    ("widen", *TUNED, "--base", "{}/nets.py:small", "--target", "{}/nets.py:large"),
    ("widen", *TUNED, "--base", "{}/nets.py:odd", "--factor", "4"),
    ("widen", *NTK, "--base", "{}/nets.py:build"),
    ("reproduce", "colapse"),
    ("reproduce", "--size", "days"),
    ("reproduce", "law:cnn-ntk", "--data", "mnist1d"),
    ("reproduce", "collapse", "--set", "training.stps=4"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    clouds().save(tmp_path / "d.npz")
    content = {
        "family": {"base_width": 4},
        "training": {"steps": 24, "evaluations": 8},
        "hardware": {"device": "cpu"},
        "data": {"name": "npz", "path": str(tmp_path / "d.npz"), "preprocessing": "none"},
    }
    (tmp_path / "own.json").write_text(json.dumps(content))
    grid = {"widening_factor": [1, 2], "learning_rate": 0.1, "batch_size": 4, "seeds": 2}
    (tmp_path / "spec.json").write_text(json.dumps(content | {"grid": grid}))
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "runs.csv").write_text("width,lr,score\n1,0.1,0.5\n1,-0.2,0.6\n")
    (tmp_path / "losses.csv").write_text("width,lr,loss\n1,0.1,0.5\n1,0.2,0.6\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["widthwise", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    yield run
    signal.signal(signal.SIGTERM, before)


def foreign_options(command, message):
    """Options in the message that are not the command's; those of another that is named with it,
    as in `widthwise probe --widths 1,4`, must be that one's.
    """
    found, speaks_of = [], command
    for word in re.findall(r"widthwise [a-z]+|(?<![\w-])--[a-z][a-z-]*", message):
        if word.startswith("widthwise "):
            speaks_of = word.split()[1] if word.split()[1] in COMMANDS else speaks_of
            continue
        names = {n for p in COMMANDS[speaks_of].params for n in (*p.opts, *p.secondary_opts)}
        if word not in names:
            found.append(word)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("words", BAD, ids=lambda words: " ".join(map(str, words[:5])))
def test_bad_input_names_options_of_the_command(call, folder, words):
    code, _, error = call(*(word.replace("{}", str(folder)) for word in words))
    assert code == 2, error
    assert foreign_options(words[0], error.replace(str(folder), "")) == []


@pytest.mark.parametrize(
    ("function", "factors"), [("mixed", ("1", "2")), ("odd", ("1", "4")), ("build", ("4", "1"))]
)
def test_what_inspect_asks_names_options_that_it_has(call, folder, function, factors):
    code, said, _ = call("inspect", f"{folder}/nets.py:{function}", "--factor", *factors)
    assert code == 0
    assert "Open:" in said
    assert foreign_options("inspect", said) == []


def test_every_command_that_reads_input_is_tried():
    assert {words[0] for words in BAD} == COMMANDS.keys() - {"datasets"}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("give widening_factor (--widening-factor)", ["--widening-factor"]),
        ("say --epochs, or --factor", ["--epochs"]),
        ("measure: widthwise probe nets:build --widths 1,4", []),
        ("measure: widthwise probe nets:build --factor 4", ["--factor"]),
    ],
)
def test_a_foreign_option_is_found(message, found):
    assert foreign_options("inspect", message) == found


def options_in_strings(source):
    """Options in the strings of a module that are neither docstrings nor commands to be typed."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts = [
        re.sub(r"widthwise [a-z]+ [^`]*", "", node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in docstrings
    ]
    return [word for text in texts for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)]


@pytest.mark.slow
def test_no_option_is_written_into_the_library():
    """Outside the command line, and the adviser, which writes commands; squeue's are its own."""
    root = Path(cli.__file__).parents[1]
    of_others = {"execution/slurm.py": ["--noheader", "--array", "--format", "--jobs"]}
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in ("cli", "adviser"):
            found = options_in_strings(path.read_text(encoding="utf-8"))
            assert found == of_others.get(place.as_posix(), []), path


def test_an_option_that_is_written_into_the_library_is_found():
    source = '''
        def f(x):
            """As --set does."""
            raise InputError(f"steps (--steps) must be positive: {x}; try `widthwise run --set`")
    '''
    assert options_in_strings(textwrap.dedent(source)) == ["--steps"]
