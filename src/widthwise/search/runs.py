"""What has landed, and what is to be run next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis import Law, Optimum
from widthwise.errors import InputError
from widthwise.search.problem import Lattice

FloatArray = NDArray[np.float64]
Reason = Literal[
    "precise enough", "budget spent", "edge of what can be run", "needs more than max seeds"
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """The runs of one width that have landed.

    Attributes:
        scores: shape (K, S): setting of the lattice, seed. NaN where `ran` is True = diverged.
        ran: shape (K, S).
    """

    scores: FloatArray = field(repr=False)
    ran: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or self.scores.shape != self.ran.shape:
            raise InputError(
                "scores and ran must both have shape (settings, seeds), "
                f"got {self.scores.shape} and {self.ran.shape}"
            )
        if np.any(np.isinf(self.scores)):
            raise InputError("scores must be finite, or NaN for diverged runs, got inf; pass NaN")

    @classmethod
    def none(cls, lattice: Lattice) -> "Observations":
        empty = np.full((lattice.size, 0), np.nan)
        return cls(scores=empty, ran=np.zeros(empty.shape, dtype=bool))

    @property
    def counts(self) -> NDArray[np.intp]:
        """Runs (K,) that have landed, diverged ones among them."""
        return np.asarray(np.sum(self.ran, axis=1))

    def has(self, runs: "Runs") -> bool:
        return not self.missing(runs)

    def missing(self, runs: "Runs") -> tuple[int, ...]:
        """The seeds of `runs` that have not landed."""
        known = self.ran[runs.scale_index]
        return tuple(s for s in runs.seeds if s >= known.size or not known[s])

    def with_runs(self, runs: Sequence["Runs"], source: "Observations") -> "Observations":
        """These, and the scores that `source` holds for `runs`."""
        last = max((s + 1 for r in runs for s in r.seeds), default=0)
        pad = ((0, 0), (0, max(0, last - self.scores.shape[1])))
        scores = np.pad(self.scores, pad, constant_values=np.nan)
        ran = np.pad(self.ran, pad)
        for r in runs:
            seeds = list(r.seeds)
            scores[r.scale_index, seeds] = source.scores[r.scale_index, seeds]
            ran[r.scale_index, seeds] = True
        return Observations(scores=scores, ran=ran)


@dataclass(frozen=True, kw_only=True, order=True)
class Runs:
    """Seeds to run at one setting of one width.

    Attributes:
        width: index of the lattice in the list that was given.
        scale_index: index of the noise scale in that lattice.
        seeds: rising.
    """

    width: int
    scale_index: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """The next round, or the end of the search.

    Attributes:
        runs: dearest first, so that whoever starts them in this order ends soonest; empty once
            finished.
        round: counted from 1; the round that would have been next, once finished.
        cost: of `runs`, in the lattices' unit.
        finished: nothing is left to run.
        reason: why, once finished. Of several widths that ended in several ways, the one that
            kept the search from its target.
        width_reasons: one a width; None for a width that has not ended.
        optima: what `locate_optimum` says of each width before this round; None where it cannot.
        law: what `fit_law` says, where an exponent is the target and it can be fitted.
        spent_runs, spent_cost: of all rounds before this one.
    """

    runs: tuple[Runs, ...]
    round: int
    cost: float
    finished: bool
    reason: Reason | None
    width_reasons: tuple[Reason | None, ...]
    optima: tuple[Optimum | None, ...] = field(repr=False)
    law: Law | None = field(repr=False)
    spent_runs: int
    spent_cost: float

    @property
    def num_runs(self) -> int:
        return sum(len(r.seeds) for r in self.runs)
