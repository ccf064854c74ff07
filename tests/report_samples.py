"""Studies that look like real ones: accuracies rise and fall round an optimum that is planted."""

import html
import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import FitError
from widthwise.probes import StableLearningRate
from widthwise.report.content import ReportContent

WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
LEARNING_RATE = 2.0
STEPS = 40_000
BEST = {1.0: 0.760, 2.0: 0.781, 4.0: 0.792, 8.0: 0.798, 16.0: 0.803}
SLOPE_OF_OPTIMUM = 1.0
OPTIMUM_AT_ONE = 0.1
CLIFF = 5.0  # ratio to the optimum at which noise keeps a network from learning


def accuracy(widening_factor: float, noise_scale: float, *, exponent: float) -> float:
    """A peak that is flat on the quiet side and ends in a cliff on the noisy side."""
    offset = math.log(noise_scale / (OPTIMUM_AT_ONE * widening_factor**exponent))
    best = BEST.get(widening_factor, 0.8)
    value = best - 0.0030 * offset**2
    if offset > 0:
        value -= 0.012 * offset**2 + 0.05 * max(0.0, offset - 1.2) ** 2
    return max(value, 0.1)


def results_table(
    *,
    widths: Sequence[float] = WIDTHS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seeds: int = 8,
    exponent: float = SLOPE_OF_OPTIMUM,
    validation: bool = False,
    still_rising: bool = False,
    everything_diverges: bool = False,
    seed_std: float = 0.002,
    learning_rates: Sequence[float] = (LEARNING_RATE,),
    broken: float = 0.0,
) -> pl.DataFrame:
    """One row a run; a run diverges where the noise is far beyond the optimum.

    `broken`: by how much accuracy falls, for each octave of the learning rate above the smallest.
    """
    rng = np.random.default_rng(11)
    curve_step = np.linspace(STEPS / 40, STEPS, 40).astype(int)
    rows = []
    for widening_factor in widths:
        for learning_rate, batch_size in itertools.product(learning_rates, batch_sizes):
            noise_scale = learning_rate / batch_size
            optimum = OPTIMUM_AT_ONE * widening_factor**exponent
            excess = noise_scale / (optimum * CLIFF)
            for seed in range(seeds):
                diverged = everything_diverges or excess * math.exp(rng.normal(0.0, 0.3)) > 1.0
                late = accuracy(widening_factor, noise_scale, exponent=exponent)
                late += rng.normal(0.0, seed_std)
                late -= broken * math.log2(learning_rate / min(learning_rates))
                arrival = 0.35 if still_rising else 0.06
                curve = late * (1 - 0.6 * np.exp(-curve_step / (arrival * STEPS)))
                curve += rng.normal(0.0, 0.001, curve.shape)
                held_out = (curve + rng.normal(0.0, 0.004)).tolist() if validation else []
                rows.append(
                    {
                        "run_id": f"{widening_factor:g}-{learning_rate:g}-{batch_size}-{seed}",
                        "widening_factor": widening_factor,
                        "learning_rate": learning_rate,
                        "batch_size": batch_size,
                        "momentum": 0.0,
                        "seed": seed,
                        "noise_scale": noise_scale,
                        "init_variance": 1.0,
                        "normalized_noise_scale": noise_scale,
                        "steps": STEPS,
                        "physical_time": learning_rate * STEPS,
                        "status": "diverged" if diverged else "ok",
                        "diverged_at_step": 100 if diverged else None,
                        "test_accuracy": None if diverged else float(curve[-10:].mean()),
                        "validation_accuracy": (
                            None if diverged or not validation else float(np.mean(held_out[-10:]))
                        ),
                        "plateau_slope": None if diverged else float(curve[-1] - curve[-10]),
                        "final_train_loss": None if diverged else 0.1 + 0.5 * (1.0 - late),
                        "curve_step": curve_step.tolist(),
                        "curve_test_accuracy": [math.nan] * 40 if diverged else curve.tolist(),
                        "parameterization": "ntk",
                        "engine": "chain",
                        "family": "mlp",
                    }
                )
    return pl.DataFrame(
        rows,
        schema_overrides={
            "validation_accuracy": pl.Float64,
            "final_train_loss": pl.Float64,
            "diverged_at_step": pl.Int64,
        },
        infer_schema_length=None,
    )


def located(
    results: pl.DataFrame, score: str = "test_accuracy"
) -> tuple[dict[float, Optimum], dict[float, str]]:
    """The optimum of each width by the library's own analysis, and why where there is none."""
    optima: dict[float, Optimum] = {}
    problems: dict[float, str] = {}
    for (widening_factor,), runs in results.group_by("widening_factor", maintain_order=True):
        runs = runs.with_columns(place=pl.struct("normalized_noise_scale", "learning_rate"))
        grid = runs.pivot("seed", index="place", values=score).unnest("place")
        grid = grid.sort("normalized_noise_scale", "learning_rate")
        scores = grid.drop("normalized_noise_scale", "learning_rate").cast(pl.Float64)
        try:
            optima[widening_factor] = locate_optimum(
                grid["normalized_noise_scale"].to_numpy(),
                scores.fill_null(math.nan).to_numpy(),
                limits=[None] * (len(grid) - 1) + ["batch size 1"],
                num_test=10_000,
                num_bootstrap=200,
            )
        except FitError as error:
            problems[widening_factor] = str(error)
    return optima, problems


def stable_rates(
    widths: Sequence[float] = WIDTHS, *, exponent: float = 0.3, unbounded: Sequence[float] = ()
) -> tuple[StableLearningRate, ...]:
    """Largest stable learning rates that fall as a planted power of width."""
    rates = []
    for rank, width in enumerate(widths):
        value, spread = 8.0 * width**-exponent, 0.06
        bound = width in unbounded
        draws = np.random.default_rng(rank).normal(math.log(value), spread, 1000)
        rates.append(
            StableLearningRate(
                value=value,
                interval=(value * 0.88, math.inf if bound else value * 1.13),
                confidence=0.95,
                widening_factor=width,
                batch_size=64,
                momentum=0.0,
                steps=200,
                seeds=8,
                share=0.9,
                curvature=None,
                learning_rates=(value, 1.2 * value),
                shares=(1.0, 1.0 if bound else 0.4),
                samples=np.full(1000, math.nan) if bound else draws,
            )
        )
    return tuple(rates)


def fitted(optima: Mapping[float, Optimum]) -> tuple[Law | None, str | None]:
    try:
        return fit_law(list(optima), list(optima.values())), None
    except FitError as error:
        return None, str(error)


def content(results: pl.DataFrame, **changes: object) -> ReportContent:
    """Everything for a page about these results."""
    validated = results["validation_accuracy"].null_count() < len(results)
    optima, problems = located(results, "validation_accuracy" if validated else "test_accuracy")
    law, law_problem = (None, "not fitted here") if "law" in changes else fitted(optima)
    fields: dict[str, object] = {
        "title": "Fashion-MNIST, two hidden layers, NTK",
        "results": results,
        "optima": optima,
        "optimum_problems": problems,
        "law": law,
        "law_problem": law_problem,
        "spec_text": '[family]\nname = "mlp"\nparameterization = "ntk"\nbase_width = 8\n',
        "provenance": {
            "Data": "fashion-mnist-mini, 1,024 training and 10,000 test images",
            "Data fingerprint": "9f2c" * 16,
            "Seeds": "0 to 7",
            "Versions": "widthwise 0.1.0, torch 2.4.0, numpy 1.26.4",
        },
        "command": "widthwise report my-study",
        "results_files": ("results.parquet",),
    }
    return ReportContent(**{**fields, **changes})  # type: ignore[arg-type]


def table_cells(text: str, table: str) -> list[list[str]]:
    """The cells of a table's body as a reader sees them."""
    body = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert body is not None
    return [
        [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall("<td.*?</td>", row)]
        for row in re.findall("<tr.*?</tr>", body[1])
    ]
