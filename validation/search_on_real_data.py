"""What an exponent costs on real data: our search in packs, a grid, Optuna with ordinary loops.

Four widths of an MLP on 1,024 bundled images. Every method chooses from the same half-octave
lattice of noise scales, its runs have the same seeds, and it stops by the same rule: the 95 %
interval of the exponent, by `fit_law` on `locate_optimum` of all its runs, is at most 0.5 wide.
Needs `pip install optuna`. Whatever was trained is kept in a directory, and the same command goes
on from there; a new comparison needs a new directory. Writes Markdown, progress to standard error:

    python validation/search_on_real_data.py > validation/search_on_real_data.md
"""

import argparse
import itertools
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import optuna
import torch
from real_problem import (
    BLOCK,
    FUSED,
    QUICK,
    RUNS_AT_ONCE,
    SEEDS_AT_ONCE,
    WHOLE,
    WIDTHS,
    LoopRun,
    Problem,
    Run,
    Seen,
    Size,
    Table,
    append_line,
    loop_speeds,
    make_pool,
    problem_of,
    read_lines,
    specification,
    train_loop,
)

from widthwise import Law
from widthwise.study import Study

TRIALS_BETWEEN_LOOKS = 8
CHANCE = 0.1  # accuracy that a diverged run counts as for Optuna
MIN_GRID_SEEDS = 3
CHECKED_SCALE, CHECKED_SEEDS = 0.25, 4  # loops against packs


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table of costs."""

    method: str
    runs: int
    flops: float
    seconds: float  # wall time on all workers
    how: str  # whence the seconds
    law: Law | None
    reached: bool


class Ask(NamedTuple):
    run: Run
    trial: optuna.Trial


Space = dict[str, optuna.distributions.BaseDistribution]


class Trajectory:
    """Optuna's side: a study a width, its trials the next seed of a setting each."""

    def __init__(
        self, problem: Problem, make: Callable[[int], optuna.samplers.BaseSampler], policy: str
    ) -> None:
        self.seen = Seen(problem)
        self._policy = policy
        self._studies = [
            optuna.create_study(direction="maximize", sampler=make(i)) for i in range(len(WIDTHS))
        ]
        last = [lattice.size - 1 for lattice in problem.lattices]
        self._spaces: list[Space] = [
            {"k": optuna.distributions.IntDistribution(0, n)} for n in last
        ]
        self._counts: dict[tuple[int, int], int] = {}

    def turns(self) -> list[int]:
        """Widths of the trials up to the next look."""
        widths = list(range(len(WIDTHS)))
        if self._policy == "widest two":
            intervals = self.seen.interval_widths
            if all(map(math.isfinite, intervals)):
                widths = sorted(widths, key=lambda i: -intervals[i])[:2]
        return list(itertools.islice(itertools.cycle(widths), TRIALS_BETWEEN_LOOKS))

    def ask(self, width: int) -> Ask:
        trial = self._studies[width].ask(self._spaces[width])
        k = int(trial.params["k"])
        seed = self._counts.get((width, k), 0)
        self._counts[width, k] = seed + 1
        return Ask(Run(width, k, seed), trial)

    def tell(self, asked: Ask, score: float) -> None:
        self.seen.scores[asked.run] = score
        self._studies[asked.run.width].tell(asked.trial, CHANCE if math.isnan(score) else score)

    def step(self, scores: Callable[[Sequence[Run]], Sequence[float]]) -> None:
        """The trials up to the next look; those of different widths together."""
        turns = self.turns()
        while turns:
            wave = list(dict.fromkeys(turns))
            for width in wave:
                turns.remove(width)
            asked = [self.ask(width) for width in wave]
            for ask, score in zip(asked, scores([ask.run for ask in asked]), strict=True):
                self.tell(ask, score)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Comparison:
    """The methods, one after the other, and what they cost."""

    def __init__(self, options: argparse.Namespace, seed: int = 0) -> None:
        self.size: Size = replace(QUICK if options.quick else WHOLE, seed=seed)
        self.options, self.directory = options, Path(options.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.problem = problem_of(self.size)
        self.workers: int = options.workers

    def ours(self) -> Line:
        """Everything counts: planning, starting processes, choosing runs."""
        kept = self.directory / "ours.jsonl"
        begun = perf_counter()
        study = Study.create(self.directory / "ours", specification(self.size))
        lines = read_lines(kept)
        if not any("done" in line for line in lines):
            if lines and "seconds" not in lines[-1]:
                raise SystemExit(f"our search was killed, its time lost: remove {self.directory}")
            append_line(kept, {"begun": True})
            done = {}
            try:
                study.run(self.workers, progress=False)
                study.summary()
                done = {"done": True}
            finally:
                append_line(kept, {"seconds": perf_counter() - begun, **done})
        law, results = study.summary().law, study.results()
        index = {
            (s.widening_factor, s.learning_rate, s.batch_size): (i, k)
            for i, own in enumerate(self.problem.settings)
            for k, s in enumerate(own)
        }
        columns = results.select("widening_factor", "learning_rate", "batch_size", "seed")
        runs = [Run(*index[w, rate, b], seed) for w, rate, b, seed in columns.iter_rows()]
        seconds = sum(line.get("seconds", 0.0) for line in read_lines(kept))
        return self.line("Widthwise: adaptive search", runs, seconds, "measured", law)

    def optuna_loops(
        self, pool: ProcessPoolExecutor, fused: bool | None
    ) -> tuple[Trajectory, list[LoopRun], list[Run], float]:
        """Until the rule is met or the time is over; looks are not counted."""
        kept = self.directory / "optuna_loops.jsonl"
        lines = read_lines(kept)
        sampler = partial(tpe, repetition=self.size.seed)
        trajectory = Trajectory(self.problem, sampler, self.options.policy)
        seconds, done, runs = 0.0, [], []
        for number in itertools.count():
            if number < len(lines):
                trained = {Run(*r): LoopRun(*t) for r, t in lines[number]["trained"]}
                trajectory.step(lambda asked, t=trained: [t[run].score for run in asked])  # type: ignore[misc]
                spent = lines[number]["seconds"]
            else:
                begun = perf_counter()
                trained = self._batch(trajectory, pool, fused)
                spent = perf_counter() - begun
                append_line(kept, {"seconds": spent, "trained": list(trained.items())})
            seconds += spent
            done += list(trained.values())
            runs += list(trained)
            width = trajectory.seen.law_width
            say(f"Optuna, loops: {len(runs)} runs, {seconds:.0f} s, interval {width:.2f}")
            if width <= self.problem.precision or seconds >= 60 * self.options.minutes:
                return trajectory, done, runs, seconds
        raise AssertionError("counting never ends")

    def _batch(
        self, trajectory: Trajectory, pool: ProcessPoolExecutor, fused: bool | None
    ) -> dict[Run, LoopRun]:
        """Trials up to the next look; no width has two at a time, so TPE knows all before it."""
        waiting = trajectory.turns()
        busy: dict[Future[LoopRun], Ask] = {}
        trained: dict[Run, LoopRun] = {}
        while waiting or busy:
            for width in list(waiting):
                if len(busy) < self.workers and all(a.run.width != width for a in busy.values()):
                    waiting.remove(width)
                    ask = trajectory.ask(width)
                    future = pool.submit(train_loop, self.size, ask.run, fused)
                    busy[future] = ask
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                ask, result = busy.pop(future), future.result()
                trained[ask.run] = result
                trajectory.tell(ask, result.score)
        return trained

    def grid(self, table: Table) -> tuple[list[Run], Seen]:
        """Every second setting at every width, a seed more everywhere until the rule is met."""
        seen, runs = Seen(self.problem), []
        for seeds in range(1, self.size.max_grid_seeds + 1):
            new = [
                Run(i, k, seeds - 1)
                for i, own in enumerate(self.problem.settings)
                for k in range(0, len(own), 2)
            ]
            seen.scores |= dict(zip(new, table.fetch(new), strict=True))
            runs += new
            if seeds >= MIN_GRID_SEEDS:
                say(f"grid: {seeds} seeds, {len(runs)} runs, interval {seen.law_width:.2f}")
                if seen.precise:
                    break
        return runs, seen

    def replay(self, name: str, trajectory: Trajectory, table: Table, most: int) -> list[Run]:
        """Go on with runs from packs until the rule is met."""
        while not trajectory.seen.precise and len(trajectory.seen.scores) < most:
            trajectory.step(table.fetch)
            say(f"{name}: {len(trajectory.seen.scores)} runs")
        return list(trajectory.seen.scores)

    def line(
        self, method: str, runs: Sequence[Run], seconds: float, how: str, law: Law | None
    ) -> Line:
        reached = law is not None and law.interval[1] - law.interval[0] <= self.problem.precision
        return Line(
            method=method,
            runs=len(runs),
            flops=self.problem.flops(runs),
            seconds=seconds,
            how=how,
            law=law,
            reached=reached,
        )


def tpe(width: int, repetition: int = 0) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=len(WIDTHS) * repetition + width)


def gp(width: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=width)


def print_costs(lines: Iterable[Line]) -> None:
    lines = list(lines)
    ours = lines[0]
    print(
        "| method | rule met | runs | training TFLOP | wall seconds | how known | times ours ",
        end="",
    )
    print("| exponent (95 %) |\n|---|---|---|---|---|---|---|---|")
    for line in lines:
        least = "" if line.reached else "> "
        law = "–"
        if line.law is not None:
            low, high = line.law.interval
            law = f"{line.law.exponent:.2f} ({low:.2f} to {high:.2f})"
        print(
            f"| {line.method} | {'yes' if line.reached else 'no'} | {line.runs} "
            f"| {line.flops / 1e12:.2f} | {line.seconds:.0f} | {line.how} "
            f"| {least}{line.seconds / ours.seconds:.1f} | {law} |"
        )


def print_speeds(problem: Problem, speeds: dict[str, list[list[float]]], table: Table) -> None:
    print("\n| width | batch size | ḡ | a loop's step, default SGD, µs | fused SGD, µs ", end="")
    print(f"| in a pack of {BLOCK}, a run, evaluation included, µs |\n|---|---|---|---|---|---|")
    for i, own in enumerate(problem.settings):
        for k in range(0, len(own), 4):
            packed = table.seconds([Run(i, k, 0)]) / own[k].steps
            print(
                f"| {16 * WIDTHS[i]} | {own[k].batch_size} "
                f"| {problem.lattices[i].noise_scale[k]:.3f} "
                f"| {1e6 * speeds['default'][i][k]:.0f} | {1e6 * speeds['fused'][i][k]:.0f} "
                f"| {1e6 * packed:.0f} |"
            )


def check(comparison: Comparison, pool: ProcessPoolExecutor, table: Table, fused: Any) -> None:
    """Loop runs and packed runs of the same width, setting and seed."""
    problem = comparison.problem
    print("\n| width | ḡ | loops: accuracy | packs: accuracy | difference ± its error ", end="")
    print("| loops: seconds a run | packs: core seconds a run |\n|---|---|---|---|---|---|---|")
    for i, lattice in enumerate(problem.lattices):
        k = int(np.argmin(np.abs(np.log(lattice.noise_scale) - math.log(CHECKED_SCALE))))
        runs = [Run(i, k, seed) for seed in range(CHECKED_SEEDS)]
        loops = list(pool.map(partial(train_loop, comparison.size, fused=fused), runs))
        packed = table.fetch(runs)
        scores = 100 * np.array([loop.score for loop in loops])
        difference = scores - 100 * np.array(packed)
        print(
            f"| {16 * WIDTHS[i]} | {lattice.noise_scale[k]:.3f} | {scores.mean():.2f} "
            f"| {100 * np.mean(packed):.2f} | {difference.mean():+.3f} ± "
            f"{difference.std(ddof=1) / math.sqrt(CHECKED_SEEDS):.3f} "
            f"| {np.mean([loop.seconds for loop in loops]):.2f} "
            f"| {table.seconds(runs) / CHECKED_SEEDS:.2f} |",
            flush=True,
        )


def compare(options: argparse.Namespace) -> None:
    comparison = Comparison(options)
    problem, workers = comparison.problem, comparison.workers
    print_introduction(comparison)
    ours = comparison.ours()
    say(f"ours: {ours.runs} runs, {ours.seconds:.0f} s")
    lines = [ours]
    with make_pool(workers) as pool:
        table = Table(comparison.size, comparison.directory / "table.jsonl", pool)
        speeds = loop_speeds(comparison.size, comparison.directory, pool)
        totals = {name: float(sum(map(sum, times))) for name, times in speeds.items()}
        faster = min(totals, key=lambda name: totals[name])
        live, loops, loop_runs, seconds = comparison.optuna_loops(pool, FUSED[faster])

        def stepping(runs: Iterable[Run]) -> float:
            return sum(
                speeds[faster][r.width][r.scale_index] * problem.setting(r).steps for r in runs
            )

        # Wall seconds for each second of steps: evaluation, idle workers, and diverged runs.
        overhead = seconds / stepping(loop_runs)
        name = f"Optuna TPE, {options.policy}, loops"
        reached = live.seen.precise
        lines.append(comparison.line(name, loop_runs, seconds, "measured", live.seen.law))
        busy = sum(loop.seconds for loop in loops) / workers / seconds
        if not reached:
            going_on = f"{name}, gone on in packs"
            runs = comparison.replay(going_on, live, table, options.max_runs)
            wall = seconds + overhead * stepping(runs[len(loop_runs) :])
            lines.append(
                comparison.line(going_on, runs, wall, "computed from there on", live.seen.law)
            )
        runs, seen = comparison.grid(table)
        packed = table.seconds(runs) / workers
        lines.append(
            comparison.line("grid, packs", runs, packed, "the packs' seconds, shared out", seen.law)
        )
        lines.append(
            comparison.line("grid, loops", runs, overhead * stepping(runs), "computed", seen.law)
        )
        for sampler, make, policy, most in (
            ("TPE", tpe, "round robin", options.max_runs),
            ("TPE", tpe, "widest two", options.max_runs),
            ("GP", gp, "round robin", options.gp_runs),
        ):
            if (make, policy) == (tpe, options.policy):
                continue
            name = f"Optuna {sampler}, {policy}, loops"
            other = Trajectory(problem, make, policy)
            runs = comparison.replay(name, other, table, most)
            wall = overhead * stepping(runs)
            lines.append(comparison.line(name, runs, wall, "computed", other.seen.law))
        print("## Cost of the exponent\n")
        print_costs(lines)
        print_verdict(ours, lines[1], options, busy)
        print("\n## Are they the same runs?")
        check(comparison, pool, table, FUSED[faster])
        print("\n## A step")
        print_speeds(problem, speeds, table)
        print(f"\nThe loops above use {faster} SGD: over all settings the faster.")


def print_introduction(comparison: Comparison) -> None:
    size, problem = comparison.size, comparison.problem
    first = problem.lattices[0]
    print("# What an exponent costs on real data: our search, a grid, Optuna with loops\n")
    print("Written by `python validation/search_on_real_data.py`.\n")
    print("MLP 784 – 16w – 10, w = 1, 2, 4, 8, NTK parameterization, 1,024 bundled images,")
    print(f"{size.num_test} test images; physical time {size.physical_time:g} (some")
    print(f"{problem.settings[0][0].steps} steps). {first.size} noise scales half an octave apart")
    print(f"({first.noise_scale[0]:g} to {first.noise_scale[-1]:g}) at every width.")
    print("The score of a run is its mean test accuracy at the last two of")
    print(f"{size.evaluations} evaluations. Everyone stops when the exponent's 95 % interval,")
    print(f"from all its runs, is at most {size.precision:g} wide. {comparison.workers} processes")
    print("with a thread each.\n")
    print("In Optuna's favor: its loops evaluate only what the score needs, run in processes")
    print("prepared as ours are (memory kept, no denormal numbers), and take the faster of default")
    print("and fused SGD; looking whether the rule is met and starting processes are not in its")
    print(f"time, but in ours. It looks every {TRIALS_BETWEEN_LOOKS} trials; ours trains at least")
    print(f"{RUNS_AT_ONCE} runs a round, {SEEDS_AT_ONCE} of a setting, and")
    print("has to bracket every optimum besides.")
    print("Runs of equal width, setting and seed start from the same weights and see the same")
    print("batches in all methods. A trial is the next seed of the setting chosen; a diverged run")
    print(f"counts as {CHANCE:g} for Optuna. In the grid every second setting is run. PyTorch")
    print(f"{torch.__version__}, Optuna {optuna.__version__}, {platform.machine()}.\n", flush=True)


def print_verdict(ours: Line, loops: Line, options: argparse.Namespace, busy: float) -> None:
    ratio = loops.seconds / ours.seconds
    if not ours.reached:
        print("\n**Our search did not meet the rule: the ratios below compare nothing.**")
    print(f"\nOptuna with loops, measured: {ratio:.1f} times our wall time", end="")
    if loops.reached:
        print(".", end=" ")
    else:
        print(f" when its {options.minutes:g} minutes were over and the rule not met: ", end="")
        print("**a lower bound**.", end=" ")
    met = "met" if ratio >= 20 else "not met by what was measured"
    print(f"Wanted were 20: {met}. Its processes were busy {100 * busy:.0f} % of the time.")
    print("'Computed' seconds are those of the loops' steps (timed below) times the ratio of wall")
    print("to step seconds that the measured loops had. The sign > marks methods that had not met")
    print("the rule when they were stopped.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("studies/search_on_real_data"))
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--minutes", type=float, default=25.0, help="at most, of Optuna with loops")
    parser.add_argument("--max-runs", type=int, default=1600, help="at most, of a TPE replay")
    parser.add_argument("--gp-runs", type=int, default=240, help="at most, of the GP replay")
    parser.add_argument("--policy", choices=("round robin", "widest two"), default="round robin")
    parser.add_argument("--quick", action="store_true", help="a smoke test; proves nothing")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    compare(options)


if __name__ == "__main__":
    main()
