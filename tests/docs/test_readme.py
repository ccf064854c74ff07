"""README: short, and what it shows runs as shown."""

import re
import tomllib

import pytest
import torch
from pages import ROOT, blocks

import widthwise as ww

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


def test_there_is_one_place_for_the_output_of_widen():
    assert README.count("<!-- widen-output -->") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_examples_parse(path):
    ww.StudySpec.parse(path)
