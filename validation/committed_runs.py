"""Tables of runs small enough to commit, and back: what a page of evidence is made from."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from widthwise.study import Study

_KEPT = (
    "widening_factor",
    "learning_rate",
    "batch_size",
    "steps",
    "seed",
    "init_variance",
    "test_accuracy",
    "plateau_slope",
    "status",
    "seconds",
)
# The same in all runs of these pages.
_CONSTANT = {
    "momentum": pl.lit(0.0),
    "schedule": pl.lit("constant"),
    "ghost_batch_size": pl.lit(None, dtype=pl.Int64),
    "validation_accuracy": pl.lit(None, dtype=pl.Float64),
}


def write(studies: Mapping[str, Study], path: Path) -> None:
    """One table of the runs of all widths that are complete; studies by parameterization."""
    tables = [
        study.results()
        .filter(pl.col("widening_factor").is_in(_complete(study)))
        .select(pl.lit(name).alias("parameterization"), *_KEPT)
        .sort("widening_factor", "batch_size", "learning_rate", "seed")
        for name, study in studies.items()
    ]
    pl.concat(tables).with_columns(pl.col("seconds").round(2)).write_csv(path, float_precision=6)


def _complete(study: Study) -> list[float]:
    """Widening factors all of whose runs have landed."""
    landed = Counter(study.results()["widening_factor"].to_list())
    asked: Counter[float] = Counter()
    for grid in study.spec.grid:  # one setting each
        asked.update({grid.widening_factor[0]: len(grid.seeds)})
    return [width for width, count in asked.items() if landed[width] >= count]


def read(path: Path) -> dict[str, pl.DataFrame]:
    """Parameterization → runs, with the columns that analysis asks for."""
    runs = pl.read_csv(path, infer_schema_length=None).with_columns(
        pl.col("test_accuracy").cast(pl.Float64), pl.col("plateau_slope").cast(pl.Float64)
    )
    return {
        str(name): complete(own)
        for (name,), own in runs.group_by("parameterization", maintain_order=True)
    }


def complete(runs: pl.DataFrame) -> pl.DataFrame:
    """With what follows from the other columns, and what is the same in all runs."""
    noise = pl.col("learning_rate") / pl.col("batch_size")
    return runs.with_columns(
        normalized_noise_scale=noise / pl.col("init_variance"),
        physical_time=pl.col("learning_rate") * pl.col("steps"),
        **_CONSTANT,
    )
