"""What the package says of itself: version, licences of what it brings, citation, Pythons."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

import widthwise

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
# Code, and what says the licence of the rest.
CODE = (".py", ".c", ".h", ".j2", ".js", ".css", ".so", ".typed", ".pyc")
NO_DATA = ("NOTICE",)

# Of Citation File Format 1.2.0 (https://citation-file-format.github.io, schema.json): the keys of
# the file and of a reference that are used here or might be, and what must be there.
KEYS = """abstract authors cff-version commit contact date-released doi identifiers keywords license
license-url message preferred-citation references repository repository-artifact repository-code
title type url version"""
REQUIRED = {"authors", "cff-version", "message", "title"}
REFERENCE_KEYS = """abstract authors collection-title collection-type conference date-published doi
editors end identifiers institution isbn issn issue journal keywords languages license month notes
number pages publisher repository-code start status title type url version volume year"""
REFERENCE_TYPES = {"article", "book", "conference-paper", "proceedings", "report", "software"}


def data_files(root):
    """Relative paths of all files that go into a wheel and are no code."""
    found = [*(root / "src" / "widthwise").rglob("*"), *(root / "examples").rglob("*")]
    names = [
        file.relative_to(root).as_posix()
        for file in found
        if file.is_file() and file.suffix not in CODE and file.name not in NO_DATA
    ]
    return [name for name in names if not any(part[0] == "." for part in name.split("/"))]


def unnamed(root, notice):
    named = set(notice.split())
    return [name for name in data_files(root) if name not in named]


def faults(citation):
    """Where a citation departs from the format."""
    reference = citation.get("preferred-citation", {})
    people = [*citation.get("authors", []), *reference.get("authors", [])]
    checks = {
        "required keys": set(citation) >= REQUIRED,
        "keys": set(citation) <= set(KEYS.split()),
        "version of the format": citation.get("cff-version") == "1.2.0",
        "type": citation.get("type") in ("software", "dataset"),
        "words": all(isinstance(citation.get(k), str) for k in ("message", "title", "version")),
        "people": bool(people)
        and all({"name"} <= set(p) or {"family-names", "given-names"} <= set(p) for p in people),
        "keys of the reference": set(reference) <= set(REFERENCE_KEYS.split()),
        "reference": {"authors", "title", "type"} <= set(reference),
        "type of the reference": reference.get("type") in REFERENCE_TYPES,
        "year": isinstance(reference.get("year"), int),
        "address": str(reference.get("url")).startswith("https://"),
    }
    return [name for name, holds in checks.items() if not holds]


def test_versions_agree():
    assert widthwise.__version__ == PROJECT["version"] == CITATION["version"]
    assert CITATION["license"] == PROJECT["license"]


def test_the_version_has_its_place_in_the_changes():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = widthwise.__version__.partition(".dev")[0]
    assert re.search(rf"^## {re.escape(release)}\b", changes, flags=re.M)


def test_the_licence_of_every_bundled_file_is_said():
    assert len(data_files(ROOT)) >= 13
    assert unnamed(ROOT, NOTICE) == []
    files = [name for name in NOTICE.split() if name.startswith(("src/", "examples/"))]
    assert all((ROOT / name.rstrip(".")).exists() for name in files)
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])


def test_a_file_that_nobody_names_is_noticed(tmp_path):
    (tmp_path / "src" / "widthwise" / "data").mkdir(parents=True)
    (tmp_path / "src" / "widthwise" / "data" / "numbers.csv").touch()
    assert unnamed(tmp_path, NOTICE) == ["src/widthwise/data/numbers.csv"]


def test_the_citation_keeps_to_its_format():
    assert faults(CITATION) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"authors": []}, None),
        ({"cff-version": "1.3"}, "version of the format"),
        ({"colour": "red"}, "keys"),
        ({"type": "program"}, "type"),
        ({"version": 0.2}, "words"),
        ({"preferred-citation": {"title": "t"}}, "reference"),
    ],
)
def test_a_citation_with_a_fault_is_noticed(change, fault):
    found = faults({**CITATION, **change})
    assert found == [] if fault is None else fault in found


def test_python_versions_are_those_that_pytorch_serves():
    def named(classifiers):
        found = [
            re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", c) for c in classifiers
        ]
        return {int(match[1]) for match in found if match}

    lowest = int(PROJECT["requires-python"].removeprefix(">=3."))
    served = named(metadata("torch").get_all("Classifier"))
    assert named(PROJECT["classifiers"]) == {minor for minor in served if minor >= lowest}
