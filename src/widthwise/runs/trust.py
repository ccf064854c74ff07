"""How far a table of runs can be trusted: enough seeds, and training that had arrived."""

from collections.abc import Mapping, Sequence

import polars as pl

from widthwise.analysis import Optimum
from widthwise.analysis.doubts import KINK
from widthwise.runs.tables import (
    OptimumRow,
    SelectedOn,
    SettingRow,
    optimum_rows,
    selected_on,
    setting_rows,
)
from widthwise.text import count, exact_list

# Below this many seeds a bootstrap interval is narrower than it should be.
FEW_SEEDS = 5
# A change of accuracy over late times that matters whatever its cause (a fraction).
LARGE_CHANGE = 0.005
LARGE_CHANGE_ERRORS = 3.0
# A guess: where more of the settings near an optimum still move, the optimum is in doubt.
MANY = 0.1
# Settings within this factor of an optimum decide where it lies.
NEAR_FACTOR = 4.0


def doubts(results: pl.DataFrame, optima: Mapping[float, Optimum]) -> tuple[str, ...]:
    """Why optima of these runs, and a law over them, may mean less than their intervals say."""
    settings = setting_rows(results)
    rows = optimum_rows(settings, optima)
    said = []
    near = near_optimum(settings, rows)
    fewest = min((row.num_seeds for row in near), default=FEW_SEEDS)
    if fewest < FEW_SEEDS:
        said.append(f"settings near an optimum were run with {count(fewest, 'seed')} only")
    engines = engines_by_width(results)
    if len(set(engines.values())) > 1:
        shown = "; ".join(f"w = {w:g}: {', '.join(names)}" for w, names in engines.items())
        said.append(f"widths were trained by different engines ({shown})")
    moving = still_moving(settings, rows, selected_on(results))
    if len(moving) > MANY * len(near):
        said.append(
            f"accuracy was still changing at {len(moving)} of {len(near)} settings near an optimum"
        )
    # A kink is in the intervals. Half of the widths: one alone does not carry a law.
    unsure = [w for w, optimum in sorted(optima.items()) if set(optimum.doubts) - {KINK}]
    if len(unsure) >= max(len(optima) / 2, 1):
        said.append(
            f"at w = {exact_list(unsure)} scores are level up to an edge, or have two peaks"
        )
    return tuple(said)


def engines_by_width(results: pl.DataFrame) -> dict[float, tuple[str, ...]]:
    """Widening factor → engines that trained its runs; equal engines at all widths take no side."""
    table = results.group_by("widening_factor").agg(pl.col("engine").unique().sort())
    return {width: tuple(engines) for width, engines in table.sort("widening_factor").iter_rows()}


def still_moving(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> list[SettingRow]:
    """Settings near an optimum whose accuracy still changed at late times, worst first.

    "Still changed": the change over the late window exceeds the standard error of the accuracy,
    and either cannot be chance (t test, 5 % for all settings looked at together) or is large:
    LARGE_CHANGE and LARGE_CHANGE_ERRORS standard errors, since few seeds make the test weak. Where
    the learning rate changes at late times, the change is partly its doing.
    """
    from scipy import special  # SciPy is slow to import

    judged = [row for row in near_optimum(settings, optima) if row.plateau_slope_sem is not None]
    moving = []
    for row in judged:
        change, error = abs(row.plateau_slope or 0.0), row.plateau_slope_sem or 0.0
        degrees = row.num_survived - 1
        threshold = float(special.stdtrit(degrees, 1.0 - 0.025 / len(judged)))
        real = change > threshold * error
        large = change > max(LARGE_CHANGE, LARGE_CHANGE_ERRORS * error)
        if (real or large) and change > (row.score(selected_on)[1] or 0.0):
            moving.append(row)
    return sorted(moving, key=lambda row: -abs(row.plateau_slope or 0.0))


def near_optimum(settings: Sequence[SettingRow], optima: Sequence[OptimumRow]) -> list[SettingRow]:
    """Surviving settings within a factor NEAR_FACTOR of their width's optimum."""
    places = {row.widening_factor: row.optimum.noise_scale for row in optima}
    return [
        row
        for row in settings
        if row.test_accuracy is not None
        and row.widening_factor in places
        and 1 / NEAR_FACTOR
        <= row.normalized_noise_scale / places[row.widening_factor]
        <= NEAR_FACTOR
    ]
