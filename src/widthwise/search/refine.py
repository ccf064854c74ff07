"""Runs that make the interval of one width, or of the exponent, narrow at least cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    total: float
    within: float
    added: float = 0.0

    @classmethod
    def of(cls, state: WidthState, width: int) -> "Refinement":
        curve, counts = believed_curve(state), state.counts * state.usable
        total, within = predicted_variance(curve, counts)
        return cls(state=state, width=width, curve=curve, counts=counts, total=total, within=within)

    @property
    def spent(self) -> float:
        return float(self.state.counts @ np.asarray(self.state.lattice.cost))

    def gain(self, a: Addition) -> float:
        return _gain(self.total, a.total)

    def gain_within(self, a: Addition) -> float:
        return _gain(self.within, a.within)

    def choose(self, target: SearchTarget, value: Callable[[Addition], float]) -> Addition | None:
        """The addition of most value for its cost, or the thinnest setting near the peak."""
        found = additions(
            self.curve,
            self.counts,
            np.asarray(self.state.lattice.cost),
            max_seeds=target.max_seeds,
        )
        if not found:
            return None
        best = max(found, key=lambda a: value(a) / a.cost)
        if value(best) > 0.0 and np.isfinite(self.total):
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
        self.total, self.within = addition.total, addition.within
        self.added += addition.cost
        return self.step_of(addition)

    def seeds_for(self, scale_index: int, num_seeds: int) -> Addition:
        """So many seeds at a setting, whatever they may do."""
        then = self.counts.copy()
        then[scale_index] += num_seeds
        total, within = predicted_variance(self.curve, then)
        cost = num_seeds * self.state.lattice.cost[scale_index]
        return Addition(
            scale_index=scale_index, num_seeds=num_seeds, cost=cost, total=total, within=within
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
    steps = []
    wanted = 0.0
    if np.isfinite(r.state.interval_width) and np.isfinite(r.total):
        wanted = r.total * (AIM * target.precision / r.state.interval_width) ** 2
    while r.total > wanted or not steps:
        addition = r.choose(target, r.gain)
        if addition is None or (steps and r.added + addition.cost > GROWTH * r.spent):
            break
        steps.append(r.take(addition))
    return steps


def refine_exponent(
    refinements: Sequence[Refinement], target: SearchTarget, width_now: float
) -> list[Step]:
    """Runs towards the exponent: the width and setting that lower its variance most per cost."""
    assert target.exponent_precision is not None
    factors = np.log2([r.state.lattice.widening_factor for r in refinements])
    start = _slope_variance(factors, [r.within for r in refinements])
    wanted = 0.0
    if np.isfinite(width_now) and np.isfinite(start):
        wanted = start * (AIM * target.exponent_precision / width_now) ** 2
    limit = GROWTH * sum(r.spent for r in refinements)
    steps: list[Step] = []
    best: dict[int, Addition | None] = {}
    while True:
        variances = [r.within for r in refinements]
        now = _slope_variance(factors, variances)
        if steps and now <= wanted:
            break
        gains = []
        for i, r in enumerate(refinements):
            if i not in best:
                best[i] = r.choose(target, r.gain_within)
            addition = best[i]
            if addition is not None:
                then = [*variances[:i], addition.within, *variances[i + 1 :]]
                gain = _gain(now, _slope_variance(factors, then))
                gains.append((gain / addition.cost, -addition.cost, i))
        if not gains:
            break
        *_, chosen = max(gains)
        addition = best.pop(chosen)
        assert addition is not None
        if steps and sum(s.cost for s in steps) + addition.cost > limit:
            break
        steps.append(refinements[chosen].take(addition))
    return steps


def most_useful(refinements: Sequence[Refinement], following: Round) -> Step | None:
    """The addition of most relative gain for its cost among what the budget still holds."""
    best: tuple[float, int] | None = None
    chosen: Addition | None = None
    for i, r in enumerate(refinements):
        addition = r.choose(following.target, r.gain)
        if addition is None or not following.holds(r.step_of(addition)):
            continue
        merit = (_gain(r.total, addition.total) / addition.cost, -i)
        if best is None or merit > best:
            best, chosen = merit, addition
    return None if best is None or chosen is None else refinements[-best[1]].take(chosen)


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
