"""fit_law: exact power laws, censored widths, verdicts, and planted exponents."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from widthwise.analysis import Optimum, fit_law, locate_optimum
from widthwise.analysis.law import verdict_of
from widthwise.errors import FitError, InputError

OCTAVES = np.arange(10.0)


def optimum_at(log_scale, spread=0.1, censoring="none", seed=0, edges=(-10.0, 10.0), draws=400):
    """A made-up optimum whose draws are Gaussian, infinite beyond the edges."""
    samples = log_scale + spread * np.random.default_rng(seed).standard_normal(draws)
    if censoring != "none":
        samples = np.full(draws, -np.inf if censoring == "low" else np.inf)
        log_scale = edges[0] if censoring == "low" else edges[1]
    return Optimum(
        noise_scale=math.exp(log_scale),
        interval=(0.0, math.inf),
        score=0.7,
        score_interval=(0.6, 0.8),
        censoring=censoring,
        reason=None if censoring == "none" else "edge of the grid",
        best_index=0,
        num_seeds=5,
        sampling_error=None,
        samples=samples,
        measured=(math.exp(edges[0]), math.exp(edges[1])),
    )


def measured(optimum, rng, seed, num_seeds=8):
    scores = 0.78 - 0.005 * (OCTAVES - optimum) ** 2
    noise = 0.003 * rng.standard_normal((OCTAVES.size, num_seeds))
    return locate_optimum(2.0**OCTAVES, scores[:, None] + noise, seed=seed, num_bootstrap=400)


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0])
def test_an_exact_power_law_gives_its_exponent(exponent):
    factors = [1, 2, 4, 8]
    optima = [optimum_at(0.3 + exponent * math.log(w), spread=0.0) for w in factors]
    law = fit_law(factors, optima)
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.intercept == pytest.approx(0.3, abs=1e-9)
    value, band = law.predict(8)
    assert value == pytest.approx(math.exp(0.3) * 8**exponent)
    assert band == pytest.approx((value, value))
    assert law.growth(8) == (pytest.approx(8**exponent), pytest.approx((8**exponent, 8**exponent)))
    assert law.local_exponent(3)[0] == pytest.approx(exponent, abs=1e-9)
    assert (law.bend, law.curve) == (0.0, None)


@pytest.mark.parametrize("exponent", [-0.5, 1.0])
def test_beyond_the_widest_width_a_law_may_go_flat_or_straight_on(exponent):
    factors = [1, 2, 4, 8]
    law = fit_law(factors, [optimum_at(exponent * math.log(w), spread=0.0) for w in factors])
    value, band = law.predict(32)
    assert value == pytest.approx(32**exponent)
    assert band == pytest.approx(sorted((8**exponent, 32**exponent)))
    assert law.local_exponent(32)[1] == pytest.approx(sorted((0.0, exponent)), abs=1e-9)


def test_interval_matches_the_textbook_standard_error():
    factors = np.array([1.0, 2, 4, 8])
    optima = [optimum_at(math.log(w), seed=i, draws=20_000) for i, w in enumerate(factors)]
    x = np.log(factors)
    error = 0.1 / math.sqrt(np.sum((x - x.mean()) ** 2))
    low, high = fit_law(factors, optima).interval
    # 3 % is five standard errors of a 97.5 % quantile from 20,000 draws.
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.03)


def test_a_censored_width_pulls_only_where_it_contradicts():
    factors = [1, 2, 4, 8]
    found = [optimum_at(math.log(w), seed=i) for i, w in enumerate(factors[:3])]
    base = fit_law(factors[:3], found)
    agrees = optimum_at(0, censoring="high", edges=(-10, math.log(6)))
    contradicts = optimum_at(0, censoring="high", edges=(-10, math.log(32)))
    same = fit_law(factors, [*found, agrees])
    assert same.exponent == pytest.approx(base.exponent, abs=0.02)
    assert (same.num_widths, same.num_censored) == (4, 1)
    assert fit_law(factors, [*found, contradicts]).exponent > base.exponent + 0.1


def test_scatter_about_the_line_widens_the_interval():
    factors = [1, 2, 4, 8, 16]
    smooth = [optimum_at(math.log(w), seed=w) for w in factors]
    bent = [
        optimum_at(math.log(w) + b, seed=w) for w, b in zip(factors, [1, -1, 1, -1, 1], strict=True)
    ]
    narrow, wide = fit_law(factors, smooth), fit_law(factors, bent)
    assert narrow.lack_of_fit > 0.05 > wide.lack_of_fit
    assert np.ptp(wide.interval) > 5 * np.ptp(narrow.interval)


def test_an_estimate_off_the_middle_of_its_draws_is_no_scatter():
    # Draws lean to all shapes, the estimate has one: the law is fitted to the draws.
    factors = [1.0, 2.0, 4.0, 8.0]
    optima = [optimum_at(np.log(w), spread=0.05, seed=i) for i, w in enumerate(factors)]
    plain = fit_law(factors, optima)
    shifted = [
        dataclasses.replace(o, noise_scale=o.noise_scale * shift)
        for o, shift in zip(optima, (1.0, 0.7, 0.7, 1.0), strict=True)
    ]
    law = fit_law(factors, shifted)
    assert law.interval == plain.interval
    assert law.lack_of_fit == plain.lack_of_fit
    assert plain.lack_of_fit > 0.05


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.75, 1.25), "proportional"),
        ((-0.25, 0.25), "constant"),
        ((0.3, 0.7), "other"),
        ((1.3, 2.0), "other"),
        ((0.74, 1.2), "inconclusive"),
        ((0.2, 0.5), "inconclusive"),
        ((-1.0, 2.0), "inconclusive"),
        ((0.9, math.inf), "inconclusive"),
    ],
)
def test_verdict(interval, verdict):
    assert verdict_of(interval) == verdict


def test_sentence_says_it_all():
    factors = [1, 2, 4]
    law = fit_law(factors, [optimum_at(math.log(w), spread=0.0) for w in factors])
    assert (
        str(law)
        == law.sentence()
        == (
            "The best normalized noise scale grows in proportion to the widening factor: "
            "exponent 1.00 (95 % interval 1.00 to 1.00) from 3 widths (w = 1 to 4), "
            "with the optimum located at all of them."
        )
    )


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.84, 1.42), "grows with the widening factor, whether in proportion is not decided"),
        (
            (0.32, 0.78),
            "grows with the widening factor, less than in exact proportion; near proportion "
            "(0.75 to 1.25) is not excluded: ",
        ),
        (
            (1.1, 1.6),
            "grows with the widening factor, faster than in exact proportion; near proportion",
        ),
        ((0.16, 0.45), "grows by less than in proportion to the widening factor: "),
        ((-0.1, 0.45), "grows by less than in proportion to the widening factor, if at all: "),
        ((0.2, 0.8), "The data do not decide"),
        ((-0.9, 0.7), "The data do not decide"),  # it may fall
        ((0.3, math.inf), "grows with the widening factor, whether in proportion"),
    ],
)
def test_an_open_verdict_still_says_what_is_excluded(interval, said):
    found = fit_law([1, 2, 4], [optimum_at(math.log(w), spread=0.0) for w in (1, 2, 4)])
    law = replace(found, interval=interval, verdict=verdict_of(interval))
    assert law.verdict == "inconclusive"
    assert said in law.sentence()


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.36, 0.54), "grows with the widening factor, less than in proportion: "),
        ((1.3, 2.0), "grows with the widening factor, faster than in proportion: "),
        ((-1.2, -0.3), "falls as the widening factor grows: "),
    ],
)
def test_neither_in_proportion_nor_constant(interval, said):
    found = fit_law([1, 2, 4], [optimum_at(math.log(w), spread=0.0) for w in (1, 2, 4)])
    law = replace(found, interval=interval, verdict=verdict_of(interval))
    assert law.verdict == "other"
    assert said in law.sentence()


def test_optima_that_divergence_cuts_off_are_counted():
    optima = [optimum_at(math.log(w)) for w in (1, 2, 4)]
    optima[0] = replace(optima[0], cliff=2.0)
    law = fit_law([1, 2, 4], optima)
    assert law.num_cut_off == 1
    assert law.sentence().endswith("located at all of them, bounded from above by divergence at 1.")


def test_one_seed_widths_do_not_count_and_the_error_says_why():
    rng = np.random.default_rng(0)
    optima = [measured(4.0, rng, 0), measured(5.0, rng, 1, num_seeds=1)]
    with pytest.raises(FitError, match=r"got 1 of 2: widening factor 2 \(one seed only\)"):
        fit_law([1, 2], optima)
    censored = optimum_at(0, censoring="low")
    with pytest.raises(
        FitError, match=r"known only to be below a bound: edge of the grid.*extend the grid"
    ):
        fit_law([1, 2], [optima[0], censored])
    with pytest.raises(FitError, match="all at one widening factor"):
        fit_law([2, 2], [optima[0], optima[0]])


@pytest.mark.parametrize(
    ("factors", "confidence", "message"),
    [([1], 0.95, "equal length"), ([1, 0], 0.95, "positive"), ([1, 2], 0.0, "confidence")],
)
def test_bad_input_is_refused(factors, confidence, message):
    with pytest.raises(InputError, match=message):
        fit_law(factors, [optimum_at(0), optimum_at(1)], confidence=confidence)
    with pytest.raises(InputError, match="widening_factor"):
        fit_law([1, 2], [optimum_at(0), optimum_at(1)]).predict(0)


CASES = 25
LEAST_HITS = int(stats.binom.ppf(1e-4, CASES, 0.95))


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_the_interval_covers_a_planted_exponent(exponent):
    rng = np.random.default_rng(5)
    factors = [1, 2, 4, 8]
    hits = 0
    for case in range(CASES):
        start = rng.uniform(2.0, 4.0)
        optima = [measured(start + exponent * math.log2(w), rng, case) for w in factors]
        low, high = fit_law(factors, optima).interval
        hits += low <= exponent <= high
    assert hits >= LEAST_HITS


def test_draws_of_equal_seed_share_their_leaning_so_that_a_wrong_shape_cancels():
    rng = np.random.default_rng(8)
    optima = []
    for seed in (0, 0, 1):
        u = OCTAVES - 4.2
        means = 0.78 - 0.003 * (np.expm1(3.0 * u) / 3.0 - u)
        noise = 0.0005 * rng.standard_normal((OCTAVES.size, 8))
        optima.append(locate_optimum(2.0**OCTAVES, means[:, None] + noise, seed=seed))
    finite = np.all([np.isfinite(o.samples) for o in optima], axis=0)
    first, same, other = (o.samples[finite] for o in optima)
    assert np.corrcoef(first, same)[0, 1] > 0.5
    # Five standard errors of a correlation of zero.
    assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(finite.sum())


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.5, 1.5), "exponent 1.00 (95 % interval 0.50 to 1.50) from"),
        ((0.5, math.inf), "exponent at least 0.50 at 95 % from"),
        ((-math.inf, 1.5), "exponent at most 1.50 at 95 % from"),
        ((-math.inf, math.inf), "no exponent is excluded at 95 % from"),
    ],
)
def test_an_exponent_is_said_where_something_bounds_it(interval, said):
    found = fit_law([1, 2, 4], [optimum_at(math.log(w), spread=0.0) for w in (1, 2, 4)])
    law = replace(found, interval=interval, verdict="inconclusive")
    assert said in law.sentence()


def test_what_a_law_lacks_is_said_in_words_that_fit():
    rng = np.random.default_rng(0)
    one, two = measured(4.0, rng, 0), measured(5.0, rng, 1)
    flat = locate_optimum(2.0 ** np.arange(8.0), np.ones((8, 4)))
    with pytest.raises(FitError, match="got none; run the study at 2 widths or more"):
        fit_law([], [])
    with pytest.raises(FitError, match="1 of 1: all at one widening factor, 4; run another width"):
        fit_law([4], [one])
    with pytest.raises(FitError, match=r"differ by less than 1 %, 1, 1.000001; run one twice"):
        fit_law([1, 1.000001], [one, two])
    with pytest.raises(FitError, match=r"widening factor 2 \(flat: the best settings tie"):
        fit_law([1, 2], [one, flat])
    # Only widths alike are in the way: a third makes a law of them, and a flat one is left out.
    assert fit_law([1, 1.000001, 2, 4], [one, one, two, flat]).num_widths == 3
