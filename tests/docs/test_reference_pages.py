"""docs/reference: every public name is there, and every name that the pages take from a submodule."""

import importlib
import re

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
    """What the reference tells of: names, and all of a module whose members are not left out."""
    found = set()
    for path, options in _ENTRY.findall(reference):
        found.add(path)
        module, _, name = path.rpartition(".")
        owner = importlib.import_module(module)
        value = getattr(owner, name)
        if "members: false" not in options and hasattr(value, "__path__"):
            found |= {f"{path}.{member}" for member in value.__all__}
    return found


def missing(names: set[str], reference: str) -> list[str]:
    """The names, as paths, that are nowhere in it; a name of two homes may stand at either."""
    there = entries(reference)
    objects = {id(_object(path)) for path in there}
    return sorted(path for path in names if path not in there and id(_object(path)) not in objects)


def _object(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


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
    assert missing(public_names(), REFERENCE) == []


def test_so_is_every_name_that_a_page_takes():
    taken = names_that_pages_take()
    assert {"widthwise.reproduce.preset", "widthwise.inspection.SCHEMES"} <= taken
    assert missing(taken, REFERENCE) == []


@pytest.mark.parametrize("name", ["widen", "Recipe", "SweepAnalysis", "data"])
def test_a_name_that_is_taken_out_is_missed(name):
    without = re.sub(rf"^::: widthwise\.{name}\n", "", REFERENCE, flags=re.MULTILINE)
    assert without != REFERENCE
    found = missing(public_names(), without)
    assert f"widthwise.{name}" in found
    assert len(found) == (1 if name != "data" else len(ww.data.__all__))


def test_a_name_that_is_added_is_missed():
    assert missing({"widthwise.engines.proof.prove"}, REFERENCE) == [
        "widthwise.engines.proof.prove"
    ]
