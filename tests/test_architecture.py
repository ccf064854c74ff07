"""The layout of docs/architecture.md holds: imports go down, not round, nor into private parts."""

from pathlib import Path

import pytest
from imports import Import, circles, read_imports, underscored, upward

import widthwise

ROOT = Path(widthwise.__file__).parent
# The lowest floor first; a package imports from lower floors only.
FLOORS: list[tuple[str, ...]] = [
    ("errors", "deprecated"),
    ("text", "files", "mistaken", "theory", "sgd"),
    ("hardware", "data", "families", "analysis", "trackers"),
    ("engines", "search", "execution"),
    ("training",),
    ("probes",),
    ("runs", "inspection", "conversion"),
    ("adviser",),
    ("report",),
    ("study", "sweeps"),
    ("reproduce",),
    ("cli",),
    ("__main__", "widthwise"),
]
# These compute without PyTorch.
NO_FRAMEWORK = ("theory", "analysis", "search", "text", "files", "mistaken", "errors")


@pytest.fixture(scope="module")
def imports():
    return read_imports(ROOT)


@pytest.mark.slow
def test_every_package_has_a_floor(imports):
    packages = {path.stem for path in ROOT.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }
    assert packages - {"__init__"} == {name for floor in FLOORS for name in floor} - {"widthwise"}


def test_imports_go_down(imports):
    assert upward(imports, FLOORS) == []


def test_no_circles(imports):
    assert circles(imports) == []


def test_nobody_imports_another_packages_private_module(imports):
    assert underscored(imports) == []


def test_the_core_knows_no_framework():
    for package in NO_FRAMEWORK:
        paths = [ROOT / f"{package}.py", *(ROOT / package).rglob("*.py")]
        for path in filter(Path.exists, paths):
            assert "import torch" not in path.read_text(encoding="utf-8"), path


PLANTED = {
    "a/__init__.py": "",
    "a/one.py": "from pkg.b.two import x\n",
    "a/_own.py": "",
    "b/__init__.py": "",
    "b/two.py": "def f():\n    from pkg.a import one\n",
    "b/three.py": "from pkg.a import _own\n",
    "b/_mine.py": "",
    "b/four.py": "from pkg.b import _mine\n",
}


@pytest.fixture
def planted(tmp_path):
    """A package with a circle through a function, an import upwards and a private one."""
    root = tmp_path / "pkg"
    for name, text in {"__init__.py": "", **PLANTED}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_imports(root)


def test_a_planted_circle_is_found(planted):
    assert circles(planted) == [["pkg.a.one", "pkg.b.two"]]


def test_a_planted_import_upwards_is_found(planted):
    assert upward(planted, [("a",), ("b",)]) == ["pkg.a.one imports pkg.b.two"]


def test_a_planted_private_import_is_found(planted):
    assert underscored(planted) == ["pkg.b.three imports pkg.a._own"]


def test_imports_inside_functions_are_lazy(planted):
    assert Import("pkg.b.two", "pkg.a.one", lazy=True) in planted
    assert Import("pkg.a.one", "pkg.b.two", lazy=False) in planted
