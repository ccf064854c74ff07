"""A study's runs and packs: of its whole grid, or of the rounds of a search that have begun.

What laying out the runs needs to have measured is measured once and lands in the store. How many
runs a pack should hold is measured on each kind of machine.
"""

import itertools
import json
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from widthwise.files import write_atomically
from widthwise.hardware import describe_processor
from widthwise.runs.folder import Folder
from widthwise.runs.key import Group, Run, canonical, sha256
from widthwise.runs.store import Store
from widthwise.study.asked import Asked
from widthwise.study.context import Context
from widthwise.study.cost import ModuleCost
from widthwise.study.grid_spec import GridSpec
from widthwise.study.rounds import KeptRounds, Rounds, Searched
from widthwise.study.schedule import (
    RunSetting,
    Schedule,
    ScheduledPack,
    is_probed,
    lay_out,
    list_size,
    longest_runs,
    make_packs,
    most_replicas,
    pack_shapes,
    runs_of,
    widths_to_probe,
)
from widthwise.study.stable_rates import quick_probe, stable_learning_rate
from widthwise.study.timing import measured_sizes, trains_one_by_one
from widthwise.theory.noise import normalized_noise_scale

_SECONDS_BETWEEN_LOOKS = 0.5
# (widening factor, momentum) → largest stable learning rate
StableRates = Mapping[tuple[float, float], float]


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Everything that the runs and packs of a study depend on.

    Attributes:
        context: specification, data and family.
        costs: widening factor → cost of its network.
        stable: (widening factor, momentum) → largest stable learning rate, where it is needed.
        pack_sizes: (widening factor, batch size) → runs in a pack.
        settings: those of the grid, with their seeds.
        unreachable: (widening factor, ḡ) that cannot be run.
        searched: the search; None for a grid.
        kept: its rounds; None for a grid.
    """

    context: Context
    costs: Mapping[float, ModuleCost]
    stable: StableRates
    pack_sizes: Mapping[tuple[float, int], int]
    settings: Mapping[RunSetting, Collection[int]]
    unreachable: tuple[tuple[float, float], ...]
    searched: Searched | None
    kept: KeptRounds | None

    @classmethod
    def of(cls, context: Context, directory: Path, store: Store) -> "Scheduler":
        """Measures what has not been measured before."""
        costs = context.costs()
        found = cls._with(context, directory, costs, stable_learning_rates(store, context, costs))
        sizes = pack_sizes(directory, context, costs, found.stable, found.settings)
        return replace(found, pack_sizes=sizes)

    @classmethod
    def if_known(cls, context: Context, directory: Path, store: Store) -> "Scheduler | None":
        """Measures nothing, and so has no packs; None while a largest stable learning rate that
        the runs depend on is not known."""
        stable = known_rates(context, store)
        if len(stable) < len(widths_to_probe(context.spec)):
            return None
        return cls._with(context, directory, context.costs(), stable)

    @classmethod
    def _with(
        cls,
        context: Context,
        directory: Path,
        costs: Mapping[float, ModuleCost],
        stable: StableRates,
    ) -> "Scheduler":
        settings, unreachable = _laid_out(context, stable)
        searched = _searched(context, costs, settings)
        name = None if searched is None else searched.name(context.group.hash)
        return cls(
            context=context,
            costs=costs,
            stable=stable,
            pack_sizes={},
            settings=settings,
            unreachable=tuple(sorted(unreachable)),
            searched=searched,
            kept=None if name is None else KeptRounds(directory, name),
        )

    @property
    def rounds(self) -> Rounds:
        """Those of the search that have begun; none for a grid."""
        return Rounds() if self.kept is None else self.kept.read()

    def asked(self, rounds: Rounds) -> Asked:
        """The runs of the whole grid; of a search those of the rounds."""
        name = None if self.searched is None else self.searched.name(self.context.group.hash)
        runs = {key: run for part in self._parts(rounds) for key, run in part.items()}
        return Asked.of(runs, rounds=name, unreachable=self.unreachable)

    def schedule(self, rounds: Rounds, landed: Collection[str] = ()) -> Schedule:
        """Packs of the runs that are asked for and have not landed.

        Every round has packs of its own, so that a later one does not change which runs share
        one.
        """
        packs = [self._packs(part, landed) for part in self._parts(rounds)]
        return Schedule(
            packs=tuple(pack for part in packs for pack in part), unreachable=self.unreachable
        )

    def _parts(self, rounds: Rounds) -> list[dict[str, Run]]:
        group = self.context.group
        if self.searched is None:
            return [runs_of(self.settings, group)]
        return [
            runs_of(self.searched.runs(Rounds(rounds=(asked,))), group) for asked in rounds.rounds
        ]

    def _packs(self, runs: Mapping[str, Run], landed: Collection[str]) -> tuple[ScheduledPack, ...]:
        return make_packs(
            self.context.spec,
            self.context.group,
            runs,
            landed=landed,
            num_evaluated=self.context.num_evaluated,
            costs=self.costs,
            pack_sizes=self.pack_sizes,
        )


def known_runs(context: Context, store: Store) -> tuple[dict[str, Run], bool]:
    """Runs of the grid as far as they follow from what has been measured before: all of them, but
    where a largest stable learning rate is not known yet; of a search all that it may ask for. And
    whether these are what is asked, all of it and no more.
    """
    spec, stable = context.spec, known_rates(context, store)
    grids = tuple(part for grid in spec.grid for part in _known_parts(grid, stable))
    known = spec.model_copy(update={"grid": grids})
    settings, _ = lay_out(known, context.family, context.dataset.num_train, stable)
    if spec.search is not None:
        settings = {setting: set(range(spec.search.max_seeds)) for setting in settings}
    is_all = spec.search is None and len(stable) == len(widths_to_probe(spec))
    return runs_of(settings, context.group), is_all


def known_rates(context: Context, store: Store) -> dict[tuple[float, float], float]:
    """(widening factor, momentum) → largest stable learning rate, where the schedule needs it and
    it has been measured."""
    return {
        pair: float(rate)
        for pair in widths_to_probe(context.spec)
        if (rate := store.measured.find(_stability(context, *pair))) is not None
    }


def _known_parts(grid: GridSpec, stable: StableRates) -> Iterable[GridSpec]:
    if not is_probed(grid):
        yield grid
        return
    for width, momentum in itertools.product(grid.widening_factor, grid.momentum):
        if (width, momentum) in stable:
            only = {"widening_factor": (width,), "momentum": (momentum,)}
            yield grid.model_copy(update=only)


def _laid_out(
    context: Context, stable: StableRates
) -> tuple[Mapping[RunSetting, Collection[int]], Collection[tuple[float, float]]]:
    return lay_out(context.spec, context.family, context.dataset.num_train, stable)


def _searched(
    context: Context,
    costs: Mapping[float, ModuleCost],
    runs: Mapping[RunSetting, Collection[int]],
) -> Searched | None:
    spec, num_train = context.spec, context.dataset.num_train
    search = spec.search
    if search is None:
        return None
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
    """(widening factor, momentum) → largest stable learning rate, where the schedule needs it; each
    is measured by one process, and frozen."""
    found = {}
    for width, momentum in widths_to_probe(context.spec):
        what = _stability(context, width, momentum)
        found[width, momentum] = _once(store, what, context, costs[width])
    return found


def _once(store: Store, what: Mapping[str, Any], context: Context, cost: ModuleCost) -> float:
    if (known := store.measured.find(what)) is not None:
        return float(known)
    store.prepare()
    while True:
        with store.leases.hold([sha256(canonical(what))[:32]]) as mine:
            if (known := store.measured.find(what)) is not None:
                return float(known)
            if mine:
                rate = stable_learning_rate(
                    context.family,
                    context.dataset,
                    what["widening_factor"],
                    what["momentum"],
                    cost=cost,
                    recipe=context.spec.training.recipe,
                )
                return float(store.measured.keep(what, rate))
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _stability(context: Context, width: float, momentum: float) -> dict[str, Any]:
    """What is measured, in plain values; nothing of how it is computed."""
    return {
        "largest stable learning rate": quick_probe(
            context.spec.training.recipe, context.dataset.num_train
        ),
        "group": _without_budget(context.group),
        "widening_factor": float(width),
        "momentum": float(momentum),
    }


def _without_budget(group: Group) -> dict[str, Any]:
    """Probes are no evaluated runs, and their rate is constant."""
    fields = group.fields()
    del fields["evaluations"]
    schedule = ("schedule", "warmup", "decay_at", "decay_factor")
    recipe = {k: v for k, v in fields["recipe"].items() if k not in schedule}
    return {**fields, "recipe": recipe}


def pack_sizes(
    directory: Path,
    context: Context,
    costs: Mapping[float, ModuleCost],
    stable: StableRates,
    settings: Iterable[RunSetting],
) -> dict[tuple[float, int], int]:
    """(widening factor, batch size) → runs in a pack, measured unless the specification says, or
    the engine trains one run at a time.

    What was measured is kept with the study, for machines of this kind.
    """
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
    listed = _lists(context, costs, largest, longest_runs(settings), momentum)
    kept = _KeptSizes(directory, context, momentum)
    missing = {
        shape: most
        for shape, most in largest.items()
        if shape not in listed and kept.of(shape, most) is None
    }
    if missing:
        measured = measured_sizes(
            context.family,
            context.dataset,
            spec.training.recipe,
            missing,
            momentum=momentum,
            device=context.device,
            engine=spec.packing.engine,
        )
        kept.add(missing, measured)
    return listed | {
        shape: kept.of(shape, most) or 1 for shape, most in largest.items() if shape not in listed
    }


def _lists(
    context: Context,
    costs: Mapping[float, ModuleCost],
    largest: Mapping[tuple[float, int], int],
    steps: Mapping[tuple[float, int], int],
    momentum: float,
) -> dict[tuple[float, int], int]:
    """Sizes at the widths whose engine trains one run at a time: nothing needs measuring."""
    training = context.spec.training
    alone = {width for width, _ in largest if costs[width].is_chain}
    # Tried at one width: their networks differ in nothing but size.
    if not alone or not trains_one_by_one(
        context.family,
        context.dataset,
        training.recipe,
        min(alone),
        momentum,
        context.device,
        context.spec.packing.engine,
    ):
        return {}
    flops = {}
    for width, batch in largest:
        cost = costs[width]
        evaluated = (training.evaluations + 1) * context.num_evaluated
        trained = steps[width, batch] * batch
        flops[width, batch] = trained * cost.training_flops + evaluated * cost.forward_flops
    search = context.spec.search
    total = (
        sum(most * flops[shape] for shape, most in largest.items())
        if search is None
        else search.runs_at_once * sum(flops.values()) / max(1, len(flops))  # of a round
    )
    return {
        shape: list_size(flops[shape], most, total)
        for shape, most in largest.items()
        if shape[0] in alone
    }


class _KeptSizes:
    """Sizes of packs, as measured on one kind of machine for one group of runs."""

    def __init__(self, directory: Path, context: Context, momentum: float) -> None:
        device = str(context.device)
        kind = [describe_processor(), device, context.spec.packing.engine, momentum > 0]
        name = sha256(canonical([*kind, context.group.hash]))[:16]
        self._directory, self._name = directory, f"pack-sizes-{name}.json"
        self._sizes: dict[str, int] = {}
        with suppress(OSError, ValueError, AttributeError):
            rows = json.loads(Folder(directory).read(self._name) or b"{}").items()
            self._sizes = {k: v for k, v in rows if isinstance(v, int) and v > 0}

    def of(self, shape: tuple[float, int], most: int) -> int | None:
        return self._sizes.get(self._row(shape, most))

    def add(
        self, most: Mapping[tuple[float, int], int], sizes: Mapping[tuple[float, int], int]
    ) -> None:
        for shape, size in sizes.items():
            self._sizes[self._row(shape, most[shape])] = size
        content = json.dumps(self._sizes, indent=1, sort_keys=True).encode()
        write_atomically(self._directory / self._name, content + b"\n")

    @staticmethod
    def _row(shape: tuple[float, int], most: int) -> str:
        return f"w={shape[0]:g} B={shape[1]} of {most}"
