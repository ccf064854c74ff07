"""docs/reference: every public name is there, and all that the pages take from submodules."""

import importlib
import re
from types import ModuleType
from typing import Any

import pytest
from pages import ROOT, SITE, blocks, inline_code

import widthwise as ww

REFERENCE = "\n".join(
    page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
)
# Submodules with a page of their own: all of their public names.
DOCUMENTED = ("conversion", "data", "families", "search", "study")
_ENTRY = re.compile(r"^::: (widthwise\S*)\n((?:    .*\n)*)", re.MULTILINE)


def entries(reference: str) -> set[str]:
    """What the reference tells of, by every path: names, and all of a module unless its members are
    left out."""
    found = set()
    for path, options in _ENTRY.findall(reference):
        found.add(path)
        value = _object(path)
        if isinstance(value, ModuleType) and "members: false" not in options:
            found |= {f"{path}.{member}" for member in value.__all__}
    found = {path for path in found if not _shown_as_module(path)}
    return found | {_home(path) for path in found}


def _shown_as_module(path: str) -> bool:
    """Whether the site takes the path for a module: a function that is called as the module that
    defines it (adviser/widen.py) is itself only under its whole path."""
    defined = getattr(_object(path), "__module__", None) or ""
    return path != _home(path) and defined.endswith(f".{path.rpartition('.')[2]}")


def missing(names: set[str], there: set[str]) -> list[str]:
    """The names, as paths, that are not there, nor are under the path where they are defined."""
    return sorted(name for name in names if not {name, _home(name)} & there)


def _object(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _home(path: str) -> str:
    value = _object(path)
    name = getattr(value, "__qualname__", None)
    return path if name is None else f"{value.__module__}.{name}"


def public_names() -> set[str]:
    names = {f"widthwise.{name}" for name in ww.__all__}
    for module in DOCUMENTED:
        members = importlib.import_module(f"widthwise.{module}").__all__
        names |= {f"widthwise.{module}.{name}" for name in members}
    return names


def names_that_pages_take() -> set[str]:
    """By ``from widthwise.x import y`` in their Python, and as ``widthwise.x.Y`` in their text."""
    found = set()
    for page in SITE:
        text = page.read_text(encoding="utf-8")
        python = "\n".join(block.text for block in blocks(text) if block.language == "python")
        for module, names in re.findall(r"^from (widthwise[\w.]*) import (.+)$", python, re.M):
            found |= {f"{module}.{name.strip()}" for name in names.split(",")}
        python_names = re.findall(r"\bww\.(data|families)\.(\w+)", python)
        found |= {f"widthwise.{module}.{name}" for module, name in python_names}
        found |= {
            code
            for code in inline_code(text)
            if re.fullmatch(r"widthwise(\.[a-z_]+)+\.[A-Z]\w*", code)
        }
    return found


def test_every_public_name_is_in_the_reference():
    assert missing(public_names(), entries(REFERENCE)) == []


def test_so_is_every_name_that_a_page_takes():
    taken = names_that_pages_take()
    assert {"widthwise.reproduce.preset", "widthwise.inspection.SCHEMES"} <= taken
    assert missing(taken, entries(REFERENCE)) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("widthwise.adviser.widen.widen", "widthwise.widen"),
        ("widthwise.noise_scale", "widthwise.noise_scale"),
        ("widthwise.SweepAnalysis", "widthwise.SweepAnalysis"),
        ("widthwise.data", "widthwise.data.load"),
        ("widthwise.families.mlp.mlp", "widthwise.families.mlp"),
    ],
)
def test_a_name_that_is_taken_out_is_missed(path, name):
    without = REFERENCE.replace(f"::: {path}\n", "")
    assert without != REFERENCE
    assert name in missing(public_names(), entries(without))


def test_a_function_is_not_its_module():
    assert entries("::: widthwise.widen\n") == set()
    assert "widthwise.adviser.widen.widen" in entries("::: widthwise.adviser.widen.widen\n")


def test_a_name_that_is_added_is_missed():
    name = "widthwise.engines.proof.prove"
    assert missing({name}, entries(REFERENCE)) == [name]
