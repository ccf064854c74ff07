"""A study's packs: of its whole grid, or of the rounds of a search that have begun.

What laying them out needs to have measured is measured once, and kept with the study.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widthwise.runs.store import Store
from widthwise.study.context import Context, load_context
from widthwise.study.cost import ModuleCost
from widthwise.study.rounds import Rounds, Searched
from widthwise.study.schedule import (
    RunSetting,
    Schedule,
    lay_out,
    make_schedule,
    most_replicas,
    pack_shapes,
    widths_to_probe,
)
from widthwise.study.stable_rates import BATCH_SIZE, stable_learning_rate
from widthwise.study.timing import measured_sizes
from widthwise.theory.noise import normalized_noise_scale

_SECONDS_BETWEEN_LOOKS = 0.5
_Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Everything that a schedule depends on, measured once and kept with the study.

    Attributes:
        context: specification, data and family.
        costs: widening factor → cost of its network.
        stable: (widening factor, momentum) → largest stable learning rate, where it is needed.
        pack_sizes: (widening factor, batch size) → runs in a pack.
        searched: the search; None for a grid.
    """

    context: Context
    costs: Mapping[float, ModuleCost]
    stable: Mapping[tuple[float, float], float]
    pack_sizes: Mapping[tuple[float, int], int]
    searched: Searched | None

    @classmethod
    def of(cls, store: Store) -> "Scheduler":
        """Measures what has not been measured before."""
        context = load_context(store.directory)
        costs = context.costs()
        stable = stable_learning_rates(store, context, costs)
        return cls(
            context=context,
            costs=costs,
            stable=stable,
            pack_sizes=pack_sizes(store, context, costs, stable),
            searched=_searched(context, costs, stable),
        )

    def schedule(self, rounds: Rounds) -> Schedule:
        """Packs of the whole grid; of a search those of the rounds.

        Every round has packs of its own, so that a later one does not change which runs share
        one.
        """
        if self.searched is None:
            return self._schedule(None)
        schedules = [
            self._schedule(self.searched.runs(Rounds(rounds=(asked,)))) for asked in rounds.rounds
        ]
        unreachable = self._schedule({}).unreachable
        packs = tuple(pack for schedule in schedules for pack in schedule.packs)
        return Schedule(packs=packs, unreachable=unreachable)

    def _schedule(self, runs: Mapping[RunSetting, Collection[int]] | None) -> Schedule:
        context = self.context
        return make_schedule(
            context.spec,
            context.family,
            num_train=context.dataset.num_train,
            num_evaluated=context.num_evaluated,
            data_fingerprint=context.data_fingerprint,
            family_identity=context.family_identity(),
            costs=self.costs,
            stable_learning_rates=self.stable,
            pack_sizes=self.pack_sizes,
            runs=runs,
        )


def _searched(
    context: Context,
    costs: Mapping[float, ModuleCost],
    stable: Mapping[tuple[float, float], float],
) -> Searched | None:
    spec, num_train = context.spec, context.dataset.num_train
    search = spec.search
    if search is None:
        return None
    runs, _ = lay_out(spec, context.family, num_train, stable)
    return Searched(
        search,
        list(runs),
        noise_scale={s: _noise_scale(s, context) for s in runs},
        cost={s: cost_in_search(s, context, costs, search.seeds_at_once) for s in runs},
        num_train=num_train,
        ghost_batch_size=spec.training.ghost_batch_size,
        seed=spec.analysis.seed,
    )


def cost_in_search(
    setting: RunSetting, context: Context, costs: Mapping[float, ModuleCost], seeds_at_once: int
) -> float:
    """Of a run, in operations, where so many seeds of its setting share a pack."""
    return costs[setting.widening_factor].run_cost(
        setting.steps,
        setting.batch_size,
        replicas=seeds_at_once,
        evaluated=context.spec.training.evaluations * context.num_evaluated,
    )


def _noise_scale(setting: RunSetting, context: Context) -> float:
    return float(
        normalized_noise_scale(
            setting.learning_rate,
            setting.batch_size,
            setting.momentum,
            init_variance=context.family.init_variance(setting.widening_factor),
        )
    )


def stable_learning_rates(
    store: Store, context: Context, costs: Mapping[float, ModuleCost]
) -> dict[tuple[float, float], float]:
    """(widening factor, momentum) → largest stable learning rate, where the schedule needs it."""
    pairs = widths_to_probe(context.spec)
    if not pairs:
        return {}

    def measure() -> _Rows:
        return [
            {
                "widening_factor": width,
                "momentum": momentum,
                "learning_rate": stable_learning_rate(
                    context.family,
                    context.dataset,
                    width,
                    momentum,
                    max_replicas=most_replicas(
                        context.spec.packing, costs[width], BATCH_SIZE, momentum=momentum > 0
                    ),
                    recipe=context.spec.training.recipe,
                ),
            }
            for width, momentum in pairs
        ]

    rows = _once(store, "stability", "max_stable", measure)
    return {(row["widening_factor"], row["momentum"]): row["learning_rate"] for row in rows}


def pack_sizes(
    store: Store,
    context: Context,
    costs: Mapping[float, ModuleCost],
    stable: Mapping[tuple[float, float], float],
) -> dict[tuple[float, int], int]:
    """(widening factor, batch size) → runs in a pack, measured unless the specification says."""
    spec = context.spec
    momentum = max(m for grid in spec.grid for m in grid.momentum)
    shapes = pack_shapes(
        spec, context.family, num_train=context.dataset.num_train, stable_learning_rates=stable
    )
    largest = {
        (width, batch): min(
            count, most_replicas(spec.packing, costs[width], batch, momentum=momentum > 0)
        )
        for (width, batch), count in shapes.items()
    }
    # What does not fit in memory at all is refused by the schedule.
    largest = {shape: count for shape, count in largest.items() if count > 0}
    if spec.packing.size is not None:
        return largest

    def measure() -> _Rows:
        sizes = measured_sizes(
            context.family,
            context.dataset,
            spec.training.recipe,
            largest,
            momentum=momentum,
            device=context.device,
        )
        return [
            {"widening_factor": width, "batch_size": batch, "replicas": size}
            for (width, batch), size in sizes.items()
        ]

    rows = _once(store, "pack-sizes", "sizes", measure)
    return {(row["widening_factor"], row["batch_size"]): row["replicas"] for row in rows}


def _once(store: Store, name: str, field: str, measure: Callable[[], _Rows]) -> _Rows:
    """The rows in ``<name>.json`` of the study, measured first by one of its processes."""
    store.prepare()
    path: Path = store.directory / f"{name}.json"
    while not path.exists():
        with store.claim(name) as mine:
            if mine and not path.exists():
                store.write_json(path.name, {field: measure()})
        time.sleep(0.0 if path.exists() else _SECONDS_BETWEEN_LOOKS)
    rows: _Rows = store.read_json(path.name)[field]
    return rows
