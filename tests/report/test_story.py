"""What was asked and what was done, as the page tells it."""

from dataclasses import replace

import pytest

from widthwise.report.captions import QUESTION, asked_and_done
from widthwise.runs.tables import SettingRow


def row(widening_factor, learning_rate, batch_size, *, num_seeds):
    return SettingRow(
        widening_factor=widening_factor,
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=0.0,
        init_variance=2.0,
        normalized_noise_scale=learning_rate / (2.0 * batch_size),
        steps=1000,
        num_seeds=num_seeds,
        num_diverged=0,
        test_accuracy=0.8,
        test_accuracy_sem=0.01,
        validation_accuracy=None,
        validation_accuracy_sem=None,
        plateau_slope=0.0,
        plateau_slope_sem=0.001,
    )


def done(rows, **options):
    question, told = asked_and_done(
        rows, **{"late_fraction": 0.25, "selected_on": "test"} | options
    )
    told_of = "2 at w = 1" if len(rows) == 1 else "2 at every width"
    assert question == QUESTION.format(variance=told_of)
    return told


def test_numbers_are_those_of_the_settings():
    told = done([row(1.0, 4.0, 1, num_seeds=2), row(2.0, 1.0, 16, num_seeds=5)])
    for phrase in (
        "7 networks were trained at 2 widths (w = 1 and 2)",
        "2 settings in all, with ε 1 to 4, B 1 to 16 and m",
        "ḡ is 0.0312 to 2;",
        "each setting from 2 to 5 random seeds",
        "test accuracy averaged over the last 25 % of training",
    ):
        assert phrase in told


@pytest.mark.parametrize(
    ("num_seeds", "phrase"), [(1, "each setting from 1 random seed."), (3, "3 random seeds.")]
)
def test_one_setting(num_seeds, phrase):
    told = done([row(1.0, 4.0, 8, num_seeds=num_seeds)])
    assert phrase in told
    assert "1 setting in all, with ε 4, B 8 and m" in told


def test_the_accuracy_that_chose_is_named():
    told = done([row(1.0, 4.0, 8, num_seeds=2)], selected_on="validation", late_fraction=0.5)
    assert "is its validation accuracy averaged over the last 50 % of training" in told


def test_a_variance_that_falls_with_width_is_said():
    rows = [row(w, 4.0, 8, num_seeds=2) for w in (1.0, 4.0)]
    rows[1] = replace(rows[1], init_variance=0.5)
    question, _ = asked_and_done(rows, late_fraction=0.25, selected_on="test")
    assert "(2 at w = 1, 0.5 at w = 4)" in question
