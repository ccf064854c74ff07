"""What a search finds, when it stops, and what it must not claim."""

import math
from dataclasses import replace

import numpy as np
import pytest
from planted_search import LATTICE, drive, parabola, table

from widthwise.analysis import locate_optimum
from widthwise.search import Lattice, Observations, SearchTarget, octave_lattice
from widthwise.search.bracket import PRIOR_EXPONENT, opening
from widthwise.search.state import WidthState

TARGET = SearchTarget(precision=1.0)


def octaves(interval):
    return float(np.log2(interval[1] / interval[0]))


def cliff(peak):
    """A gentle decline to the left, exponential to the right, points per octave as fractions."""
    return lambda x: 0.8 - 0.004 * (np.expm1(1.5 * (x - peak)) / 1.5 - (x - peak))


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [parabola, pytest.param(cliff, marks=pytest.mark.cluster)],  # the cliff: 14 s
)
def test_planted_peaks_are_found_and_covered(shape):
    # 15 searches a shape; at a coverage of 0.9 fewer than 11 hits have a chance of 1 %.
    rng = np.random.default_rng(11)
    hits, peaks = 0, rng.uniform(-3.0, 4.0, size=15)
    for case, peak in enumerate(peaks):
        last = drive([table(shape(peak), seed=case)], TARGET)[0][-1]
        assert last.reason == "precise enough"
        low, high = last.optima[0].interval
        assert octaves((low, high)) <= TARGET.precision
        hits += low <= 2.0**peak <= high
    assert hits >= 11


def test_it_costs_a_quarter_of_the_grid_on_a_peak_in_the_middle():
    full = table(parabola(0.3))
    last = drive([full], TARGET)[0][-1]
    grid, seeds = np.arange(0, LATTICE.size, 2), 2
    while True:
        optimum = locate_optimum(2.0 ** LATTICE.octaves[grid], full.scores[grid, :seeds])
        if optimum.censoring == "none" and octaves(optimum.interval) <= TARGET.precision:
            break
        seeds += 1
    assert last.spent_cost <= 0.25 * seeds * sum(LATTICE.cost[k] for k in grid)


def test_what_it_stops_on_is_what_is_reported():
    rounds, landed = drive([table(parabola(1.0))], TARGET)
    reported = locate_optimum(LATTICE.noise_scale, landed[0].scores, ran=landed[0].ran)
    assert rounds[-1].optima[0].interval == reported.interval


@pytest.mark.parametrize("seed", range(4))
def test_no_interval_is_believed_from_two_seeds(seed):
    rounds, landed = drive([table(parabola(1.0, 0.02), noise=0.002, seed=seed)], TARGET)
    assert rounds[-1].reason == "precise enough"
    # At a curvature this clear against the noise, the settings an octave either side are clearly
    # worse, so those in between decide.
    peak = np.log2(rounds[-1].optima[0].noise_scale)
    ran = (landed[0].counts > 0) & (np.abs(LATTICE.octaves - peak) <= 0.5)
    assert np.all(landed[0].counts[ran] >= 3)


def test_runs_below_the_peak_by_more_than_needed_are_not_made():
    _, landed = drive([table(parabola(3.0))], TARGET)
    lowest = LATTICE.octaves[np.flatnonzero(landed[0].counts)[0]]
    assert lowest >= 3.0 - 3.0


# Reasons


def test_budget_spent():
    target = SearchTarget(precision=0.1, max_runs=40)
    last = drive([table(parabola(1.0))], target)[0][-1]
    assert (last.reason, last.width_reasons) == ("budget spent", ("budget spent",))
    assert last.spent_runs <= 40


@pytest.mark.slow
@pytest.mark.parametrize(("peak", "side"), [(-7.0, "low"), (8.0, "high")])
def test_a_peak_beyond_the_lattice_ends_at_its_edge(peak, side):
    last = drive([table(parabola(peak))], TARGET)[0][-1]
    assert last.reason == "edge of what can be run"
    assert last.optima[0].censoring == side


def test_the_limit_of_the_lattice_is_the_reason_given():
    lattice = octave_lattice(2.0**-2, 2.0**5, limits=("batch size 512", None))
    full = table(parabola(-4.0), lattice=lattice)
    last = drive([full], TARGET, lattices=[lattice])[0][-1]
    assert last.reason == "edge of what can be run"
    assert last.optima[0].reason == "batch size 512"


@pytest.mark.slow
def test_needs_more_than_max_seeds():
    target = SearchTarget(precision=0.05, max_seeds=6)
    last = drive([table(parabola(1.0), noise=0.01)], target)[0][-1]
    assert last.reason == "needs more than max seeds"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_level_curve_never_counts_as_precise(seed):
    target = SearchTarget(precision=1.0, max_seeds=8)
    full = table(lambda x: np.full(x.shape, 0.8), seed=seed)
    last = drive([full], target)[0][-1]
    assert last.reason != "precise enough"


def test_nothing_stable_ends_at_the_edge():
    full = table(lambda x: np.full(x.shape, np.nan))
    last = drive([full], TARGET)[0][-1]
    assert last.reason == "edge of what can be run"
    assert last.optima == (None,)


# Divergence


def test_settings_that_diverged_get_no_more_seeds():
    full = table(lambda x: np.where(x > 1.0, np.nan, parabola(-1.0)(x)))
    rounds, landed = drive([full], TARGET)
    assert rounds[-1].reason == "precise enough"
    low, high = rounds[-1].optima[0].interval
    assert low <= 2.0**-1.0 <= high
    diverged = landed[0].counts[LATTICE.octaves > 1.0]
    # Two seeds to find out, and what filled the workers of the first round.
    assert diverged.max() <= 4


def test_nothing_above_a_setting_that_diverged_is_expected_to_train():
    # Settings 0-4 of 9 ran, 3 diverged: 3 itself counts as unstable, 4 trained all the same, and
    # 6 diverged, so that nothing from 6 on is stable, but 5 (not run) is.
    lattice = octave_lattice(1.0, 64.0, spacing=0.75)
    scores = np.full((lattice.size, 2), 0.5)
    ran = np.zeros(scores.shape, dtype=bool)
    ran[[0, 1, 2, 3, 4, 6]] = True
    scores[[3, 6]] = np.nan
    state = WidthState(
        lattice=lattice,
        observations=Observations(scores=scores, ran=ran),
        confidence=0.95,
        seed=0,
    )
    assert state.stable.tolist() == [True, True, True, False, True, True, False, False, False]


def test_a_peak_bounded_by_stability_is_an_edge():
    full = table(lambda x: np.where(x > 0.0, np.nan, parabola(4.0)(x)))
    last = drive([full], TARGET)[0][-1]
    assert last.reason == "edge of what can be run"
    assert last.optima[0].censoring == "high"
    assert last.optima[0].reason == "stability"


def test_a_peak_that_noise_cuts_off_is_bounded_by_the_next_setting():
    lattice = replace(LATTICE, effective_rate=(0.1,) * LATTICE.size)
    full = table(lambda x: np.where(x > 0.0, np.nan, parabola(4.0)(x)), lattice=lattice)
    last = drive([full], TARGET, lattices=[lattice])[0][-1]
    assert last.reason == "precise enough"
    assert last.optima[0].censoring == "none"
    assert last.optima[0].noise_scale == pytest.approx(1.0)
    assert last.optima[0].cliff == pytest.approx(2.0**0.5)
    alone = drive([full], TARGET)[0][-1]
    assert last.spent_runs <= alone.spent_runs
    # No run would narrow the gap any further.
    finer = drive([full], SearchTarget(precision=0.25), lattices=[lattice])[0][-1]
    assert finer.reason == "edge of what can be run"
    assert finer.spent_runs <= 2 * last.spent_runs


# Neighboring widths

FACTORS = (1.0, 2.0, 4.0, 8.0)


def family(exponent, start=-1.0, noise=0.003):
    lattices = [
        Lattice(
            widening_factor=w,
            noise_scale=LATTICE.noise_scale,
            cost=tuple((w**2 * np.asarray(LATTICE.cost)).tolist()),
        )
        for w in FACTORS
    ]
    full = [
        table(parabola(start + exponent * np.log2(w)), noise=noise, seed=i)
        for i, w in enumerate(FACTORS)
    ]
    return lattices, full


@pytest.mark.slow
def test_a_width_begins_where_its_neighbor_ended_and_the_cheapest_begins_alone():
    lattices, full = family(1.0, noise=0.0002)
    rounds, _ = drive(full, TARGET, lattices=lattices)
    assert {r.width for r in rounds[0].runs} == {0}
    for width in range(1, 4):
        first = next(p for p in rounds if any(r.width == width for r in p.runs))
        before = first.optima[width - 1]
        assert before is not None
        begun = [LATTICE.octaves[r.scale_index] for r in first.runs if r.width == width]
        shift = PRIOR_EXPONENT if width == 1 else 1.0
        # The middle of three settings; half a lattice step off, and the estimates' own errors.
        assert np.median(begun) == pytest.approx(np.log2(before.noise_scale) + shift, abs=0.4)


@pytest.mark.slow
def test_a_neighbor_far_away_does_not_mislead():
    lattices, full = family(1.0)
    full = [table(parabola(p), noise=0.003, seed=i) for i, p in enumerate((3.0, -3.0, 3.0, 0.0))]
    last = drive(full, TARGET, lattices=lattices)[0][-1]
    assert last.reason == "precise enough"
    for optimum, peak in zip(last.optima, (3.0, -3.0, 3.0, 0.0), strict=True):
        assert abs(np.log2(optimum.noise_scale) - peak) < 1.0


@pytest.mark.slow
def test_the_interval_of_a_width_rests_on_its_own_runs():
    lattices, full = family(1.0)
    rounds, landed = drive(full, TARGET, lattices=lattices)
    for i, optimum in enumerate(rounds[-1].optima):
        own = locate_optimum(LATTICE.noise_scale, landed[i].scores, ran=landed[i].ran)
        assert optimum.interval == own.interval


@pytest.mark.slow
def test_a_width_at_its_edge_does_not_keep_the_others_from_beginning():
    lattices, full = family(1.0)
    full[0] = table(parabola(-8.0), noise=0.003)
    last = drive(full, TARGET, lattices=lattices)[0][-1]
    assert last.width_reasons == ("edge of what can be run", *["precise enough"] * 3)
    assert last.reason == "edge of what can be run"


@pytest.mark.slow
@pytest.mark.parametrize(("exponent", "verdict"), [(1.0, "proportional"), (0.0, "constant")])
def test_an_exponent_is_found_to_the_precision_wanted(exponent, verdict):
    lattices, full = family(exponent)
    target = SearchTarget(exponent_precision=0.2)
    last = drive(full, target, lattices=lattices)[0][-1]
    assert last.reason == "precise enough"
    low, high = last.law.interval
    assert high - low <= 0.2
    assert low <= exponent <= high
    # An interval 0.2 wide that holds the exponent lies inside its zone, which reaches 0.25.
    assert last.law.verdict == verdict


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_an_exponent_is_found_where_noise_cuts_every_peak_off(exponent):
    lattices, _ = family(exponent)
    lattices = [replace(lattice, effective_rate=(0.1,) * lattice.size) for lattice in lattices]
    full = []
    for i, w in enumerate(FACTORS):
        cliff = -1.2 + exponent * np.log2(w)
        curve = parabola(cliff + 1.0)
        full.append(
            table(lambda x, f=curve, c=cliff: np.where(x > c, np.nan, f(x)), noise=0.003, seed=i)
        )
    last = drive(full, SearchTarget(exponent_precision=0.1), lattices=lattices)[0][-1]
    assert last.reason == "edge of what can be run"
    assert last.law.num_censored == 0
    low, high = last.law.interval
    # Four gaps of half an octave, each uniform: slope ± 1.96 · (0.5 / √12) / √5 octaves.
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(12 * 5), rel=0.3)
    assert low <= exponent <= high


@pytest.mark.slow
def test_an_exponent_that_one_width_alone_would_give_ends_at_the_edge():
    lattices, full = family(1.0)
    full = [full[0], *[table(parabola(-9.0), seed=i) for i in (1, 2, 3)]]
    target = SearchTarget(exponent_precision=0.3)
    last = drive(full, target, lattices=lattices)[0][-1]
    assert last.reason == "edge of what can be run"


# Where to begin


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        (None, [2.0, 3.0, 4.0, 5.0]),  # from the cheap end, an octave apart
        (0.2, [-1.0, 0.0, 1.0]),
        (-9.0, [-5.0, -4.0, -3.0]),  # held inside the lattice
        (9.0, [3.0, 4.0, 5.0]),
    ],
)
def test_first_settings(expected, settings):
    assert LATTICE.octaves[opening(LATTICE, expected)].tolist() == pytest.approx(settings)


def test_where_low_noise_costs_no_more_the_first_settings_span_the_lattice():
    flat = replace(LATTICE, cost=(1.0,) * LATTICE.size)
    assert [LATTICE.octaves[k] for k in opening(flat, None)] == [-4.0, -1.0, 2.0, 5.0]
    # Twice as dear every three halves of an octave.
    slower = replace(LATTICE, cost=tuple(2.0 ** (-LATTICE.octaves / 1.5)))
    assert LATTICE.octaves[opening(slower, None)] == pytest.approx([0.5, 2.0, 3.5, 5.0])
    # Four times as dear an octave: still an octave apart.
    steeper = replace(LATTICE, cost=tuple(2.0 ** (-2.0 * LATTICE.octaves)))
    assert [LATTICE.octaves[k] for k in opening(steeper, None)] == [2.0, 3.0, 4.0, 5.0]
    short = octave_lattice(1.0, 2.0)
    assert opening(short, None) == [0, 2]


def test_the_search_goes_down_until_the_peak_is_bracketed():
    rounds, _ = drive([table(parabola(-3.0), noise=0.001)], TARGET)
    lowest = [min(LATTICE.octaves[r.scale_index] for r in p.runs) for p in rounds[:-1]]
    assert lowest[0] == pytest.approx(2.0)
    assert min(lowest) <= -3.5


@pytest.mark.parametrize("spacing", [0.5, 10 / 141])
@pytest.mark.parametrize(
    ("curve", "ends"),
    [
        (lambda octaves: 1.0 + 0.0 * octaves, "both"),
        (lambda octaves: np.where(octaves < 1.0, 1.0, 0.9 - 0.1 * octaves), "low"),
        (lambda octaves: np.where(octaves > -1.0, 1.0, 0.9 + 0.1 * octaves), "high"),
        (lambda octaves: np.where(np.abs(octaves) < 2.0, 1.0, 0.9), "none"),
    ],
)
def test_a_level_top_ends_a_search_once_it_is_believed(curve, ends, spacing):
    lattice = octave_lattice(2.0**-5, 2.0**5, spacing=spacing)
    full = table(curve, noise=0.0, lattice=lattice, num_seeds=16)
    target = SearchTarget(precision=0.8, max_seeds=16)
    rounds, landed = drive([full], target, lattices=[lattice])
    last = rounds[-1]
    assert last.reason == "the best settings tie"
    assert last.spent_runs < 100
    (optimum,) = last.optima
    assert optimum.is_flat
    assert (optimum.interval[0] == 0.0) is (ends in ("low", "both"))
    assert np.isinf(optimum.interval[1]) is np.bool_(ends in ("high", "both"))
    # It went on to whatever end the top reaches, and believed nothing of two seeds.
    counts = landed[0].counts
    assert counts[0] > 0 or ends not in ("low", "both")
    assert counts[-1] > 0
    assert np.sum(counts >= 6) >= 3
