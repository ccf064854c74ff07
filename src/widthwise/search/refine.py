"""Runs that make the interval of one width, or of the exponent, narrow at least cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from widthwise.search.bracket import on_level_top, untested_ties
from widthwise.search.design import Addition, Curve, additions, believed_curve, predicted_variance
from widthwise.search.problem import FloatArray, SearchTarget
from widthwise.search.state import WidthState
from widthwise.search.steps import Round, Step

# No interval is believed before every setting that decides where the peak is has so many seeds.
MIN_SEEDS = 3
# A round costs at most this part of what the width has cost so far, unless workers would idle.
GROWTH = 0.1
# Aim a little below the precision wanted: the prediction is not exact.
AIM = 0.9


@dataclass
class Refinement:
    """A width that is being refined, with what this round has given it so far."""

    state: WidthState
    width: int
    curve: Curve
    counts: NDArray[np.intp]
    variance: float  # of the peak (octaves²), as predicted
    added: float = 0.0
    _found: list[Addition] | None = field(default=None, repr=False)  # None: to be worked out

    @classmethod
    def of(cls, state: WidthState, width: int) -> "Refinement":
        curve, counts = believed_curve(state), state.counts * state.usable
        variance = predicted_variance(curve, counts)
        return cls(state=state, width=width, curve=curve, counts=counts, variance=variance)

    @property
    def spent(self) -> float:
        return float(self.state.counts @ np.asarray(self.state.lattice.cost))

    def gain(self, a: Addition) -> float:
        return _gain(self.variance, a.variance)

    def choose(self, target: SearchTarget) -> Addition | None:
        """The addition of most value for its cost, or the thinnest setting near the peak."""
        if self._found is None:
            cost = np.asarray(self.state.lattice.cost)
            self._found = additions(self.curve, self.counts, cost, max_seeds=target.max_seeds)
        found = self._found
        if not found:
            return None
        best = max(found, key=lambda a: self.gain(a) / a.cost)
        if self.gain(best) > 0.0 and np.isfinite(self.variance):
            return best
        # No design is predicted to help: more seeds where the peak seems to be.
        octaves, peak = self.state.lattice.octaves, self.state.peak
        return min(
            found,
            key=lambda a: (
                self.counts[a.scale_index] == 0,
                self.counts[a.scale_index] * (1.0 + abs(octaves[a.scale_index] - peak)),
                a.scale_index,
            ),
        )

    def take(self, addition: Addition) -> Step:
        self.counts = self.counts.copy()
        self.counts[addition.scale_index] += addition.num_seeds
        self.variance = addition.variance
        self.added += addition.cost
        self._found = None
        return self.step_of(addition)

    def seeds_for(self, scale_index: int, num_seeds: int) -> Addition:
        """So many seeds at a setting, whatever they may do."""
        then = self.counts.copy()
        then[scale_index] += num_seeds
        return Addition(
            scale_index=scale_index,
            num_seeds=num_seeds,
            cost=num_seeds * self.state.lattice.cost[scale_index],
            variance=predicted_variance(self.curve, then),
        )

    def step_of(self, addition: Addition) -> Step:
        return Step(
            width=self.width,
            scale_index=addition.scale_index,
            num_seeds=addition.num_seeds,
            cost=addition.cost,
        )


def thin(state: WidthState, target: SearchTarget) -> dict[int, int]:
    """Seeds that the settings round the peak lack before an interval is believed."""
    least = min(MIN_SEEDS, target.max_seeds)
    return {int(k): least - int(state.counts[k]) for k in state.window if state.counts[k] < least}


def refine_width(r: Refinement, target: SearchTarget) -> list[Step]:
    """Runs towards the precision of one width, no more than GROWTH of what it has cost."""
    assert target.precision is not None
    if r.state.interval_width <= target.precision:
        steps = [r.take(r.seeds_for(k, n)) for k, n in thin(r.state, target).items()]
        if steps:
            return steps
    if on_level_top(r.state):
        ties = untested_ties(r.state, target.max_seeds)
        return [r.take(r.seeds_for(k, n)) for k, n in ties.items()]
    steps = []
    wanted = 0.0
    if np.isfinite(r.state.interval_width) and np.isfinite(r.variance):
        wanted = r.variance * (AIM * target.precision / r.state.interval_width) ** 2
    while r.variance > wanted or not steps:
        addition = r.choose(target)
        if addition is None or (steps and r.added + addition.cost > GROWTH * r.spent):
            break
        steps.append(r.take(addition))
    return steps


def refine_exponent(
    refinements: Sequence[Refinement], target: SearchTarget, width_now: float
) -> list[Step]:
    """Runs towards the exponent: the width and setting that lower its variance most per cost."""
    assert target.exponent_precision is not None
    start = _exponent_variance(refinements)
    wanted = 0.0
    if np.isfinite(width_now) and np.isfinite(start):
        wanted = start * (AIM * target.exponent_precision / width_now) ** 2
    limit = GROWTH * sum(r.spent for r in refinements)
    steps: list[Step] = []
    while not steps or _exponent_variance(refinements) > wanted:
        best = _best_for_exponent(refinements, target)
        if best is None:
            break
        i, addition = best
        if steps and sum(s.cost for s in steps) + addition.cost > limit:
            break
        steps.append(refinements[i].take(addition))
    return steps


def most_useful(refinements: Sequence[Refinement], following: Round) -> Step | None:
    """The addition of most gain for its cost among what the budget still holds.

    Gain of the exponent where only that is wanted, of a width's optimum else.
    """
    target = following.target
    if target.precision is None:
        best = _best_for_exponent(refinements, target, following)
    else:
        best = _best_for_a_width(refinements, target, following)
    return None if best is None else refinements[best[0]].take(best[1])


def _best_for_exponent(
    refinements: Sequence[Refinement], target: SearchTarget, following: Round | None = None
) -> tuple[int, Addition] | None:
    """Which refinement to give what, among what the round still holds."""
    now = _exponent_variance(refinements)
    found = []
    for i, r in enumerate(refinements):
        addition = r.choose(target)
        if addition is None or (following is not None and not following.holds(r.step_of(addition))):
            continue
        gain = _gain(now, _exponent_variance(refinements, {i: addition.variance}))
        found.append((gain / addition.cost, -addition.cost, i, addition))
    if not found:
        return None
    *_, i, addition = max(found, key=lambda entry: entry[:3])
    return i, addition


def _best_for_a_width(
    refinements: Sequence[Refinement], target: SearchTarget, following: Round
) -> tuple[int, Addition] | None:
    found = []
    for i, r in enumerate(refinements):
        addition = r.choose(target)
        if addition is not None and following.holds(r.step_of(addition)):
            found.append((r.gain(addition) / addition.cost, -i, addition))
    if not found:
        return None
    _, i, addition = max(found, key=lambda entry: entry[:2])
    return -i, addition


def _exponent_variance(
    refinements: Sequence[Refinement], changed: Mapping[int, float] | None = None
) -> float:
    """Of the exponent through the peaks, were the variances of some (by index) changed."""
    factors = np.log2([r.state.lattice.widening_factor for r in refinements])
    variances = dict(enumerate(r.variance for r in refinements)) | dict(changed or {})
    return _slope_variance(factors, list(variances.values()))


def _gain(before: float, after: float) -> float:
    """Relative reduction of a variance; all of it if it was infinite."""
    if not np.isfinite(after) or before <= 0.0:
        return 0.0
    return 1.0 if not np.isfinite(before) else 1.0 - after / before


def _slope_variance(factors: FloatArray, variances: Sequence[float]) -> float:
    """Variance of the slope of a weighted line through peaks of the given variances."""
    weight = 1.0 / np.maximum(np.asarray(variances), 1e-12)
    if weight.sum() == 0.0:
        return float("inf")
    x = factors - weight @ factors / weight.sum()
    information = float(weight @ x**2)
    return 1.0 / information if information > 0.0 else float("inf")
