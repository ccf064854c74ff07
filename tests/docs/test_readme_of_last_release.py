"""What the README of 0.1.0 shows still works, with a warning where names have changed.

The page goes, with this test, when its deprecated names do.
"""

import re
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from pages import blocks, command_lines
from test_commands import problem

import widthwise as ww

OLD = (Path(__file__).parent / "readme_0.1.0.md").read_text(encoding="utf-8")
LINES = [line for line in command_lines(OLD) if len(line.split()) > 2]


def block(language: str, containing: str) -> str:
    (found,) = [b.text for b in blocks(OLD) if b.language == language and containing in b.text]
    return found


def test_there_are_command_lines():
    assert len(LINES) == 10


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_understood(line):
    assert problem(line) is None


def test_the_specification_means_the_same():
    spec = ww.StudySpec.parse(tomllib.loads(block("toml", "[grid]")))
    assert spec.grid[0].batch_size == (1, 2, 4, 8, 16, 32, 64)
    assert (spec.family.depth, spec.data.num_validation, spec.training.epochs) == (2, 1000, 300)


def test_the_training_options_are_taken():
    fields = tomllib.loads(block("toml", "nesterov"))
    fields["grid"] = {"widening_factor": 1, "learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}
    spec = ww.StudySpec.parse(fields)
    assert spec.training.recipe.nesterov
    assert spec.training.recipe.ghost_batch_size == 16


def test_the_family_builds():
    namespace: dict[str, object] = {}
    exec(block("python", "def build"), namespace)
    assert namespace["build"](2)(torch.zeros(3, 28, 28)).shape == (3, 10)


def test_the_plan_is_had_and_read_as_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(block("python", "plan = ww.widen"), {})


def test_every_name_is_there():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        names = set(re.findall(r"\bww\.([A-Za-z_]+)", OLD))
        assert {name for name in names if not hasattr(ww, name)} == set()
    methods = set(re.findall(r"\bstudy\.(\w+)\(", OLD))
    assert methods == {"run", "results", "optima", "law", "report"}
    assert {name for name in methods if not hasattr(ww.Study, name)} == set()
