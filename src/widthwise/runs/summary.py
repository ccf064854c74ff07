"""From the results table to what was found: an optimum a width, and the law over widths."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import FitError

_SETTING = ("learning_rate", "batch_size", "momentum")


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


def score_column(results: pl.DataFrame) -> str:
    """The column by which settings are compared: validation accuracy where there is one."""
    validated = results["validation_accuracy"].null_count() < len(results)
    return "validation_accuracy" if validated else "test_accuracy"


def summarize(results: pl.DataFrame, *, num_train: int, num_scored: int, seed: int = 0) -> Summary:
    """Locate the optimum of every width, and fit the law.

    Args:
        results: one row a run.
        num_train: N, to recognize the largest batches.
        num_scored: examples behind each accuracy (test or validation set).
        seed: of the bootstrap.
    """
    optima: dict[float, Optimum] = {}
    problems: dict[float, str] = {}
    for (width,), rows in sorted(results.group_by("widening_factor")):
        assert isinstance(width, float)
        try:
            optima[width] = _optimum(rows, seed, num_train, num_scored)
        except FitError as error:
            problems[width] = str(error)
    law, law_problem = None, None
    try:
        law = fit_law(list(optima), list(optima.values()))
    except FitError as error:
        law_problem = str(error)
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
    part = ghost_batch_size or 1
    ends = {
        part: "batch size 1" if part == 1 else f"one ghost batch of {part}",
        num_train // part * part: f"most ghost batches of {part}",
        num_train: "full batch",
    }
    return ends.get(batch_size)


def _optimum(rows: pl.DataFrame, seed: int, num_train: int, num_scored: int) -> Optimum:
    seeds = sorted(rows["seed"].unique().to_list())
    column = score_column(rows)
    scales, scores, ran, limits, rates = [], [], [], [], []
    ghost = rows["ghost_batch_size"][0]  # of the recipe, which all runs of a study share
    for (rate, batch, momentum), group in sorted(rows.group_by(*_SETTING)):
        by_seed = dict(zip(group["seed"], group[column], strict=True))
        scales.append(group["normalized_noise_scale"][0])
        scores.append([_number(by_seed.get(s)) for s in seeds])
        ran.append([s in by_seed for s in seeds])
        limits.append(limit_of(batch, num_train, ghost))
        rates.append(rate / (1.0 - momentum))
    return locate_optimum(
        np.array(scales),
        np.array(scores),
        limits=limits,
        num_test=num_scored,
        seed=seed,
        ran=np.array(ran),
        effective_rate=np.array(rates),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
