"""docs/architecture.md names every package, and no file or name that is not there."""

import re

import pytest
from pages import ROOT, inline_code
from test_architecture import FLOORS, NO_FRAMEWORK

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "widthwise"
_PATH = re.compile(r"[\w./]+(?:\.(?:py|j2|md|toml)|/)")


def places(name: str) -> list[str]:
    """Where a path of the pages lies: in the package, among the tests, or as written."""
    return [str(p) for p in (PACKAGE / name, ROOT / "tests" / name, ROOT / name) if p.exists()]


def missing_paths(text: str) -> list[str]:
    return [c for c in inline_code(text) if _PATH.fullmatch(c) and not places(c)]


def missing_names(text: str) -> list[str]:
    """Names in brackets after a file, as in `text.py` (`words`), that this file does not hold."""
    found = []
    for path, named in re.findall(r"`([\w./]+\.py)` \(((?:[^()`]|`[^`]*`)*)\)", text):
        sources = [(ROOT / place).read_text(encoding="utf-8") for place in places(path)[:1]]
        names = re.findall(r"`(\w+)`", named)
        found += [f"{path}: {n}" for n in names if not any(n in source for source in sources)]
    return found


def test_every_package_has_its_sentence():
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}
    rows = set(re.findall(r"^\| `([\w./]+)` \| \S+ ", PAGE, flags=re.M))
    assert (packages | modules) - rows == set()


def test_the_floors_are_those_of_the_import_test():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, flags=re.M)
    assert [int(number) for number, _ in rows] == list(range(1, len(FLOORS) + 1))
    for (_, named), floor in zip(rows, FLOORS, strict=True):
        words = {word.removesuffix(".py") for word in re.findall(r"`(\w+(?:\.py)?)`", named)}
        assert words - {"__init__"} == set(floor)


def test_what_knows_no_framework_is_named():
    (sentence,) = re.findall(r"^(.*) do not import PyTorch\.$", PAGE, flags=re.M)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(NO_FRAMEWORK)


@pytest.mark.parametrize("text", [PAGE, GUIDE], ids=["architecture", "contributing"])
def test_every_path_exists(text):
    assert missing_paths(text) == []


@pytest.mark.parametrize("text", [PAGE, GUIDE], ids=["architecture", "contributing"])
def test_every_name_is_in_its_file(text):
    assert missing_names(text) == []


def test_planted_faults_are_found():
    assert missing_paths("Open `study/no_such.py`, `nowhere/` or `text.py`.") == [
        "study/no_such.py",
        "nowhere/",
    ]
    assert missing_names("`text.py` (`no_such_name`, one row)") == ["text.py: no_such_name"]
