"""``import widthwise as ww``: the names there are, and what importing them costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import widthwise as ww


@pytest.mark.parametrize("name", ww.__all__)
def test_every_name_is_there(name):
    assert getattr(ww, name) is not None


def test_what_a_script_needs_is_among_them():
    assert {"Recipe", "batch_size_for", "learning_rate_for", "compare", "inspect"} <= {*ww.__all__}


def test_names_are_sorted_and_unique():
    assert ww.__all__ == sorted(set(ww.__all__))


def test_dir_shows_them_before_anything_is_loaded():
    code = "import widthwise as ww; print(*dir(ww)); assert not {*ww.__all__} & {*vars(ww)}"
    shown = said_by_python(code).split()
    assert [name for name in shown if not name.startswith("__")] == ww.__all__


def type_checked_names():
    """Module → names, as the package imports them for type checkers."""
    tree = ast.parse(Path(ww.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    return {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }


def test_type_checkers_see_what_is_loaded():
    assert type_checked_names() == {**ww._NAMES, "widthwise": ww._MODULES}


def test_the_list_is_complete():
    lazy = [name for names in type_checked_names().values() for name in names]
    assert sorted(lazy) == ww.__all__


def test_submodules_are_loaded_when_they_are_named():
    assert said_by_python("import widthwise as ww; print(ww.analysis.optimum.__name__)") == (
        "widthwise.analysis.optimum\n"
    )


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        ww.studdy  # noqa: B018


def test_families_and_data_are_modules():
    assert ww.families.mlp(input_shape=(2,), num_classes=2).build(1)
    assert ww.data.Dataset is ww.Dataset


def said_by_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def loaded_by(statement):
    return set(said_by_python(f"import sys; {statement}; print(*sorted(sys.modules))").split())


def test_importing_the_package_loads_nothing_heavy():
    modules = loaded_by("import widthwise as ww; dir(ww)")
    assert not modules & {"torch", "polars", "matplotlib", "pydantic", "scipy", "numpy"}


def test_formulas_and_statistics_need_no_torch():
    modules = loaded_by("import widthwise as ww; ww.noise_scale(0.1, 8); ww.locate_optimum")
    assert "widthwise.theory.noise" in modules
    assert not modules & {"torch", "polars", "matplotlib", "pydantic"}


@pytest.mark.slow
def test_workers_need_no_matplotlib():
    modules = loaded_by("import widthwise.execution.worker, widthwise.study.pack_call")
    assert "torch" in modules
    assert "matplotlib" not in modules
