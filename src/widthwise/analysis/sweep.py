"""The optimum of any hyper-parameter at each width, and whether it moves with width.

The statistics are those of the noise scale (docs/statistics.md). Three things differ. The
hyper-parameter itself is on the axis, so where training diverges bounds its optimum. Losses, if
all are positive, are fitted by their logarithms: their noise goes with their size. And where
settings were run once, or with few seeds, the noise of a run is told by the scatter of settings
about their curve (:mod:`widthwise.analysis.scatter`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis.law import ZONES, Law, fit_law
from widthwise.analysis.optimum import Optimum, locate_optimum
from widthwise.analysis.scatter import measure_scatter
from widthwise.errors import FitError, InputError

FloatArray = NDArray[np.float64]
Evidence = Literal["seeds", "scatter"]
SweepVerdict = Literal["fixed", "moves", "undecided"]

# Seeds tell of noise if so large a part of the settings of every width have so many: fewer seeds
# know too little of it.
ENOUGH_SEEDS, ENOUGH_SETTINGS = 4, 0.75


@dataclass(frozen=True, kw_only=True)
class SweepSetting:
    """One value of the hyper-parameter at one width.

    Attributes:
        score: mean over the runs that did not diverge (of losses that are all positive, the
            geometric mean); None if all did.
        interval: one standard error of it below and above; None below two such runs.
    """

    width: float
    value: float
    score: float | None
    interval: tuple[float, float] | None
    num_runs: int
    num_diverged: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """What a table of runs says of one hyper-parameter.

    Attributes:
        settings: ordered by width, then value.
        optima: width → optimum; its `noise_scale` is the best value, its score in the table's unit.
        problems: width → why there is no optimum.
        law: best value ∝ (width / narrowest width) ** exponent; None if none can be fitted.
        evidence: what the intervals rest on: the spread between seeds, or the scatter of settings
            about their curve.
        minimize: whether the smallest score is the best.
        logarithmic: whether the logarithms of scores were fitted.
    """

    settings: tuple[SweepSetting, ...]
    optima: Mapping[float, Optimum]
    problems: Mapping[float, str]
    law: Law | None
    evidence: Evidence
    minimize: bool
    logarithmic: bool

    @property
    def widths(self) -> tuple[float, ...]:
        return tuple(sorted({row.width for row in self.settings}))

    @property
    def verdict(self) -> SweepVerdict:
        """Equivalence test: does the interval of the exponent lie within the zone of no change, or
        outside it?"""
        return "undecided" if self.law is None else verdict_of_exponent(self.law.interval)


def verdict_of_exponent(interval: tuple[float, float]) -> SweepVerdict:
    """
    >>> verdict_of_exponent((-0.1, 0.2)), verdict_of_exponent((-0.8, -0.4))
    ('fixed', 'moves')
    >>> verdict_of_exponent((-0.4, 0.1))
    'undecided'
    """
    low, high = interval
    least, most = ZONES["constant"]
    if least <= low and high <= most:
        return "fixed"
    return "moves" if high < least or low > most else "undecided"


def analyze_sweep(
    width: ArrayLike,
    value: ArrayLike,
    score: ArrayLike,
    seed: ArrayLike,
    *,
    minimize: bool = False,
) -> Sweep:
    """Locate the optimum of each width and fit how it moves.

    Args:
        width: of each run, positive; shape (R,), as all others.
        value: of the hyper-parameter, positive.
        score: NaN where the run diverged.
        seed: whole numbers; no two runs of one width and value have the same.
        minimize: whether the smallest score is the best.

    Raises:
        InputError: if nothing can be read of the runs.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (width, value, score)]
    widths, values, scores = columns
    seeds = np.asarray(seed, dtype=np.intp)
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        raise InputError("at least one run must not have diverged, got none; run smaller values")
    logarithmic = bool(minimize and np.all(finite > 0.0))
    better = -(np.log(scores) if logarithmic else scores) if minimize else scores
    tables = {
        float(w): _table(values[widths == w], better[widths == w], seeds[widths == w])
        for w in np.unique(widths)
    }
    shown = _Shown(minimize=minimize, logarithmic=logarithmic)
    evidence = _evidence(list(tables.values()))
    scatter = dict.fromkeys(tables)
    if evidence == "scatter":
        places, rows = zip(*((t.values, t.scores) for t in tables.values()), strict=True)
        found = measure_scatter(places, rows)
        scatter = dict(zip(tables, found, strict=True))
    optima, problems = {}, {}
    for w, table in tables.items():
        try:
            optima[w] = locate_optimum(
                table.values,
                table.scores,
                ran=table.ran,
                # The hyper-parameter itself: no other one would make training stable beyond.
                effective_rate=np.ones(table.values.size),
                scatter=scatter[w],
            )
        except FitError as error:
            problems[w] = _in_general(str(error))
    law = _law(optima, min(tables))
    return Sweep(
        settings=tuple(row for w, table in tables.items() for row in _rows(w, table, shown)),
        optima={w: shown.optimum(found) for w, found in optima.items()},
        problems=problems,
        law=law,
        evidence=evidence,
        minimize=minimize,
        logarithmic=logarithmic,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """Runs of one width: values (K,) rising, scores and ran (K, S)."""

    values: FloatArray
    scores: FloatArray
    ran: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """Scores that were fitted, higher being better, as the table has them."""

    minimize: bool
    logarithmic: bool

    def score(self, fitted: float) -> float:
        value = -fitted if self.minimize else fitted
        with np.errstate(over="ignore"):
            return float(np.exp(value)) if self.logarithmic else float(value)

    def interval(self, fitted: tuple[float, float]) -> tuple[float, float]:
        low, high = sorted(self.score(end) for end in fitted)
        return low, high

    def optimum(self, found: Optimum) -> Optimum:
        return replace(
            found,
            score=self.score(found.score),
            score_interval=self.interval(found.score_interval),
        )


def _table(values: FloatArray, scores: FloatArray, seeds: NDArray[np.intp]) -> _Table:
    places, row = np.unique(values, return_inverse=True)
    columns, column = np.unique(seeds, return_inverse=True)
    table = np.full((places.size, columns.size), np.nan)
    ran = np.zeros(table.shape, dtype=bool)
    table[row, column], ran[row, column] = scores, True
    return _Table(values=places, scores=table, ran=ran)


def _evidence(tables: list[_Table]) -> Evidence:
    """Seeds, if there are enough of them everywhere."""
    for table in tables:
        counts = np.isfinite(table.scores).sum(axis=1)
        alive = counts > 0
        if np.sum(counts >= ENOUGH_SEEDS) < ENOUGH_SETTINGS * np.sum(alive):
            return "scatter"
    return "seeds"


def _rows(width: float, table: _Table, shown: _Shown) -> list[SweepSetting]:
    rows = []
    for value, scores, ran in zip(table.values, table.scores, table.ran, strict=True):
        alive = scores[np.isfinite(scores)]
        mean = float(np.mean(alive)) if alive.size else None
        interval = None
        if mean is not None and alive.size > 1:
            error = float(np.std(alive, ddof=1) / np.sqrt(alive.size))
            interval = shown.interval((mean - error, mean + error))
        rows.append(
            SweepSetting(
                width=width,
                value=float(value),
                score=None if mean is None else shown.score(mean),
                interval=interval,
                num_runs=int(ran.sum()),
                num_diverged=int(ran.sum() - alive.size),
            )
        )
    return rows


def _law(optima: Mapping[float, Optimum], narrowest: float) -> Law | None:
    try:
        return fit_law([width / narrowest for width in optima], list(optima.values()))
    except FitError:
        return None


def _in_general(problem: str) -> str:
    """
    >>> _in_general("at least 3 distinct noise scales at which training is stable, got 2")
    'at least 3 distinct values at which training is stable, got 2'
    """
    return problem.replace("noise scales", "values").replace(
        ", or smaller learning rates", " that do not diverge"
    )
