"""The results table: one row a run, with every hyper-parameter beside what came of it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from widthwise.families import WidthFamily
from widthwise.sgd.learning_rate import rate_factors
from widthwise.theory.noise import noise_scale, normalized_noise_scale
from widthwise.training import EVALUATED, VALIDATED, PackJob, RunResult

_MEASURED = (*EVALUATED, *VALIDATED)

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
    **dict.fromkeys(_MEASURED, pl.Float64),
    "plateau_slope": pl.Float64,
    "initial_train_loss": pl.Float64,
    "final_train_loss": pl.Float64,
    "num_parameters": pl.Int64,
    "curve_step": pl.List(pl.Int64),
    **{f"curve_{name}": pl.List(pl.Float64) for name in _MEASURED},
    "seconds": pl.Float64,
    "engine": pl.String,
    "pack": pl.String,
    "spec_hash": pl.String,
    "data_fingerprint": pl.String,
}


def result_rows(
    results: Sequence[RunResult],
    job: PackJob,
    family: WidthFamily,
    *,
    num_train: int,
    seconds: float,
    key: str,
    spec_hash: str,
    data_fingerprint: str,
) -> pl.DataFrame:
    """Rows of one pack.

    Late-time means are null where a run diverged; ``seconds`` is the pack's time divided by its
    number of runs. With a schedule, ``learning_rate`` and the noise scales are those of its peak,
    while ``physical_time`` is the sum of ε_t/(1 − m) over the run's steps t.
    """
    recipe = dataclasses.asdict(job.recipe)
    total_factor = float(rate_factors(job.recipe, 0, job.steps, job.steps).sum())
    variance = family.init_variance(job.widening_factor)
    rows = []
    for i, result in enumerate(results):
        rate, momentum = result.replica.learning_rate, result.replica.momentum
        row: dict[str, Any] = {
            "run_id": f"{key}/{i}",
            "family": family.name,
            "parameterization": family.parameterization,
            "widening_factor": job.widening_factor,
            "learning_rate": rate,
            "batch_size": job.batch_size,
            "momentum": momentum,
            "seed": result.replica.seed,
            "noise_scale": noise_scale(rate, job.batch_size, momentum),
            "init_variance": variance,
            "normalized_noise_scale": normalized_noise_scale(
                rate, job.batch_size, momentum, init_variance=variance
            ),
            "steps": job.steps,
            "epochs": job.steps * job.batch_size / num_train,
            "physical_time": rate * total_factor / (1.0 - momentum),
            **recipe,
            "status": result.status,
            "diverged_at_step": result.diverged_at_step,
            "plateau_slope": _or_null(result.plateau_slope),
            "initial_train_loss": _or_null(result.initial_train_loss),
            "final_train_loss": _or_null(result.final_train_loss),
            "num_parameters": result.num_parameters,
            "curve_step": result.curve_steps.tolist(),
            "seconds": seconds / len(results),
            "engine": result.engine,
            "pack": key,
            "spec_hash": spec_hash,
            "data_fingerprint": data_fingerprint,
        }
        for name in _MEASURED:
            row[name] = _or_null(result.late.get(name, math.nan))
            curve = result.curves.get(name)
            row[f"curve_{name}"] = None if curve is None else curve.tolist()
        rows.append(row)
    return pl.DataFrame(rows, schema=RESULTS_SCHEMA)


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
