"""Studies whose truth is known, as the judges receive them. Nothing is trained."""

import math

import numpy as np
import polars as pl
from planted_rates import WIDTHS

from widthwise.reproduce.judging import Evidence
from widthwise.runs.analyses import summarize

LEARNING_RATE = 4.0
NUM_TRAIN = 1024


def row(width, rate, batch, seed, accuracy, momentum=0.0, variance=2.0):
    """One run; accuracy None has diverged."""
    return {
        "widening_factor": width,
        "learning_rate": rate,
        "batch_size": batch,
        "momentum": momentum,
        "seed": seed,
        "init_variance": variance,
        "normalized_noise_scale": rate / (batch * (1.0 - momentum) * variance),
        "physical_time": 1000.0,
        "ghost_batch_size": None,
        "status": "diverged" if accuracy is None else "ok",
        "test_accuracy": accuracy,
        "validation_accuracy": None,
    }


def evidence(rows, rates=(), search_end=None):
    """As from a study whose results are these rows."""
    schema = {
        "ghost_batch_size": pl.Int64,
        "test_accuracy": pl.Float64,
        "validation_accuracy": pl.Float64,
    }
    results = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    found = summarize(results, num_train=NUM_TRAIN, num_scored=10_000)
    return Evidence(
        results=results,
        optima=found.optima,
        problems=found.problems,
        law=found.law,
        law_problem=found.law_problem,
        search_end=search_end,
        rates=rates,
    )


def study(
    exponent,
    *,
    gain=0.02,
    seeds=8,
    noise=0.001,
    widths=WIDTHS,
    batches=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    optimum_at_one=0.1,
    cliff_at_one=math.inf,
    **others,
):
    """NTK (σ² = 2): accuracy falls by 0.01 an octave² from its best at ḡ = 0.1·w^exponent; the
    best grows by `gain` an octave of width; from cliff_at_one·w^exponent on all runs diverge."""
    rng = np.random.default_rng(5)
    rows = []
    for width in widths:
        for batch in batches:
            scale = LEARNING_RATE / (2.0 * batch)
            octaves = math.log2(scale / (optimum_at_one * width**exponent))
            mean = 0.75 + gain * math.log2(width) - 0.01 * octaves**2
            for seed in range(seeds):
                accuracy = mean + rng.normal(0.0, noise)
                lost = scale >= cliff_at_one * width**exponent
                rows.append(row(width, LEARNING_RATE, batch, seed, None if lost else accuracy))
    return evidence(rows, **others)


def equal_scales(fall_by_rate, *, seeds=6, noise=0.001, diverges_from=math.inf):
    """ε = 1, 2, 4, 8 at ε/B = 1/4, 1/2, 1: accuracy depends on ḡ and falls by fall_by_rate(ε)."""
    rng = np.random.default_rng(6)
    rows = []
    for rate in (1.0, 2.0, 4.0, 8.0):
        for ratio in (0.25, 0.5, 1.0):
            for seed in range(seeds):
                accuracy = 0.8 - 0.02 * ratio - fall_by_rate(rate) + rng.normal(0.0, noise)
                lost = rate >= diverges_from
                rows.append(row(2.0, rate, round(rate / ratio), seed, None if lost else accuracy))
    return evidence(rows)
