"""From a specification to settings: which (ε, B, m) at which width, for how many steps.

Pure: what had to be measured (the largest stable learning rate) is an argument.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.noise import batch_size_for, learning_rate_for
from widthwise.study.grid_spec import GridSpec
from widthwise.study.spec import StudySpec, TrainingSpec

_MIN_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Hyper-parameters of a group of runs that differ only in seed."""

    widening_factor: float
    learning_rate: float
    batch_size: int
    momentum: float
    steps: int


def widths_to_probe(spec: StudySpec) -> list[tuple[float, float]]:
    """(widening factor, momentum) whose largest stable learning rate the plan needs."""
    pairs = {
        (width, momentum)
        for grid in spec.grid
        if grid.normalized_noise_scale is not None and grid.max_stable_learning_rate is None
        for width in grid.widening_factor
        for momentum in grid.momentum
    }
    return sorted(pairs)


def lay_out(
    spec: StudySpec,
    family: WidthFamily,
    num_train: int,
    stable: Mapping[tuple[float, float], float],
) -> tuple[dict[Setting, set[int]], set[tuple[float, float]]]:
    """Setting → seeds, and the noise scales that cannot be reached."""
    runs: dict[Setting, set[int]] = {}
    unreachable: set[tuple[float, float]] = set()
    for grid in spec.grid:
        if grid.normalized_noise_scale is None:
            settings = _product_settings(grid, spec.training, num_train)
        else:
            settings, missed = _noise_settings(grid, spec.training, family, num_train, stable)
            unreachable |= missed
        for setting in settings:
            runs.setdefault(setting, set()).update(grid.seeds)
    return runs, unreachable


def _product_settings(grid: GridSpec, training: TrainingSpec, num_train: int) -> Iterable[Setting]:
    assert grid.learning_rate is not None
    assert grid.batch_size is not None
    if grid.batch_size[-1] > num_train:
        raise InputError(
            f"batch_size must not exceed the {num_train} training examples, "
            f"got {grid.batch_size[-1]}; use smaller batches or a larger data.num_train"
        )
    for width, rate, batch, momentum in itertools.product(
        grid.widening_factor, grid.learning_rate, grid.batch_size, grid.momentum
    ):
        yield _setting(width, rate, batch, momentum, training, num_train)


def _noise_settings(
    grid: GridSpec,
    training: TrainingSpec,
    family: WidthFamily,
    num_train: int,
    stable: Mapping[tuple[float, float], float],
) -> tuple[list[Setting], set[tuple[float, float]]]:
    """At each wanted ḡ the largest ε that is safely stable, because cost at equal physical time
    depends on ḡ alone while larger steps waste fewer of them; then B, rounded, and ε again."""
    assert grid.normalized_noise_scale is not None
    unit = training.ghost_batch_size or 1  # batches are whole numbers of these
    allowed = min(grid.max_batch_size or max(unit, num_train // 4), num_train)
    if unit > allowed:
        raise InputError(
            f"training.ghost_batch_size must not exceed the largest batch allowed, {allowed} "
            f"examples, got {unit}; use smaller parts or a larger max_batch_size"
        )
    cap = allowed // unit * unit
    settings, unreachable = [], set()
    for width, momentum in itertools.product(grid.widening_factor, grid.momentum):
        limit = grid.max_stable_learning_rate or stable[width, momentum]
        largest = grid.stability_margin * limit
        variance = family.init_variance(width)
        for scale in grid.normalized_noise_scale:
            wanted = batch_size_for(scale, largest, momentum, init_variance=variance)
            if wanted < unit * (1.0 - 1e-9):
                unreachable.add((width, scale))
                continue
            # Down, not to the nearest: rounding up would take ε above its limit.
            batch = min(max(1, math.floor(wanted / unit + 1e-9)) * unit, cap)
            rate = learning_rate_for(scale, batch, momentum, init_variance=variance)
            settings.append(_setting(width, rate, batch, momentum, training, num_train))
    return settings, unreachable


def _setting(
    width: float,
    rate: float,
    batch: int,
    momentum: float,
    training: TrainingSpec,
    num_train: int,
) -> Setting:
    if training.steps is not None:
        steps = training.steps
    elif training.epochs is not None:
        steps = round(training.epochs * (num_train // batch))
    else:
        assert training.physical_time is not None
        steps = math.ceil(training.physical_time * (1.0 - momentum) / rate - 1e-9)
    return Setting(
        widening_factor=width,
        learning_rate=rate,
        batch_size=batch,
        momentum=momentum,
        steps=max(_MIN_STEPS, steps),
    )
