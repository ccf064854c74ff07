"""What every round must be: on the lattice, new, contiguous, full, affordable, repeatable."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_search import LATTICE, NUM_SEEDS, drive, land, parabola, table

from widthwise.errors import InputError
from widthwise.search import (
    Lattice,
    Observations,
    SearchTarget,
    next_round,
    octave_lattice,
    propose,
)

TARGET = SearchTarget(precision=0.8, max_seeds=NUM_SEEDS)

planted = st.fixed_dictionaries(
    {
        "peak": st.floats(-6.0, 6.0),
        "curvature": st.floats(0.001, 0.02),
        "noise": st.floats(0.001, 0.008),
        "seed": st.integers(0, 10**6),
    }
)


def full_table(p):
    return table(parabola(p["peak"], p["curvature"]), noise=p["noise"], seed=p["seed"])


@pytest.mark.slow
@settings(max_examples=8)
@given(p=planted, workers=st.integers(1, 40))
def test_rounds_are_on_the_lattice_new_contiguous_and_full(p, workers):
    rounds, _ = drive([full_table(p)], TARGET, workers=workers, max_rounds=7)
    have = np.zeros(LATTICE.size, dtype=int)
    spent = 0.0
    for number, proposal in enumerate(rounds, start=1):
        assert proposal.round == number
        assert proposal.spent_runs == have.sum()
        assert proposal.spent_cost == pytest.approx(spent)
        if proposal.finished:
            assert proposal.runs == ()
            assert proposal.reason is not None
            break
        assert proposal.reason is None
        assert len({r.scale_index for r in proposal.runs}) == len(proposal.runs)
        for runs in proposal.runs:
            assert runs.width == 0
            assert 0 <= runs.scale_index < LATTICE.size
            first = have[runs.scale_index]
            assert runs.seeds == tuple(range(first, first + len(runs.seeds)))
            assert first > 0 or len(runs.seeds) >= 2
            have[runs.scale_index] += len(runs.seeds)
            spent += len(runs.seeds) * LATTICE.cost[runs.scale_index]
        assert proposal.num_runs >= workers
        costs = [LATTICE.cost[r.scale_index] for r in proposal.runs]
        assert costs == sorted(costs, reverse=True)


@pytest.mark.slow
@settings(max_examples=8)
@given(p=planted, data=st.data())
def test_whatever_part_of_a_round_has_landed_the_rest_of_that_round_is_proposed(p, data):
    full = full_table(p)
    driven, landed = drive([full], TARGET, max_rounds=data.draw(st.integers(0, 3)))
    before = sum(not proposal.finished for proposal in driven)  # a search may end earlier
    proposal = next_round(landed, [LATTICE], TARGET, workers=8, number=before + 1)
    pieces = [(r, s) for r in proposal.runs for s in r.seeds]
    arrived = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    whole = land(landed, proposal, [full])[0]
    scores, ran = whole.scores.copy(), whole.ran.copy()
    for (runs, s), has in zip(pieces, arrived, strict=True):
        if not has:
            scores[runs.scale_index, s], ran[runs.scale_index, s] = np.nan, False
    with pytest.warns(DeprecationWarning, match="next_round"):
        resumed = propose([Observations(scores=scores, ran=ran)], [LATTICE], TARGET, workers=8)
    if pieces and not all(arrived):
        missing = [x for x, has in zip(pieces, arrived, strict=True) if not has]
        assert resumed.round == proposal.round
        assert [(r.scale_index, s) for r in resumed.runs for s in r.seeds] == [
            (r.scale_index, s) for r, s in missing
        ]
        assert resumed.cost == pytest.approx(sum(LATTICE.cost[r.scale_index] for r, _ in missing))
    else:
        following = next_round([whole], [LATTICE], TARGET, workers=8, number=before + 2)
        expected = proposal if proposal.finished else following
        assert (resumed.runs, resumed.round, resumed.reason) == (
            expected.runs,
            expected.round,
            expected.reason,
        )


@pytest.mark.slow
def test_the_same_results_give_the_same_round():
    full = [table(parabola(1.0))]
    assert [p.runs for p in drive(full, TARGET)[0]] == [p.runs for p in drive(full, TARGET)[0]]


def test_results_of_runs_that_no_round_asked_for_change_nothing():
    full = table(parabola(1.0))
    _, landed = drive([full], TARGET, max_rounds=2)
    scores, ran = landed[0].scores.copy(), landed[0].ran.copy()
    scores[0, 0], ran[0, 0] = 0.99, True  # the dearest setting, far below the peak
    more = Observations(scores=scores, ran=ran)
    with pytest.warns(DeprecationWarning, match="next_round"):
        proposal = propose([more], [LATTICE], TARGET, workers=8)
    assert proposal.runs == next_round(landed, [LATTICE], TARGET, workers=8).runs


@pytest.mark.slow
@settings(max_examples=8)
@given(p=planted, max_runs=st.integers(1, 60))
def test_the_number_of_runs_is_never_exceeded(p, max_runs):
    target = SearchTarget(precision=0.3, max_runs=max_runs)
    last = drive([full_table(p)], target)[0][-1]
    assert last.finished
    assert last.spent_runs <= max_runs


@pytest.mark.slow
@settings(max_examples=8)
@given(p=planted, max_cost=st.floats(0.05, 30.0))
def test_the_cost_is_never_exceeded(p, max_cost):
    target = SearchTarget(precision=0.3, max_cost=max_cost)
    last = drive([full_table(p)], target)[0][-1]
    assert last.finished
    assert last.spent_cost <= max_cost * (1.0 + 1e-9)


NO_RUNS = Observations.none(LATTICE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SearchTarget(), "needs precision"),
        (lambda: SearchTarget(precision=0.0), "precision must be positive"),
        (lambda: SearchTarget(precision=1.0, max_cost=-1.0), "max_cost must be positive"),
        (lambda: SearchTarget(precision=1.0, max_runs=0), "max_runs"),
        (lambda: SearchTarget(precision=1.0, max_seeds=1), "max_seeds"),
        (lambda: SearchTarget(precision=1.0, confidence=1.0), "confidence"),
        (
            lambda: Lattice(widening_factor=1.0, noise_scale=(1.0, 2.0), cost=(2.0, 1.0)),
            "at least 3",
        ),
        (
            lambda: Lattice(widening_factor=1.0, noise_scale=(1.0, 4.0, 2.0), cost=(1.0,) * 3),
            "must rise",
        ),
        (
            lambda: Lattice(widening_factor=1.0, noise_scale=(1.0, 2.0, 4.0), cost=(1.0, 0.5)),
            "cost must give",
        ),
        (
            lambda: Lattice(widening_factor=0.0, noise_scale=(1.0, 2.0, 4.0), cost=(1.0,) * 3),
            "widening_factor",
        ),
        (lambda: next_round([], [LATTICE], TARGET, workers=1), "one set of observations"),
        (lambda: next_round([NO_RUNS], [LATTICE], TARGET, workers=0), "workers"),
        (lambda: next_round([NO_RUNS] * 2, [LATTICE] * 2, TARGET, workers=1), "must differ"),
        (
            lambda: next_round(
                [NO_RUNS], [LATTICE], SearchTarget(exponent_precision=1.0), workers=1
            ),
            "at least 2 widths",
        ),
        (
            lambda: next_round(
                [Observations(scores=np.zeros((3, 1)), ran=np.ones((3, 1), dtype=bool))],
                [LATTICE],
                TARGET,
                workers=1,
            ),
            "one row for each",
        ),
        (
            lambda: next_round(
                [
                    Observations(
                        scores=np.zeros((LATTICE.size, 2)),
                        ran=np.tile([False, True], (LATTICE.size, 1)),
                    )
                ],
                [LATTICE],
                TARGET,
                workers=1,
            ),
            "gaps",
        ),
        (
            lambda: replace(LATTICE, effective_rate=(0.1, 0.1)),
            "effective_rate must give one positive number",
        ),
        (
            lambda: replace(LATTICE, effective_rate=(0.0,) * LATTICE.size),
            "effective_rate must give one positive number",
        ),
        (
            lambda: Observations(scores=np.zeros((3, 1)), ran=np.zeros((3, 2), dtype=bool)),
            "shape",
        ),
        (
            lambda: Observations(scores=np.full((3, 1), np.inf), ran=np.ones((3, 1), dtype=bool)),
            "finite",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_where_workers_would_idle_all_widths_begin_at_once_from_their_noisy_ends():
    lattices = [
        octave_lattice(2.0**-5, 2.0**5, widening_factor=w, cost_at_one=float(w)) for w in (1, 2, 4)
    ]
    nothing = [Observations.none(lattice) for lattice in lattices]

    def begun(workers):
        return {r.width for r in next_round(nothing, lattices, TARGET, workers=workers).runs}

    # An opening is four settings with two seeds each, and is not begun in part.
    assert begun(15) == {0}
    assert begun(16) == {0, 1}
    assert begun(24) == {0, 1, 2}
    first = next_round(nothing, lattices, TARGET, workers=24)
    assert {(r.scale_index, r.seeds) for r in first.runs} == {(k, (0, 1)) for k in (14, 16, 18, 20)}


def test_an_early_opening_counts_the_seeds_that_come_together():
    lattices = [octave_lattice(2.0**-5, 2.0**5, widening_factor=w) for w in (1, 2)]
    nothing = [Observations.none(lattice) for lattice in lattices]
    target = replace(TARGET, seeds_at_once=6)

    def num_runs(workers):
        return next_round(nothing, lattices, target, workers=workers).num_runs

    assert num_runs(24) == 4 * 6
    assert num_runs(48) == 2 * 4 * 6


def test_a_width_that_a_neighbor_can_place_does_not_begin_early():
    lattices = [
        octave_lattice(2.0**-5, 2.0**5, widening_factor=w, cost_at_one=float(w)) for w in (1, 2, 4)
    ]
    _, (narrowest,) = drive([table(parabola(0.0))], TARGET)
    landed = [narrowest, Observations.none(lattices[1]), Observations.none(lattices[2])]
    runs = next_round(landed, lattices, TARGET, workers=40).runs
    assert {r.width for r in runs} == {1}
    assert len({r.scale_index for r in runs}) == 3


@pytest.mark.parametrize(("seeds_at_once", "max_runs"), [(2, 60), (5, 61), (9, 200)])
def test_seeds_come_together_as_far_as_seeds_and_budget_allow(seeds_at_once, max_runs):
    target = SearchTarget(
        precision=0.5, max_seeds=24, max_runs=max_runs, seeds_at_once=seeds_at_once
    )
    rounds, _ = drive([table(parabola(1.0, 0.005))], target, workers=12, max_rounds=6)
    have = np.zeros(LATTICE.size, dtype=int)
    for proposal in rounds:
        spent = have.sum() + proposal.num_runs
        assert spent <= max_runs
        for r in proposal.runs:
            full = have[r.scale_index] + len(r.seeds) == target.max_seeds
            assert len(r.seeds) >= seeds_at_once or full or spent == max_runs
        for r in proposal.runs:
            have[r.scale_index] += len(r.seeds)
    assert have.sum() > 3 * seeds_at_once


def test_seeds_at_once_below_one_are_refused():
    with pytest.raises(InputError, match="seeds_at_once must be at least 1, got 0"):
        SearchTarget(precision=1.0, seeds_at_once=0)
