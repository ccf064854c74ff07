"""From a specification to packs: which runs, in which packs, at what cost.

Pure: what had to be measured (the largest stable learning rate) is an argument.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.sgd.batches import batch_unit, require_whole_batches, whole_batch
from widthwise.study.cost import ModuleCost
from widthwise.study.grid_spec import GridSpec
from widthwise.study.spec import PackingSpec, StudySpec, TrainingSpec
from widthwise.theory.noise import batch_size_for, learning_rate_for
from widthwise.training import PackJob, Replica

_MIN_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class RunSetting:
    """Hyper-parameters of a group of runs that differ only in seed."""

    widening_factor: float
    learning_rate: float
    batch_size: int
    momentum: float
    steps: int


def widths_to_probe(spec: StudySpec) -> list[tuple[float, float]]:
    """(widening factor, momentum) whose largest stable learning rate a schedule needs."""
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
) -> tuple[dict[RunSetting, set[int]], set[tuple[float, float]]]:
    """RunSetting → seeds, and the noise scales that cannot be reached."""
    runs: dict[RunSetting, set[int]] = {}
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


def _product_settings(
    grid: GridSpec, training: TrainingSpec, num_train: int
) -> Iterable[RunSetting]:
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
) -> tuple[list[RunSetting], set[tuple[float, float]]]:
    """At each wanted ḡ the largest ε that is safely stable, because cost at equal physical time
    depends on ḡ alone while larger steps waste fewer of them; then B, rounded, and ε again."""
    assert grid.normalized_noise_scale is not None
    unit = batch_unit(training.ghost_batch_size)
    allowed = min(grid.max_batch_size or max(unit, num_train // 4), num_train)
    if unit > allowed:
        raise InputError(
            f"training.ghost_batch_size must not exceed the largest batch allowed, {allowed} "
            f"examples, got {unit}; use smaller parts or a larger max_batch_size"
        )
    cap = whole_batch(allowed, training.ghost_batch_size)
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
) -> RunSetting:
    if training.steps is not None:
        steps = training.steps
    elif training.epochs is not None:
        steps = round(training.epochs * (num_train // batch))
    else:
        assert training.physical_time is not None
        steps = math.ceil(training.physical_time * (1.0 - momentum) / rate - 1e-9)
    return RunSetting(
        widening_factor=width,
        learning_rate=rate,
        batch_size=batch,
        momentum=momentum,
        steps=max(_MIN_STEPS, steps),
    )


# Part of every shard's name: raise it when the meaning of a result changes.
SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class ScheduledPack:
    """A pack and the name under which its results land.

    Attributes:
        key: SHA-256 of everything that determines the results.
        job: what to train.
        training_flops, evaluation_flops: floating-point operations.
    """

    key: str
    job: PackJob
    training_flops: float
    evaluation_flops: float

    @property
    def flops(self) -> float:
        return self.training_flops + self.evaluation_flops


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Packs, the most expensive first.

    Attributes:
        packs: what is to be trained.
        unreachable: normalized noise scales asked for that no stable learning rate and whole
            batch size gives, as (widening factor, ḡ).
    """

    packs: tuple[ScheduledPack, ...]
    unreachable: tuple[tuple[float, float], ...]

    @property
    def num_runs(self) -> int:
        return sum(len(pack.job.replicas) for pack in self.packs)

    @property
    def num_steps(self) -> int:
        """Updates, counted a run."""
        return sum(pack.job.steps * len(pack.job.replicas) for pack in self.packs)

    @property
    def flops(self) -> float:
        return sum(pack.flops for pack in self.packs)


def make_schedule(
    spec: StudySpec,
    family: WidthFamily,
    *,
    num_train: int,
    num_evaluated: int,
    data_fingerprint: str,
    family_identity: Mapping[str, Any],
    costs: Mapping[float, ModuleCost],
    stable_learning_rates: Mapping[tuple[float, float], float],
    pack_sizes: Mapping[tuple[float, int], int] | None = None,
    runs: Mapping[RunSetting, Collection[int]] | None = None,
) -> Schedule:
    """Lay out a study.

    Args:
        spec: what to run.
        family: its networks.
        num_train: training examples, N.
        num_evaluated: examples on which a run is evaluated each time.
        data_fingerprint: of the data set.
        family_identity: plain values that tell this family from every other.
        costs: widening factor → cost of its network.
        stable_learning_rates: (widening factor, momentum) → ε_max, for
            :func:`widths_to_probe`.
        pack_sizes: (widening factor, batch size) → runs in a pack, as measured; where there is
            none, as many as the specification allows.
        runs: setting → seeds, of those that the specification lays out; None takes them all.

    Raises:
        InputError: if a batch exceeds the training set, or one replica exceeds the memory budget.
    """
    whole, unreachable = lay_out(spec, family, num_train, stable_learning_rates)
    shared = {"schema": SCHEMA_VERSION, "family": family_identity, "data": data_fingerprint}
    packs = [
        _scheduled(job, shared, costs[job.widening_factor], num_evaluated)
        for job in _jobs(spec, whole if runs is None else runs, costs, pack_sizes or {})
    ]
    packs.sort(key=lambda pack: (-pack.flops, pack.key))
    return Schedule(packs=tuple(packs), unreachable=tuple(sorted(unreachable)))


def pack_shapes(
    spec: StudySpec,
    family: WidthFamily,
    *,
    num_train: int,
    stable_learning_rates: Mapping[tuple[float, float], float],
) -> dict[tuple[float, int], int]:
    """(widening factor, batch size) of every pack of the schedule → runs that could share one."""
    runs, _ = lay_out(spec, family, num_train, stable_learning_rates)
    together: dict[tuple[float, int, int], int] = {}
    for setting, seeds in runs.items():
        group = setting.widening_factor, setting.batch_size, setting.steps
        # A search adds seeds as it goes: a round may be all of one setting.
        count = len(seeds) if spec.search is None else spec.search.runs_at_once
        together[group] = together.get(group, 0) + count
    shapes: dict[tuple[float, int], int] = {}
    for (width, batch, _), count in together.items():
        shapes[width, batch] = max(count, shapes.get((width, batch), 0))
    return shapes


def _jobs(
    spec: StudySpec,
    runs: Mapping[RunSetting, Collection[int]],
    costs: Mapping[float, ModuleCost],
    pack_sizes: Mapping[tuple[float, int], int],
) -> Iterable[PackJob]:
    groups: dict[tuple[float, int, int], list[Replica]] = {}
    for setting, seeds in runs.items():
        replicas = groups.setdefault(
            (setting.widening_factor, setting.batch_size, setting.steps), []
        )
        replicas.extend(
            Replica(learning_rate=setting.learning_rate, momentum=setting.momentum, seed=seed)
            for seed in seeds
        )
    for (width, batch, steps), replicas in groups.items():
        require_whole_batches(
            batch,
            spec.training.ghost_batch_size,
            name="training.ghost_batch_size",
            where=f"at widening factor {width:g}",
        )
        # Momentum first: a pack with one momentum takes the fused velocity update.
        replicas.sort(key=lambda r: (r.momentum, r.learning_rate, r.seed))
        size = pack_sizes.get((width, batch), spec.packing.max_replicas)
        for part in _split(replicas, spec, costs[width], width, batch, size):
            yield PackJob(
                widening_factor=width,
                batch_size=batch,
                steps=steps,
                replicas=tuple(part),
                sampling=spec.training.sampling,
                evaluations=spec.training.evaluations,
                late_fraction=spec.training.late_fraction,
                recipe=spec.training.recipe,
            )


def _split(
    replicas: Sequence[Replica],
    spec: StudySpec,
    cost: ModuleCost,
    width: float,
    batch: int,
    size: int,
) -> Iterable[Sequence[Replica]]:
    momentum = any(r.momentum > 0 for r in replicas)
    largest = min(size, most_replicas(spec.packing, cost, batch, momentum=momentum))
    if largest < 1:
        each = cost.pack_bytes(batch, momentum=momentum)
        raise InputError(
            f"one run at widening factor {width:g} and batch size {batch} needs about "
            f"{each / 1e6:.0f} MB, got packing.memory_mb = {spec.packing.memory_mb:g}; raise it"
        )
    count = math.ceil(len(replicas) / largest)
    # Even parts: 17 runs as 9 + 8, not 16 + 1.
    bounds = [round(i * len(replicas) / count) for i in range(count + 1)]
    return [replicas[a:b] for a, b in itertools.pairwise(bounds)]


def most_replicas(
    packing: PackingSpec, cost: ModuleCost, batch_size: int, *, momentum: bool
) -> int:
    """Most replicas of a network that a pack may hold; 0 if not even one fits in memory."""
    fitting = int(packing.memory_mb * 1e6 // cost.pack_bytes(batch_size, momentum=momentum))
    return min(packing.size or packing.max_replicas, fitting)


def _scheduled(
    job: PackJob, shared: Mapping[str, Any], cost: ModuleCost, num_evaluated: int
) -> ScheduledPack:
    ran = {**shared, "job": asdict(job)}
    canonical = json.dumps(ran, sort_keys=True, separators=(",", ":"))
    replicas = len(job.replicas)
    evaluated = len(job.evaluation_steps()) * num_evaluated
    return ScheduledPack(
        key=hashlib.sha256(canonical.encode()).hexdigest()[:32],
        job=job,
        training_flops=replicas * job.steps * job.batch_size * cost.training_flops,
        evaluation_flops=replicas * evaluated * cost.forward_flops,
    )
