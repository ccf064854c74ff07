"""Late-time mean and plateau slope against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.analysis.late_times import late_mean, plateau_slope
from widthwise.errors import InputError

STEPS = np.array([10, 20, 30, 40, 50, 60, 70, 80])


def test_late_mean_takes_the_last_quarter_only():
    curve = np.array([0, 0, 0, 0, 0, 9.0, 1.0, 3.0])
    # Late: step > 60, that is 70 and 80; step 60 itself is not late.
    assert late_mean(STEPS, curve, total_steps=80) == pytest.approx(2.0, abs=1e-15)


def test_late_mean_keeps_leading_axes_and_marks_diverged_runs():
    curve = np.arange(24.0).reshape(3, 8)
    curve[1, 7] = np.nan
    curve[2, 0] = np.nan  # not late: does not matter
    result = late_mean(STEPS, curve, total_steps=80)
    assert result.shape == (3,)
    assert result[0] == pytest.approx(6.5)
    assert np.isnan(result[1])
    assert result[2] == pytest.approx(22.5)


@given(
    slope=st.floats(-1, 1), start=st.floats(-1, 1), fraction=st.sampled_from([0.25, 0.5, 0.7, 1.0])
)
def test_plateau_slope_of_a_straight_line_is_its_change_over_the_window(slope, start, fraction):
    change = plateau_slope(STEPS, start + slope * STEPS, total_steps=80, fraction=fraction)
    assert change == pytest.approx(slope * fraction * 80, abs=1e-10)


def test_plateau_slope_is_least_squares():
    # Points (50, 0), (60, 0), (70, 3), (80, 1): slope 0.06 by the normal equations.
    curve = np.array([[7, 7, 7, 7, 0, 0, 3, 1.0], [7, 7, 7, 7, 1, 1, 1, 1.0]])
    change = plateau_slope(STEPS, curve, total_steps=80, fraction=0.5)
    assert change == pytest.approx([0.06 * 40, 0.0], abs=1e-12)


@pytest.mark.parametrize("function", [late_mean, plateau_slope])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((STEPS, np.zeros(7), 80), "one step for each evaluation"),
        ((STEPS[None], np.zeros(8), 80), "one step for each evaluation"),
        ((STEPS, np.zeros(8), 80, 0.0), "fraction must lie in"),
        ((STEPS, np.zeros(8), 80, 1.5), "fraction must lie in"),
        ((STEPS, np.zeros(8), 0), "total_steps must be positive"),
        ((STEPS, np.zeros(8), 1000), "evaluate more often"),
    ],
)
def test_bad_input_is_refused(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(*arguments)


def test_a_slope_needs_two_late_evaluations_and_a_mean_one():
    assert late_mean(STEPS, np.ones(8), 80, 0.1) == 1.0
    with pytest.raises(InputError, match="at least 2 evaluation"):
        plateau_slope(STEPS, np.ones(8), 80, 0.1)


@pytest.mark.parametrize("function", [late_mean, plateau_slope])
@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_a_run_is_worth_the_same_bits_whatever_stands_beside_it(function, fraction):
    steps = np.arange(5, 101, 5)
    curves = np.random.default_rng(0).integers(0, 41, (300, steps.size)) / 40
    together = function(steps, curves, 100, fraction)
    for count in (1, 2, 3, 7, 100):
        alone = function(steps, curves[:count], 100, fraction)
        np.testing.assert_array_equal(alone, together[:count])
