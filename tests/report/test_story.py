"""What was done, as the page tells it."""

from dataclasses import replace

import pytest

from widthwise.report.captions import how_it_was_done
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
    given = {"late_fraction": 0.25, "selected_on": "test", "constant_rate": True}
    return how_it_was_done(rows, **given | options)


def test_numbers_are_those_of_the_settings():
    told = done([row(1.0, 4.0, 1, num_seeds=2), row(2.0, 1.0, 16, num_seeds=5)])
    for phrase in (
        "7 networks: 2 settings at 2 widths, ε 1 to 4, B 1 to 16, m 0, ḡ 0.0312 to 2, 2 to 5 seeds",
        "initial weights (2 at every width)",
        "test accuracy over the last 25 % of training",
    ):
        assert phrase in told
    assert "peak" not in told


@pytest.mark.parametrize(("num_seeds", "phrase"), [(1, ", 1 seed each"), (3, ", 3 seeds each")])
def test_one_setting(num_seeds, phrase):
    told = done([row(1.0, 4.0, 8, num_seeds=num_seeds)])
    assert phrase in told
    assert "1 setting at 1 width, ε 4, B 8, m 0" in told
    assert "(2 at w = 1)" in told


def test_the_accuracy_that_chose_and_the_rate_are_named():
    rows = [row(1.0, 4.0, 8, num_seeds=2)]
    told = done(rows, selected_on="validation", late_fraction=0.5, constant_rate=False)
    assert "validation accuracy over the last 50 % of training" in told
    assert "ε and ḡ are those of the learning rate’s peak" in told


def test_a_variance_that_falls_with_width_is_said():
    rows = [row(w, 4.0, 8, num_seeds=2) for w in (1.0, 4.0)]
    rows[1] = replace(rows[1], init_variance=0.5)
    assert "(2 at w = 1, 0.5 at w = 4)" in done(rows)
