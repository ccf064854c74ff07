"""The next round of a search: a pure function of the runs that have landed."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from widthwise.analysis import Law, Optimum, fit_law
from widthwise.errors import FitError, InputError
from widthwise.search.bracket import (
    at_edge,
    early_openings,
    extension,
    needed_to_bracket,
    on_level_top,
    untested_ties,
)
from widthwise.search.problem import Lattice, Observations, Proposal, Reason, Runs, SearchTarget
from widthwise.search.refine import (
    Refinement,
    most_useful,
    refine_exponent,
    refine_width,
    thin,
)
from widthwise.search.state import WidthState
from widthwise.search.steps import Round

# Of several ways in which widths ended, the first of these is the search's.
_WORST_FIRST: tuple[Reason, ...] = (
    "budget spent",
    "needs more than max seeds",
    "the best settings tie",
    "edge of what can be run",
    "precise enough",
)


def next_round(
    observations: Sequence[Observations],
    lattices: Sequence[Lattice],
    target: SearchTarget,
    *,
    workers: int,
    seed: int = 0,
    number: int = 1,
) -> Proposal:
    """What to run next, given the runs of all rounds before it: a whole round, or the end.

    A round is a function of the results of the rounds before it, in whatever order they landed: a
    search that was killed goes on with the same rounds.

    Args:
        observations: one a lattice, with exactly the runs of the rounds before this one.
        lattices: one a width, factors all different.
        workers: runs that can be in progress at one time; a round holds at least so many while
            any setting has seeds left and the budget allows.
        seed: of the draws of `locate_optimum`, the same as in the report.
        number: of this round, counted from 1.

    Raises:
        InputError: if lengths or shapes disagree, two lattices share a widening factor, or a round
            has not landed as a whole.

    >>> from widthwise.search import SearchTarget, octave_lattice
    >>> lattice = octave_lattice(1 / 32, 32.0)
    >>> first = next_round(
    ...     [Observations.none(lattice)], [lattice], SearchTarget(precision=1.0), workers=4
    ... )
    >>> [(lattice.noise_scale[r.scale_index], r.seeds) for r in first.runs]
    [(4.0, (0, 1)), (8.0, (0, 1)), (16.0, (0, 1)), (32.0, (0, 1))]
    """
    _check(observations, lattices, target, workers)
    for o, lattice in zip(observations, lattices, strict=True):
        if not np.array_equal(o.ran, np.arange(o.ran.shape[1]) < o.counts[:, None]):
            raise InputError(
                f"widening factor {lattice.widening_factor:g} has gaps among the seeds that ran; "
                "a round must land as a whole before the next is asked for"
            )
    states = [
        WidthState(lattice=lattice, observations=o, confidence=target.confidence, seed=seed)
        for lattice, o in zip(lattices, observations, strict=True)
    ]
    optima = tuple(s.optimum if s.begun else None for s in states)
    law = _law(lattices, optima, target)
    reasons = [_ended(s, target) for s in states]
    exponent_met = target.exponent_precision is None or _law_width(law) <= target.exponent_precision
    active = [i for i, r in enumerate(reasons) if r in (None, "precise enough")]
    if not exponent_met and len(active) < 2:
        active = [] if target.precision is None else active
        exponent_met = True  # as far as it can be: the rest of the widths lie beyond an edge
    located = [i for i in active if states[i].optimum is not None and not extension(states[i])]
    refinements = {i: Refinement.of(states[i], i) for i in located}

    # A peak at an edge also tells where to begin next door.
    ended = [i for i, r in enumerate(reasons) if r is not None and states[i].optimum is not None]
    wanted = needed_to_bracket(states, active, sorted({*located, *ended}))
    if target.precision is not None:
        for i in located:
            if reasons[i] is None:
                new = refine_width(refinements[i], target)
                reasons[i] = None if new else "needs more than max seeds"
                wanted += new
    if not exponent_met and not wanted:
        wanted = refine_exponent(list(refinements.values()), target, _law_width(law))
    following = Round(states=states, target=target)
    following.extend(wanted)
    reason: Reason | None = None
    if not wanted:
        reason = _overall(reasons, exponent_met)
    elif not following.steps:
        reason = "budget spent"
        reasons = [r or reason for r in reasons]
    else:
        following.top_up()
        if not located and not ended:
            for opening in early_openings(states, active, {s.width for s in following.steps}):
                seeds = sum(max(s.num_seeds, target.seeds_at_once) for s in opening)
                if following.num_runs + seeds <= workers:
                    following.extend(opening)
                    following.top_up()
        unfinished = [i for i in active if reasons[i] is None or not exponent_met]
        _fill(following, [refinements.get(i) for i in unfinished], unfinished, workers)
    runs = following.runs() if reason is None else ()
    return Proposal(
        runs=runs,
        round=number,
        cost=_cost(runs, lattices),
        finished=reason is not None,
        reason=reason,
        width_reasons=tuple(reasons),
        optima=optima,
        law=law,
        spent_runs=following.spent_runs,
        spent_cost=following.spent_cost,
    )


def propose(
    observations: Sequence[Observations],
    lattices: Sequence[Lattice],
    target: SearchTarget,
    *,
    workers: int,
    seed: int = 0,
) -> Proposal:
    """Deprecated: the rest of the first round that is not complete, by going through
    :func:`next_round` from the first. Ask for whole rounds instead, and keep them."""
    warnings.warn(
        "widthwise.search.propose goes with the next release; ask next_round for whole rounds",
        DeprecationWarning,
        stacklevel=2,
    )
    _check(observations, lattices, target, workers)
    landed = [Observations.none(lattice) for lattice in lattices]
    number = 1
    while True:
        proposal = next_round(landed, lattices, target, workers=workers, seed=seed, number=number)
        if proposal.finished or not all(observations[r.width].has(r) for r in proposal.runs):
            return _rest(proposal, observations, lattices)
        landed = [
            own.with_runs([r for r in proposal.runs if r.width == i], observations[i])
            for i, own in enumerate(landed)
        ]
        number += 1


def _check(
    observations: Sequence[Observations],
    lattices: Sequence[Lattice],
    target: SearchTarget,
    workers: int,
) -> None:
    if not lattices or len(observations) != len(lattices):
        raise InputError(
            "a search needs one set of observations for each lattice, got "
            f"{len(observations)} for {len(lattices)}; use Observations.none for a new width"
        )
    factors = [lattice.widening_factor for lattice in lattices]
    if len(set(factors)) < len(factors):
        raise InputError(f"widening factors must differ, got {factors}; merge equal ones")
    if target.exponent_precision is not None and len(lattices) < 2:
        raise InputError(
            "exponent_precision needs at least 2 widths, got 1; add a width, or ask for precision"
        )
    for o, lattice in zip(observations, lattices, strict=True):
        if o.scores.shape[0] != lattice.size:
            raise InputError(
                f"scores must have one row for each of the {lattice.size} noise scales of "
                f"widening factor {lattice.widening_factor:g}, got {o.scores.shape[0]}"
            )
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")


def _ended(state: WidthState, target: SearchTarget) -> Reason | None:
    if not state.begun:
        return None
    if at_edge(state):
        return "edge of what can be run"
    narrow = target.precision is not None and state.interval_width <= target.precision
    if narrow and not extension(state) and not thin(state, target):
        return "precise enough"
    if on_level_top(state) and not untested_ties(state, target.max_seeds):
        return "the best settings tie"  # of which more seeds say nothing
    return None


def _law(
    lattices: Sequence[Lattice], optima: Sequence[Optimum | None], target: SearchTarget
) -> Law | None:
    if target.exponent_precision is None or any(o is None for o in optima):
        return None
    try:
        return fit_law(
            [lattice.widening_factor for lattice in lattices],
            [o for o in optima if o is not None],
            confidence=target.confidence,
        )
    except FitError:
        return None


def _law_width(law: Law | None) -> float:
    return float("inf") if law is None else law.interval[1] - law.interval[0]


def _overall(reasons: Sequence[Reason | None], exponent_met: bool) -> Reason:
    given = {r for r in reasons if r is not None}
    if not exponent_met:
        given.add("needs more than max seeds")
    return next((r for r in _WORST_FIRST if r in given), "precise enough")


def _fill(
    following: Round, refinements: Sequence[Refinement | None], widths: Sequence[int], workers: int
) -> None:
    """More seeds, so that no worker idles: by design where a width is refined, else evenly."""
    refined = [r for r in refinements if r is not None]
    while following.num_runs < workers:
        chosen = None
        if refined:
            chosen = most_useful(refined, following)
        if chosen is None:
            chosen = following.thinnest(widths, following.target.max_seeds)
        if chosen is None:
            return
        following.extend([chosen])
        following.top_up()


def _cost(runs: Sequence[Runs], lattices: Sequence[Lattice]) -> float:
    return float(sum(len(r.seeds) * lattices[r.width].cost[r.scale_index] for r in runs))


def _rest(
    proposal: Proposal, observations: Sequence[Observations], lattices: Sequence[Lattice]
) -> Proposal:
    """The proposal without the runs that have landed."""
    missing = [
        Runs(width=r.width, scale_index=r.scale_index, seeds=observations[r.width].missing(r))
        for r in proposal.runs
    ]
    runs = tuple(r for r in missing if r.seeds)
    return replace(proposal, runs=runs, cost=_cost(runs, lattices))
