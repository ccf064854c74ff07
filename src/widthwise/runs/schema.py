"""The results table: one row a run, with every hyper-parameter beside what came of it.

What lands is what was measured. What follows from it (noise scales, late-time means) is computed
when the table is read, all runs at once.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from widthwise.analysis.late_times import late_mean, plateau_slope
from widthwise.runs.key import RUN_FIELDS, recipe_of
from widthwise.sgd.evaluations import EVALUATED, VALIDATED
from widthwise.sgd.learning_rate import rate_factors
from widthwise.sgd.recipe import Recipe
from widthwise.theory.noise import noise_scale, normalized_noise_scale

MEASURED = (*EVALUATED, *VALIDATED)

# The fields of widthwise.sgd.recipe.Recipe, under their own names.
_RECIPE: dict[str, Any] = {
    "nesterov": pl.Boolean,
    "weight_decay": pl.Float64,
    "schedule": pl.String,
    "warmup": pl.Float64,
    "decay_at": pl.List(pl.Float64),
    "decay_factor": pl.Float64,
    "loss": pl.String,
    "label_smoothing": pl.Float64,
    "augmentation": pl.String,
    "crop_padding": pl.Int64,
    "ghost_batch_size": pl.Int64,
    "precision": pl.String,
}

# What runs share that differ only in their seed; every other hyper-parameter is the study's, or
# follows from these.
SETTING = ("widening_factor", "learning_rate", "batch_size", "momentum")

# Where a run was trained.
PROVENANCE: dict[str, Any] = {
    "engine": pl.String,
    "pack": pl.String,
    "device": pl.String,
    "processor": pl.String,
    "instruction_set": pl.String,
    "versions": pl.String,
    "seconds": pl.Float64,
}

_CURVES: dict[str, Any] = {
    "curve_step": pl.List(pl.Int64),
    **{f"curve_{name}": pl.List(pl.Float64) for name in MEASURED},
}

# What was measured of a run, and what is needed to read it without its family.
MEASURED_SCHEMA: dict[str, Any] = {
    "family": pl.String,
    "init_variance": pl.Float64,
    "num_train": pl.Int64,
    "num_parameters": pl.Int64,
    "status": pl.String,
    "diverged_at_step": pl.Int64,
    "initial_train_loss": pl.Float64,
    "final_train_loss": pl.Float64,
    **_CURVES,
}

# Hyper-parameters of one run.
RUN_SCHEMA: dict[str, Any] = {
    "widening_factor": pl.Float64,
    "learning_rate": pl.Float64,
    "batch_size": pl.Int64,
    "momentum": pl.Float64,
    "steps": pl.Int64,
    "seed": pl.Int64,
}
assert tuple(RUN_SCHEMA) == RUN_FIELDS

# Runs asked for.
ASKED_SCHEMA: dict[str, Any] = {"key": pl.String, **RUN_SCHEMA}

# One row a run, as it landed; `group` is JSON.
LANDED_SCHEMA: dict[str, Any] = {
    "key": pl.String,
    "group": pl.String,
    **RUN_SCHEMA,
    **MEASURED_SCHEMA,
    **PROVENANCE,
}

RESULTS_SCHEMA: dict[str, Any] = {
    "run_id": pl.String,
    "family": pl.String,
    "parameterization": pl.String,
    "widening_factor": pl.Float64,
    "learning_rate": pl.Float64,
    "batch_size": pl.Int64,
    "momentum": pl.Float64,
    "seed": pl.Int64,
    "noise_scale": pl.Float64,
    "init_variance": pl.Float64,
    "normalized_noise_scale": pl.Float64,
    "steps": pl.Int64,
    "epochs": pl.Float64,
    "physical_time": pl.Float64,
    **_RECIPE,
    "status": pl.String,
    "diverged_at_step": pl.Int64,
    **dict.fromkeys(MEASURED, pl.Float64),
    "plateau_slope": pl.Float64,
    "initial_train_loss": pl.Float64,
    "final_train_loss": pl.Float64,
    "num_parameters": pl.Int64,
    **_CURVES,
    **PROVENANCE,
    "spec_hash": pl.String,
    "data_fingerprint": pl.String,
}

_ORDER = (
    "widening_factor",
    "normalized_noise_scale",
    "batch_size",
    "learning_rate",
    "momentum",
    "steps",
    "seed",
    "run_id",
)


def results_table(landed: pl.DataFrame, *, late_fraction: float, spec_hash: str) -> pl.DataFrame:
    """Runs that landed, with what follows from what was measured, in a fixed order.

    Late-time means are null where a run diverged. With a schedule, ``learning_rate`` and the noise
    scales are those of its peak, while ``physical_time`` is the sum of ε_t/(1 − m) over the run's
    steps t.

    Args:
        landed: rows of :data:`LANDED_SCHEMA`.
        late_fraction: evaluations in this last part of training are averaged, in (0, 1].
        spec_hash: of the specification that asks, for the column of this name.

    Returns:
        Rows of :data:`RESULTS_SCHEMA`.
    """
    rate, momentum = landed["learning_rate"].to_numpy(), landed["momentum"].to_numpy()
    batch, variance = landed["batch_size"].to_numpy(), landed["init_variance"].to_numpy()
    rate_totals = _rate_totals(landed["group"], landed["steps"].to_numpy())
    return (
        landed.hstack(_of_groups(landed["group"]))
        .with_columns(
            pl.col("key").alias("run_id"),
            pl.Series("noise_scale", noise_scale(rate, batch, momentum)),
            pl.Series(
                "normalized_noise_scale",
                normalized_noise_scale(rate, batch, momentum, init_variance=variance),
            ),
            (pl.col("steps") * pl.col("batch_size") / pl.col("num_train")).alias("epochs"),
            pl.Series("physical_time", rate * rate_totals / (1 - momentum)),
            *late_times(landed, late_fraction),
            pl.lit(spec_hash, pl.String).alias("spec_hash"),
        )
        .select([pl.col(name).cast(kind) for name, kind in RESULTS_SCHEMA.items()])
        .sort(*_ORDER)
        if len(landed)
        else pl.DataFrame(schema=RESULTS_SCHEMA)
    )


def without_lists(results: pl.DataFrame) -> pl.DataFrame:
    """Rows of :data:`RESULTS_SCHEMA` without their curves, as CSV and pandas can hold them;
    ``decay_at`` is text.

    >>> row = {"seed": [1], "decay_at": [[0.5, 0.75]], "curve_step": [[0, 8]]}
    >>> without_lists(pl.DataFrame(row)).row(0)
    (1, '0.5, 0.75')
    """
    texts = pl.col("decay_at").cast(pl.List(pl.String)).list.join(", ")
    return results.drop(pl.selectors.starts_with("curve_")).with_columns(texts)


def curves_table(results: pl.DataFrame) -> pl.DataFrame:
    """One row an evaluation of a run.

    Args:
        results: rows of :data:`RESULTS_SCHEMA`.

    >>> runs = {name: [[0.5, 0.9]] for name in _CURVES} | {"curve_step": [[0, 8]]}
    >>> named = dict.fromkeys(("run_id", *RUN_SCHEMA), [1])
    >>> curves_table(pl.DataFrame(named | runs)).select("run_id", "step", "test_accuracy").rows()
    [(1, 0, 0.5), (1, 8, 0.9)]
    """
    named = ["run_id", *(name for name in RUN_SCHEMA if name != "steps")]
    # Where nothing was held out, as many nulls as there are steps.
    nulls = pl.lit(None, pl.Float64).repeat_by(pl.col("curve_step").list.len())
    whole = results.select(
        *named, "curve_step", *(pl.col(f"curve_{m}").fill_null(nulls) for m in MEASURED)
    )
    flat = whole.explode(pl.selectors.starts_with("curve_")).drop_nulls("curve_step")
    return flat.rename({name: name.removeprefix("curve_") for name in _CURVES})


def late_times(landed: pl.DataFrame, fraction: float) -> list[pl.Series]:
    """Late-time mean of everything measured, and the slope of test accuracy there; null where a
    run diverged.

    Args:
        landed: with status, steps and curves.
        fraction: the last part of training that counts, in (0, 1].
    """
    names = [*MEASURED, "plateau_slope"]
    values = {name: np.full(len(landed), np.nan) for name in names}
    sound = landed.with_row_index("place").filter(pl.col("status") == "ok")
    # Runs of equal length are evaluated at equal steps.
    for (total, steps), runs in sound.group_by("steps", "curve_step"):
        place = runs["place"].to_numpy()
        for name in MEASURED:
            curves = runs[f"curve_{name}"]
            if curves.null_count() < len(curves):
                stacked = np.array(curves.to_list(), dtype=np.float64)
                values[name][place] = late_mean(steps, stacked, total, fraction)
        accuracy = np.array(runs["curve_test_accuracy"].to_list(), dtype=np.float64)
        values["plateau_slope"][place] = plateau_slope(steps, accuracy, total, fraction)
    return [pl.Series(name, values[name]).fill_nan(None) for name in names]


def _of_groups(groups: pl.Series) -> pl.DataFrame:
    """Columns that are the same for all runs of a group."""
    distinct = groups.unique(maintain_order=True)
    place = {text: i for i, text in enumerate(distinct)}
    schema = {"parameterization": pl.String, "data_fingerprint": pl.String, **_RECIPE}
    rows = pl.DataFrame([_of_group(json.loads(text)) for text in distinct], schema=schema)
    return rows[[place[text] for text in groups]]


def _of_group(fields: Mapping[str, Any]) -> dict[str, Any]:
    recipe = recipe_of(fields["recipe"])
    options = {name: getattr(recipe, name) for name in _RECIPE}
    return {
        "parameterization": fields["family"]["parameterization"],
        "data_fingerprint": fields["data"],
        **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
    }


def _rate_totals(groups: pl.Series, steps: Any) -> Any:
    """Σ ε_t/ε over each run's steps."""
    known: dict[tuple[str, int], float] = {}
    recipes: dict[str, Recipe] = {}
    totals = np.empty(len(groups))
    for place, pair in enumerate(zip(groups.to_list(), steps.tolist(), strict=True)):
        if pair not in known:
            text, number = pair
            if text not in recipes:
                recipes[text] = recipe_of(json.loads(text)["recipe"])
            known[pair] = float(rate_factors(recipes[text], 0, number, number).sum())
        totals[place] = known[pair]
    return totals
