"""What one hidden layer tolerates in function space: settings, and the runs.

In the NTK parameterization by `train_infinitely_wide`; in the standard one by the process with the
kernel of each width (function_space.py).
"""

import math
from collections.abc import Iterator, Sequence

import polars as pl
from far_widths_design import EVALUATIONS, FIRST_SEED, LATE_FRACTION, NUM_TRAIN
from function_space import factors, train

from widthwise.data import Dataset, DataSpec, load
from widthwise.families import mlp
from widthwise.training import PackJob, Replica
from widthwise.training.infinite_width import train_infinitely_wide

SHAPE = (28, 28)
# Of the standard parameterization; the last is wider than any network that was trained.
UNITS = (64, 256, 1024, 4096)
# ε/B about which settings lie, in octaves.
_ABOUT = 6.0
_OCTAVES = (-4.0, -2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
# A run with seed 1,000,000 bore the guess below and twice it: sought farther up.
_FARTHER = (-2.0, 0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
_SEEDS = range(FIRST_SEED, FIRST_SEED + 5)
_FEWER_SEEDS = range(FIRST_SEED, FIRST_SEED + 2)
# What the hidden weights alone, and the readout alone, would bear if it were ε·rate/B: a guess.
_HIDDEN, _READOUT = 40.0, 6.0
# Physical time times the mean rate of both: by then all have arrived.
_TIME = 100_000


def settings(
    about: float, learning_rate: float, octaves: Sequence[float] = _OCTAVES
) -> Iterator[tuple[float, int]]:
    """(ε, B) round this ε/B, with rates near the one given."""
    for octave in octaves:
        rate = about * 2.0**octave
        batch = max(1, round(learning_rate / rate))
        yield float(f"{rate * batch:.6g}"), batch


def ntk(
    data: Dataset, physical_time: float, learning_rate: float, *, bias: bool = True
) -> pl.DataFrame:
    """The infinitely wide network."""
    family, rows = mlp(SHAPE, data.num_classes, parameterization="ntk", bias=bias), []
    for rate, batch in settings(_ABOUT, learning_rate, _OCTAVES if bias else _FARTHER):
        job = PackJob(
            widening_factor=1,
            batch_size=batch,
            steps=round(physical_time / rate),
            replicas=tuple(Replica(learning_rate=rate, momentum=0.0, seed=s) for s in _SEEDS),
            evaluations=EVALUATIONS,
            late_fraction=LATE_FRACTION,
        )
        for replica, result in zip(
            job.replicas, train_infinitely_wide(family, data, job), strict=True
        ):
            sound = result.status == "ok"
            rows.append(
                {
                    "learning_rate": rate,
                    "batch_size": batch,
                    "steps": job.steps,
                    "seed": replica.seed,
                    "test_accuracy": result.late["test_accuracy"] if sound else None,
                    "status": result.status,
                }
            )
    return _labeled(rows, "ntk" if bias else "ntk-without-biases", math.inf)


def standard(data: Dataset, units: int, learning_rate: float) -> pl.DataFrame:
    """The process with the kernel of a network of so many units."""
    rates = factors("standard", units, math.prod(SHAPE))
    about = 1 / (rates[0] / _HIDDEN + rates[1] / _READOUT)
    near = min(learning_rate, about)
    chosen = [
        (rate, batch, seed)
        for rate, batch in settings(about, near, _FARTHER)
        for seed in _FEWER_SEEDS
    ]
    time = _TIME / (sum(rates) / 2)
    rows = list(
        train(
            data,
            rates,
            chosen,
            physical_time=time,
            evaluations=EVALUATIONS,
            late_fraction=LATE_FRACTION,
        )
    )
    return _labeled(rows, "standard", float(units))


def images() -> Dataset:
    """The images of far_widths.py."""
    return load(DataSpec(name="fashion-mnist-mini", num_train=NUM_TRAIN))


def _labeled(rows: list[dict[str, float | int | str]], name: str, units: float) -> pl.DataFrame:
    return pl.DataFrame(rows).with_columns(
        parameterization=pl.lit(name), units=pl.lit(units, dtype=pl.Float64)
    )
