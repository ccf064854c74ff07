"""From a table of runs to what it says of the paper's claims: collapse, noise resistance, ceiling
of the batch.
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
    Optimum,
    Resistance,
    StableRate,
    WidthCurve,
    measure_batch_ceiling,
    measure_collapse,
    measure_resistance,
)
from widthwise.errors import FitError
from widthwise.probes import StabilityLaw, StableLearningRate, fit_stability_law
from widthwise.runs.tables import selected_on

_SETTING = (
    "widening_factor",
    "learning_rate",
    "batch_size",
    "momentum",
    "normalized_noise_scale",
    "init_variance",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SettingScores:
    """Scores of a table of runs as arrays: one row a setting, one column a seed.

    Attributes:
        columns: the settings, K rows.
        scores: (K, S) accuracy by which optima are chosen; NaN where a run diverged or was not
            made.
        ran: (K, S), whether there is such a run.
        physical_times: (K,) steps times the effective learning rate.
    """

    columns: pl.DataFrame
    scores: NDArray[np.float64]
    ran: NDArray[np.bool_]
    physical_times: NDArray[np.float64]


def setting_scores(results: pl.DataFrame) -> SettingScores:
    """The runs of a study, setting by setting."""
    seeds = sorted(results["seed"].unique().to_list())
    score = f"{selected_on(results)}_accuracy"
    ordered = results.sort(*_SETTING, "seed")
    groups = list(ordered.group_by(_SETTING, maintain_order=True))
    scores = np.full((len(groups), len(seeds)), math.nan)
    ran = np.zeros(scores.shape, dtype=np.bool_)
    for row, (_, runs) in enumerate(groups):
        places = [seeds.index(seed) for seed in runs["seed"]]
        ran[row, places] = True
        survived = runs.select(
            pl.when(pl.col("status") == "ok").then(pl.col(score).cast(pl.Float64))
        ).to_series()
        scores[row, places] = survived.fill_null(math.nan).to_numpy()
    return SettingScores(
        columns=pl.DataFrame([key for key, _ in groups], schema=list(_SETTING), orient="row"),
        scores=scores,
        ran=ran,
        physical_times=np.array([runs["physical_time"].mean() for _, runs in groups], dtype=float),
    )


def find_collapse(table: SettingScores) -> Collapse | None:
    """The test of the collapse; None if no two settings can be compared."""
    columns = table.columns
    found = measure_collapse(
        columns["widening_factor"].to_numpy(),
        columns["learning_rate"].to_numpy(),
        columns["batch_size"].to_numpy(),
        columns["momentum"].to_numpy(),
        columns["normalized_noise_scale"].to_numpy(),
        table.scores,
        ran=table.ran,
    )
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
class StabilityFinding:
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
) -> StabilityFinding | None:
    """What the measured stable rates say; None if there are none."""
    rates = sorted(stable_learning_rates, key=lambda rate: rate.widening_factor)
    if not rates:
        return None
    law, problem = None, None
    try:
        law = fit_stability_law([rate.widening_factor for rate in rates], rates)
    except FitError as error:
        problem = str(error)
    return StabilityFinding(
        rates=tuple(rates), law=law, problem=problem, ceiling=_ceiling(results, optima, rates)
    )


def _ceiling(
    results: pl.DataFrame,
    optima: Mapping[float, Optimum],
    rates: Sequence[StableLearningRate],
) -> BatchCeiling | None:
    both = [rate for rate in rates if rate.widening_factor in optima]
    if not both:
        return None
    variances = dict(
        results.select("widening_factor", "init_variance").unique("widening_factor").rows()
    )
    return measure_batch_ceiling(
        [rate.widening_factor for rate in both],
        [optima[rate.widening_factor] for rate in both],
        [
            StableRate(
                value=rate.value,
                samples=None if rate.censored else rate.samples,
                is_bound=rate.censored,
            )
            for rate in both
        ],
        init_variances=[variances[rate.widening_factor] for rate in both],
        momentum=both[0].momentum,
    )
