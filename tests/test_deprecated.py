"""Old names lead to the new ones for a release, and say so once."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import widthwise
from widthwise import deprecated


@pytest.fixture
def forgotten(monkeypatch):
    """As in a process that has imported no old path yet."""
    for path in list(sys.modules):
        if deprecated.new_path(path) is not None:
            monkeypatch.delitem(sys.modules, path)
    yield
    for path in list(sys.modules):
        if deprecated.new_path(path) is not None:
            del sys.modules[path]


def said_by(action):
    """What the deprecation warnings say that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    assert {warning.category for warning in caught} <= {DeprecationWarning}
    return [str(warning.message) for warning in caught]


@pytest.mark.usefixtures("forgotten")
class TestModules:
    @pytest.mark.parametrize(("old", "new"), deprecated.MODULES.items())
    def test_every_row_leads_to_the_module_itself_and_says_so_once(self, old, new):
        old, new = f"widthwise.{old}", f"widthwise.{new}"

        def twice():
            assert importlib.import_module(old) is importlib.import_module(new)
            assert importlib.import_module(old) is sys.modules[new]

        said = [words for words in said_by(twice) if words.startswith(f"{old} is ")]
        assert said == [f"{old} is {new}; the old name goes with 0.3"]

    @pytest.mark.parametrize("old", deprecated.MODULES)
    def test_a_row_hides_no_module(self, old):
        place = Path(widthwise.__file__).parent / old.replace(".", "/")
        assert not place.with_suffix(".py").exists()
        assert not (place / "__init__.py").exists()

    def test_what_lies_in_a_package_goes_with_it(self):
        def load():
            old = importlib.import_module("widthwise.packing.update")
            assert old is importlib.import_module("widthwise.engines.update")

        assert said_by(load) == [
            f"widthwise.{old} is widthwise.{new}; the old name goes with 0.3"
            for old, new in (("packing", "engines"), ("packing.update", "engines.update"))
        ]

    def test_the_warning_is_at_the_import(self):
        with pytest.warns(DeprecationWarning, match=r"widthwise\.noise is") as caught:
            import widthwise.noise as noise
        assert caught[0].filename == __file__
        assert noise is importlib.import_module("widthwise.theory.noise")

    def test_an_attribute_of_the_package(self):
        vars(widthwise).pop("recipe", None)
        with pytest.warns(DeprecationWarning, match=r"widthwise\.sgd\.recipe"):
            assert widthwise.recipe.Recipe is widthwise.Recipe

    @pytest.mark.parametrize("words", ["from widthwise import noise", "widthwise.noise"])
    def test_the_warning_of_an_attribute_is_at_its_user(self, words):
        """Python shows such a warning only where it comes from the user's own file."""
        vars(widthwise).pop("noise", None)
        with pytest.warns(DeprecationWarning, match=r"widthwise\.theory\.noise") as seen:
            exec(compile(words, "user.py", "exec"), {"widthwise": widthwise})
        assert {warning.filename for warning in seen} == {"user.py"}

    @pytest.mark.parametrize("path", ["widthwise.nois", "widthwise.theory.nothing"])
    def test_what_never_was_is_not_found(self, path):
        with pytest.raises(ModuleNotFoundError, match=path):
            importlib.import_module(path)

    def test_nor_is_what_a_package_that_moved_never_held(self):
        with (
            pytest.warns(DeprecationWarning, match="engines"),
            pytest.raises(ModuleNotFoundError, match=r"widthwise\.packing\.nothing"),
        ):
            importlib.import_module("widthwise.packing.nothing")


@pytest.mark.parametrize(("old", "new"), deprecated.NAMES.items())
def test_names_that_moved(old, new):
    module, _, name = old.rpartition(".")
    home, _, there = new.rpartition(".")
    module = importlib.import_module(f"widthwise.{module}".rstrip("."))
    with pytest.warns(DeprecationWarning, match=f"{old} is widthwise.{new}") as caught:
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(f"widthwise.{home}"), there)
    assert caught[0].filename == __file__


def test_names_that_never_were():
    from widthwise.analysis import law

    with pytest.raises(AttributeError, match=r"'widthwise\.analysis\.law' has no attribute 'LAWS'"):
        law.LAWS  # noqa: B018


# A module and a name a line: what packages listed as public, and what lay directly in Widthwise.
NAMES_OF_0_1 = [
    tuple(line.split())
    for line in Path(__file__).with_name("names_of_0_1.txt").read_text("utf-8").splitlines()
]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("module", dict.fromkeys(module for module, _ in NAMES_OF_0_1))
def test_what_0_1_had_is_still_there(module):
    found = importlib.import_module(module)
    assert [n for m, n in NAMES_OF_0_1 if m == module and not hasattr(found, n)] == []


def test_a_name_of_the_package_itself_may_move_too(monkeypatch):
    monkeypatch.setitem(deprecated.NAMES, "planted", "theory.noise.noise_scale")
    with pytest.warns(DeprecationWarning, match=r"\.planted is widthwise\.theory") as caught:
        assert widthwise.planted is widthwise.noise_scale
    assert caught[0].filename == __file__


def test_nothing_is_imported_for_it():
    code = (
        "import sys, widthwise; loaded = {m for m in sys.modules if m.startswith('widthwise')}; "
        "assert loaded == {'widthwise', 'widthwise.deprecated'}, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
