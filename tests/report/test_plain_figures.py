"""Figures in what is set: cells and curves worked out by hand, and none where there is nothing."""

import math

import numpy as np
import pytest

from widthwise.analysis import Optimum
from widthwise.report.plain_figures import has_map, knob_figure, map_cells, map_figure, varied
from widthwise.report.spots import spots_of
from widthwise.runs.tables import SettingRow, optimum_rows
from widthwise.text import percent


def row(width, rate, batch, accuracy, *, lost=0):
    return SettingRow(
        widening_factor=width,
        learning_rate=rate,
        batch_size=batch,
        momentum=0.0,
        init_variance=1.0,
        normalized_noise_scale=rate / batch,
        steps=1000,
        num_seeds=4,
        num_diverged=lost,
        test_accuracy=accuracy,
        test_accuracy_sem=0.001,
        validation_accuracy=None,
        validation_accuracy_sem=None,
        plateau_slope=0.0,
        plateau_slope_sem=0.001,
    )


SETTINGS = [
    row(1.0, 1.0, 1, None, lost=4),
    row(1.0, 1.0, 4, 0.80),
    row(1.0, 1.0, 16, 0.78),
    row(1.0, 2.0, 16, 0.79),
    row(2.0, 1.0, 1, 0.82),
    row(2.0, 1.0, 4, 0.81),
    row(2.0, 1.0, 16, 0.80),
]


def located(place):
    return Optimum(
        noise_scale=place,
        interval=(place / 2, place * 2),
        score=0.8,
        score_interval=(0.79, 0.81),
        censoring="none",
        reason=None,
        best_index=0,
        num_seeds=4,
        sampling_error=None,
        samples=np.full(10, math.log(place)),
    )


@pytest.fixture
def optima():
    return optimum_rows(SETTINGS, {1.0: located(0.25), 2.0: located(1.0)})


def test_cells_hold_the_best_of_each_batch_size_and_meet_halfway():
    cells = map_cells(SETTINGS, [], "test")[1.0]
    assert [cell.setting.batch_size for cell in cells] == [1, 4, 16]
    assert [(cell.low, cell.high) for cell in cells] == [(0.5, 2.0), (2.0, 8.0), (8.0, 32.0)]
    assert [cell.setting.learning_rate for cell in cells] == [1.0, 1.0, 2.0]
    assert cells[0].below is None
    assert [cell.below for cell in cells[1:]] == pytest.approx([0.0, 0.01])


def test_beside_an_optimum_cells_are_at_its_learning_rate(optima):
    cells = map_cells(SETTINGS, optima, "test")
    assert [cell.setting.learning_rate for cell in cells[1.0]] == [1.0, 1.0, 1.0]
    assert cells[1.0][2].below == pytest.approx(0.02)


def test_only_what_was_varied_has_a_panel():
    assert [knob.name for knob in varied(SETTINGS)] == ["batch size"]
    rates = [row(1.0, rate, 4, 0.8) for rate in (0.5, 1.0, 2.0)]
    assert [knob.name for knob in varied(rates)] == ["learning rate"]
    # As batches are whole numbers, a grid of noise scales takes rates that differ a little.
    assert varied([row(1.0, rate, 4, 0.8) for rate in (0.9, 1.0, 1.1)]) == []


def test_a_map_takes_widths_batch_sizes_and_survivors():
    assert has_map(SETTINGS)
    assert not has_map(SETTINGS[:4])
    assert not has_map([row(w, r, 4, 0.8) for w in (1.0, 2.0) for r in (0.5, 1.0, 2.0)])
    assert not has_map([row(w, 1.0, b, None, lost=4) for w in (1.0, 2.0) for b in (1, 4, 16)])


def test_the_map_tells_every_cell_and_marks_the_optimum(optima):
    figure = map_figure(SETTINGS, optima, "test")
    figure.draw_without_rendering()
    words = [spot.words for spot in spots_of(figure)]
    assert sum("ḡ = " in said and " %" in said for said in words) == 5
    for optimum in optima:
        (mark,) = figure.findobj(
            lambda artist, name=f"w={optimum.widening_factor:g} optimum": artist.get_gid() == name
        )
        assert mark.get_xdata()[0] == optimum.batch_size
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"diverged", "0.00", "2.00", "1.00"} <= texts


def test_lines_join_the_best_and_all_settings_are_told(optima):
    figure = knob_figure(SETTINGS, optima, "test", varied(SETTINGS))
    (line,) = figure.findobj(lambda artist: artist.get_gid() == "w=1 line")
    assert list(line.get_xdata()) == [4.0, 16.0]
    assert list(line.get_ydata()) == pytest.approx([80.0, 79.0])
    (nearest,) = figure.findobj(lambda artist: artist.get_gid() == "w=1 nearest")
    assert list(nearest.get_xdata()) == [4.0]
    figure.draw_without_rendering()
    words = " ".join(spot.words for spot in spots_of(figure))
    for setting in SETTINGS:
        if setting.test_accuracy is not None:
            assert percent(setting.test_accuracy) in words


def test_far_outliers_lie_below_the_axis_and_are_counted(optima):
    figure = knob_figure([*SETTINGS, row(2.0, 4.0, 1, 0.1)], optima, "test", varied(SETTINGS))
    (axes,) = figure.axes
    assert axes.get_ylim()[0] > 70.0
    assert [text.get_text() for text in axes.texts] == ["1 lower"]
    (axes,) = knob_figure(SETTINGS, optima, "test", varied(SETTINGS)).axes
    assert list(axes.texts) == []
    assert math.isclose(axes.get_xlim()[0], 1.0, rel_tol=0.5)
