"""README: short, and what it shows runs as shown."""

import re
import tomllib

import pytest
import torch
from pages import ROOT, blocks
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 8192


def block(language: str, containing: str) -> str:
    (found,) = [b.text for b in blocks(README) if b.language == language and containing in b.text]
    return found


def test_it_is_short():
    assert len(README.encode()) <= MOST_BYTES


def test_the_specification_parses_and_is_no_longer_than_promised():
    text = block("toml", "[grid]")
    assert len(text.splitlines()) <= 15
    spec = ww.StudySpec.parse(tomllib.loads(text))
    assert spec.grid[0].batch_size == (1, 2, 4, 8, 16, 32, 64)


def test_the_family_builds_a_network_for_the_bundled_images():
    namespace: dict[str, object] = {}
    exec(block("python", "def build"), namespace)
    assert namespace["build"](2)(torch.zeros(3, 28, 28)).shape == (3, 10)


def test_every_public_name_exists():
    names = set(re.findall(r"\bww\.([A-Za-z_]+)", README))
    assert names
    for name in names:
        assert hasattr(ww, name), name


def test_the_plan_is_shown_as_the_command_prints_it():
    pattern = r"```sh\nwidthwise ([^\n]*)\n```\n+<!-- widen-output -->\n+```text\n(.*?)```"
    ((arguments, shown),) = re.findall(pattern, README, flags=re.DOTALL)
    printed = CliRunner().invoke(app, arguments.split())
    assert printed.exit_code == 0
    assert shown.strip() == printed.stdout.strip()
    assert len(shown.strip().splitlines()) <= 15


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_examples_parse(path):
    ww.StudySpec.parse(path)
