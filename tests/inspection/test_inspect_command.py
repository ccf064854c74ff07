"""`widthwise inspect`: what it builds, prints and refuses."""

import json
import signal
import sys

import pytest
import torch

from widthwise import cli

NETWORKS = """
from torch import nn

def build(w):
    return nn.Sequential(nn.Linear(20, 64 * w), nn.ReLU(), nn.Linear(64 * w, 10))

def plain():
    return build(2)

def seeded(seed=0):
    return build(2 + seed)

def wrong():
    return 3

def failing():
    raise RuntimeError("no such luck")
"""


@pytest.fixture
def networks(tmp_path):
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return path


@pytest.fixture
def call(monkeypatch, capsys, networks):
    """Runs `widthwise inspect` on a function of the file; (exit code, output, errors)."""
    before = signal.getsignal(signal.SIGTERM)

    def run(function, *arguments):
        words = ["widthwise", "inspect", f"{networks}:{function}", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    yield run
    signal.signal(signal.SIGTERM, before)


def test_one_network_as_a_table(call):
    code, said, _ = call("plain", "--learning-rate", 0.1, "--batch-size", 32, "--momentum", 0.9)
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split()[-3:] == ["c²ε", "ḡ", "initialization"]
    assert lines[1].startswith("0.weight   Linear  128×20")
    assert "Parameterization: default." in said


def shapes(said):
    return [row["shape"] for row in json.loads(said)["parameters"]]


@pytest.mark.parametrize(
    ("function", "options", "width"),
    [
        ("plain", (), 128),
        ("build", (), 64),  # a function that needs a factor gets 1
        ("build", ("--factor", 3), 192),
        ("seeded", (), 128),
    ],
)
def test_what_is_built(call, function, options, width):
    code, said, _ = call(function, *options, "--json")
    assert code == 0
    assert shapes(said)[0] == [width, 20]


@pytest.mark.parametrize("factors", [("--factor", 1, 4), ("--factor", 1, "--factor", 4)])
def test_two_factors_are_compared(call, factors):
    code, said, _ = call("build", *factors, "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["widening_factor"], found["parameterization"]) == (4.0, "default")


def test_a_target(call, networks):
    code, said, _ = call("build", "--target", f"{networks}:plain")
    assert code == 0
    assert "Widening factor: 2" in said


def test_a_target_with_factors(call, networks):
    _, said, _ = call("build", "--target", f"{networks}:build", "--factor", 2, 8, "--json")
    assert json.loads(said)["widening_factor"] == 4.0


def test_the_seed_is_used_and_the_callers_generator_left(call):
    state = torch.get_rng_state()
    first, again, other = (call("plain", "--seed", seed, "--json")[1] for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


BAD = [
    ("nothing", (), "no 'nothing'"),
    ("wrong", (), "must return a torch.nn.Module, got int"),
    ("failing", (), "RuntimeError: no such luck"),
    ("plain", ("--factor", 2), "plain must take a widening factor"),
    ("build", ("--factor", 1, 2, 3), "at most two"),
    ("build", ("--factor", -1), "must be positive"),
    ("build", (3,), "given by --factor"),
    ("plain", ("--batch-size", 4), "give --learning-rate as well"),
    ("plain", ("--confidence", 2), "confidence must lie in (0, 1)"),
]


@pytest.mark.parametrize(("function", "options", "message"), BAD)
def test_bad_input_is_exit_code_2(call, function, options, message):
    code, said, error = call(function, *options)
    assert (code, said) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_target_needs_both_factors_or_none(call, networks):
    code, _, error = call("build", "--target", f"{networks}:build", "--factor", 2)
    assert code == 2
    assert "give two, base and target" in error
