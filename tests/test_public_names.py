"""``import widthwise as ww``: the names there are, and what importing them costs."""

import subprocess
import sys

import pytest

import widthwise as ww


@pytest.mark.parametrize("name", ww.__all__)
def test_every_name_is_there(name):
    assert getattr(ww, name) is not None


def test_names_are_sorted_and_unique():
    assert ww.__all__ == sorted(set(ww.__all__))


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        ww.studdy  # noqa: B018


def test_families_and_data_are_modules():
    assert ww.families.mlp(input_shape=(2,), num_classes=2).build(1)
    assert ww.data.Dataset is ww.Dataset


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_formulas_and_statistics_need_no_torch():
    modules = loaded_by("import widthwise as ww; ww.noise_scale(0.1, 8); ww.locate_optimum")
    assert "widthwise.theory.noise" in modules
    assert not modules & {"torch", "polars", "matplotlib", "pydantic"}


@pytest.mark.slow
def test_workers_need_no_matplotlib():
    modules = loaded_by("import widthwise.execution.worker, widthwise.study.worker")
    assert "torch" in modules
    assert "matplotlib" not in modules
