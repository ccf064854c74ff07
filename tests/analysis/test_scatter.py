"""The noise of one run, told by how settings scatter about their curve."""

import numpy as np
import pytest

from widthwise.analysis import locate_optimum
from widthwise.analysis.scatter import measure_scatter
from widthwise.analysis.settings import Scatter, merge_settings

NOISE = 0.004
OCTAVES = np.arange(12.0)


def parabola(rng, optimum=5.5, noise=NOISE, curvature=0.002, num_runs=1):
    scores = 0.8 - curvature * (OCTAVES - optimum) ** 2
    return scores[:, None] + noise * rng.standard_normal((OCTAVES.size, num_runs))


def measure(tables):
    return measure_scatter([2.0**OCTAVES] * len(tables), tables)


def test_the_planted_noise_is_found():
    rng = np.random.default_rng(0)
    variances = [measure([parabola(rng)])[0].variance for _ in range(300)]
    # A mean of 300 with at least two degrees of freedom each: 6 %; five standard errors.
    assert np.mean(variances) / NOISE**2 == pytest.approx(1.0, abs=0.3)


def test_a_parabola_itself_is_no_noise():
    (found,) = measure([parabola(np.random.default_rng(0), noise=0.0)])
    assert found.variance < 1e-20


def test_a_cliff_is_little_noise():
    rng = np.random.default_rng(1)
    table = parabola(rng)
    table[9:] -= 0.3
    (with_cliff,), (without,) = measure([table]), measure([parabola(np.random.default_rng(1))])
    assert with_cliff.variance < 4.0 * without.variance
    # The control: had all contrasts counted alike, the cliff would be most of it.
    third = np.diff(table[:, 0], 3) / np.sqrt(20.0)
    assert np.mean(third**2) > 50.0 * with_cliff.variance


def test_repeated_runs_tell_too():
    rng = np.random.default_rng(2)
    (found,) = measure([parabola(rng, num_runs=6)])
    (alone,) = measure([parabola(rng)])
    assert found.variance == pytest.approx(NOISE**2, rel=0.4)
    assert found.degrees > 5.0 * alone.degrees


def test_widths_that_are_alike_borrow_from_each_other():
    rng = np.random.default_rng(3)
    tables = [parabola(rng) for _ in range(6)]
    assert measure(tables)[0].degrees > measure(tables[:1])[0].degrees


def test_three_settings_tell_nothing():
    few = np.array([[0.1], [0.3], [0.2]])
    assert measure_scatter([[1.0, 2.0, 4.0]], [few]) == [None]


def test_it_does_not_hang_on_the_unit_of_scores():
    tables = [parabola(np.random.default_rng(5))]
    (found,), (hundredfold,) = measure(tables), measure([100.0 * tables[0] + 7.0])
    assert hundredfold.variance == pytest.approx(1e4 * found.variance, rel=1e-6)


def test_one_seed_gets_an_interval_that_its_noise_decides():
    table = parabola(np.random.default_rng(6))

    def width(variance):
        found = locate_optimum(2.0**OCTAVES, table, scatter=Scatter(variance, 8.0))
        low, high = found.interval
        assert found.num_seeds == 1
        return np.log2(high / low)

    assert 0.0 < width(NOISE**2 / 100.0) < width(NOISE**2) < width(16.0 * NOISE**2)
    assert locate_optimum(2.0**OCTAVES, table).interval == (0.0, np.inf)


def test_runs_of_one_setting_are_repetitions():
    rng = np.random.default_rng(7)
    table = parabola(rng, num_runs=4)
    table[3, 1:] = np.nan
    settings = merge_settings(
        2.0**OCTAVES, table, limits=None, ran=np.isfinite(table), scatter=Scatter(NOISE**2, 9.0)
    )
    assert settings.counts.tolist() == [4, 4, 4, 1, *[4] * 8]
    draws = settings.draw_means(20_000, np.random.default_rng(0))
    spread = draws.std(axis=0)
    # Student's t with nine degrees of freedom has the variance 9 / 7.
    assert spread[3] / NOISE == pytest.approx(np.sqrt(9 / 7), rel=0.05)
    assert spread[3] / spread[4] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(("lost", "cliff"), [(2, 3.0), (1, None)])
def test_two_runs_that_diverge_one_above_the_other_bound_an_optimum(lost, cliff):
    scores = np.array([[0.1], [0.2], *[[np.nan]] * lost])
    settings = merge_settings(
        np.exp(np.arange(2.0 + lost)),
        scores,
        limits=None,
        ran=None,
        effective_rate=np.ones(2 + lost),
        scatter=Scatter(1e-6, 3.0),
    )
    assert settings.cliff == (None if cliff is None else pytest.approx(cliff))
