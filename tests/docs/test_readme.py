"""What README shows runs as shown."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

import widthwise as ww

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


def test_the_specification_parses():
    spec = ww.StudySpec.parse(tomllib.loads(block("toml", "[grid]")))
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


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\(([a-zA-Z][^):]+)\)", README)))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_examples_parse(path):
    ww.StudySpec.parse(path)
