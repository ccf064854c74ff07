"""`widthwise init`: files that a study begins with, and the examples."""

import json
from pathlib import Path

import pytest
import torch
import typer

from widthwise import cli
from widthwise.errors import InputError
from widthwise.families.user import UserFamily
from widthwise.study import StudySpec

ROOT = Path(__file__).parents[2]
EXAMPLES = {path.stem for path in (ROOT / "examples").glob("*.toml")}


def init(*arguments):
    typer.main.get_command(cli.app).main(
        ["init", *map(str, arguments)], prog_name="widthwise", standalone_mode=False
    )


def test_writes_a_specification_and_the_network_that_it_names(tmp_path, capsys):
    init(tmp_path / "new")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [str(tmp_path / "new" / name) for name in ("study.toml", "network.py")]
    assert said[2] == f"then: widthwise run {tmp_path / 'new' / 'study.toml'}"
    spec = StudySpec.parse(tmp_path / "new" / "study.toml")
    assert spec.keep.which == "best"
    family = spec.family.family((1, 28, 28), 10)
    assert isinstance(family, UserFamily)
    for width in spec.grid[0].widening_factor:
        module = family.build(width, seed=0)
        assert module(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert module[1].out_features == 128


def test_says_in_its_comments_what_it_does():
    """Every key is there with a comment above it, or in the block of one that has it."""
    lines = (ROOT / "src/widthwise/cli/starter/study.toml").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("#") for line in lines) >= 15
    assert all(len(line) <= 100 for line in lines)


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "network.py").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="there already"):
        init(tmp_path)
    assert (tmp_path / "network.py").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "study.toml").exists()


def test_examples_are_listed_and_written(tmp_path, capsys):
    init("--example", "list")
    assert set(capsys.readouterr().out.split()) == EXAMPLES
    init(tmp_path, "--example", "cnn", "--json")
    (written,) = json.loads(capsys.readouterr().out)["written"]
    assert Path(written).read_bytes() == (ROOT / "examples" / "cnn.toml").read_bytes()
    with pytest.raises(InputError, match="--example must be one of"):
        init(tmp_path, "--example", "cn")
