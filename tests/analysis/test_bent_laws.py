"""Laws that bend: planted curves, what is said of them, and what lies beyond the widest width."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from test_law import optimum_at

from widthwise.analysis import fit_law
from widthwise.analysis.curve import fit_parabolas, fit_two_lines, least_squares
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


def test_the_scatter_is_that_about_the_shape_that_was_chosen():
    """A kink of a straight and a level part, nine standard errors from any parabola."""

    def kink(w):
        return min(math.log(w), math.log(8))

    law = law_of(kink, [1, 2, 4, 8, 16, 32, 64], spread=0.02)
    parabola = np.poly1d(
        np.polyfit(x := np.log(law.widening_factors), list(map(kink, np.exp(x))), 2)
    )
    assert np.abs(parabola(x) - list(map(kink, np.exp(x)))).max() > 9 * 0.02
    assert law.curve is not None
    assert law.lack_of_fit > 0.1


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
                math.log(w) + 0.2 * rng.standard_normal(),
                0.2,
                seed=int(rng.integers(2**31)),
                draws=200,
            )
            for w in FACTORS
        ]
        law = fit_law(FACTORS, found)
        bends += law.curve is not None
        low, high = law.growth(4)[1]
        hits += low <= 4.0 <= high
    assert bends <= stats.binom.ppf(0.999, cases, 0.05)
    assert hits >= stats.binom.ppf(1e-3, cases, 0.95)


def kinked(width, corner=4.0, after=0.0):
    """Local exponent 1 up to w = corner, `after` beyond."""
    return math.log(min(width, corner)) + after * math.log(max(width / corner, 1.0))


@pytest.mark.parametrize("after", [0.0, 0.5])
def test_a_planted_kink_is_found_and_followed(after):
    law = law_of(lambda w: 0.3 + kinked(w, after=after))
    assert law.bend == pytest.approx(1.0 - after, abs=1e-6)
    assert law.bend_interval == pytest.approx((1.0 - after, 1.0 - after), abs=1e-6)
    for width, local in ((0.5, 1.0), (1, 1.0), (4, 1.0), (4.1, after), (16, after), (99, after)):
        assert law.local_exponent(width)[0] == pytest.approx(local, abs=1e-6)
    for width in (0.5, 1, 3, 4, 8, 64):
        assert law.predict(width)[0] == pytest.approx(math.exp(0.3 + kinked(width, after=after)))
    # Beyond the widest: flat, or straight on.
    assert law.growth(64)[1] == pytest.approx(
        (math.exp(kinked(16, after=after)), math.exp(kinked(64, after=after))), rel=1e-5
    )
    moved = law.relative_to(4)
    assert moved.local_exponent(1.0)[0] == pytest.approx(1.0, abs=1e-6)
    assert moved.growth(4)[0] == pytest.approx(4**after)


def test_two_lines_recover_their_corner_between_the_widths():
    x = np.log(FACTORS)
    corner, end = math.log(4) + math.log(2) / 2, x[-1]
    values = np.where(x < corner, 0.2 + 0.9 * (x - corner), 0.2 + 0.4 * (x - corner))
    shape = (np.tile([-9.0, 9.0], (5, 1)), np.full(5, 0.1))
    curve, misfit = fit_two_lines(x, values[None], *shape)
    found = [float(part[0]) for part in (curve.level, curve.exponent, curve.drop, curve.corner)]
    assert found == pytest.approx([0.2 + 0.4 * (end - corner), 0.4, 0.5, corner])
    assert misfit == pytest.approx([0.0], abs=1e-12)
    # The other way round none is better than the straight line.
    curve, misfit = fit_two_lines(x, -values[None] + 2.0 * x, *shape)
    line, expected = least_squares(
        np.stack([np.ones(5), x - end], axis=1), x, -values[None] + 2.0 * x, *shape
    )
    assert (float(curve.exponent[0]), float(curve.drop[0])) == (pytest.approx(line[0, 1]), 0.0)
    assert misfit == pytest.approx(expected)


@pytest.mark.parametrize("beyond", [-np.inf, np.inf])
def test_two_lines_take_whatever_widths_a_draw_has(beyond):
    # Every choice of five widths whose optimum was found; 0.5·log w is a straight line.
    found = np.array(list(itertools.product([False, True], repeat=5)))
    x = np.log(FACTORS)
    draws = np.where(found, 0.5 * x, beyond)
    bounds = np.tile([-9.0, 9.0], (5, 1))
    agrees = np.stack([np.minimum(0.5 * x, -9.0), np.maximum(0.5 * x, 9.0)], axis=1)
    for limits in (bounds, agrees):
        curve, misfit = fit_two_lines(x, draws, limits, np.full(5, 0.1))
        assert np.array_equal(np.isnan(curve.level), found.sum(axis=1) < 2)
        known = found.sum(axis=1) >= 2
        assert np.all(misfit[known] >= 0.0)
    assert np.all(np.isfinite(curve.slope(0.0)[known]))


SEVEN = [2**i for i in range(7)]
# A fifth of an octave of noise in each optimum. What is asked: the local exponent at w = 1, whose
# law saturates there; the growth up to w = 4, of one that goes flat at w = 8.
MISSED_BY_PARABOLAS = {
    "saturation": (
        lambda w: -math.log1p(1.0 / w),
        0.5,
        lambda law: law.local_exponent(1)[1],
        lambda curves: curves.slope(0.0),
    ),
    "kink": (
        lambda w: kinked(w, corner=8.0),
        math.log(4),
        lambda law: np.log(law.growth(4)[1]),
        lambda curves: curves.value(math.log(4)) - curves.value(0.0),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISSED_BY_PARABOLAS)
def test_two_shapes_of_a_bend_cover_where_one_misses(name):
    value, truth, of_law, of_curves = MISSED_BY_PARABOLAS[name]
    cases, hits, by_one_shape = 30, 0, 0
    noise, limits = np.full(7, 0.14), np.tile([-9.0, 9.0], (7, 1))
    rng = np.random.default_rng(20)
    for _ in range(cases):
        at = [value(w) + 0.14 * rng.standard_normal() for w in SEVEN]
        seeds = rng.integers(2**31, size=7).tolist()
        optima = [optimum_at(a, 0.14, seed=s, draws=150) for a, s in zip(at, seeds, strict=True)]
        low, high = of_law(fit_law(SEVEN, optima))
        hits += low <= truth <= high
        draws = np.stack([o.samples for o in optima], axis=1)
        parabolas, _ = fit_parabolas(np.log(SEVEN), draws, limits, noise)
        low, high = np.quantile(of_curves(parabolas), [0.025, 0.975])
        by_one_shape += low <= truth <= high
    least = stats.binom.ppf(1e-3, cases, 0.95)
    assert by_one_shape < least <= hits
