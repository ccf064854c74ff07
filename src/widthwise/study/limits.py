"""Sizes that only a slip of the pen asks for are refused by arithmetic, before anything of such a
size is made.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from widthwise.errors import InputError
from widthwise.study.cost import ModuleCost
from widthwise.study.grid_spec import Frozen, GridSpec, Positive, Whole

# Larger stable learning rates are not known; only for how few steps a physical time can be.
_LARGEST_RATE = 1e3
# A number of seeds beyond this may be meant as a seed.
_MANY_SEEDS = 1000


class LimitsSpec(Frozen):
    """What a study may not exceed unless it is said here. It decides no result, and is no part of
    what a study is known by.

    Attributes:
        runs: settings × seeds of all grids together; at most 10^7, whose list fits into memory.
        steps: updates of all runs together.
        flops: floating-point operations of all runs together, evaluations included. 10^19 are six
            years of a CPU's core, or some two days of a large GPU.
        kept_mb: megabytes (10^6 bytes) of trained weights in the store.
    """

    runs: Annotated[int, Field(ge=1, le=10**7)] = 10**6
    steps: Whole = 10**11
    flops: Positive = 1e19
    kept_mb: Positive = 2000.0


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


def refuse_many_flops(
    grids: tuple[GridSpec, ...],
    training: Any,
    num_train: int,
    num_evaluated: int,
    costs: Mapping[float, ModuleCost],
    limits: LimitsSpec,
) -> None:
    """Count the operations of all runs; where they depend on what is measured, the fewest possible.

    Args:
        grids, training, num_train, limits: as for :func:`refuse_many_steps`.
        num_evaluated: examples of an evaluation.
        costs: widening factor → cost of its network.

    Raises:
        InputError: if there are more than the limit.
    """
    flops = 0.0
    for grid in grids:
        runs_a_width = _num_runs(grid) / len(grid.widening_factor)
        examples = _mean(
            steps * min(_as_float(batch), _LARGEST_BATCH)
            for steps, batch in _runs(grid, training, num_train)
        )
        evaluated = (training.evaluations + 1) * num_evaluated
        for width in grid.widening_factor:
            cost = costs[width]
            each = examples * cost.training_flops + evaluated * cost.forward_flops
            flops += runs_a_width * each
    if flops > limits.flops:
        raise InputError(
            f"the runs of a study must take at most limits.flops = {limits.flops:g} operations "
            f"together, got {flops:.3g}; train less or narrower networks, or raise the limit"
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
    return _mean(steps for steps, _ in _runs(grid, training, num_train)) * _num_runs(grid)


_LARGEST_BATCH = 1e300  # finite, for runs of no step


def _as_float(number: float) -> float:
    """Infinite if no float holds it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _runs(grid: GridSpec, training: Any, num_train: int) -> list[tuple[float, int]]:
    """Steps and batch size of the runs of a width, each as often as the others; where they depend
    on what is measured, the smallest possible."""
    if training.steps is not None:
        return [(_as_float(training.steps), batch) for batch in grid.batch_size or (1,)]
    if training.epochs is not None:
        largest = grid.max_batch_size or max(1, num_train // 4)
        sizes = grid.batch_size or (min(largest, num_train),)
        return [(_as_float(training.epochs * (num_train // size)), size) for size in sizes]
    most = grid.stability_margin * (grid.max_stable_learning_rate or _LARGEST_RATE)
    return [
        (training.physical_time * (1.0 - momentum) / rate, batch)
        for rate, momentum, batch in itertools.product(
            grid.learning_rate or (most,), grid.momentum, grid.batch_size or (1,)
        )
    ]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
