"""Sizes that only a slip of the pen asks for are refused by arithmetic, before anything of such a
size is made.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from widthwise.errors import InputError
from widthwise.study.grid_spec import Frozen, GridSpec, Whole

# Larger stable learning rates are not known; only for how few steps a physical time can be.
_LARGEST_RATE = 1e3
# A number of seeds beyond this may be meant as a seed.
_MANY_SEEDS = 1000


class LimitsSpec(Frozen):
    """What a study may not exceed unless it is said here. It decides no result, and is no part of
    what a study is known by.

    Attributes:
        runs: settings × seeds of all grids together.
        steps: updates of all runs together.
    """

    runs: Whole = 10**6
    steps: Whole = 10**11


def refuse_long_lists(fields: Mapping[str, Any], limits: LimitsSpec) -> None:
    """A few characters can ask for lists that fill the memory: a number of seeds, the length of a
    range.

    Args:
        fields: a specification as it is written.
        limits: of it.

    Raises:
        InputError: naming the first that is too long.
    """
    for key, count, value in _written_counts(fields.get("grid")):
        if count > limits.runs:
            raise InputError(
                f"grid.{key} must not ask for more than limits.runs = {limits.runs} runs, got "
                f"{_whole(count)}; {_remedy(value)}"
            )


def refuse_many_runs(grids: tuple[GridSpec, ...], limits: LimitsSpec) -> None:
    """Count the runs of the grids.

    Raises:
        InputError: if there are more than the limit.
    """
    runs = sum(_num_runs(grid) for grid in grids)
    if runs > limits.runs:
        most = max(grids, key=_num_runs).seeds
        raise InputError(
            f"a study must have at most limits.runs = {limits.runs} runs, got {_whole(runs)}; "
            + _remedy(len(most) if most == tuple(range(len(most))) else 0)
        )


def refuse_many_steps(
    grids: tuple[GridSpec, ...], training: Any, num_train: int, limits: LimitsSpec
) -> None:
    """Count the updates of all runs; where they depend on what is measured, the fewest possible.

    Args:
        grids: of the specification.
        training: its :class:`~widthwise.study.spec.TrainingSpec`.
        num_train: training examples.
        limits: of the specification.

    Raises:
        InputError: if there are more than the limit.
    """
    steps = sum(_num_steps(grid, training, num_train) for grid in grids)
    if steps > limits.steps:
        raise InputError(
            f"the runs of a study must take at most limits.steps = {limits.steps} steps together, "
            f"got {steps:.3g}; train less, or raise the limit"
        )


def _written_counts(grids: Any) -> Iterator[tuple[str, int, Any]]:
    """(key, how many values it stands for, what a seed may be meant by), where a number says so."""
    listed = grids if isinstance(grids, list | tuple) else [grids]
    for grid in listed:
        for key, value in grid.items() if isinstance(grid, Mapping) else ():
            if key == "seeds" and isinstance(value, int):
                yield key, value, value
            elif isinstance(value, Mapping) and isinstance(value.get("num"), int):
                yield key, value["num"], 0


def _remedy(seeds: int) -> str:
    meant = f"for one seed write [{seeds}], " if seeds > _MANY_SEEDS else ""
    return f"{meant}ask for fewer, or raise the limit"


def _whole(count: int) -> str:
    return str(count) if count < 10**15 else f"about 10^{math.floor(math.log10(count))}"


def _num_runs(grid: GridSpec) -> int:
    lists = (
        grid.widening_factor,
        grid.seeds,
        grid.momentum,
        grid.learning_rate,
        grid.batch_size,
        grid.normalized_noise_scale,
    )
    return math.prod(len(values) for values in lists if values is not None)


def _num_steps(grid: GridSpec, training: Any, num_train: int) -> float:
    if training.steps is not None:
        return float(training.steps) * _num_runs(grid)
    if training.epochs is not None:
        largest = grid.max_batch_size or max(1, num_train // 4)
        sizes = grid.batch_size or (min(largest, num_train),)
        each = [training.epochs * (num_train // size) for size in sizes]
    else:
        most = grid.stability_margin * (grid.max_stable_learning_rate or _LARGEST_RATE)
        rates = grid.learning_rate or (most,)
        each = [
            training.physical_time * (1.0 - momentum) / rate
            for rate, momentum in itertools.product(rates, grid.momentum)
        ]
    return float(sum(each)) / len(each) * _num_runs(grid)
