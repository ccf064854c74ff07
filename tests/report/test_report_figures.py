"""The figures hold the artists that their captions promise, where the data say."""

import dataclasses
import io
import math

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from report_samples import WIDTHS, content, results_table

from widthwise.report.accuracy_figure import accuracy_figure
from widthwise.report.curves_figure import curves_figure
from widthwise.report.figures import batch_size_figure, best_accuracy_figure, law_figure
from widthwise.report.style import width_styles
from widthwise.runs.tables import curve_rows, law_line, optimum_rows, setting_rows
from widthwise.runs.trust import near_optimum


@pytest.fixture(scope="module")
def sample():
    return content(results_table())


@pytest.fixture(scope="module")
def settings(sample):
    return setting_rows(sample.results)


@pytest.fixture(scope="module")
def optima(sample, settings):
    return optimum_rows(settings, sample.optima)


def artists(figure: Figure, gid: str) -> list:
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def labels(figure: Figure) -> set[str]:
    return {
        artist.get_label() for axes in figure.axes for artist in (*axes.lines, *axes.collections)
    }


def test_every_width_has_its_points_and_error_bars(settings, optima):
    figure = accuracy_figure(settings, optima, "test")
    axes = figure.axes[0]
    assert len(axes.containers) == len(WIDTHS)
    for width, container in zip(WIDTHS, axes.containers, strict=True):
        rows = [r for r in settings if r.widening_factor == width and r.test_accuracy is not None]
        points, _, (bars,) = container.lines
        assert points.get_xdata() == pytest.approx([row.normalized_noise_scale for row in rows])
        assert points.get_ydata() == pytest.approx([100 * row.test_accuracy for row in rows])
        heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
        expected = [100 * (row.test_accuracy_sem or 0.0) for row in rows]
        assert heights == pytest.approx(expected)


def test_optima_are_marked_filled_where_found_and_open_where_bounds(settings, optima):
    figure = accuracy_figure(settings, optima, "test")
    assert {row.censored for row in optima} == {True, False}
    for row in optima:
        name = f"w={row.widening_factor:g}"
        marks = artists(figure, f"{name} {'bound' if row.censored else 'optimum'}")
        assert len(marks) == 2  # on the curve, and in the panel of intervals
        assert marks[0].get_xdata()[0] == row.optimum.noise_scale
        assert (marks[0].get_markerfacecolor() == "white") == row.censored
        assert bool(artists(figure, f"{name} arrow")) == row.censored
        if row.located:
            for bar in artists(figure, f"{name} interval"):
                assert bar.get_xdata() == pytest.approx(row.optimum.interval)


@pytest.mark.parametrize("censoring", ["low", "high"])
def test_arrows_point_to_where_the_optimum_may_lie(settings, optima, censoring):
    interval = (0.3, math.inf) if censoring == "high" else (0.0, 0.3)
    row = dataclasses.replace(
        optima[1],
        optimum=dataclasses.replace(
            optima[1].optimum,
            noise_scale=0.2,
            interval=interval,
            censoring=censoring,
            reason="edge of the grid",
        ),
    )
    (arrow, _) = artists(accuracy_figure(settings, [row], "test"), "w=2 arrow")
    assert isinstance(arrow, Annotation)
    assert (arrow.xy[0] > arrow.xyann[0]) == (censoring == "high")
    (arrow,) = artists(law_figure([row], None), "w=2 arrow")
    assert (arrow.xy[1] > arrow.xyann[1]) == (censoring == "high")
    (arrow,) = artists(batch_size_figure([row]), "w=2 arrow")
    assert (arrow.xy[1] < arrow.xyann[1]) == (censoring == "high")


def test_diverged_settings_are_crosses_with_their_counts(settings, optima):
    figure = accuracy_figure(settings, optima, "test")
    lost = [row for row in settings if row.num_diverged]
    assert lost
    for width in WIDTHS:
        here = [row for row in lost if row.widening_factor == width]
        crosses = artists(figure, f"w={width:g} diverged")
        assert len(crosses) == (1 if here else 0)
        if here:
            assert crosses[0].get_marker() == "x"
            assert crosses[0].get_xdata() == pytest.approx(
                [row.normalized_noise_scale for row in here]
            )
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    for row in lost:
        assert f"{row.num_diverged}/{row.num_seeds}" in texts


@pytest.mark.slow
def test_without_divergence_there_is_no_strip(settings, optima):
    alive = [row for row in settings if not row.num_diverged]
    figure = accuracy_figure(alive, optima, "test")
    assert not [axes for axes in figure.axes if "diverged" in axes.get_title(loc="left")]


def test_law_figure_holds_fit_band_and_both_references(sample, optima):
    line = law_line(sample.law, sample.optima)
    figure = law_figure(optima, line)
    assert {"fit", "95 % band", "slope 1", "slope 0"} <= labels(figure)
    (axes,) = figure.axes
    by_label = {artist.get_label(): artist for artist in axes.lines}
    assert by_label["fit"].get_ydata() == pytest.approx(line.value)
    (band,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
    assert band.get_label() == "95 % band"
    x, y = (np.log(by_label["slope 1"].get_data()[k]) for k in (0, 1))
    assert np.diff(y) / np.diff(x) == pytest.approx([1.0])
    for row in optima:
        kind = "bound" if row.censored else "optimum"
        (mark,) = artists(figure, f"w={row.widening_factor:g} {kind}")
        assert mark.get_ydata()[0] == row.optimum.noise_scale


def test_without_a_law_there_is_no_fit_but_missing_widths_are_named(optima):
    figure = law_figure(optima, None, [32.0])
    assert not {"fit", "95 % band"} & labels(figure)
    (text,) = artists(figure, "w=32 not located")
    assert "none" in text.get_text()


def test_best_accuracy_shows_interval_and_sampling_error(optima):
    figure = best_accuracy_figure(optima, "test")
    for row in optima:
        (bar,) = artists(figure, f"w={row.widening_factor:g} interval")
        assert bar.get_ydata() == pytest.approx([100 * end for end in row.optimum.score_interval])
        (error,) = artists(figure, f"w={row.widening_factor:g} sampling error")
        num_right = row.optimum.score * row.optimum.num_test
        shown = np.array(error.get_ydata()) / 100
        # Wilson's interval is where the score's own standard errors are 1.96.
        errors = np.sqrt(shown * (1 - shown) * row.optimum.num_test)
        assert np.abs(shown * row.optimum.num_test - num_right) == pytest.approx(
            1.959964 * errors, rel=1e-5
        )


def test_batch_sizes_have_their_reference(optima):
    figure = batch_size_figure(optima)
    assert any("propto" in label for label in labels(figure))
    for row in optima:
        kind = "bound" if row.censored else "optimum"
        (mark,) = artists(figure, f"w={row.widening_factor:g} {kind}")
        assert mark.get_ydata()[0] == row.batch_size


@pytest.fixture(scope="module")
def curves(sample, settings, optima):
    return curve_rows(sample.results, near_optimum(settings, optima))


@pytest.mark.parametrize("late_fraction", [0.25, 0.5])
def test_each_width_has_a_panel_with_all_settings_near_its_optimum(curves, optima, late_fraction):
    figure = curves_figure(curves, optima, late_fraction)
    assert len(figure.axes) == len(optima)
    for axes, row in zip(figure.axes, optima, strict=True):
        here = [curve for curve in curves if curve.widening_factor == row.widening_factor]
        assert len(axes.lines) == len(here) >= 3
        (shade,) = axes.patches
        steps = row.nearest.steps
        assert shade.get_x() == pytest.approx((1 - late_fraction) * steps)
        assert shade.get_x() + shade.get_width() == pytest.approx(steps)
        (nearest,) = artists(figure, f"w={row.widening_factor:g} nearest")
        (drawn,) = [curve for curve in here if curve.setting == row.nearest]
        assert nearest.get_ydata() == pytest.approx(100 * drawn.mean)


def test_curves_of_unequal_length_share_an_axis_of_fractions(curves, optima):
    first, second = (curve for curve in curves[:2] if curve.widening_factor == 1.0)
    longer = dataclasses.replace(
        second,
        steps=2 * second.steps,
        setting=dataclasses.replace(second.setting, steps=2 * second.setting.steps),
    )
    (axes,) = curves_figure([first, longer], optima[:1], 0.25).axes
    assert axes.get_xlabel() == "fraction of training"
    assert max(axes.lines[1].get_xdata()) == pytest.approx(1.0)


def test_long_curves_are_thinned(curves, optima):
    first = curves[0]
    many = np.arange(1.0, 1001.0)
    long = dataclasses.replace(
        first,
        steps=many,
        mean=np.full(1000, 0.7),
        sem=np.full(1000, 0.01),
        setting=dataclasses.replace(first.setting, steps=1000),
    )
    (axes,) = curves_figure([long], optima[:1], 0.25).axes
    assert len(axes.lines[0].get_xdata()) <= 150


@pytest.mark.slow
def test_a_single_width_and_one_seed_draw_without_warnings():
    one = content(results_table(widths=(4.0,), seeds=1))
    settings = setting_rows(one.results)
    optima = optimum_rows(settings, one.optima)
    for figure in (
        accuracy_figure(settings, optima, "test"),
        law_figure(optima, None),
        best_accuracy_figure(optima, "test"),
        batch_size_figure(optima),
        curves_figure(curve_rows(one.results, near_optimum(settings, optima)), optima, 0.25),
    ):
        figure.savefig(io.BytesIO(), format="svg")


def test_everything_diverged_still_draws():
    dead = setting_rows(results_table(widths=(1.0, 2.0), everything_diverges=True))
    figure = accuracy_figure(dead, [], "test")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["every run diverged"]


def test_widths_differ_in_marker_and_in_gray():
    styles = list(width_styles([1, 2, 4, 8, 16, 32]).values())
    assert len({style.marker for style in styles}) == len(styles)
    rgb = np.array([[int(s.color[k : k + 2], 16) for k in (1, 3, 5)] for s in styles])
    luminance = rgb @ [0.299, 0.587, 0.114]
    assert np.all(np.diff(luminance) > 10)


def test_bars_of_accuracies_end_within_0_and_100_percent(settings, optima):
    row = optima[0]
    near = dataclasses.replace(row.optimum, score=1.0, score_interval=(0.999, 1.0), num_test=100)
    nearest = dataclasses.replace(row.nearest, test_accuracy=0.995, test_accuracy_sem=0.1)
    figure = best_accuracy_figure(
        [dataclasses.replace(row, optimum=near, nearest=nearest)], "validation"
    )
    (bar,) = artists(figure, f"w={row.widening_factor:g} sampling error")
    assert list(bar.get_ydata()) == pytest.approx([100 / (1 + 1.959964**2 / 100), 100.0])
    paths = [path for bars in figure.axes[0].collections for path in bars.get_paths()]
    (beside,) = (path.vertices[:, 1] for path in paths)
    assert beside == pytest.approx([99.5 - 10 * 1.959964, 100.0])
