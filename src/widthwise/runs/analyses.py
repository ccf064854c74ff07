"""From a table of runs to what it says: optima and law, collapse, noise resistance, ceiling of the
batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widthwise.analysis import (
    BatchCeiling,
    Collapse,
    LargestRate,
    Law,
    Optimum,
    Resistance,
    WidthCurve,
    fit_law,
    locate_optimum,
    measure_batch_ceiling,
    measure_collapse,
    measure_resistance,
)
from widthwise.analysis.late_times import catching_up
from widthwise.errors import FitError
from widthwise.probes import StabilityLaw, StableLearningRate, fit_stability_law
from widthwise.runs.schema import SETTING
from widthwise.runs.tables import selected_on
from widthwise.sgd.batches import batch_unit, whole_batch

_FOLLOWING = ("normalized_noise_scale", "init_variance")  # from the setting
# An optimum that fewer draws place inside what was run bounds no batch size.
_LEAST_FOUND = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class SettingScores:
    """Scores of a table of runs as arrays: one row a setting, one column a seed.

    Attributes:
        columns: the settings, K rows, with their noise scale and initial variance.
        scores: (K, S) accuracy by which optima are chosen; NaN where a run diverged or was not
            made.
        ran: (K, S), whether there is such a run.
        physical_times: (K,) steps times the effective learning rate.
        slopes: (K, S) change of test accuracy over the late window; NaN as in `scores`.
    """

    columns: pl.DataFrame
    scores: NDArray[np.float64]
    ran: NDArray[np.bool_]
    physical_times: NDArray[np.float64]
    slopes: NDArray[np.float64]


def setting_scores(results: pl.DataFrame) -> SettingScores:
    """The runs of a study, setting by setting."""
    seeds = sorted(results["seed"].unique().to_list())
    score = f"{selected_on(results)}_accuracy"
    groups = [
        runs for _, runs in results.sort(*SETTING, "seed").group_by(SETTING, maintain_order=True)
    ]
    scores = np.full((len(groups), len(seeds)), math.nan)
    ran = np.zeros(scores.shape, dtype=np.bool_)
    slopes = np.full(scores.shape, math.nan)
    for row, runs in enumerate(groups):
        places = [seeds.index(seed) for seed in runs["seed"]]
        ran[row, places] = True
        for name, table in ((score, scores), ("plateau_slope", slopes)):
            if name not in runs.columns:  # a table of one's own need not have slopes
                continue
            survived = runs.select(
                pl.when(pl.col("status") == "ok").then(pl.col(name).cast(pl.Float64))
            ).to_series()
            table[row, places] = survived.fill_null(math.nan).to_numpy()
    return SettingScores(
        columns=pl.concat([runs.head(1) for runs in groups]).select(*SETTING, *_FOLLOWING),
        scores=scores,
        ran=ran,
        physical_times=np.array([runs["physical_time"].mean() for runs in groups], dtype=float),
        slopes=slopes,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """What a study found.

    Attributes:
        optima: widening factor → optimum, in normalized noise scale.
        problems: widening factor → why no optimum could be located.
        law: how the optimum moves with width, if that could be fitted.
        law_problem: why it could not.
    """

    optima: Mapping[float, Optimum]
    problems: Mapping[float, str]
    law: Law | None
    law_problem: str | None


def summarize(
    results: pl.DataFrame,
    *,
    num_train: int,
    num_scored: int,
    seed: int = 0,
    late_fraction: float = 0.25,
) -> Summary:
    """Locate the optimum of every width, and fit the law.

    Args:
        results: one row a run.
        num_train: N, to recognize the largest batches.
        num_scored: examples behind each accuracy (test or validation set).
        seed: of the bootstrap.
        late_fraction: the part of training over which scores were averaged.
    """
    optima: dict[float, Optimum] = {}
    problems: dict[float, str] = {}
    for (width,), rows in sorted(results.group_by("widening_factor")):
        assert isinstance(width, float)
        try:
            optima[width] = _optimum(rows, seed, num_train, num_scored, late_fraction)
        except FitError as error:
            problems[width] = str(error)
    law, law_problem = None, None
    try:
        law = fit_law(list(optima), list(optima.values()))
    except FitError as error:
        law_problem = str(error)
        if problems and not optima:
            width, why = next(iter(problems.items()))
            law_problem = f"no width has an optimum, so there is no law (w = {width:g}: {why})"
    return Summary(optima=optima, problems=problems, law=law, law_problem=law_problem)


def limit_of(batch_size: int, num_train: int, ghost_batch_size: int | None) -> str | None:
    """What keeps batches from being smaller or larger than this.

    With ghost batch norm a batch is a whole number of parts, so that the ends are one part and as
    many as the training set holds.

    >>> limit_of(8, 1000, None), limit_of(8, 1000, 8)
    (None, 'one ghost batch of 8')
    >>> limit_of(996, 1000, 12), limit_of(1000, 1000, 8)
    ('most ghost batches of 12', 'full batch')
    """
    part = batch_unit(ghost_batch_size)
    ends = {
        part: "batch size 1" if part == 1 else f"one ghost batch of {part}",
        whole_batch(num_train, ghost_batch_size): f"most ghost batches of {part}",
        num_train: "full batch",
    }
    return ends.get(batch_size)


def _optimum(
    rows: pl.DataFrame, seed: int, num_train: int, num_scored: int, late_fraction: float
) -> Optimum:
    table = setting_scores(rows)
    columns = table.columns
    ghost = rows["ghost_batch_size"][0]  # of the recipe, which all runs of a study share
    return locate_optimum(
        columns["normalized_noise_scale"].to_numpy(),
        table.scores,
        limits=[limit_of(batch, num_train, ghost) for batch in columns["batch_size"]],
        num_test=num_scored,
        seed=seed,
        ran=table.ran,
        effective_rate=columns["learning_rate"].to_numpy() / (1.0 - columns["momentum"].to_numpy()),
        late=_late(rows, table, late_fraction),
    )


def _late(rows: pl.DataFrame, table: SettingScores, fraction: float) -> NDArray[np.bool_] | None:
    """Settings that had not arrived; None if that cannot be told: where the learning rate falls at
    late times, accuracy rises because of that."""
    if "schedule" not in rows.columns or not (rows["schedule"] == "constant").all():
        return None
    return catching_up(
        table.scores,
        table.slopes,
        fraction,
        noise_scale=table.columns["normalized_noise_scale"].to_numpy(),
    )


def collapse_of(table: SettingScores) -> Collapse:
    """The test of the collapse."""
    columns = table.columns
    return measure_collapse(
        columns["widening_factor"].to_numpy(),
        columns["learning_rate"].to_numpy(),
        columns["batch_size"].to_numpy(),
        columns["momentum"].to_numpy(),
        columns["normalized_noise_scale"].to_numpy(),
        table.scores,
        ran=table.ran,
    )


def find_collapse(table: SettingScores) -> Collapse | None:
    """The test of the collapse; None if no two settings can be compared."""
    found = collapse_of(table)
    return None if found.verdict == "not tested" else found


def width_curves(table: SettingScores, optima: Mapping[float, Optimum]) -> list[WidthCurve]:
    """Score against noise scale, one curve a width that has an optimum."""
    curves = []
    for width, optimum in optima.items():
        rows = (table.columns["widening_factor"] == width).to_numpy()
        curves.append(
            WidthCurve(
                widening_factor=width,
                noise_scale=table.columns["normalized_noise_scale"].to_numpy()[rows],
                scores=table.scores[rows],
                optimum=optimum,
                ran=table.ran[rows],
            )
        )
    return curves


def find_resistance(
    table: SettingScores, optima: Mapping[float, Optimum], *, seed: int = 0
) -> Resistance | None:
    """Noise resistance; None with fewer than two widths that have an optimum and two seeds."""
    try:
        return measure_resistance(width_curves(table, optima), seed=seed)
    except FitError:
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class StabilityAnalysis:
    """Measured stable rates, their law, and the ceiling of the batch that follows.

    Attributes:
        rates: by width.
        law: None where it could not be fitted, for the reason `problem`.
        ceiling: at the widths that have both a rate and an optimum; None if there is none.
    """

    rates: tuple[StableLearningRate, ...]
    law: StabilityLaw | None
    problem: str | None
    ceiling: BatchCeiling | None


def find_stability(
    results: pl.DataFrame,
    optima: Mapping[float, Optimum],
    stable_learning_rates: Sequence[StableLearningRate],
) -> StabilityAnalysis | None:
    """What the measured stable rates say; None if there are none."""
    rates = sorted(stable_learning_rates, key=lambda rate: rate.widening_factor)
    if not rates:
        return None
    law, problem = None, None
    try:
        law = fit_stability_law([rate.widening_factor for rate in rates], rates)
    except FitError as error:
        problem = str(error)
    return StabilityAnalysis(
        rates=tuple(rates), law=law, problem=problem, ceiling=batch_ceiling(results, optima, rates)
    )


def batch_ceiling(
    results: pl.DataFrame,
    optima: Mapping[float, Optimum],
    rates: Sequence[StableLearningRate],
) -> BatchCeiling | None:
    """The largest batch that can have the best noise scale, at the widths that have both an optimum
    and a rate; None if there is none."""
    both = [
        rate
        for rate in rates
        if rate.widening_factor in optima
        and np.mean(np.isfinite(optima[rate.widening_factor].samples)) >= _LEAST_FOUND
    ]
    if not both:
        return None
    variances = dict(
        results.select("widening_factor", "init_variance").unique("widening_factor").rows()
    )
    return measure_batch_ceiling(
        [rate.widening_factor for rate in both],
        [optima[rate.widening_factor] for rate in both],
        [
            LargestRate(
                value=rate.value,
                samples=None if rate.censored else rate.samples,
                is_bound=rate.censored,
            )
            for rate in both
        ],
        init_variances=[variances[rate.widening_factor] for rate in both],
        momentum=both[0].momentum,
    )
