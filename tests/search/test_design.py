"""The predicted variance of the peak against hand calculation, draws, and common sense."""

import numpy as np
import pytest
from planted_search import LATTICE, parabola, table

from widthwise.search import Observations
from widthwise.search.bracket import extension
from widthwise.search.design import (
    Curve,
    _fit_members,
    _vertices,
    additions,
    believed_curve,
    predicted_variance,
)
from widthwise.search.refine import _slope_variance
from widthwise.search.state import WidthState


def state_of(counts, peak=0.0, curvature=0.01, noise=0.004):
    counts = np.asarray(counts)
    full = table(parabola(peak, curvature), noise=noise)
    ran = np.arange(full.ran.shape[1]) < counts[:, None]
    scores = np.where(ran, full.scores, np.nan)
    return WidthState(
        lattice=LATTICE,
        observations=Observations(scores=scores, ran=ran),
        confidence=0.95,
        seed=0,
    )


def counts_at(seeds, *octaves):
    return np.where(np.isin(np.round(LATTICE.octaves, 6), octaves), seeds, 0)


def test_variance_of_a_three_point_vertex():
    # Scores -a x² at x = -1, 0, 1, each of variance v. Slope b = (y1 - y_1) / 2 has variance v/2,
    # curvature c = y1 + y_1 - 2 y0 = -2a; vertex -b/c at b = 0 has variance (v/2) / (2a)² = v/8a².
    a, v = 0.03, 0.002**2
    x = np.array([-1.0, 0.0, 1.0])
    coefficients, covariance, misfit = _fit_members(x, np.full(3, 1.0 / v), -a * x**2)
    where, variance = _vertices(coefficients, covariance)
    assert coefficients[0] == pytest.approx([0.0, 0.0, -2.0 * a], abs=1e-12)
    assert where[0] == pytest.approx(0.0, abs=1e-12)
    assert variance[0] == pytest.approx(v / (8.0 * a**2), rel=1e-9)
    assert misfit[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.slow
def test_variance_of_a_skewed_vertex_agrees_with_draws():
    rng = np.random.default_rng(3)
    x, spread = np.arange(-2.0, 3.0), 1e-4
    mean = 0.01 * ((x - 0.7) - np.expm1(x - 0.7))  # skewness 1, peak at 0.7
    member = 2
    weight = np.full(x.size, spread**-2)
    coefficients, covariance, _ = _fit_members(x, weight, mean)
    where, variance = _vertices(coefficients, covariance)
    assert where[member] == pytest.approx(0.7, abs=1e-9)
    drawn = []
    for _ in range(2000):
        c, cov, _ = _fit_members(x, weight, mean + spread * rng.standard_normal(x.size))
        drawn.append(_vertices(c, cov)[0][member])
    # Standard error of a variance from 2000 draws: sqrt(2 / 2000) = 3.2 %; five of them.
    assert np.var(drawn) == pytest.approx(variance[member], rel=0.16)


def test_more_seeds_and_less_noise_lower_the_variance():
    few = state_of(counts_at(4, -2.0, -1.0, 0.0, 1.0, 2.0))
    curve = believed_curve(few)
    variance = predicted_variance(curve, few.counts)
    assert 0.0 < predicted_variance(curve, 4 * few.counts) < variance < np.inf
    quiet = Curve(
        octaves=curve.octaves,
        mean=curve.mean,
        spread=curve.spread / 4.0,
        candidates=curve.candidates,
    )
    assert predicted_variance(quiet, few.counts) < variance


def test_two_settings_determine_nothing():
    curve = believed_curve(state_of(counts_at(4, -1.0, 0.0, 1.0)))
    assert predicted_variance(curve, counts_at(4, 0.0, 1.0)) == np.inf


def test_the_prediction_is_near_the_interval_that_is_reported():
    state = state_of(counts_at(8, -2.0, -1.0, 0.0, 1.0, 2.0))
    variance = predicted_variance(believed_curve(state), state.counts)
    # First order against draws with Student tails: good to a factor of two, not better.
    assert 0.5 < state.interval_width / (2 * 1.96 * np.sqrt(variance)) < 2.0


def test_additions_stay_near_the_peak_and_below_the_seeds_allowed():
    state = state_of(counts_at(4, -2.0, -1.0, 0.0, 1.0, 2.0))
    curve = believed_curve(state)
    found = additions(curve, state.counts, np.asarray(LATTICE.cost), max_seeds=4)
    assert found
    for a in found:
        assert -2.6 <= LATTICE.octaves[a.scale_index] <= 3.6
        assert state.counts[a.scale_index] == 0
        assert a.num_seeds >= 2
        assert a.cost == pytest.approx(a.num_seeds * LATTICE.cost[a.scale_index])


def test_slope_variance_of_equal_widths():
    # Three peaks of variance v at x = 0, 1, 2: Var(slope) = v / sum (x - 1)² = v / 2.
    assert _slope_variance(np.arange(3.0), [0.1] * 3) == pytest.approx(0.05)
    assert _slope_variance(np.arange(3.0), [np.inf] * 3) == np.inf


@pytest.mark.parametrize(
    ("peak", "ran", "wanted"),
    [
        (-3.0, (2.0, 3.0, 4.0, 5.0), [1.0]),  # below everything that ran: an octave down
        (4.5, (-3.0, -2.0, -1.0, 0.0), [1.0, 2.0]),  # above: two octaves up, they are cheap
        (0.0, (-2.0, -1.0, 0.0, 1.0, 2.0), []),  # clearly worse settings on both sides
        (-7.0, (-5.0, -4.0, -3.0), []),  # nothing can be run below
    ],
)
def test_what_is_needed_to_bracket(peak, ran, wanted):
    found = extension(state_of(counts_at(4, *ran), peak=peak, noise=0.001))
    assert LATTICE.octaves[found].tolist() == pytest.approx(wanted)
