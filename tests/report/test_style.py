"""The house style does not depend on what the user, or a matplotlibrc, has set."""

import io
import math
import os
import subprocess
import sys

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from report_samples import content, results_table

from widthwise.report.accuracy_figure import accuracy_figure
from widthwise.report.style import house_style, log_axis, padded
from widthwise.runs.tables import optimum_rows, setting_rows

OTHERS = [
    {"text.usetex": True},
    {"font.family": "no such font", "axes.prop_cycle": mpl.cycler(color=["r"])},
    {"savefig.bbox": "tight", "savefig.dpi": 7, "figure.constrained_layout.use": False},
    {"axes.formatter.use_mathtext": True, "axes.grid": True, "axes.xmargin": 0.4},
]


@pytest.fixture(scope="module")
def sample():
    made = content(results_table(widths=(1.0, 2.0)))
    settings = setting_rows(made.results)
    return settings, optimum_rows(settings, made.optima)


def drawn(sample):
    figure, buffer = accuracy_figure(*sample, "test"), io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("others", OTHERS, ids=lambda others: next(iter(others)))
def test_settings_of_others_change_no_figure(others, sample):
    expected = drawn(sample)
    with mpl.rc_context(others):
        assert drawn(sample) == expected


def test_defaults_that_somebody_changed(monkeypatch):
    monkeypatch.setitem(mpl.rcParamsDefault, "text.usetex", True)
    with house_style():
        assert not mpl.rcParams["text.usetex"]


def test_ratios_beyond_floats_are_drawn():
    low, high = padded([1e-300, 1.0, 1e300])
    assert 0.0 < low < 1e-299 < 1e299 < high < math.inf
    assert padded([1e-200, 1e-190]) == (1e-200 / 10**0.5, pytest.approx(1e-190 * 10**0.5))
    figure = Figure()
    axes = figure.add_subplot()
    log_axis(axes, "x", low, high)
    figure.savefig(io.BytesIO(), format="svg")
    assert 3 <= len(axes.get_xticks()) <= 8


def test_afterwards_all_is_as_before():
    with mpl.rc_context({"text.usetex": True, "interactive": True}):
        before = dict(mpl.rcParams)
        with house_style():
            assert not mpl.rcParams["text.usetex"]
        assert dict(mpl.rcParams) == before


def loaded(folder, **environment):
    """The backend that a new process has, or what it says; files may lie in its directory."""
    script = (
        "import widthwise.report, matplotlib, os\n"
        "print(matplotlib.rcParams._get_backend_or_none(), os.environ.get('MPLBACKEND'))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=os.environ | environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "has"), [("nonsense", "None nonsense\n"), ("svg", "svg svg\n")])
def test_a_backend_that_nobody_knows_is_left_out(asked, has, tmp_path):
    made = loaded(tmp_path, MPLBACKEND=asked)
    assert (made.returncode, made.stdout) == (0, has), made.stderr


@pytest.mark.slow
def test_settings_that_are_no_text_get_a_sentence(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\xfe\n")
    made = loaded(tmp_path)
    assert made.returncode == 1
    assert "InputError: Matplotlib must be importable, but it raised UnicodeDecode" in made.stderr
    assert "mend or remove the file matplotlibrc" in made.stderr
