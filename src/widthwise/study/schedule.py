"""From a specification to packs: which runs, in which packs, at what cost.

Pure: what had to be measured (the largest stable learning rate) is an argument.
"""

import itertools
import math
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.runs.key import Group, Run, sha256
from widthwise.sgd.batches import batch_unit, require_whole_batches, whole_batch
from widthwise.study.cost import ModuleCost
from widthwise.study.grid_spec import GridSpec
from widthwise.study.spec import PackingSpec, StudySpec, TrainingSpec
from widthwise.theory.noise import batch_size_for, learning_rate_for
from widthwise.training import PackJob, Replica

_MIN_STEPS = 8
# So many lists, or more, whose lengths are a quarter of a second to five seconds of a core.
_LISTS = 64
_SHORTEST_LIST, _LONGEST_LIST = 1e10, 2e11


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
        if is_probed(grid)
        for width in grid.widening_factor
        for momentum in grid.momentum
    }
    return sorted(pairs)


def is_probed(grid: GridSpec) -> bool:
    """Whether a grid needs the largest stable learning rates of its widths."""
    return grid.normalized_noise_scale is not None and grid.max_stable_learning_rate is None


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


@dataclass(frozen=True, kw_only=True)
class ScheduledPack:
    """Runs that are trained together.

    Attributes:
        name: follows from its runs.
        keys: of its runs, in the order of the job's replicas.
        group: what they share with the others of the study.
        job: what to train.
        training_flops, evaluation_flops: floating-point operations.
        keep: keys of the runs whose trained weights are kept.
        keep_for_now: whether only until it is known which are to be kept.
    """

    name: str
    keys: tuple[str, ...]
    group: Group
    job: PackJob
    training_flops: float
    evaluation_flops: float
    keep: frozenset[str] = frozenset()
    keep_for_now: bool = False

    @property
    def flops(self) -> float:
        return self.training_flops + self.evaluation_flops

    @property
    def runs(self) -> list[Run]:
        """What its replicas are."""
        return [_run(self.job, replica) for replica in self.job.replicas]

    def alone(self) -> "list[ScheduledPack]":
        """Its runs, each a pack of its own."""
        return [self.only([key]) for key in self.keys]

    def only(self, keys: Collection[str]) -> "ScheduledPack":
        """A pack of some of its runs."""
        pairs = zip(self.keys, self.job.replicas, strict=True)
        chosen = [(key, replica) for key, replica in pairs if key in keys]
        kept, share = tuple(key for key, _ in chosen), len(chosen) / len(self.keys)
        return replace(
            self,
            name=_name(kept),
            keys=kept,
            keep=self.keep.intersection(kept),
            job=replace(self.job, replicas=tuple(replica for _, replica in chosen)),
            training_flops=share * self.training_flops,
            evaluation_flops=share * self.evaluation_flops,
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Packs, the most expensive first.

    Attributes:
        packs: what is to be trained.
        unreachable: normalized noise scales asked for that no stable learning rate and whole
            batch size gives, as (widening factor, ḡ).
    """

    packs: tuple[ScheduledPack, ...]
    unreachable: tuple[tuple[float, float], ...] = ()

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


def runs_of(settings: Mapping[RunSetting, Collection[int]], group: Group) -> dict[str, Run]:
    """Key → run, of settings with their seeds."""
    runs = [
        Run(**vars(setting), seed=seed) for setting, seeds in settings.items() for seed in seeds
    ]
    return {group.key(run): run for run in sorted(runs)}


def make_packs(
    spec: StudySpec,
    group: Group,
    runs: Mapping[str, Run],
    *,
    landed: Container[str] = (),
    num_evaluated: int,
    costs: Mapping[float, ModuleCost],
    pack_sizes: Mapping[tuple[float, int], int] | None = None,
) -> tuple[ScheduledPack, ...]:
    """Put runs together for training, the most expensive packs first.

    Which runs share a pack follows from all that are asked for at once: where some packs have
    landed, the others are the same as ever, so that an interrupted study ends as an undisturbed
    one.

    Args:
        spec: of their study.
        group: what the runs share.
        runs: key → run.
        landed: keys of those that need no training.
        num_evaluated: examples on which a run is evaluated each time.
        costs: widening factor → cost of its network.
        pack_sizes: (widening factor, batch size) → runs in a pack, as measured; where there is
            none, as many as the specification allows.

    Raises:
        InputError: if one replica exceeds the memory budget.
    """
    packs = []
    for job, keys in _jobs(spec, runs, landed, costs, pack_sizes or {}):
        cost, replicas = costs[job.widening_factor], len(keys)
        evaluated = len(job.evaluation_steps()) * num_evaluated
        packs.append(
            ScheduledPack(
                name=_name(keys),
                keys=keys,
                group=group,
                job=job,
                training_flops=replicas * job.steps * job.batch_size * cost.training_flops,
                evaluation_flops=replicas * evaluated * cost.forward_flops,
            )
        )
    return tuple(sorted(packs, key=lambda pack: (-pack.flops, pack.name)))


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


def longest_runs(settings: Iterable[RunSetting]) -> dict[tuple[float, int], int]:
    """(widening factor, batch size) → most steps of a run."""
    longest: dict[tuple[float, int], int] = {}
    for setting in settings:
        shape = setting.widening_factor, setting.batch_size
        longest[shape] = max(setting.steps, longest.get(shape, 0))
    return longest


def list_size(flops: float, most: int, total: float) -> int:
    """Runs to hand out together where an engine trains one at a time: short beside the whole, so
    that the lists of all workers end together, but not so short that beginning one counts.

    Args:
        flops: of one run, with its evaluations.
        most: runs there are.
        total: operations of all runs that are to be trained.

    >>> list_size(1e9, most=100, total=1e13), list_size(1e9, most=100, total=1e11)
    (100, 10)
    >>> list_size(1e12, most=100, total=1e13), list_size(1e9, most=3, total=1e13)
    (1, 3)
    """
    each = min(max(total / _LISTS, _SHORTEST_LIST), _LONGEST_LIST)
    return max(1, min(most, round(each / flops)))


def _jobs(
    spec: StudySpec,
    runs: Mapping[str, Run],
    landed: Container[str],
    costs: Mapping[float, ModuleCost],
    pack_sizes: Mapping[tuple[float, int], int],
) -> Iterable[tuple[PackJob, tuple[str, ...]]]:
    together: dict[tuple[float, int, int], list[tuple[str, Run]]] = {}
    for key, run in runs.items():
        shape = run.widening_factor, run.batch_size, run.steps
        together.setdefault(shape, []).append((key, run))
    for (width, batch, steps), members in together.items():
        require_whole_batches(
            batch,
            spec.training.ghost_batch_size,
            name="training.ghost_batch_size",
            where=f"at widening factor {width:g}",
        )
        # Momentum first: a pack with one momentum takes the fused velocity update.
        members.sort(key=lambda m: (m[1].momentum, m[1].learning_rate, m[1].seed))
        most = pack_sizes.get((width, batch), spec.packing.max_replicas)
        momentum = any(run.momentum > 0 for _, run in members)
        most = min(most, most_replicas(spec.packing, costs[width], batch, momentum=momentum))
        if most < 1:
            each = costs[width].pack_bytes(batch, momentum=momentum)
            raise InputError(
                f"one run at widening factor {width:g} and batch size {batch} needs about "
                f"{each / 1e6:.0f} MB, got packing.memory_mb = {spec.packing.memory_mb:g}; raise it"
            )
        # Even parts: 17 runs as 9 + 8, not 16 + 1.
        size = math.ceil(len(members) / math.ceil(len(members) / most))
        missing = [(key, run) for key, run in members if key not in landed]
        for first in range(0, len(missing), size):
            part = missing[first : first + size]
            job = PackJob(
                widening_factor=width,
                batch_size=batch,
                steps=steps,
                replicas=tuple(_replica(run) for _, run in part),
                sampling=spec.training.sampling,
                evaluations=spec.training.evaluations,
                recipe=spec.training.recipe,
            )
            yield job, tuple(key for key, _ in part)


def _replica(run: Run) -> Replica:
    return Replica(learning_rate=run.learning_rate, momentum=run.momentum, seed=run.seed)


def _run(job: PackJob, replica: Replica) -> Run:
    return Run(
        widening_factor=job.widening_factor,
        learning_rate=replica.learning_rate,
        batch_size=job.batch_size,
        momentum=replica.momentum,
        steps=job.steps,
        seed=replica.seed,
    )


def _name(keys: Sequence[str]) -> str:
    return sha256(" ".join(keys))[:16]


def most_replicas(
    packing: PackingSpec, cost: ModuleCost, batch_size: int, *, momentum: bool
) -> int:
    """Most replicas of a network that a pack may hold; 0 if not even one fits in memory."""
    memory = min(packing.memory_mb * 1e6, 2.0**63)  # bytes that can be counted
    fitting = int(memory // cost.pack_bytes(batch_size, momentum=momentum))
    return min(packing.size or packing.max_replicas, fitting)
