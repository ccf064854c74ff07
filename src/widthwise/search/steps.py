"""A round under construction: what is added to which setting, what the budget holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from widthwise.search.problem import Runs, SearchTarget
from widthwise.search.state import WidthState


@dataclass(frozen=True, kw_only=True)
class Step:
    """Seeds to add to one setting of one width."""

    width: int
    scale_index: int
    num_seeds: int
    cost: float


def step(states: Sequence[WidthState], width: int, scale_index: int, num_seeds: int) -> Step:
    cost = num_seeds * states[width].lattice.cost[scale_index]
    return Step(width=width, scale_index=scale_index, num_seeds=num_seeds, cost=cost)


@dataclass
class Round:
    """Steps that the budget holds, in the order in which they were asked for."""

    states: Sequence[WidthState]
    target: SearchTarget
    steps: list[Step] = field(default_factory=list)

    @property
    def spent_runs(self) -> int:
        return int(sum(s.counts.sum() for s in self.states))

    @property
    def spent_cost(self) -> float:
        return float(sum(s.counts @ np.asarray(s.lattice.cost) for s in self.states))

    @property
    def num_runs(self) -> int:
        return sum(s.num_seeds for s in self.steps)

    def holds(self, added: Step) -> bool:
        """Whether the budget allows one more step."""
        runs = self.spent_runs + self.num_runs + added.num_seeds
        cost = self.spent_cost + sum(s.cost for s in self.steps) + added.cost
        limit_runs, limit_cost = self.target.max_runs, self.target.max_cost
        return (limit_runs is None or runs <= limit_runs) and (
            limit_cost is None or cost <= limit_cost * (1.0 + 1e-12)
        )

    def extend(self, wanted: Iterable[Step]) -> None:
        for s in wanted:
            if self.holds(s):
                self.steps.append(s)

    def planned(self, width: int, scale_index: int) -> int:
        """Seeds of a setting once this round has landed."""
        added = sum(
            s.num_seeds for s in self.steps if (s.width, s.scale_index) == (width, scale_index)
        )
        return int(self.states[width].counts[scale_index]) + added

    def top_up(self) -> None:
        """The target's seeds at once at every setting that the round adds to."""
        seeds_at_once, max_seeds = self.target.seeds_at_once, self.target.max_seeds
        for width, scale_index in dict.fromkeys((s.width, s.scale_index) for s in self.steps):
            planned = self.planned(width, scale_index)
            added = planned - int(self.states[width].counts[scale_index])
            while added < seeds_at_once and planned < max_seeds:
                one = step(self.states, width, scale_index, 1)
                if not self.holds(one):
                    return
                self.steps.append(one)
                added, planned = added + 1, planned + 1

    def thinnest(self, widths: Iterable[int], max_seeds: int) -> Step | None:
        """One more seed where it lowers the variance of a mean most for its cost.

        The variance of n seeds falls by about 1 / n² with one more.
        """
        found = []
        for i in widths:
            state = self.states[i]
            for k in range(state.lattice.size):
                seeds = self.planned(i, k)
                if 0 < seeds < max_seeds and state.stable[k]:
                    one = step(self.states, i, k, 1)
                    if self.holds(one):
                        found.append((seeds**2 * one.cost, i, k))
        if not found:
            return None
        *_, i, k = min(found)
        return step(self.states, i, k, 1)

    def runs(self) -> tuple[Runs, ...]:
        """Steps at one setting joined; seeds go on from those it has. Dearest first."""
        total: dict[tuple[int, int], int] = {}
        for s in self.steps:
            key = (s.width, s.scale_index)
            total[key] = total.get(key, 0) + s.num_seeds
        runs = []
        for (i, k), num_seeds in total.items():
            have = int(self.states[i].counts[k])
            runs.append(Runs(width=i, scale_index=k, seeds=tuple(range(have, have + num_seeds))))
        return tuple(
            sorted(runs, key=lambda r: (-self.states[r.width].lattice.cost[r.scale_index], r))
        )
