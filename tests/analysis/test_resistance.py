"""Noise resistance and the ceiling of the batch: worked by hand, and planted."""

import dataclasses
import math

import numpy as np
import pytest

from widthwise import analysis
from widthwise.analysis import (
    LargestRate,
    WidthCurve,
    locate_optimum,
    measure_batch_ceiling,
    measure_resistance,
)
from widthwise.analysis._between import first_fall, value_at
from widthwise.analysis.batch_ceiling import ceiling_verdict
from widthwise.errors import FitError, InputError

BEST = {1: 0.760, 2: 0.775, 4: 0.785, 8: 0.795}
LEVEL = dict.fromkeys(BEST, 0.77)
AT_ONE = 0.05
GRID = 2.0 ** np.arange(-8, 6)
MIDDLE = np.array([0.5])


def drop(u):
    return (
        0.003 * np.minimum(u, 0) ** 2
        + 0.012 * np.maximum(u, 0) ** 2
        + 0.05 * np.maximum(u - 1.2, 0) ** 2
    )


def planted(problem, *, exponent=1.0, best=BEST, seeds=6, std=0.003, cliff=3.0, grid=GRID):
    rng = np.random.default_rng([problem, 7])
    curves = []
    for width, height in best.items():
        u = np.log(grid / (AT_ONE * width**exponent))
        scores = (height - drop(u))[:, None] + rng.normal(0, std, (grid.size, seeds))
        scores[u > cliff] = np.nan
        optimum = locate_optimum(grid, scores, num_bootstrap=300)
        curves.append(
            WidthCurve(widening_factor=width, noise_scale=grid, scores=scores, optimum=optimum)
        )
    return curves


def test_accuracies_of_a_saturated_task_stay_within_0_and_1():
    rng = np.random.default_rng(0)
    curves = []
    for width, wrong in {1: 0.02, 2: 0.0, 4: 0.0}.items():
        right = np.where(width > GRID, 1.0 - wrong, 0.6)[:, None]
        scores = np.clip(right + (wrong > 0.0) * rng.normal(0, 0.015, (GRID.size, 4)), 0.0, 1.0)
        optimum = locate_optimum(GRID, scores, num_test=200)
        curves.append(
            WidthCurve(widening_factor=width, noise_scale=GRID, scores=scores, optimum=optimum)
        )
    assert [curve.optimum.is_flat for curve in curves] == [False, True, True]
    found = measure_resistance(curves)
    for row in found.widths:
        ends = [row.score, *row.score_interval]
        ends += [x for fixed in row.fixed if fixed.score is not None for x in fixed.interval]
        assert all(0.0 <= end <= 1.0 for end in ends)
    assert found.widths[1].score == 1.0


def test_nothing_between_two_settings_is_better_than_the_best():
    # A plateau that ends steeply: its second differences bulge above the plateau.
    grid = 2.0 ** np.arange(8)
    rng = np.random.default_rng(3)
    curves = []
    for width in (1, 2, 4):
        end = math.log2(width) + 3.4
        means = 0.78 - 0.02 * np.maximum(np.arange(8) - end + 0.4, 0.0) ** 2
        scores = means[:, None] + rng.normal(0.0, 0.0005, (8, 6))
        optimum = locate_optimum(grid, scores, num_bootstrap=300)
        curves.append(
            WidthCurve(widening_factor=width, noise_scale=grid, scores=scores, optimum=optimum)
        )
    shown = 0
    for curve, width in zip(curves, measure_resistance(curves).widths, strict=True):
        top = max(width.score, float(curve.scores.mean(axis=1).max()))
        for fixed in width.fixed:
            if fixed.score is not None:
                assert fixed.score <= top + 1e-12
                assert fixed.interval[1] <= top + 0.002
                shown += 1
    assert shown == 9


def tolerated_ratio(by=0.02):
    """Noise scale over the optimum at which the planted curve has fallen by so much."""
    u = np.linspace(0, 3, 30_001)
    return float(np.exp(u[np.argmax(drop(u) > by)]))


def test_parabola_is_interpolated_exactly():
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    y = -((x - 0.4) ** 2)[None]
    for place in (0.5, 0.7, 1.0, 1.23):
        found = value_at(x, y, place, MIDDLE)
        assert found is not None
        assert found[0] == pytest.approx(-((place - 0.4) ** 2))
    assert value_at(x, y, 2.1, MIDDLE) is None
    assert value_at(x, y, -0.1, MIDDLE) is None


def test_fall_of_a_parabola_is_found_where_it_is():
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    # -(x - 0.4)² = -0.64 at x = 1.2
    found = first_fall(x, 0.64 - (x - 0.4)[None] ** 2, 1, MIDDLE, None)
    assert found[0] == pytest.approx(1.2)


def test_a_curve_that_never_falls_ends_where_runs_diverge_or_nowhere():
    x, level = np.array([0.0, 0.5, 1.0]), np.ones((2, 3))
    lean = np.array([0.0, 0.5])
    assert first_fall(x, level, 0, lean, 1.5).tolist() == [1.0, 1.25]
    assert np.all(np.isposinf(first_fall(x, level, 0, lean, None)))


def test_a_curve_below_from_the_start_is_placed_there():
    x = np.array([0.0, 0.5, 1.0])
    assert first_fall(x, -np.ones((1, 3)), 1, MIDDLE, None)[0] == 0.5


def test_planted_resistance_is_confirmed_and_split():
    found = measure_resistance(planted(0))
    assert (found.score_trend, found.noise_trend, found.tolerance_trend) == ("higher",) * 3
    assert found.verdict == "confirmed"
    assert found.fixed_gain is not None
    assert found.resisted_gain is not None
    # 3.5 points in all; at ḡ = 0.05 the widest stands log 8 below its own optimum
    lost = 0.003 * math.log(8) ** 2
    assert found.gain.interval[0] < 0.035 < found.gain.interval[1]
    assert found.fixed_gain.value == pytest.approx(0.035 - lost, abs=0.004)
    assert found.resisted_gain.value == pytest.approx(lost, abs=0.004)
    assert found.gain.value == pytest.approx(found.fixed_gain.value + found.resisted_gain.value)
    assert "confirmed" in found.sentence()
    assert "Wider networks tolerate more noise" in found.tolerance()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "never", "mostly"),
    [
        ({}, "contradicted", "confirmed"),
        ({"best": LEVEL}, "confirmed", "contradicted"),
        ({"exponent": 0.0}, "confirmed", "contradicted"),
    ],
    ids=["claim holds", "no better", "optimum does not move"],
)
def test_verdicts_on_planted_claims(changes, never, mostly):
    verdicts = [measure_resistance(planted(k, **changes)).verdict for k in range(10)]
    assert verdicts.count(never) <= 1  # more with a chance of 9 % were it 5 %, fixed by the seeds
    assert verdicts.count(mostly) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("cliff", [2.0, 3.0])
def test_intervals_of_tolerated_noise_cover(cliff):
    """60 intervals of 95 %: below 51 with a chance of 1 in 1,000."""
    covered = 0
    for problem in range(15):
        for row in measure_resistance(planted(problem, cliff=cliff)).widths:
            truth = AT_ONE * row.widening_factor * tolerated_ratio()
            covered += row.own.interval[0] <= truth <= row.own.interval[1]
    assert covered >= 51


def test_tolerated_noise_is_open_where_nothing_worse_was_run():
    found = measure_resistance(planted(1, grid=GRID[:6]))
    widest = found.widths[-1].own
    assert widest.is_bound
    assert widest.reason == "edge of the grid"
    assert math.isinf(widest.interval[1])


def test_divergence_bounds_tolerated_noise_by_the_gap():
    found = measure_resistance(planted(2, cliff=1.2, std=0.0005), drop=0.05)
    for row in found.widths:
        last = row.own.measured[1]
        low, high = row.own.interval
        assert last <= low < row.own.noise_scale < high <= 2 * last
    # Where in its gap each ends is not known, and not the same: the exponent cannot be sharp.
    assert found.own_law is not None
    assert np.ptp(found.own_law.interval) > 0.15


def test_fixed_scores_are_measured_where_run_and_explained_elsewhere():
    found = measure_resistance(planted(3, cliff=2.0), fixed_scales=[0.0625, 8.0, 1000.0])
    first, last = found.widths[0].fixed, found.widths[-1].fixed
    truth = BEST[1] - drop(math.log(0.0625 / AT_ONE))
    assert first[0].score == pytest.approx(truth, abs=4 * 0.003 / math.sqrt(6))
    assert first[0].interval[0] < first[0].score < first[0].interval[1]
    assert [fixed.problem for fixed in first] == [None, "diverges", "diverges"]
    # Between the last setting that trains and the first that diverges.
    between = measure_resistance(planted(3, cliff=2.0), fixed_scales=[0.35]).widths[0].fixed[0]
    assert (between.score, between.problem) == (None, "not known")
    assert last[2].problem == "diverges"
    assert measure_resistance(planted(3), fixed_scales=[1e-5]).widths[0].fixed[0].problem == (
        "not run"
    )


def test_a_best_score_at_the_edge_opens_the_gain():
    """The widest network's optimum lies above everything that was run."""
    found = measure_resistance(planted(4, grid=GRID[:6]))
    assert math.isinf(found.gain.interval[1])
    assert "at least" in found.sentence()


def test_never_reaching_the_narrowest_best_is_said():
    worse = {1: 0.80, 2: 0.70}
    found = measure_resistance(planted(5, best=worse))
    assert found.widths[0].common is not None
    assert found.widths[1].common is None
    assert found.verdict == "contradicted"


def test_order_of_widths_does_not_matter():
    curves = planted(6)
    assert measure_resistance(curves[::-1]).sentence() == measure_resistance(curves).sentence()


def test_bad_requests_are_refused():
    curves = planted(0)[:2]
    for name in ("drop", "margin"):
        with pytest.raises(InputError, match=f"{name} must be positive"):
            measure_resistance(curves, **{name: 0.0})
    with pytest.raises(InputError, match="confidence"):
        measure_resistance(curves, confidence=1.0)
    with pytest.raises(InputError, match="different"):
        measure_resistance([curves[0], curves[0]])
    with pytest.raises(InputError, match="fixed_scales"):
        measure_resistance(curves, fixed_scales=[0.0])
    with pytest.raises(FitError, match="2 widths with 2 seeds"):
        measure_resistance(curves[:1])


def rates(values, *, spread=0.05, bounds=()):
    return [
        LargestRate(
            value=value,
            samples=np.random.default_rng(k).normal(math.log(value), spread, 500),
            is_bound=k in bounds,
        )
        for k, value in enumerate(values)
    ]


def ceiling(curves, stable, **options):
    factors = [curve.widening_factor for curve in curves]
    variances = options.pop("init_variances", np.ones(len(factors)))
    optima = [curve.optimum for curve in curves]
    return measure_batch_ceiling(factors, optima, stable, init_variances=variances, **options)


def test_ceiling_matches_hand_calculation():
    curves = planted(0)
    optima = [dataclasses.replace(c.optimum, noise_scale=0.5) for c in curves]
    found = measure_batch_ceiling(
        [1, 2, 4, 8], optima, [LargestRate(value=2.0)] * 4, init_variances=[0.25] * 4, momentum=0.9
    )
    # 2 / ((1 - 0.9) * 0.25 * 0.5) = 160
    assert [point.batch_size for point in found.points] == pytest.approx([160.0] * 4)


@pytest.mark.parametrize(
    ("exponent", "rate_exponent", "variance_exponent", "verdicts"),
    [
        (1.0, 0.5, 0.0, {"falls as 1/w or faster"}),  # p = -1.5
        (1.0, 0.0, 0.0, {"falls as 1/w or faster", "falls"}),  # NTK: p = -1
        (1.0, 1.0, -1.0, {"falls as 1/w or faster", "falls"}),  # standard: p = -1
        (0.0, 0.0, 0.0, {"does not fall", "inconclusive"}),  # p = 0
        (1.0, 0.0, -1.0, {"does not fall", "inconclusive"}),  # p = 0
    ],
)
def test_exponent_of_the_ceiling(exponent, rate_exponent, variance_exponent, verdicts):
    curves = planted(1, exponent=exponent)
    factors = np.array(list(BEST), dtype=float)
    stable = rates(8.0 * factors**-rate_exponent)
    found = ceiling(curves, stable, init_variances=factors**variance_exponent)
    truth = -rate_exponent - variance_exponent - exponent
    assert found.interval[0] < truth < found.interval[1]
    assert found.verdict in verdicts
    value, (low, high) = found.predict(4.0)
    assert low < value < high


def test_verdict_of_exponents_near_its_bounds():
    cases = {
        (-1.3, -0.75): "falls as 1/w or faster",
        (-0.74, -0.3): "falls more slowly",
        (-1.3, -0.3): "falls",
        (-0.25, 0.1): "does not fall",
        (-0.9, 0.1): "inconclusive",
        (-math.inf, math.inf): "inconclusive",
    }
    assert {ends: ceiling_verdict(ends) for ends in cases} == cases


def test_a_rate_that_is_a_bound_opens_the_ceiling_above():
    found = ceiling(planted(1), rates([8.0] * 4, bounds=(3,)))
    assert found.points[3].relation == "≥"
    assert math.isinf(found.points[3].interval[1])
    assert [point.relation for point in found.points[:3]] == ["="] * 3


def test_an_optimum_that_is_a_bound_opens_the_ceiling_below():
    found = ceiling(planted(1, grid=GRID[:6]), rates([8.0] * 4))
    assert found.points[3].relation == "≤"
    assert found.points[3].interval[0] == 0.0


def test_optimum_and_rate_both_bounds_say_nothing():
    found = ceiling(planted(1, grid=GRID[:6]), rates([8.0] * 4, bounds=(3,)))
    assert found.points[3].relation == "?"


def test_without_two_widths_there_is_no_exponent_but_the_reason():
    found = ceiling(planted(1)[:1], rates([8.0]))
    assert found.exponent is None
    assert found.verdict == "inconclusive"
    assert "not known" in found.sentence()
    with pytest.raises(FitError, match="no fit"):
        found.predict(2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 1.0}, "momentum in"),
        ({"init_variances": [1.0]}, "equal length"),
        ({"init_variances": [1.0, -1.0]}, "must be positive"),
        ({"confidence": 0.0}, "confidence"),
    ],
)
def test_bad_ceilings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ceiling(planted(1)[:2], rates([8.0, 8.0]), **changes)


def test_the_old_name_of_the_largest_rate_warns():
    with pytest.warns(DeprecationWarning, match="is widthwise.analysis.LargestRate"):
        assert analysis.StableRate is LargestRate
