"""Tables behind the figures: runs in, plain rows out. Nothing here draws, writes or fits."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widthwise.analysis import Law, Optimum
from widthwise.runs.schema import SETTING
from widthwise.theory.parameterization import width_rule

SelectedOn = Literal["test", "validation"]

_FOLLOWING = ("normalized_noise_scale", "init_variance", "steps")  # from the setting
_ORDER = ("widening_factor", "normalized_noise_scale", "learning_rate", "batch_size", "momentum")
_AVERAGED_COLUMNS = ("test_accuracy", "validation_accuracy", "plateau_slope")
# Noise scales closer than this ratio are one place on the axis: they differ by rounding only.
_SAME_PLACE = 1e-6


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """One (width, learning rate, batch size, momentum), averaged over the seeds that survived.

    Accuracies and the plateau slope are fractions; `_sem` is the standard error over seeds, None
    below two seeds; a mean is None when every seed diverged.
    """

    widening_factor: float
    learning_rate: float
    batch_size: int
    momentum: float
    init_variance: float
    normalized_noise_scale: float
    steps: int
    num_seeds: int
    num_diverged: int
    test_accuracy: float | None
    test_accuracy_sem: float | None
    validation_accuracy: float | None
    validation_accuracy_sem: float | None
    plateau_slope: float | None
    plateau_slope_sem: float | None

    @property
    def num_survived(self) -> int:
        return self.num_seeds - self.num_diverged

    def score(self, selected_on: SelectedOn) -> tuple[float | None, float | None]:
        """Mean and standard error of the accuracy by which the optimum was chosen."""
        if selected_on == "validation":
            return self.validation_accuracy, self.validation_accuracy_sem
        return self.test_accuracy, self.test_accuracy_sem


@dataclass(frozen=True, kw_only=True)
class PlacedOptimum:
    """The optimum of one width, of whatever is on the axis."""

    widening_factor: float
    optimum: Optimum

    @property
    def censored(self) -> bool:
        return self.optimum.censoring != "none"

    @property
    def relation(self) -> str:
        """How the optimum compares with the number given for it: "=", "≥" or "≤".

        A censored optimum with its peak inside the settings run is still an estimate ("=");
        only its interval is open.
        """
        edges = {"low": self.optimum.measured[0], "high": self.optimum.measured[1]}
        edge = edges.get(self.optimum.censoring)
        if edge is None:
            return "="
        known = 0.0 < edge < math.inf
        if known and not math.isclose(edge, self.optimum.noise_scale, rel_tol=_SAME_PLACE):
            return "="
        return "≥" if self.optimum.censoring == "high" else "≤"

    @property
    def located(self) -> bool:
        """Inside the settings run, with an interval that ends on both sides."""
        low, high = self.optimum.interval
        return not self.censored and low > 0.0 and math.isfinite(high)


@dataclass(frozen=True, kw_only=True)
class OptimumRow(PlacedOptimum):
    """The optimum of one width, with the setting nearest to it and the batch size it implies."""

    nearest: SettingRow
    batch_size: float  # at the learning rate and momentum of `nearest`; not rounded
    batch_size_interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveRow:
    """Test accuracy during training at one setting: mean and standard error, each shape (E,)."""

    widening_factor: float
    setting: SettingRow
    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    sem: NDArray[np.float64]  # NaN where fewer than two seeds were evaluated


@dataclass(frozen=True, kw_only=True, eq=False)
class LawLine:
    """The fitted law and its band at a few widths, each shape (W,)."""

    widening_factors: NDArray[np.float64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def selected_on(results: pl.DataFrame) -> SelectedOn:
    """Which accuracy chose the optimum: validation wherever the study held a part back.

    >>> selected_on(pl.DataFrame({"validation_accuracy": [None, 0.7]}))
    'validation'
    """
    column = results["validation_accuracy"]
    return "validation" if column.null_count() < len(column) else "test"


def base_init_variance(results: pl.DataFrame) -> float:
    """Family-level σ_init² at widening factor 1, from any width of a family's results.

    >>> base_init_variance(pl.DataFrame({
    ...     "parameterization": ["standard"], "widening_factor": [4.0], "init_variance": [0.5],
    ... }))
    2.0
    """
    row = results.sort("widening_factor").row(0, named=True)
    exponent = width_rule(row["parameterization"]).variance_exponent
    return float(row["init_variance"] * row["widening_factor"] ** -exponent)


def setting_rows(results: pl.DataFrame) -> list[SettingRow]:
    """One row a setting, ordered by width, then noise scale, then learning rate."""
    survived = pl.col("status") == "ok"
    averages = [
        expression
        for name in _AVERAGED_COLUMNS
        for column in [pl.col(name).cast(pl.Float64).fill_nan(None).filter(survived)]
        for expression in (
            column.mean().alias(name),
            (column.std(ddof=1) / column.count().cast(pl.Float64).sqrt()).alias(f"{name}_sem"),
        )
    ]
    table = (
        _in_order(results)
        .group_by(SETTING, maintain_order=True)
        .agg(
            pl.col(_FOLLOWING).first(),
            pl.len().alias("num_seeds"),
            (~survived).sum().alias("num_diverged"),
            *averages,
        )
    )
    return [SettingRow(**row) for row in table.iter_rows(named=True)]


def optimum_rows(
    settings: Sequence[SettingRow], optima: Mapping[float, Optimum]
) -> list[OptimumRow]:
    """One row a located (or censored) optimum, by width.

    Widths where every run diverged have no setting to be near to and are left out.
    """
    rows = []
    for widening_factor, optimum in sorted(optima.items()):
        nearest = nearest_setting(
            (row for row in settings if row.widening_factor == widening_factor),
            optimum.noise_scale,
        )
        if nearest is not None:
            low, high = optimum.interval
            rows.append(
                OptimumRow(
                    widening_factor=widening_factor,
                    optimum=optimum,
                    nearest=nearest,
                    batch_size=batch_size_at(optimum.noise_scale, nearest),
                    batch_size_interval=(
                        batch_size_at(high, nearest),
                        batch_size_at(low, nearest),
                    ),
                )
            )
    return rows


def nearest_setting(
    settings: Iterable[SettingRow], normalized_noise_scale: float
) -> SettingRow | None:
    """The surviving setting nearest in log noise scale; of equals the one with most survivors."""
    alive = [row for row in settings if row.test_accuracy is not None]
    if not alive:
        return None
    return min(
        alive,
        key=lambda row: (
            round(abs(math.log(row.normalized_noise_scale / normalized_noise_scale)), 9),
            -row.num_survived,
        ),
    )


def batch_size_at(normalized_noise_scale: float, setting: SettingRow) -> float:
    """Batch size that has this noise scale at the setting's learning rate and momentum.

    learning_rate / (normalized_noise_scale * init_variance * (1 - momentum)); an open end of an
    interval (0 or infinity) gives infinity or 0.
    """
    if normalized_noise_scale == 0.0:
        return math.inf
    damping = setting.init_variance * (1.0 - setting.momentum)
    return setting.learning_rate / (normalized_noise_scale * damping)


def reference_batch_sizes(rows: Sequence[OptimumRow]) -> NDArray[np.float64]:
    """Batch sizes, shape (rows,), if the optimal noise scale were proportional to width.

    1 / (widening_factor * init_variance) at a fixed learning rate and momentum, scaled to the
    geometric mean of the rows' batch sizes. Slope -1 for NTK, 0 for standard.
    """
    shape = np.array([1.0 / (row.widening_factor * row.nearest.init_variance) for row in rows])
    measured = np.array([row.batch_size for row in rows])
    offset = np.mean(np.log(measured) - np.log(shape))
    return np.asarray(shape * np.exp(offset))


def mean_by_noise_scale(
    points: Iterable[tuple[float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average the values of settings that share a noise scale, ordered by it.

    >>> x, y = mean_by_noise_scale([(0.2, 3.0), (0.1, 1.0), (0.2, 5.0)])
    >>> x.tolist(), y.tolist()
    ([0.1, 0.2], [1.0, 4.0])
    """
    groups: list[tuple[float, list[float]]] = []
    for place, value in sorted(points):
        if groups and place <= groups[-1][0] * (1.0 + _SAME_PLACE):
            groups[-1][1].append(value)
        else:
            groups.append((place, [value]))
    return (
        np.array([place for place, _ in groups]),
        np.array([np.mean(values) for _, values in groups]),
    )


def curve_rows(results: pl.DataFrame, settings: Iterable[SettingRow]) -> list[CurveRow]:
    """Test accuracy against the step at these settings, over the seeds that survived; settings
    without any are left out."""
    survived = _in_order(results).filter(pl.col("status") == "ok")
    curves = (
        survived.select(*SETTING, step="curve_step", accuracy="curve_test_accuracy")
        .explode("step", "accuracy")
        .with_columns(pl.col("accuracy").cast(pl.Float64).fill_nan(None))
        .drop_nulls()
        .group_by(*SETTING, "step", maintain_order=True)
        .agg(
            mean=pl.col("accuracy").mean(),
            sem=pl.col("accuracy").std(ddof=1) / pl.len().cast(pl.Float64).sqrt(),
        )
        .sort("step", maintain_order=True)
        .with_columns(pl.col("step", "mean", "sem").cast(pl.Float64))
        .partition_by(SETTING, as_dict=True, include_key=False)
    )
    rows = []
    for setting in settings:
        curve = curves.get(tuple(getattr(setting, name) for name in SETTING))
        if curve is not None:
            rows.append(
                CurveRow(
                    widening_factor=setting.widening_factor,
                    setting=setting,
                    steps=curve["step"].to_numpy(),
                    mean=curve["mean"].to_numpy(),
                    sem=curve["sem"].fill_null(math.nan).to_numpy(),
                )
            )
    return rows


def law_line(law: Law, widening_factors: Iterable[float], num_points: int = 41) -> LawLine:
    """The law between the smallest and the largest width, at equal ratios."""
    factors = list(widening_factors)
    grid = np.geomspace(min(factors), max(factors), num_points)
    predictions = [law.predict(float(factor)) for factor in grid]
    return LawLine(
        widening_factors=grid,
        value=np.array([value for value, _ in predictions]),
        low=np.array([band[0] for _, band in predictions]),
        high=np.array([band[1] for _, band in predictions]),
    )


def _in_order(results: pl.DataFrame) -> pl.DataFrame:
    """Runs by setting and seed: sums, and so the last digits, must not hang on how they came."""
    return results.sort(*_ORDER, "seed", maintain_order=True)
