"""The test of the collapse: worked by hand, on planted noise, and where it must say no."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.analysis import measure_collapse
from widthwise.analysis._pairs import SettingTable, find_pairs, moderated
from widthwise.errors import InputError

SEED_STD = 0.004
RATES = (0.25, 0.5, 1.0, 2.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
WIDTHS = (1, 2, 4, 8)
PROBLEMS = 50


def accuracy(u):
    """Falls gently below the optimum and steeply above it."""
    return (
        0.78
        - 0.003 * np.minimum(u, 0) ** 2
        - 0.012 * np.maximum(u, 0) ** 2
        - 0.05 * np.maximum(u - 1.2, 0) ** 2
    )


def planted(rng, *, seeds=5, shift=lambda rate, u: 0.0, widths=WIDTHS, rates=RATES):
    """Settings whose seeds share half their variance, noisier towards the cliff."""
    rows = []
    for width in widths:
        common = rng.normal(0, 1, seeds)
        for rate in rates:
            own = rng.normal(0, 0.3, seeds)  # what a seed does at this rate
            for batch in BATCH_SIZES:
                u = math.log(rate / batch / (0.1 * width))
                noise = math.sqrt(0.5) * (common + rng.normal(0, 1, seeds)) + own
                scores = accuracy(u) + shift(rate, u) + SEED_STD * (1 + 2 * max(u, 0)) * noise
                scores = scores if u < 2.2 else np.full(seeds, np.nan)
                rows.append((width, rate, batch, 0.0, rate / batch, scores))
    *columns, scores = zip(*rows, strict=True)
    return (*columns, np.array(scores))


def one_pair(scores, **options):
    """Two settings of one width and noise scale."""
    return measure_collapse([1, 1], [0.1, 0.4], [4, 16], [0, 0], [0.025, 0.025], scores, **options)


def test_difference_and_interval_match_hand_calculation():
    # differences 0.01, 0.03, 0.02: mean 0.02, variance 0.0001, standard error 0.01 / sqrt 3;
    # Student's 97.5 % point for 2 degrees of freedom is 4.302653
    found = one_pair([[0.70, 0.71, 0.75], [0.71, 0.74, 0.77]])
    (comparison,) = found.comparisons
    assert comparison.difference == pytest.approx(0.02)
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert comparison.interval == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)
    assert (comparison.learning_rate, comparison.reference_learning_rate) == (0.4, 0.1)
    assert (comparison.batch_size, comparison.reference_batch_size) == (16, 4)


def test_different_seeds_are_not_paired():
    nan = math.nan
    scores = [[0.70, 0.72, nan, nan], [nan, nan, 0.70, 0.74]]
    found = one_pair(scores, ran=np.isfinite(scores))
    (comparison,) = found.comparisons
    # variances of the means 0.0001 and 0.0004; Student's point for 1 degree of freedom
    half = 12.7062047 * math.sqrt(0.0005)
    assert comparison.difference == pytest.approx(0.01)
    assert comparison.interval == pytest.approx((0.01 - half, 0.01 + half), rel=1e-6)


def test_what_seeds_share_cancels():
    shared = np.array([-0.05, 0.0, 0.05, 0.02])
    found = one_pair(0.7 + shared + np.array([[0.001, 0, -0.001, 0], [0, 0.001, 0, -0.001]]))
    assert found.verdict == "collapses"
    crossed = one_pair(np.array([0.7 + shared, 0.7 - shared]))
    assert crossed.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("learning_rate", "momentum", "noise_scale"),
    [
        ([0.1, 0.4], [0, 0], [0.025, 0.05]),  # no common noise scale
        ([0.1, 0.1], [0, 0], [0.025, 0.025]),  # one rate
    ],
)
def test_without_common_noise_scale_nothing_is_tested(learning_rate, momentum, noise_scale):
    scores = np.full((2, 3), 0.7) + np.array([0, 0.01, 0.02])
    found = measure_collapse([1, 1], learning_rate, [4, 16], momentum, noise_scale, scores)
    assert found.verdict == "not tested"
    assert math.isinf(found.overall.missed)
    assert "was not tested" in found.sentence()


def test_widths_are_never_compared_with_each_other():
    scores = np.full((2, 3), 0.7) + np.array([0, 0.01, 0.02])
    found = measure_collapse([1, 2], [0.1, 0.4], [4, 16], [0, 0], [0.025, 0.025], scores)
    assert [width.verdict for width in found.widths] == ["not tested", "not tested"]


def test_momentum_is_compared_at_equal_effective_rate():
    scores = 0.7 + np.array([[0, 0.001, 0.002], [0.001, 0, 0.002]])
    found = measure_collapse([1, 1], [1.0, 0.1], [8, 8], [0, 0.9], [0.125, 0.125], scores)
    (comparison,) = found.comparisons
    assert (comparison.momentum, comparison.reference_momentum) == (0.9, 0.0)
    assert found.overall.agrees_up_to == pytest.approx(1.0)
    assert found.rate_symbol == "ε/(1 − m)"


def test_reference_is_interpolated_with_its_own_error_added():
    """On a parabola the bound equals the error: 2 · 0.01 · h² t (1 − t) / 2, h = log 2, t = 1/2."""
    noise_scale = np.array([1.0, 2.0, 4.0, 8.0, 2.0 * math.sqrt(2.0)])
    heights = 0.7 - 0.01 * np.log(noise_scale) ** 2
    table = SettingTable(
        learning_rate=np.array([0.1, 0.1, 0.1, 0.1, 0.4]),
        batch_size=np.array([8.0, 4.0, 2.0, 1.0, 9.0]),
        momentum=np.zeros(5),
        noise_scale=noise_scale,
        scores=heights[:, None] + np.array([-0.001, 0.0, 0.001]),
        ran=np.ones((5, 3), bool),
    )
    (pair,) = find_pairs(table, 0.01)
    assert pair.reference == (1, 2)
    expected = 0.01 * math.log(2.0) ** 2 / 4
    assert pair.bias == pytest.approx(expected)
    assert pair.difference == pytest.approx(expected)


def test_runs_that_diverge_only_at_the_larger_rate_differ():
    scores = np.full((2, 8), 0.7) + np.linspace(0, 0.01, 8)
    scores[1] = np.nan
    found = one_pair(scores)
    assert found.verdict == "broken"
    assert found.comparisons[0].difference is None
    assert "diverge" in found.sentence()
    # 1 of 8 lost may be chance
    scores[1] = 0.7
    scores[1, 0] = np.nan
    assert one_pair(scores).verdict == "inconclusive"


def test_variances_borrow_only_where_they_are_alike():
    rng = np.random.default_rng(2)
    degrees = np.full(60, 4.0)
    alike = rng.chisquare(4, 60) / 4
    pooled, borrowed = moderated(alike, degrees, np.zeros(60))
    assert np.ptp(np.log(pooled)) < 0.5 * np.ptp(np.log(alike))
    assert np.all(borrowed > 8)
    unlike = alike * np.exp(rng.normal(0, 1.5, 60))
    kept, own = moderated(unlike, degrees, np.zeros(60))
    assert np.corrcoef(np.log(kept), np.log(unlike))[0, 1] > 0.9
    assert np.all(own < 8)


def test_ties_do_not_make_certain():
    """Accuracies on 40 examples: two of three differences are exactly 0 for every seed."""
    tied = np.array([[0.9, 0.9, 0.925]] * 3)
    change = np.array([[0, 0, 0], [0, 0, 0], [0.025, -0.05, 0.025]])
    scores = np.concatenate([tied, tied + change])
    columns = [1] * 6, [0.1] * 3 + [0.2] * 3, [1, 2, 4, 2, 4, 8], [0] * 6
    found = measure_collapse(*columns, [0.1, 0.05, 0.025] * 2, scores)
    (level,) = found.overall.levels
    assert level.interval[1] - level.interval[0] > 0.005


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_scores_without_any_scatter(shift):
    """All seeds alike: no noise to weigh pairs by, no warning, and the difference as it is."""
    rates = np.repeat([0.1, 0.2], 4)
    batches = np.array([1, 2, 4, 8, 2, 4, 8, 16])
    scores = np.full((8, 3), 0.5) + shift * (rates == 0.2)[:, None]
    found = measure_collapse(np.ones(8), rates, batches, np.zeros(8), rates / batches, scores)
    differences = [level.difference for level in found.overall.levels]
    assert differences == pytest.approx([shift])


# A true collapse: chance of any "differs" is to be 5 % at most. Of 50 problems at most 7 then
# (99 % point of the binomial).
@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_true_collapse_is_seldom_called_broken_and_mostly_shown(seeds):
    false_alarms = full = 0
    for problem in range(PROBLEMS):
        found = measure_collapse(*planted(np.random.default_rng([problem, seeds]), seeds=seeds))
        false_alarms += found.overall.differs_from is not None
        full += found.overall.agrees_up_to == max(RATES)
    assert false_alarms <= 7
    assert full >= 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "shift",
    [
        lambda rate, u: -0.02 * (rate > 0.25),
        lambda rate, u: 0.01 * (rate > 0.25),  # just at the margin
        lambda rate, u: 0.03 * (rate > 0.25) * np.sign(np.sin(3 * u)),  # no difference in the mean
    ],
    ids=["lower", "at the margin", "alternating"],
)
def test_broken_collapse_is_reported_as_broken(shift):
    for problem in range(10):
        found = measure_collapse(*planted(np.random.default_rng([problem, 5]), shift=shift))
        assert found.verdict == "broken"
        assert found.overall.agrees_up_to is None
        assert "broken" in found.sentence()


def test_collapse_up_to_a_rate_is_told_from_what_lies_beyond():
    found = measure_collapse(
        *planted(np.random.default_rng(1), shift=lambda rate, u: -0.02 * (rate > 1))
    )
    assert found.verdict == "collapses"
    assert (found.overall.agrees_up_to, found.overall.differs_from) == (1.0, 2.0)
    assert "up to ε = 1" in found.sentence()
    assert "from ε = 2 on they differ" in found.sentence()


def test_differences_that_cancel_in_the_mean_and_hide_in_noise_do_not_agree():
    """± 0.9 points, standard error 0.35: none is certain, but none agrees one by one either."""
    noise_scale = 2.0 ** -np.arange(8)
    signs = np.where(np.arange(8) % 2, 0.009, -0.009)
    for problem in range(10):
        scores = 0.7 + np.random.default_rng(problem).normal(0, 0.007, (16, 8))
        scores[8:] += signs[:, None]
        rates = [0.1] * 8 + [0.2] * 8
        found = measure_collapse(
            [1] * 16, rates, [1] * 16, [0] * 16, np.tile(noise_scale, 2), scores
        )
        (level,) = found.overall.levels
        assert max(np.abs(level.interval)) < found.margin
        assert found.verdict != "collapses"


def test_one_bad_width_breaks_the_whole():
    rng = np.random.default_rng(3)
    good, bad = (
        planted(rng, widths=widths, shift=lambda rate, u, d=d: d * (rate > 0.25))
        for widths, d in (((1, 2), 0.0), ((4,), -0.02))
    )
    both = [np.concatenate([a, b]) for a, b in zip(good, bad, strict=True)]
    found = measure_collapse(*both)
    assert [width.verdict for width in found.widths] == ["collapses", "collapses", "broken"]
    assert found.verdict == "broken"


def test_too_noisy_runs_decide_nothing_and_say_what_they_could_miss():
    found = one_pair(0.7 + 0.05 * np.random.default_rng(0).normal(size=(2, 3)))
    assert found.verdict == "inconclusive"
    assert found.overall.missed > found.margin
    assert "More seeds" in found.sentence()


@pytest.mark.slow
@settings(max_examples=30)
@given(order=st.permutations(range(28)), octave=st.integers(-3, 3))
def test_order_and_units_of_rates_do_not_matter(order, octave):
    columns = planted(np.random.default_rng(4), widths=(2,))
    expected = measure_collapse(*columns)
    shuffled = [np.asarray(column)[order] for column in columns]
    shuffled[1] = shuffled[1] * 2.0**octave
    found = measure_collapse(*shuffled)
    assert found.verdict == expected.verdict
    assert found.overall.missed == pytest.approx(expected.overall.missed)
    assert found.overall.agrees_up_to == pytest.approx(
        (expected.overall.agrees_up_to or math.nan) * 2.0**octave, nan_ok=True
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0.0}, "margin must be a positive"),
        ({"tolerance": -1.0}, "tolerance must lie"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"ran": [[True]]}, "ran must have the shape"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        one_pair([[0.7, 0.8], [0.7, 0.8]], **changes)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1, [0.1, -0.4], "learning_rate must be positive"),
        (3, [0.0, 1.0], r"momentum must lie in \[0, 1\)"),
        (4, [0.1], "must have shape"),
        (5, [[0.7, math.inf], [0.7, 0.8]], "got inf"),
    ],
)
def test_bad_settings_are_refused(place, value, message):
    columns = [[1, 1], [0.1, 0.4], [4, 16], [0, 0], [0.025, 0.025], [[0.7, 0.8], [0.7, 0.8]]]
    columns[place] = value
    with pytest.raises(InputError, match=message):
        measure_collapse(*columns)
