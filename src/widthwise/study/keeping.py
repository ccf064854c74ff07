"""Whose trained weights a study keeps, whose it still lacks, and what they take.

Which setting of a width is best is known when all of its runs have landed. Until then a study that
keeps the best keeps the weights of all its runs; at the end those of the best stay. A run that had
landed without weights is trained again only if it is one whose weights are kept.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from widthwise.errors import InputError
from widthwise.runs.key import Run
from widthwise.runs.schema import results_table
from widthwise.runs.store import Store
from widthwise.runs.tables import SettingRow, selected_on, setting_rows
from widthwise.study.context import Context
from widthwise.study.cost import ModuleCost
from widthwise.study.grid_spec import GridSpec
from widthwise.study.keep_spec import KeepSpec, KeptRuns
from widthwise.study.limits import LimitsSpec
from widthwise.study.schedule import Schedule
from widthwise.study.spec import StudySpec
from widthwise.text import count
from widthwise.theory.noise import normalized_noise_scale


def best_settings(results: pl.DataFrame) -> dict[float, SettingRow]:
    """Widening factor → the setting with the highest late-time accuracy, on validation examples if
    there are any: the mean over its seeds, of settings of which none diverged. Of equal ones the
    one with the smaller noise scale. Widths where every setting diverged have none.

    Args:
        results: rows of :data:`widthwise.runs.schema.RESULTS_SCHEMA`.
    """
    best: dict[float, tuple[float, SettingRow]] = {}
    if results.is_empty():
        return {}
    by = selected_on(results)
    for row in setting_rows(results):
        score, _ = row.score(by)
        if score is None or row.num_diverged:
            continue
        if row.widening_factor not in best or score > best[row.widening_factor][0]:
            best[row.widening_factor] = score, row
    return {width: row for width, (_, row) in sorted(best.items())}


def runs_of_best(results: pl.DataFrame) -> pl.DataFrame:
    """The runs of :func:`best_settings`: by width, then seed."""
    chosen = [
        results.filter(
            pl.col("widening_factor") == row.widening_factor,
            pl.col("learning_rate") == row.learning_rate,
            pl.col("batch_size") == row.batch_size,
            pl.col("momentum") == row.momentum,
        ).sort("seed")
        for row in best_settings(results).values()
    ]
    return pl.concat(chosen) if chosen else results.clear()


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """The weights of one study.

    Attributes:
        spec: of the study.
        store: where its runs and their weights lie.
        init_variance: widening factor → family-level σ_init².
        costs: widening factor → cost of its network.
    """

    spec: StudySpec
    store: Store
    init_variance: Callable[[float], float]
    costs: Mapping[float, ModuleCost]
    _diverged: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, context: Context, store: Store) -> "Keeper":
        """Of a study in this context whose runs lie in this store."""
        return cls(
            spec=context.spec,
            store=store,
            init_variance=context.family.init_variance,
            costs=context.costs(),
        )

    @property
    def waits(self) -> bool:
        """Whether it is known only at the end whose weights are kept."""
        return self.spec.keep.which == "best"

    def named(self, runs: Mapping[str, Run]) -> frozenset[str]:
        """Keys of the runs whose weights are kept, as far as that does not hang on results.

        Args:
            runs: key → run, of those that are asked for.
        """
        keep = self.spec.keep
        if keep.which == "all":
            return frozenset(runs)
        return frozenset(
            key
            for key, run in runs.items()
            if any(kept.has(run, self._noise_scale(run)) for kept in keep.settings)
        )

    def best(self, keys: Collection[str]) -> frozenset[str]:
        """Keys of the runs of each width's best setting.

        Args:
            keys: of the runs that are asked for, all of which have landed.
        """
        landed, _ = self.store.table(keys)
        fraction = self.spec.training.late_fraction
        results = results_table(landed, late_fraction=fraction, spec_hash="")
        return frozenset(runs_of_best(results)["run_id"])

    def lacking(self, wanted: Collection[str], landed: Collection[str]) -> frozenset[str]:
        """Of these runs those that have landed without weights, and not diverged."""
        if not wanted:
            return frozenset()
        without = frozenset(wanted).intersection(landed) - self.store.weights.keys()
        unknown = without - self._diverged
        if unknown:
            rows, _ = self.store.table(unknown, columns=["status"])
            self._diverged.update(rows.filter(pl.col("status") != "ok")["key"])
        return without - self._diverged

    def marked(self, schedule: Schedule, wanted: Collection[str]) -> Schedule:
        """With what each pack is to keep.

        Args:
            schedule: of runs that are trained.
            wanted: keys of runs whose weights are kept; more are kept for now while it is not known
                which.
        """
        for_now = self.waits and not wanted
        packs = (
            replace(
                pack,
                keep=frozenset(pack.keys if for_now else wanted).intersection(pack.keys),
                keep_for_now=for_now,
            )
            for pack in schedule.packs
        )
        return replace(schedule, packs=tuple(packs))

    def announcement(self, runs: Mapping[str, Run], *, is_all: bool) -> str | None:
        """Whose weights are kept and what they take, in a line; None if nobody's.

        Args:
            runs: key → run, of those that are asked for.
            is_all: whether no others will be.

        Raises:
            InputError: if it names settings that no run has.
        """
        keep = self.spec.keep
        if keep.which == "none":
            return None
        sizes = {key: self._bytes(run) for key, run in runs.items()}
        if self.waits:
            now, so_far = sum(sizes.values()), "" if is_all else " so far"
            return (
                f"keeps the weights of the best setting of each width, all its seeds; until that "
                f"is known those of all {count(len(runs), 'run')}{so_far}, {_mb(now)}"
            )
        named = self.named(runs)
        if not named and is_all:
            raise InputError(
                "keep must name settings of which there are runs, got none with "
                f"{keep.model_dump(mode='json')}; see `widthwise status` and the grid"
            )
        size = sum(sizes[key] for key in named)
        return f"keeps the weights of {count(len(named), 'run')}, {_mb(size)}"

    def _bytes(self, run: Run) -> int:
        return self.costs[run.widening_factor].kept_bytes(momentum=run.momentum > 0)

    def _noise_scale(self, run: Run) -> float:
        scale = normalized_noise_scale(
            run.learning_rate,
            run.batch_size,
            run.momentum,
            init_variance=self.init_variance(run.widening_factor),
        )
        return float(scale)


def refuse_many_bytes(
    grids: Iterable[GridSpec],
    keep: KeepSpec,
    costs: Mapping[float, ModuleCost],
    limits: LimitsSpec,
    *,
    max_seeds: int | None = None,
    max_runs: int | None = None,
) -> None:
    """Count the weights that are kept at a time, before anything is trained.

    Args:
        grids, keep, limits: of the specification.
        costs: widening factor → cost of its network.
        max_seeds, max_runs: of a search, which chooses the seeds and the number of runs.

    Raises:
        InputError: if they may take more than the limit.
    """
    total, runs, largest = 0.0, 0, 0
    for grid in grids if keep.which != "none" else ():
        whole = grid if max_seeds is None else grid.model_copy(update={"seeds": range(max_seeds)})
        each = max(cost.kept_bytes(momentum=any(grid.momentum)) for cost in costs.values())
        largest = max(largest, each)
        for width in grid.widening_factor:
            one = whole.model_copy(update={"widening_factor": (width,)})
            number = _most_kept(keep, one)
            runs += number
            total += number * costs[width].kept_bytes(momentum=any(grid.momentum))
    if max_runs is not None and max_runs < runs:
        total = min(total, max_runs * largest)
    if total > limits.kept_mb * 1e6:
        named = "name settings, or " if keep.which != "settings" else "name fewer, or "
        raise InputError(
            f"the weights that a study keeps must take at most limits.kept_mb = {limits.kept_mb:g} "
            f"MB at a time, got up to {total / 1e6:.4g} MB with keep = "
            f"{keep.model_dump(mode='json')!r}; {named}raise the limit to "
            f"limits.kept_mb = {_rounded_up(total / 1e6)}"
        )


def _most_kept(keep: KeepSpec, grid: GridSpec) -> int:
    every = KeptRuns().count(grid)
    if keep.which != "settings":
        return every
    return min(every, sum(kept.count(grid) for kept in keep.settings))


def _rounded_up(value: float) -> int:
    """To two digits, and not below the value."""
    unit = int(10 ** max(0, len(str(int(value))) - 2))
    return math.ceil(value / unit) * unit


def _mb(size: float) -> str:
    return f"{size / 1e6:.3g} MB"
