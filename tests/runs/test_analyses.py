"""What a table of runs says: scores setting by setting, and what the stable rates make of them."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted_rates import rates
from report_samples import results_table

from widthwise.runs.analyses import (
    batch_ceiling,
    collapse_of,
    find_collapse,
    find_stability,
    setting_scores,
    summarize,
)
from widthwise.runs.schema import SETTING
from widthwise.runs.tables import setting_rows


@pytest.fixture(scope="module")
def table():
    runs = results_table(widths=(1.0, 2.0, 4.0), batch_sizes=(1, 2, 4, 8, 16, 32, 64), seeds=4)
    return runs.with_columns(ghost_batch_size=pl.lit(None, dtype=pl.Int64))


@pytest.fixture(scope="module")
def summary(table):
    return summarize(table, num_train=1024, num_scored=1000)


def test_a_row_a_setting_and_a_column_a_seed():
    found = setting_scores(
        pl.DataFrame(
            {
                "widening_factor": [2.0, 1.0, 1.0, 1.0],
                "learning_rate": [0.1] * 4,
                "batch_size": [8] * 4,
                "momentum": [0.0] * 4,
                "normalized_noise_scale": [0.2, 0.1, 0.1, 0.1],
                "init_variance": [0.5, 1.0, 1.0, 1.0],
                "physical_time": [3.0] * 4,
                "seed": [7, 9, 7, 8],
                "status": ["ok", "ok", "ok", "diverged"],
                "test_accuracy": [0.4, 0.3, 0.2, None],
                "validation_accuracy": [None] * 4,
            }
        )
    )
    assert found.columns.rows(named=True) == [
        dict(zip((*SETTING, "normalized_noise_scale", "init_variance"), values, strict=True))
        for values in ((1.0, 0.1, 8, 0.0, 0.1, 1.0), (2.0, 0.1, 8, 0.0, 0.2, 0.5))
    ]
    np.testing.assert_array_equal(found.scores, [[0.2, math.nan, 0.3], [0.4, math.nan, math.nan]])
    np.testing.assert_array_equal(found.ran, [[True, True, True], [True, False, False]])


def test_figures_and_analyses_see_the_same_settings(table):
    found = setting_scores(table)
    rows = {tuple(getattr(row, name) for name in SETTING): row for row in setting_rows(table)}
    assert set(rows) == set(found.columns.select(SETTING).rows())
    for key, scores in zip(found.columns.select(SETTING).rows(), found.scores, strict=True):
        survived = scores[np.isfinite(scores)]
        assert rows[key].num_survived == survived.size
        if survived.size:
            assert rows[key].test_accuracy == pytest.approx(survived.mean())


def test_the_order_of_the_runs_does_not_matter(table, summary):
    shuffled = summarize(
        table.sample(fraction=1.0, shuffle=True, seed=3), num_train=1024, num_scored=1000
    )
    assert shuffled.law.exponent == summary.law.exponent
    assert {w: o.interval for w, o in shuffled.optima.items()} == {
        w: o.interval for w, o in summary.optima.items()
    }


def test_a_collapse_that_was_not_tested_is_none(table):
    one_rate = setting_scores(table.filter(pl.col("learning_rate") == table["learning_rate"][0]))
    assert collapse_of(one_rate).verdict == "not tested"
    assert find_collapse(one_rate) is None


def test_the_ceiling_needs_an_optimum_that_is_found_inside(table, summary):
    measured = rates(0.0, widths=(1.0, 2.0, 8.0))
    found = batch_ceiling(table, summary.optima, measured)
    assert [point.widening_factor for point in found.points] == [1.0, 2.0]
    samples = np.full(summary.optima[2.0].samples.size, np.inf)
    beyond = {**summary.optima, 2.0: replace(summary.optima[2.0], samples=samples)}
    found = batch_ceiling(table, beyond, measured)
    assert [point.widening_factor for point in found.points] == [1.0]
    assert batch_ceiling(table, {}, measured) is None


def test_without_rates_nothing_is_said_of_stability(table, summary):
    assert find_stability(table, summary.optima, ()) is None
    one = find_stability(table, summary.optima, rates(0.0, widths=(1.0,)))
    assert one.law is None
    assert one.problem


def test_where_no_width_has_an_optimum_the_reason_is_said(table):
    few = table.filter(pl.col("normalized_noise_scale").rank("dense").over("widening_factor") < 3)
    found = summarize(few, num_train=1024, num_scored=1000)
    assert found.optima == {}
    assert found.law_problem.startswith("no width has an optimum, so there is no law (w = 1: an ")
    assert "at least 3 distinct noise scales" in found.law_problem
