"""Rows behind the figures, against values worked out by hand."""

import math

import numpy as np
import polars as pl
import pytest
from report_samples import content, results_table

from widthwise.analysis import Optimum
from widthwise.runs.tables import (
    batch_size_at,
    curve_rows,
    law_line,
    nearest_setting,
    optimum_rows,
    reference_batch_sizes,
    selected_on,
    setting_rows,
)


def runs(accuracies: list[float | None], **changes: object) -> pl.DataFrame:
    """Runs of one setting with these accuracies; None is a diverged run."""
    base = results_table(widths=(2.0,), batch_sizes=(8,), seeds=len(accuracies))
    return base.with_columns(
        pl.Series("test_accuracy", accuracies, dtype=pl.Float64),
        pl.Series("status", ["diverged" if a is None else "ok" for a in accuracies]),
        *(pl.lit(value).alias(name) for name, value in changes.items()),
    )


def optimum(noise_scale: float, interval: tuple[float, float], **changes: object) -> Optimum:
    fields = {
        "noise_scale": noise_scale,
        "interval": interval,
        "score": 0.78,
        "score_interval": (0.77, 0.79),
        "censoring": "none",
        "reason": None,
        "best_index": 0,
        "num_seeds": 8,
        "sampling_error": 0.004,
        "samples": np.zeros(100),
    }
    return Optimum(**{**fields, **changes})  # type: ignore[arg-type]


def test_mean_and_standard_error_match_hand_calculation():
    (row,) = setting_rows(runs([0.70, 0.72, 0.77]))
    assert row.test_accuracy == pytest.approx(0.73, rel=1e-12)
    # deviations -0.03, -0.01, 0.04: variance 0.0026 / 2, over 3 seeds
    assert row.test_accuracy_sem == pytest.approx(math.sqrt(0.0013 / 3), rel=1e-12)
    assert (row.num_seeds, row.num_diverged, row.num_survived) == (3, 0, 3)


def test_diverged_seeds_are_counted_and_left_out_of_the_mean():
    (row,) = setting_rows(runs([0.70, None, 0.72]))
    assert row.test_accuracy == pytest.approx(0.71)
    assert (row.num_seeds, row.num_diverged) == (3, 1)


def test_nan_is_missing_not_a_number():
    (row,) = setting_rows(runs([0.70, 0.72], plateau_slope=math.nan))
    assert row.plateau_slope is None
    assert row.plateau_slope_sem is None


def test_one_seed_has_no_standard_error_and_all_diverged_no_mean():
    (one,) = setting_rows(runs([0.70]))
    assert one.test_accuracy_sem is None
    (none,) = setting_rows(runs([None, None]))
    assert none.test_accuracy is None


def test_settings_differ_by_momentum_alone():
    table = pl.concat([runs([0.7, 0.7], momentum=0.0), runs([0.8, 0.8], momentum=0.9)])
    assert [row.test_accuracy for row in setting_rows(table)] == pytest.approx([0.7, 0.8])


def test_batch_size_at_the_optimum_matches_hand_calculation():
    table = runs([0.7, 0.7], learning_rate=0.5, momentum=0.9, init_variance=0.25)
    (setting,) = setting_rows(table)
    # 0.5 / (2.5 * 0.25 * (1 - 0.9)) = 8
    assert batch_size_at(2.5, setting) == pytest.approx(8.0)
    (row,) = optimum_rows([setting], {2.0: optimum(2.5, (1.25, math.inf))})
    assert row.batch_size == pytest.approx(8.0)
    assert row.batch_size_interval == pytest.approx((0.0, 16.0))
    assert not row.located
    (row,) = optimum_rows([setting], {2.0: optimum(2.5, (0.0, 5.0))})
    assert row.batch_size_interval == pytest.approx((4.0, math.inf))


@pytest.mark.parametrize(
    ("censoring", "measured", "relation"),
    [
        ("none", (0.1, 1.0), "="),
        ("high", (0.1, 1.0), "≥"),  # the number given is the edge itself
        ("high", (0.1, 4.0), "="),  # a peak inside, with an open interval
        ("low", (1.0, 4.0), "≤"),
        ("low", (0.1, 4.0), "="),
        ("high", (0.0, math.inf), "≥"),  # range unknown: a bound, as the type promises
    ],
)
def test_a_bound_is_told_from_an_estimate(censoring, measured, relation):
    place = optimum(1.0, (0.5, 2.0), censoring=censoring, measured=measured)
    (row,) = optimum_rows(setting_rows(runs([0.7, 0.7])), {2.0: place})
    assert row.relation == relation


def test_nearest_setting_is_nearest_in_the_logarithm_and_alive():
    settings = setting_rows(results_table(widths=(1.0,), batch_sizes=(1, 16, 32)))
    by_scale = {row.normalized_noise_scale: row for row in settings}
    assert by_scale[2.0].test_accuracy is None  # every seed diverged there
    # 0.09 lies nearer to 0.0625 on a straight scale, to 0.125 on a logarithmic one
    nearest = nearest_setting(settings, 0.09)
    assert nearest is not None
    assert nearest.normalized_noise_scale == 0.125
    nearest = nearest_setting(settings, 2.0)
    assert nearest is not None
    assert nearest.normalized_noise_scale == 0.125
    assert nearest_setting([by_scale[2.0]], 2.0) is None


@pytest.mark.parametrize(("variance_exponent", "slope"), [(0.0, -1.0), (-1.0, 0.0)])
def test_reference_batch_sizes_have_the_slope_of_their_parameterization(variance_exponent, slope):
    table = results_table(widths=(1.0, 4.0, 16.0), batch_sizes=(8,))
    table = table.with_columns(init_variance=pl.col("widening_factor") ** variance_exponent)
    places = {width: optimum(0.1, (0.05, 0.2)) for width in (1.0, 4.0, 16.0)}
    rows = optimum_rows(setting_rows(table), places)
    reference = reference_batch_sizes(rows)
    assert np.diff(np.log(reference)) == pytest.approx(slope * math.log(4.0), abs=1e-12)
    measured = [row.batch_size for row in rows]
    assert np.mean(np.log(reference)) == pytest.approx(np.mean(np.log(measured)))


def test_curve_is_the_mean_over_surviving_seeds():
    table = runs([0.7, None, 0.8]).with_columns(
        curve_step=pl.Series([[10, 20]] * 3),
        curve_test_accuracy=pl.Series([[0.5, 0.6], [0.1, math.nan], [0.7, 0.8]]),
    )
    rows = optimum_rows(setting_rows(table), {2.0: optimum(0.25, (0.1, 0.5))})
    (curve,) = curve_rows(table, [row.nearest for row in rows])
    assert curve.steps.tolist() == [10.0, 20.0]
    assert curve.mean == pytest.approx([0.6, 0.7])
    assert curve.sem == pytest.approx([0.1, 0.1])


def test_law_line_is_what_the_law_predicts():
    sample = content(results_table())
    assert sample.law is not None
    line = law_line(sample.law, [1.0, 16.0], num_points=3)
    assert line.widening_factors == pytest.approx([1.0, 4.0, 16.0])
    value, (low, high) = sample.law.predict(4.0)
    assert (line.value[1], line.low[1], line.high[1]) == pytest.approx((value, low, high))


def test_validation_chooses_wherever_there_is_one():
    assert selected_on(results_table(widths=(1.0,), validation=True)) == "validation"
    assert selected_on(results_table(widths=(1.0,))) == "test"
