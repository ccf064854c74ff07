"""locate_optimum: exact values, invariances, each way to fail, and planted truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from widthwise.analysis import locate_optimum
from widthwise.analysis.proportion import wilson_interval
from widthwise.analysis.settings import merge_settings
from widthwise.analysis.shape import fit_peaks
from widthwise.errors import FitError, InputError

OCTAVES = np.arange(8.0)
NOISE = 0.003  # of one seed, in accuracy


def parabola(x, optimum, curvature=0.005, peak=0.78):
    return peak - curvature * (x - optimum) ** 2


def noisy(means, num_seeds, rng, noise=NOISE):
    common = 0.7 * noise * rng.standard_normal(num_seeds)
    return means[:, None] + common + noise * rng.standard_normal((means.size, num_seeds))


def example(optimum=3.4, num_seeds=8, seed=1):
    return noisy(parabola(OCTAVES, optimum), num_seeds, np.random.default_rng(seed))


@pytest.mark.parametrize("optimum", [1.3, 2.0, 3.5, 5.77])
@pytest.mark.parametrize("num_settings", [3, 8])
def test_exact_parabola_gives_its_exact_vertex(optimum, num_settings):
    x = np.linspace(optimum - 1.4, optimum + 1.2, 3) if num_settings == 3 else OCTAVES
    result = locate_optimum(np.exp(x), np.repeat(parabola(x, optimum)[:, None], 4, axis=1))
    assert math.log(result.noise_scale) == pytest.approx(optimum, abs=1e-9)
    assert result.score == pytest.approx(0.78, abs=1e-9)
    assert result.censoring == "none"
    assert result.reason is None
    assert result.interval[0] <= result.noise_scale <= result.interval[1]


def test_three_points_give_the_vertex_worked_out_by_hand():
    # Through (0, 0.70), (1, 0.74), (2, 0.72): vertex at 1 + (0.72 - 0.70) / (2 * 0.06) = 7/6.
    result = locate_optimum(2.0 ** np.arange(3), [[0.70, 0.70], [0.74, 0.74], [0.72, 0.72]])
    assert math.log2(result.noise_scale) == pytest.approx(7 / 6, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-5, 5), order=st.permutations(range(8)))
def test_shifting_log_noise_scale_shifts_the_optimum_and_order_does_not_matter(shift, order):
    scores = example()
    base = locate_optimum(2.0**OCTAVES, scores)
    moved = locate_optimum(2.0 ** (OCTAVES[order] + shift), scores[order])
    factor = 2.0**shift
    assert moved.noise_scale == pytest.approx(base.noise_scale * factor, rel=1e-9)
    assert moved.interval == pytest.approx(np.multiply(base.interval, factor), rel=1e-9)
    assert order[moved.best_index] == base.best_index


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.01, 100), offset=st.floats(-10, 10))
def test_scaling_and_shifting_the_scores_does_not_move_the_optimum(scale, offset):
    base = locate_optimum(2.0**OCTAVES, example())
    moved = locate_optimum(2.0**OCTAVES, scale * example() + offset)
    assert moved.noise_scale == pytest.approx(base.noise_scale, rel=1e-6)
    assert moved.interval == pytest.approx(base.interval, rel=1e-6)
    assert moved.score == pytest.approx(scale * base.score + offset, rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_the_estimate_lies_in_its_interval_whatever_the_shape():
    x = OCTAVES / 2.0
    means = 0.8 - np.where(x < 1.8, 0.0005, 0.03) * (x - 1.8) ** 2
    replaced = 0
    for case in range(30):
        scores = noisy(means, 6, np.random.default_rng(case), noise=0.002)
        result = locate_optimum(2.0**x, scores, seed=case)
        assert result.interval[0] <= result.noise_scale <= result.interval[1]
        vertex, _ = fit_peaks(merge_settings(2.0**x, scores, limits=None, ran=None), None, rng=None)
        if not math.isclose(result.noise_scale, math.exp(vertex[0])):
            replaced += 1
            assert math.log(result.noise_scale) == pytest.approx(np.median(result.samples))
    assert 0 < replaced < 30


def test_same_seed_same_result_and_another_seed_nearly_so():
    first, again, other = (locate_optimum(2.0**OCTAVES, example(), seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    assert first.noise_scale == other.noise_scale
    assert first.interval == pytest.approx(other.interval, rel=0.25)


@pytest.mark.parametrize(("optimum", "side", "edge"), [(-1.5, "low", 0), (8.5, "high", 7)])
def test_an_optimum_outside_the_grid_is_a_bound(optimum, side, edge):
    result = locate_optimum(2.0**OCTAVES, example(optimum))
    assert result.censoring == side
    assert result.reason == "edge of the grid"
    assert result.noise_scale == pytest.approx(2.0**edge)
    assert result.best_index == edge
    assert (result.interval[0] == 0.0) is (side == "low")
    assert math.isinf(result.interval[1]) is (side == "high")
    assert result.interval[0] <= 2.0**optimum <= result.interval[1]


def test_limits_name_what_binds():
    limits = ["full batch"] + [None] * 6 + ["batch size 1"]
    low = locate_optimum(2.0**OCTAVES, example(-1.5), limits=limits)
    high = locate_optimum(2.0**OCTAVES, example(8.5), limits=limits)
    inside = locate_optimum(2.0**OCTAVES, example(3.4), limits=limits)
    assert (low.reason, high.reason, inside.reason) == ("full batch", "batch size 1", None)


def test_rising_up_to_divergence_is_censored_by_stability():
    scores = example(8.5)
    scores[6:] = np.nan
    result = locate_optimum(2.0**OCTAVES, scores)
    assert (result.censoring, result.reason, result.best_index) == ("high", "stability", 5)
    # Falling before divergence, the optimum is found all the same.
    scores = example(3.4)
    scores[6:] = np.nan
    assert locate_optimum(2.0**OCTAVES, scores).censoring == "none"


def rising_to_a_cliff():
    scores = example(8.5)
    scores[6:] = np.nan
    return scores


def test_noise_that_diverges_at_a_rate_that_trains_bounds_the_optimum_from_above():
    open_above = locate_optimum(2.0**OCTAVES, rising_to_a_cliff())
    bounded = locate_optimum(2.0**OCTAVES, rising_to_a_cliff(), effective_rate=np.full(8, 0.1))
    assert (bounded.censoring, bounded.reason) == ("none", None)
    # The best that trains, and the setting that does not: accuracy ends between the two.
    assert bounded.noise_scale == pytest.approx(2.0**5)
    assert bounded.interval == pytest.approx((open_above.interval[0], 2.0**6))
    assert bounded.cliff == pytest.approx(2.0**6)
    beyond = bounded.samples[np.isinf(open_above.samples)] / math.log(2.0)
    assert np.all((beyond > 5.0) & (beyond < 6.0))
    # Anywhere in between: the mean of 900 uniform draws has a standard error of 0.01.
    assert beyond.mean() == pytest.approx(5.5, abs=0.04)
    np.testing.assert_array_equal(
        bounded.samples[np.isfinite(open_above.samples)],
        open_above.samples[np.isfinite(open_above.samples)],
    )


@pytest.mark.parametrize(
    ("rates", "diverged"),
    [
        # The rate that diverges trains nowhere: a smaller one might bear the noise.
        (np.where(OCTAVES < 6.0, 0.1, 0.11), [8, 8]),
        # Fewer than half of the runs: an accident, or a setting that trains more often than not.
        (np.full(8, 0.1), [3, 3]),
    ],
)
def test_without_proof_that_it_is_the_noise_divergence_bounds_nothing(rates, diverged):
    scores = example(8.5)
    for setting, lost in zip((6, 7), diverged, strict=True):
        scores[setting, :lost] = np.nan
    result = locate_optimum(2.0**OCTAVES, scores, effective_rate=rates)
    assert (result.censoring, result.reason, result.cliff) == ("high", "stability", None)


def test_a_peak_well_below_the_cliff_is_as_if_there_were_none():
    scores = example(3.4)
    scores[6:] = np.nan
    without = locate_optimum(2.0**OCTAVES, scores)
    result = locate_optimum(2.0**OCTAVES, scores, effective_rate=np.full(8, 0.1))
    assert result.cliff is None
    assert result.interval == without.interval


def test_where_two_widths_end_in_their_gaps_is_drawn_apart():
    first = locate_optimum(2.0**OCTAVES, rising_to_a_cliff(), effective_rate=np.ones(8))
    scores = noisy(parabola(OCTAVES, 8.5), 8, np.random.default_rng(2))
    scores[6:] = np.nan
    second = locate_optimum(2.0**OCTAVES, scores, effective_rate=np.ones(8))
    both = [o.samples / math.log(2.0) for o in (first, second)]
    in_gap = np.all([draws > 5.0 for draws in both], axis=0)
    assert abs(np.corrcoef(both[0][in_gap], both[1][in_gap])[0, 1]) < 0.15


def test_rates_that_are_no_rates_are_refused():
    for rates in (np.ones(3), np.zeros(8), np.full(8, np.nan)):
        with pytest.raises(InputError, match="effective_rate must give one positive"):
            locate_optimum(2.0**OCTAVES, example(), effective_rate=rates)


def test_a_setting_with_too_many_diverged_seeds_cannot_win():
    scores = example(3.4, num_seeds=10)
    scores[6] = np.nan
    scores[6, :8] = 0.9  # survivors look best, but 2 of 10 diverged
    assert locate_optimum(2.0**OCTAVES, scores).best_index == 3
    scores[6, 8] = 0.9  # 1 of 10: stable by definition
    assert locate_optimum(2.0**OCTAVES, scores).best_index == 6


def test_runs_still_to_come_are_not_divergence():
    scores = example(3.4, num_seeds=8)
    scores[2:5, 5:] = np.nan
    ran = np.isfinite(scores)
    partial = locate_optimum(2.0**OCTAVES, scores, ran=ran)
    assert partial.best_index == 3
    assert partial.interval[0] < 2.0**3.4 < partial.interval[1]
    assert locate_optimum(2.0**OCTAVES, scores).best_index not in (2, 3, 4)


def test_equal_noise_scales_are_one_setting():
    scores = example()
    doubled = locate_optimum(
        np.concatenate([2.0**OCTAVES, 2.0**OCTAVES]), np.concatenate([scores, scores])
    )
    base = locate_optimum(2.0**OCTAVES, scores)
    assert doubled.noise_scale == pytest.approx(base.noise_scale, rel=1e-9)
    assert doubled.samples == pytest.approx(base.samples)


def test_one_seed_gives_an_estimate_without_an_interval():
    result = locate_optimum(2.0**OCTAVES, example(num_seeds=1))
    assert result.interval == (0.0, math.inf)
    assert result.num_seeds == 1
    assert np.all(np.isnan(result.samples))
    assert result.noise_scale == pytest.approx(2.0**3.4, rel=0.5)


def test_sampling_error_is_that_of_a_proportion():
    result = locate_optimum(
        2.0**OCTAVES, np.repeat(parabola(OCTAVES, 3)[:, None], 2, 1), num_test=9
    )
    # Wilson's interval of one standard error, by hand.
    expected = math.sqrt(0.78 * 0.22 / 9 + 1 / (4 * 81)) / (1 + 1 / 9)
    assert result.sampling_error == pytest.approx(expected)
    assert result.sampling_interval == wilson_interval(result.score, 9)
    assert locate_optimum(2.0**OCTAVES, example()).sampling_error is None
    with pytest.raises(InputError, match="divide percentages by 100"):
        locate_optimum(2.0**OCTAVES, 100 * example(), num_test=9)


def test_flat_scores_are_not_an_optimum():
    rng = np.random.default_rng(0)
    result = locate_optimum(2.0**OCTAVES, noisy(np.full(8, 0.78), 8, rng))
    assert result.censoring != "none"


def test_too_few_stable_settings_is_a_fit_error_with_a_remedy():
    scores = example()
    scores[2:] = np.nan
    with pytest.raises(FitError, match="got 2; run more settings"):
        locate_optimum(2.0**OCTAVES, scores)
    with pytest.raises(FitError, match="got 0"):
        locate_optimum(2.0**OCTAVES, np.full((8, 3), np.nan))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_scale": [1.0, 2.0]}, "one row of scores"),
        ({"noise_scale": [0.0, *range(1, 8)]}, "positive and finite"),
        ({"noise_scale": [math.nan, *range(1, 8)]}, "positive and finite"),
        ({"scores": np.full((8, 2), np.inf)}, "pass NaN"),
        ({"scores": np.zeros(8)}, "one row of scores"),
        ({"scores": np.zeros((8, 0))}, "one row of scores"),
        ({"limits": ["full batch"]}, "pad with None"),
        ({"ran": np.ones((8, 2), dtype=bool)}, "shape of scores"),
        ({"confidence": 1.0}, "confidence must lie in"),
        ({"num_bootstrap": 10}, "at least 100"),
        ({"num_test": 0}, "at least one test example"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"noise_scale": 2.0**OCTAVES, "scores": example(), **change}
    noise_scale, scores = arguments.pop("noise_scale"), arguments.pop("scores")
    with pytest.raises(InputError, match=message):
        locate_optimum(noise_scale, scores, **arguments)


CASES = 40
# Were the true coverage 95 %, fewer hits than this would have a chance below 1 in 10,000.
LEAST_HITS = int(stats.binom.ppf(1e-4, CASES, 0.95))


def collapse(x, optimum):
    u = x - optimum
    return 0.78 - 0.003 * (np.expm1(1.5 * u) / 1.5 - u)


@pytest.mark.slow
@pytest.mark.parametrize("curve", [parabola, collapse])
@pytest.mark.parametrize("num_seeds", [5, 8])
def test_intervals_cover_planted_optima(curve, num_seeds):
    rng = np.random.default_rng(11)
    hits = 0
    for case in range(CASES):
        optimum = rng.uniform(1.5, 5.0)
        scores = noisy(curve(OCTAVES, optimum), num_seeds, rng)
        low, high = locate_optimum(2.0**OCTAVES, scores, seed=case).interval
        hits += low <= 2.0**optimum <= high
    assert hits >= LEAST_HITS


@pytest.mark.slow
def test_the_coverage_check_rejects_intervals_half_as_wide():
    rng = np.random.default_rng(11)
    hits = 0
    for case in range(CASES):
        optimum = rng.uniform(1.5, 5.0)
        scores = noisy(collapse(OCTAVES, optimum), 8, rng)
        result = locate_optimum(2.0**OCTAVES, scores, seed=case, confidence=0.5)
        hits += result.interval[0] <= 2.0**optimum <= result.interval[1]
    assert hits < LEAST_HITS


@pytest.mark.slow
@pytest.mark.parametrize("side", ["low", "high"])
def test_planted_optima_outside_the_grid_are_censored_on_their_side(side):
    rng = np.random.default_rng(12)
    hits = 0
    for case in range(CASES):
        beyond = rng.uniform(0.5, 2.0)
        optimum = -beyond if side == "low" else 7.0 + beyond
        scores = noisy(parabola(OCTAVES, optimum), 8, rng)
        hits += locate_optimum(2.0**OCTAVES, scores, seed=case).censoring == side
    assert hits >= LEAST_HITS


def tied(*means, num_seeds=5):
    return np.repeat(np.array(means, dtype=float)[:, None], num_seeds, axis=1)


DECADES = np.geomspace(0.01, 10.0, 10)


@pytest.mark.parametrize("num_test", [None, 50])
@pytest.mark.parametrize("level", [1.0, 0.1, 0.0, 0.73])
def test_scores_that_all_tie_bound_nothing(level, num_test):
    """A saturated task, chance level: of ten settings with one score, none is the best."""
    result = locate_optimum(DECADES, tied(*[level] * 10), num_test=num_test)
    assert result.interval == (0.0, math.inf)
    assert (result.reason, result.is_flat) == ("flat", True)
    assert result.censoring != "none"
    assert np.all(np.isnan(result.samples))
    assert result.noise_scale == pytest.approx(math.sqrt(0.1))
    assert result.score == pytest.approx(level)


@pytest.mark.parametrize(
    ("means", "low", "high"),
    [
        # From 0.01 to 1, then a cliff: open below, and it ends before the first that is worse.
        ([1.0] * 7 + [0.9, 0.8, 0.6], 0.0, (1.0, 2.16)),
        # A rise, then up to the highest that was run.
        ([0.7, 0.8, 0.9] + [1.0] * 7, (0.046, 0.1), math.inf),
        # Level, then divergence, which bounds nothing where it may be the rate's.
        ([1.0] * 7 + [math.nan] * 3, 0.0, math.inf),
        # Two at an edge.
        ([0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1], 0.0, (0.0215, 0.0465)),
        # Inside: closed, and all of it.
        ([0.3, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9, 0.6, 0.3, 0.2], (0.0215, 0.0465), (0.99, 2.2)),
    ],
)
def test_an_interval_covers_a_level_top_and_is_open_where_it_reaches_an_edge(means, low, high):
    result = locate_optimum(DECADES, tied(*means))
    for found, wanted in zip(result.interval, (low, high), strict=True):
        if isinstance(wanted, tuple):
            assert wanted[0] <= found <= wanted[1]
        else:
            assert found == wanted
    assert result.is_flat
    open_ends = (result.interval[0] == 0.0, math.isinf(result.interval[1]))
    assert (result.censoring == "none") is not any(open_ends)
    assert result.score == pytest.approx(np.nanmax(means))


def test_noise_that_makes_training_diverge_ends_a_level_top():
    scores = tied(*[1.0] * 7, *[math.nan] * 3)
    result = locate_optimum(DECADES, scores, effective_rate=np.full(10, 0.1))
    assert result.interval == (0.0, pytest.approx(DECADES[7]))
    assert result.cliff == pytest.approx(DECADES[7])


def test_seeds_that_differ_alike_at_all_settings_tie_too():
    scores = np.tile([0.80, 0.82, 0.85], (10, 1))
    assert locate_optimum(DECADES, scores).interval == (0.0, math.inf)


def test_two_settings_that_tie_inside_are_both_in_the_interval():
    result = locate_optimum(2.0**OCTAVES, tied(0.1, 0.2, 0.4, 0.6, 0.6, 0.5, 0.2, 0.1))
    assert result.interval[0] <= 2.0**3 * (1 + 1e-9)
    assert result.interval[1] >= 2.0**4 * (1 - 1e-9)
    assert result.reason is None


def test_single_runs_tie_by_chance_unless_all_of_them_do():
    means = parabola(OCTAVES, 3.4)
    means[2] = means[3]
    assert locate_optimum(2.0**OCTAVES, means[:, None]).reason is None
    assert locate_optimum(2.0**OCTAVES, np.ones((8, 1))).reason == "flat"


def test_seeds_that_tie_still_spread_by_the_resolution_of_their_test_set():
    means = np.round(parabola(OCTAVES, 3.4, curvature=0.002), 3)

    def octaves(num_test):
        low, high = locate_optimum(2.0**OCTAVES, tied(*means), num_test=num_test).interval
        return math.log2(high / low)

    assert octaves(100) > 1.3 * octaves(10**6)
    assert octaves(10**9) == pytest.approx(octaves(None), rel=0.02)
    # A spread that the scores do show is not added to.
    first, second = (locate_optimum(2.0**OCTAVES, example(), num_test=n) for n in (10, 10**6))
    np.testing.assert_array_equal(first.samples, second.samples)


def test_accuracies_within_one_example_of_all_right_tie():
    wrong = (np.arange(1, 11)[:, None] >> np.arange(5)) & 1  # no two settings alike
    scores = 1.0 - wrong / 200
    scores[8:] = [[0.95], [0.9]]
    saturated = locate_optimum(DECADES, scores, num_test=200)
    assert saturated.is_flat
    assert saturated.is_saturated
    assert saturated.sampling_error == pytest.approx(0.0033367, rel=1e-4)  # by hand, p = 0.999
    assert saturated.sampling_interval[0] < 0.982 < 0.999 < saturated.sampling_interval[1]
    assert saturated.interval[0] == 0.0
    assert DECADES[7] <= saturated.interval[1] <= DECADES[8]
    finer = locate_optimum(DECADES, scores, num_test=2000)
    assert not finer.is_flat
    assert not finer.is_saturated
    assert not locate_optimum(DECADES, scores).is_saturated


def test_intervals_of_accuracies_stay_within_0_and_1():
    cliff = np.array([0.05, 0.3, 0.9, 0.99, 0.2, 0.1, 0.1, 0.1])
    scores = noisy(cliff, 5, np.random.default_rng(3), noise=0.004)
    unbounded = locate_optimum(2.0**OCTAVES, scores)
    assert unbounded.score_interval[1] > 1.0
    result = locate_optimum(2.0**OCTAVES, scores, num_test=500)
    assert 0.0 <= result.score_interval[0] <= result.score_interval[1] <= 1.0
    assert 0.0 <= result.score <= 1.0
    assert result.interval == unbounded.interval


@pytest.mark.parametrize("num_settings", [142, 500])
@pytest.mark.parametrize(
    "curve",
    [
        lambda x: np.full(x.size, 0.78),
        lambda x: 0.5 + 0.03 * x,
        lambda x: parabola(x, 4.0, curvature=1e-5),
        lambda x: np.where(x < 9.0, 0.9, 0.1),
    ],
)
def test_dense_grids_neither_overflow_nor_warn(curve, num_settings):
    x = np.linspace(0.0, 10.0, num_settings)
    for noise in (0.0, NOISE):
        scores = noisy(curve(x), 3, np.random.default_rng(1), noise=noise)
        result = locate_optimum(2.0**x, scores)
        assert 0.0 <= result.interval[0] <= result.noise_scale * (1 + 1e-9)
        assert result.noise_scale <= result.interval[1] * (1 + 1e-9)
    assert result.best_index == np.argmax(scores.mean(axis=1)) or num_settings > 48


@pytest.mark.slow
def test_dense_grids_cover_planted_optima():
    """Of 142 settings the best owes its rank to chance, and others look worse by chance."""
    rng = np.random.default_rng(11)
    x, hits = np.linspace(0.0, 10.0, 142), 0
    for case in range(CASES):
        optimum = rng.uniform(2.0, 8.0)
        scores = noisy(collapse(x, optimum), 5, rng)
        low, high = locate_optimum(2.0**x, scores, seed=case).interval
        hits += low <= 2.0**optimum <= high
    assert hits >= LEAST_HITS


def test_settings_far_apart_and_near_together_in_one_grid():
    x = np.concatenate([[-900.0], np.linspace(-1.0, 1.0, 11), [900.0]])
    result = locate_optimum(2.0**x, noisy(parabola(x, 0.1, 1e-5), 4, np.random.default_rng(0)))
    assert result.interval[0] <= result.noise_scale <= result.interval[1]


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_scores_whose_squares_are_no_numbers_are_refused(factor):
    with pytest.raises(InputError, match=r"the largest score must be 0 or of a size between"):
        locate_optimum(2.0**OCTAVES, example() * factor)
    assert locate_optimum(2.0**OCTAVES, example() * factor ** (1 / 3)).censoring == "none"


def test_noise_scales_from_1e_300_to_1e300():
    scale = np.geomspace(1e-300, 1e300, 8)
    result = locate_optimum(scale, example())
    assert result.interval[0] < scale[4]
    assert result.interval[1] > scale[3]
    assert result.censoring == "none"
