"""What was asked and what was done, as the page tells it."""

import pytest

from widthwise.report.story import QUESTION, asked_and_done
from widthwise.report.tables import SettingRow


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
    assert question == QUESTION
    return told


def test_numbers_are_those_of_the_settings():
    told = done([row(1.0, 4.0, 1, num_seeds=2), row(2.0, 1.0, 16, num_seeds=5)])
    for phrase in (
        "7 networks were trained at 2 widths (w = 1 and 2)",
        "2 settings of ε (1 to 4), B (1 to 16) and m",
        "ḡ from 0.0312 to 2,",
        "each from 2 to 5 random seeds",
        "test accuracy averaged over the last 25 % of training",
    ):
        assert phrase in told


@pytest.mark.parametrize(
    ("num_seeds", "phrase"), [(1, "each from 1 random seed."), (3, "3 random seeds.")]
)
def test_one_setting(num_seeds, phrase):
    told = done([row(1.0, 4.0, 8, num_seeds=num_seeds)])
    assert phrase in told
    assert "1 setting of ε (4), B (8) and m" in told


def test_the_accuracy_that_chose_is_named():
    told = done([row(1.0, 4.0, 8, num_seeds=2)], selected_on="validation", late_fraction=0.5)
    assert "with its validation accuracy averaged over the last 50 % of training" in told
