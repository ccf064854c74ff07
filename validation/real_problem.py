"""The problem of search_on_real_data.py: its settings, and two ways of training a run.

A run is (width, setting, seed), the first two as indices. Ordinary loops and packs start from the
same weights and see the same batches, so a run has one score, whoever trains it, to rounding.
"""

import functools
import json
import math
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from widthwise import Law, Optimum, fit_law, normalized_noise_scale
from widthwise.analysis.late_times import late_mean
from widthwise.data import load
from widthwise.errors import FitError
from widthwise.execution.worker import prepare_process
from widthwise.runs.analyses import limit_of
from widthwise.search import Lattice, Observations, SearchTarget
from widthwise.search.state import WidthState
from widthwise.sgd.batches import batch_indices
from widthwise.study import StudySpec
from widthwise.study.context import Context, make_context
from widthwise.study.schedule import RunSetting, lay_out
from widthwise.training import PackJob, Replica, train_pack

WIDTHS = (1, 2, 4, 8)
BLOCK = 8  # runs that the table trains together
SEEDS_AT_ONCE, RUNS_AT_ONCE = 4, 16  # a round of ours: a few packs a process
_TIMED_STEPS = 300
_EVALUATED_TOGETHER = 512  # examples


class Run(NamedTuple):
    width: int  # index in WIDTHS
    scale_index: int
    seed: int


@dataclass(frozen=True)
class Size:
    """What a smoke test makes smaller."""

    physical_time: float
    num_test: int
    precision: float  # full width of the exponent's 95 % interval
    max_runs: int | None = None  # of our search
    max_grid_seeds: int = 64
    evaluations: int = 8  # the last two are late
    seed: int = 0  # which of the images


WHOLE = Size(physical_time=40_000, num_test=4000, precision=0.5)
QUICK = Size(physical_time=1000, num_test=500, precision=2.0, max_runs=48, max_grid_seeds=3)


def specification(size: Size) -> dict[str, Any]:
    """The study, as a user would write it."""
    return {
        "title": "One hidden layer, NTK parameterization: an exponent",
        "family": {"kind": "mlp", "base_width": 16, "depth": 1, "parameterization": "ntk"},
        "data": {
            "name": "fashion-mnist-mini",
            "num_train": 1024,
            "num_test": size.num_test,
            "seed": size.seed,
        },
        "grid": {
            "widening_factor": list(WIDTHS),
            "normalized_noise_scale": {"from": 0.03125, "to": 2.0, "num": 13},
            "max_stable_learning_rate": 16,
        },
        "search": {
            "precision": None,
            "exponent_precision": size.precision,
            "max_runs": size.max_runs,
            "seeds_at_once": SEEDS_AT_ONCE,
            "runs_at_once": RUNS_AT_ONCE,
        },
        "training": {"physical_time": size.physical_time, "evaluations": size.evaluations},
        "hardware": {"device": "cpu"},
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Settings of every width, by rising noise scale; costs are training FLOPs of a run."""

    context: Context
    settings: tuple[tuple[RunSetting, ...], ...]
    lattices: tuple[Lattice, ...]
    precision: float

    def setting(self, run: Run) -> RunSetting:
        return self.settings[run.width][run.scale_index]

    def job(self, setting: RunSetting, seeds: Iterable[int]) -> PackJob:
        """The training of a setting, as the study would plan it."""
        training = self.context.spec.training
        return PackJob(
            widening_factor=setting.widening_factor,
            batch_size=setting.batch_size,
            steps=setting.steps,
            replicas=tuple(
                Replica(learning_rate=setting.learning_rate, momentum=0.0, seed=s) for s in seeds
            ),
            sampling=training.sampling,
            evaluations=training.evaluations,
            late_fraction=training.late_fraction,
            recipe=training.recipe,
        )

    def flops(self, runs: Iterable[Run]) -> float:
        return sum(self.lattices[r.width].cost[r.scale_index] for r in runs)


@functools.lru_cache(maxsize=1)
def problem_of(size: Size) -> Problem:
    spec = StudySpec.parse(specification(size))
    context = make_context(spec, load(spec.data))
    num_train, costs = context.dataset.num_train, context.costs()
    laid_out, _ = lay_out(spec, context.family, num_train, {})

    def scale(s: RunSetting) -> float:
        variance = context.family.init_variance(s.widening_factor)
        return float(normalized_noise_scale(s.learning_rate, s.batch_size, init_variance=variance))

    settings = tuple(
        tuple(sorted((s for s in laid_out if s.widening_factor == w), key=scale)) for w in WIDTHS
    )
    lattices = tuple(
        Lattice(
            widening_factor=own[0].widening_factor,
            noise_scale=tuple(scale(s) for s in own),
            cost=tuple(
                s.steps * s.batch_size * costs[s.widening_factor].training_flops for s in own
            ),
            limits=(
                limit_of(own[0].batch_size, num_train, None),
                limit_of(own[-1].batch_size, num_train, None),
            ),
            effective_rate=tuple(s.learning_rate / (1.0 - s.momentum) for s in own),
        )
        for own in settings
    )
    return Problem(context=context, settings=settings, lattices=lattices, precision=size.precision)


class Seen:
    """The scores of the runs that some method has made, and what they say."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.scores: dict[Run, float] = {}

    @property
    def law(self) -> Law | None:
        """None where it cannot be fitted, or a width has no optimum: as in our search."""
        optima = self.optima
        try:
            return None if None in optima else fit_law(WIDTHS, [o for o in optima if o])
        except FitError:
            return None

    @property
    def optima(self) -> list[Optimum | None]:
        """Of every width; None where it cannot be located."""
        return [self._state(i).optimum for i in range(len(WIDTHS))]

    @property
    def law_width(self) -> float:
        law = self.law
        return math.inf if law is None else law.interval[1] - law.interval[0]

    @property
    def precise(self) -> bool:
        """The stopping rule, the same for all methods."""
        return self.law_width <= self._problem.precision

    @property
    def interval_widths(self) -> list[float]:
        """Of every width's optimum, in octaves."""
        return [self._state(i).interval_width for i in range(len(WIDTHS))]

    def _state(self, width: int) -> WidthState:
        lattice = self._problem.lattices[width]
        own = {run: score for run, score in self.scores.items() if run.width == width}
        num_seeds = 1 + max((run.seed for run in own), default=-1)
        scores = np.full((lattice.size, num_seeds), np.nan)
        ran = np.zeros(scores.shape, dtype=bool)
        for run, score in own.items():
            scores[run.scale_index, run.seed], ran[run.scale_index, run.seed] = score, True
        target = SearchTarget(exponent_precision=self._problem.precision)
        return WidthState(
            lattice=lattice,
            observations=Observations(scores=scores, ran=ran),
            confidence=target.confidence,
            seed=self._problem.context.spec.analysis.seed,
        )


class LoopRun(NamedTuple):
    score: float  # late-time test accuracy; NaN if diverged
    seconds: float


def train_loop(size: Size, run: Run, fused: bool | None) -> LoopRun:
    """A run in an ordinary PyTorch loop. It evaluates only what its score needs."""
    begun = perf_counter()
    problem = problem_of(size)
    setting = problem.setting(run)
    job = problem.job(setting, [run.seed])
    loop = _Loop(problem, setting, run.seed, fused)
    at_first = loop.train_loss()
    late = [s for s in job.evaluation_steps() if s > (1.0 - job.late_fraction) * job.steps]
    accuracies: list[float] = []
    while loop.step < job.steps:
        if not loop.train(late[len(accuracies)]):
            return LoopRun(math.nan, perf_counter() - begun)
        accuracies.append(loop.test_accuracy())
    sound = loop.train_loss() <= at_first
    score = late_mean(late, accuracies, job.steps, job.late_fraction)
    return LoopRun(float(score) if sound else math.nan, perf_counter() - begun)


class _Loop:
    def __init__(
        self, problem: Problem, setting: RunSetting, seed: int, fused: bool | None
    ) -> None:
        data = problem.context.dataset
        self._inputs = torch.from_numpy(data.train_inputs)
        self._labels = torch.from_numpy(data.train_labels)
        self._test = torch.from_numpy(data.test_inputs), torch.from_numpy(data.test_labels)
        self._batch_size, self._seed = setting.batch_size, seed
        self._module = problem.context.family.build(setting.widening_factor, seed)
        self._criterion = nn.CrossEntropyLoss()
        self._optimizer = torch.optim.SGD(
            self._module.parameters(), lr=setting.learning_rate, fused=fused
        )
        self.step = 0

    def train(self, until: int) -> bool:
        """Up to this step; whether the loss stayed finite, which is looked at once an epoch."""
        inputs, labels, module = self._inputs, self._labels, self._module
        criterion, optimizer = self._criterion, self._optimizer
        per_epoch = len(labels) // self._batch_size
        while self.step < until:
            count = min(per_epoch - self.step % per_epoch, until - self.step)
            drawn = batch_indices(
                self._seed,
                self.step,
                count,
                batch_size=self._batch_size,
                num_train=len(labels),
            )
            for batch in torch.from_numpy(drawn):
                optimizer.zero_grad(set_to_none=True)
                logits = module(inputs.index_select(0, batch))
                loss = criterion(logits, labels.index_select(0, batch))
                loss.backward()
                optimizer.step()
            self.step += count
            if not math.isfinite(loss.item()):
                return False
        return True

    @torch.no_grad()
    def train_loss(self) -> float:
        return float(self._criterion(self._module(self._inputs), self._labels))

    @torch.no_grad()
    def test_accuracy(self) -> float:
        inputs, labels = self._test
        hits = 0
        for first in range(0, len(labels), _EVALUATED_TOGETHER):
            rows = slice(first, first + _EVALUATED_TOGETHER)
            hits += int((self._module(inputs[rows]).argmax(1) == labels[rows]).sum())
        return hits / len(labels)


def time_loop(size: Size, width: int, scale_index: int, fused: bool | None) -> float:
    """Seconds of one step, from a few hundred."""
    problem = problem_of(size)
    loop = _Loop(problem, problem.setting(Run(width, scale_index, 0)), 0, fused)
    loop.train(_TIMED_STEPS // 10)
    begun, first = perf_counter(), loop.step
    loop.train(first + _TIMED_STEPS)
    return (perf_counter() - begun) / (loop.step - first)


FUSED: dict[str, bool | None] = {"default": None, "fused": True}  # ways of stepping


def loop_speeds(
    size: Size, directory: Path, pool: ProcessPoolExecutor
) -> dict[str, list[list[float]]]:
    """Seconds of a loop's step by way, width and setting, all workers busy; kept in a file."""
    kept = directory / "loop_speeds.json"
    if not kept.exists():
        settings = problem_of(size).settings
        cells = [(i, k) for i, own in enumerate(settings) for k in range(len(own))]
        speeds: dict[str, list[list[float]]] = {}
        for name, fused in FUSED.items():
            times = list(pool.map(functools.partial(_time_cell, size, fused), cells))
            speeds[name] = [
                [t for t, (j, _) in zip(times, cells, strict=True) if j == i]
                for i in range(len(WIDTHS))
            ]
        kept.write_text(json.dumps(speeds), encoding="utf-8")
    measured: dict[str, list[list[float]]] = json.loads(kept.read_text(encoding="utf-8"))
    return measured


def _time_cell(size: Size, fused: bool | None, cell: tuple[int, int]) -> float:
    return time_loop(size, *cell, fused)


class PackOfSeeds(NamedTuple):
    scores: list[float]
    seconds: float


def train_block(size: Size, first: Run) -> PackOfSeeds:
    """A pack of this run and the next seeds of its setting."""
    begun = perf_counter()
    problem = problem_of(size)
    job = problem.job(problem.setting(first), range(first.seed, first.seed + BLOCK))
    results = train_pack(problem.context.family, problem.context.dataset, job)
    return PackOfSeeds([r.late["test_accuracy"] for r in results], perf_counter() - begun)


class Table:
    """Scores of runs trained in packs, a block of seeds at a time when first asked for."""

    def __init__(self, size: Size, path: Path, pool: ProcessPoolExecutor) -> None:
        self._size, self._path, self._pool = size, path, pool
        self._blocks = {
            Run(*line["run"]): PackOfSeeds(line["scores"], line["seconds"])
            for line in read_lines(path)
        }

    def fetch(self, runs: Sequence[Run]) -> list[float]:
        blocks = [run._replace(seed=run.seed // BLOCK * BLOCK) for run in runs]
        missing = sorted({*blocks} - self._blocks.keys(), reverse=True)  # the wide ones first
        futures = {b: self._pool.submit(train_block, self._size, b) for b in missing}
        for block, future in futures.items():
            trained = future.result()
            self._blocks[block] = trained
            append_line(self._path, {"run": block, **trained._asdict()})
        return [
            self._blocks[b].scores[run.seed - b.seed] for run, b in zip(runs, blocks, strict=True)
        ]

    def seconds(self, runs: Sequence[Run]) -> float:
        """Core seconds of runs that were fetched, each its share of its pack."""
        self.fetch(runs)
        return sum(
            self._blocks[run._replace(seed=run.seed // BLOCK * BLOCK)].seconds / BLOCK
            for run in runs
        )


def make_pool(workers: int) -> ProcessPoolExecutor:
    """Processes prepared as a study's workers are: one thread, memory kept, no denormals."""
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=prepare_process
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def append_line(path: Path, fields: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")
