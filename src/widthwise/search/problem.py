"""What is searched: the settings that can be run at each width, the precision wanted, what has
landed, and what is to be run next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis import Law, Optimum
from widthwise.analysis.settings import SAME_SETTING
from widthwise.errors import InputError

FloatArray = NDArray[np.float64]
Reason = Literal[
    "precise enough",
    "budget spent",
    "edge of what can be run",
    "needs more than max seeds",
    "the best settings tie",
]
"""Why a search ended; docs/search.md says when which."""


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The noise scales at which one width can be run.

    Attributes:
        widening_factor: w > 0.
        noise_scale: allowed normalized noise scales, rising, each at least 1 % above the last.
        cost: of one run at each, positive, in one unit for all widths (FLOPs, say). At equal
            physical time it is proportional to 1 / noise_scale (DESIGN section 2).
        limits: why nothing lies below the first and above the last ("batch size 1").
        effective_rate: ε/(1 − m) of each, as `locate_optimum` takes it; None if not known.

    Raises:
        InputError: if fewer than three settings are given, or one is out of range.
    """

    widening_factor: float
    noise_scale: tuple[float, ...]
    cost: tuple[float, ...]
    limits: tuple[str | None, str | None] = (None, None)
    effective_rate: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.widening_factor) and self.widening_factor > 0.0):
            raise InputError(
                f"widening_factor must be positive and finite, got {self.widening_factor}; try 1"
            )
        scale, cost = np.asarray(self.noise_scale), np.asarray(self.cost)
        if scale.size < 3 or not np.all(np.isfinite(scale) & (scale > 0.0)):
            raise InputError(
                "a lattice needs at least 3 positive, finite noise scales, "
                f"got {list(self.noise_scale)}; widen the range or halve the spacing"
            )
        if np.any(np.diff(np.log(scale)) <= SAME_SETTING):
            raise InputError(
                f"noise scales must rise by more than 1 % each, got {list(self.noise_scale)}; "
                "sort them and drop those that are equal"
            )
        if cost.shape != scale.shape or not np.all(np.isfinite(cost) & (cost > 0.0)):
            raise InputError(
                f"cost must give one positive number for each of the {scale.size} noise scales, "
                f"got {list(self.cost)}; give the cost of one run at each"
            )
        rate = np.asarray(1.0 if self.effective_rate is None else self.effective_rate)
        if (self.effective_rate is not None and rate.shape != scale.shape) or not np.all(
            np.isfinite(rate) & (rate > 0.0)
        ):
            raise InputError(
                f"effective_rate must give one positive number for each of the {scale.size} "
                f"noise scales, got {self.effective_rate}; leave it out if it is not known"
            )

    @property
    def size(self) -> int:
        return len(self.noise_scale)

    @property
    def octaves(self) -> FloatArray:
        """log2 of the noise scales, shape (K,)."""
        return np.asarray(np.log2(self.noise_scale))

    @property
    def setting_limits(self) -> tuple[str | None, ...]:
        """One entry a setting, as `locate_optimum` takes them."""
        return (self.limits[0], *[None] * (self.size - 2), self.limits[1])


def octave_lattice(
    low: float,
    high: float,
    *,
    widening_factor: float = 1.0,
    spacing: float = 0.5,
    cost_at_one: float = 1.0,
    limits: tuple[str | None, str | None] = (None, None),
) -> Lattice:
    """Noise scales from `low` up to `high`, `spacing` octaves apart, at cost_at_one / noise_scale.

    >>> octave_lattice(1.0, 4.0).noise_scale[::2], octave_lattice(1.0, 4.0).cost[::2]
    ((1.0, 2.0, 4.0), (1.0, 0.5, 0.25))
    """
    if not (0.0 < low < high and np.isfinite(high) and spacing > 0.0):
        raise InputError(
            "a lattice needs 0 < low < high and a positive spacing, "
            f"got low {low}, high {high}, spacing {spacing}"
        )
    steps = int(np.floor(np.log2(high / low) / spacing + 1e-9))
    scale = low * 2.0 ** (spacing * np.arange(steps + 1))
    return Lattice(
        widening_factor=widening_factor,
        noise_scale=tuple(scale.tolist()),
        cost=tuple((cost_at_one / scale).tolist()),
        limits=limits,
    )


@dataclass(frozen=True, kw_only=True)
class SearchTarget:
    """When a search is done, and what it may spend.

    Attributes:
        precision: largest full width, in octaves, of the interval of log2(best noise scale), to
            be reached at every width; None if only the exponent matters.
        exponent_precision: largest full width of the interval of the law's exponent; None if
            only the widths matter. A verdict zone is 0.5 wide.
        max_runs, max_cost: in all, over widths and rounds; never exceeded.
        max_seeds: of one setting.
        seeds_at_once: a setting that a round adds to gets at least so many more, as far as
            `max_seeds` and the budget allow: seeds that are trained together share what a step
            costs whatever their number.
        confidence: of the intervals.

    Raises:
        InputError: if neither precision is given, or a value is out of range.
    """

    precision: float | None = None
    exponent_precision: float | None = None
    max_runs: int | None = None
    max_cost: float | None = None
    max_seeds: int = 64
    seeds_at_once: int = 1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.precision is None and self.exponent_precision is None:
            raise InputError(
                "a search needs precision (octaves, at every width), exponent_precision, or both; "
                "got neither; try precision=1.0"
            )
        for name in ("precision", "exponent_precision", "max_cost"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0.0):
                raise InputError(f"{name} must be positive and finite, got {value}")
        if self.max_runs is not None and self.max_runs < 1:
            raise InputError(f"max_runs must be at least 1, got {self.max_runs}")
        if self.max_seeds < 2:
            raise InputError(
                f"max_seeds must be at least 2, got {self.max_seeds}; "
                "one seed says nothing about noise"
            )
        if self.seeds_at_once < 1:
            raise InputError(f"seeds_at_once must be at least 1, got {self.seeds_at_once}")
        if not 0.0 < self.confidence < 1.0:
            raise InputError(f"confidence must lie in (0, 1), got {self.confidence}; try 0.95")


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
