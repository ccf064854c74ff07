"""Laws that bend: planted curves, what is said of them, and what lies beyond the widest width."""

import math

import numpy as np
import pytest
from scipy import stats
from test_law import optimum_at

from widthwise.analysis import fit_law
from widthwise.analysis.curve import least_squares
from widthwise.runs.tables import law_line

FACTORS = [1, 2, 4, 8, 16]
WIDEST = math.log(16)


def bent(width, exponent=1.0):
    """Local exponent from `exponent` at w = 1 to 0 at w = 16, by hand."""
    x = math.log(width)
    return exponent * (x - x**2 / (2 * WIDEST))


def law_of(value, factors=FACTORS, spread=0.0, draws=200, **options):
    optima = [
        optimum_at(value(w), spread=spread, seed=i, draws=draws) for i, w in enumerate(factors)
    ]
    return fit_law(factors, optima, **options)


@pytest.mark.parametrize("exponent", [1.0, -0.5])
def test_a_planted_bend_is_found_and_followed(exponent):
    law = law_of(lambda w: 0.3 + bent(w, exponent))
    assert law.bend == pytest.approx(exponent, abs=1e-6)
    assert law.bend_interval == pytest.approx((exponent, exponent), abs=1e-6)
    for width, local in ((1, exponent), (4, exponent / 2), (16, 0.0), (64, 0.0)):
        assert law.local_exponent(width)[0] == pytest.approx(local, abs=1e-6)
    for width in (1, 3, 16):
        assert law.predict(width)[0] == pytest.approx(math.exp(0.3 + bent(width, exponent)))
    assert law.growth(4)[0] == pytest.approx(math.exp(bent(4, exponent)))
    # Flat where it has flattened, and as steep as at the narrowest below it.
    assert law.predict(256)[0] == pytest.approx(math.exp(0.3 + bent(16, exponent)), rel=1e-5)
    assert law.predict(0.5)[0] == pytest.approx(math.exp(0.3) * 0.5**exponent, rel=1e-5)


def test_a_law_that_still_grows_at_the_widest_falls_on_until_it_is_flat():
    # Exponents 1, 3/4, 1/2 at w = 1, 2, 4, …; the draws leave flat or straight on open beyond 8.
    octave = math.log(2)
    law = law_of(lambda w: math.log(w) - math.log(w) ** 2 / (8 * octave), [1, 2, 4, 8])
    assert law.local_exponent(8)[0] == pytest.approx(0.25, abs=1e-6)
    assert law.local_exponent(16)[0] == pytest.approx(0.0, abs=1e-6)
    assert law.predict(64)[0] == pytest.approx(law.predict(16)[0], rel=1e-5)
    at_8 = law.predict(8)[0]
    # Two lines through the four, of slopes 7/8 and 3/8, fit as well.
    assert law.predict(32)[1] == pytest.approx((at_8, at_8 * 4**0.375), rel=1e-5)
    assert law.local_exponent(32)[1] == pytest.approx((0.0, 0.375), abs=1e-6)


def test_the_exponent_is_that_of_a_straight_line_and_the_sentence_says_both():
    law = law_of(bent)
    x = np.log(FACTORS)
    assert law.exponent == pytest.approx(np.polyfit(x, [bent(w) for w in FACTORS], 1)[0])
    assert "from 5 widths (w = 1 to 16)" in law.sentence()
    assert law.sentence().endswith(
        "The law bends: its local exponent is 1.00 (1.00 to 1.00) at w = 1 and "
        "0.00 (0.00 to 0.00) at w = 16."
    )


@pytest.mark.parametrize("value", [math.log, lambda w: 0.0, lambda w: math.log(w) ** 2 / 4])
def test_straight_laws_and_those_that_grow_ever_faster_are_not_bent(value):
    law = law_of(value)
    assert (law.bend, law.curve) == (0.0, None)
    assert law.local_exponent(4)[0] == law.exponent
    assert "bends" not in law.sentence()


def test_three_widths_show_no_bend_but_do_not_exclude_one():
    law = law_of(bent, [1, 4, 16])
    assert law.curve is None
    low, high = law.local_exponent(1)[1]
    assert low == pytest.approx(law.exponent)
    assert high == pytest.approx(1.0)
    # By two lines, of slopes 3/4 and 1/4, half as much.
    assert law.bend_interval == pytest.approx((0.5, 1.0))
    assert law_of(bent, [1, 16]).bend_interval is None


def test_where_the_evidence_does_not_tell_both_are_in_the_interval():
    law = law_of(lambda w: 0.8 * math.log(w), spread=0.3, draws=400)
    assert law.curve is None
    low, high = law.local_exponent(1)[1]
    assert low <= law.interval[0]
    assert high >= law.interval[1] + 0.1
    assert law.growth(64)[1][0] <= 16**0.8 <= 64**0.8 <= law.growth(64)[1][1]


def test_the_same_law_relative_to_another_width():
    for value in (bent, math.log):
        law = law_of(value, spread=0.05)
        moved = law.relative_to(4)
        assert moved.widening_factors == (0.25, 0.5, 1.0, 2.0, 4.0)
        for width in (0.1, 1, 3, 30):
            value, band = law.predict(4 * width)
            assert moved.predict(width) == (pytest.approx(value), pytest.approx(band))
        assert moved.growth(2)[0] == pytest.approx(law.predict(8)[0] / law.predict(4)[0])


def test_scatter_about_the_curve_widens_its_interval():
    smooth = law_of(bent, spread=0.02)
    rough = law_of(lambda w: bent(w) + (0.2 if w in (2, 8) else 0.0), spread=0.02)
    assert np.ptp(rough.local_exponent(1)[1]) > 3 * np.ptp(smooth.local_exponent(1)[1])


def test_a_bound_pulls_on_the_curve_only_where_it_contradicts():
    optima = [optimum_at(bent(w), spread=0.01, seed=w) for w in FACTORS]
    before = fit_law(FACTORS, optima)
    agrees = optimum_at(0, censoring="high", edges=(-10, bent(16) - 1.0))
    contradicts = optimum_at(0, censoring="high", edges=(-10, bent(16) + 1.0))
    factors = [*FACTORS, 20]
    assert fit_law(factors, [*optima, agrees]).growth(16)[0] == pytest.approx(
        before.growth(16)[0], rel=0.02
    )
    assert fit_law(factors, [*optima, contradicts]).growth(20)[0] > 1.2 * before.growth(20)[0]


def test_the_figure_of_the_report_draws_the_curve():
    line = law_line(law_of(bent), FACTORS)
    assert line.value == pytest.approx([math.exp(bent(w)) for w in line.widening_factors])


def test_least_squares_matches_numpy_and_says_where_widths_are_too_few():
    rng = np.random.default_rng(3)
    x, spread = np.log(FACTORS), np.array([0.1, 0.2, 0.1, 0.3, 0.2])
    draws = rng.standard_normal((4, 5))
    draws[3, 1:] = np.inf
    bounds = np.tile([-9.0, 9.0], (5, 1))
    columns = np.stack([np.ones_like(x), x, x**2], axis=1)
    found, _ = least_squares(columns, x, draws, bounds, spread)
    expected = [np.polyfit(x, row, 2, w=1 / spread)[::-1] for row in draws[:3]]
    assert found[:3] == pytest.approx(np.array(expected))
    assert np.all(np.isnan(found[3]))


@pytest.mark.slow
def test_a_straight_law_is_bent_in_one_case_in_twenty_at_most():
    rng = np.random.default_rng(11)
    cases, bends, hits = 100, 0, 0
    for _ in range(cases):
        found = [
            optimum_at(
                math.log(w) + 0.2 * rng.standard_normal(), 0.2, seed=int(rng.integers(2**31))
            )
            for w in FACTORS
        ]
        law = fit_law(FACTORS, found)
        bends += law.curve is not None
        low, high = law.growth(4)[1]
        hits += low <= 4.0 <= high
    assert bends <= stats.binom.ppf(0.999, cases, 0.05)
    assert hits >= stats.binom.ppf(1e-3, cases, 0.95)
