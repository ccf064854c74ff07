"""Does the exponent on which a search stops hold the truth? Real runs, searched many times over.

The problem of search_on_real_data.py, every setting trained with 64 seeds: what all these runs say
of the exponent is taken for the truth. A replay shuffles the seeds of each setting and searches
among them, so that it stops when it happens to know enough, on real curves and real noise.
So does Optuna's TPE sampler, a trial at a time, until its interval is as narrow. Whatever was
trained is kept in a directory, and the same command goes on from there. Needs `pip install
optuna`. Writes Markdown, progress to standard error:

    OMP_NUM_THREADS=1 python validation/search_replays.py > validation/search_replays.md
"""

import argparse
import math
import os
import statistics
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from planted_coverage import wilson
from real_problem import (
    BLOCK,
    RUNS_AT_ONCE,
    SEEDS_AT_ONCE,
    WHOLE,
    WIDTHS,
    Problem,
    Run,
    Seen,
    Table,
    loop_speeds,
    make_pool,
    problem_of,
)
from search_on_real_data import Trajectory

from widthwise.errors import FitError
from widthwise.search import Lattice, Observations, SearchTarget, next_round
from widthwise.study.scheduling import cost_in_search

NUM_SEEDS = 64
MOST_TRIALS = NUM_SEEDS * len(WIDTHS)  # no setting can run out of seeds
STREAM = 1126
# seeds at once, runs at once: of the comparison with Optuna, and what a study takes by itself.
WAYS = ((SEEDS_AT_ONCE, RUNS_AT_ONCE), (4, 32), (8, 32))

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Scores (settings, seeds) of every width, and core seconds (settings) of a run in a pack."""

    scores: tuple[FloatArray, ...]
    seconds: tuple[FloatArray, ...]
    loop_seconds: tuple[FloatArray, ...]  # of a run in an ordinary loop, its steps alone

    def shuffled(self, rng: np.random.Generator) -> list[Observations]:
        return [
            Observations(scores=rng.permuted(own, axis=1), ran=np.ones(own.shape, dtype=bool))
            for own in self.scores
        ]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of a replay."""

    runs: int
    seconds: float  # core seconds
    flops: float
    rounds: int
    reason: str
    estimate: float
    interval: tuple[float, float]
    optima: tuple[tuple[float, float], ...]  # intervals


def collect(directory: Path, workers: int) -> Pool:
    """Train what is missing, blocks of seeds of all settings in turn."""
    problem = problem_of(WHOLE)
    directory.mkdir(parents=True, exist_ok=True)
    cells = [(i, k) for i, own in enumerate(problem.settings) for k in range(len(own))]
    with make_pool(workers) as pool:
        table = Table(WHOLE, directory / "table.jsonl", pool)
        for block in range(0, NUM_SEEDS, BLOCK):
            table.fetch([Run(i, k, block) for i, k in cells])
            print(f"{block + BLOCK} of {NUM_SEEDS} seeds", file=sys.stderr, flush=True)
        scores = tuple(
            np.array([table.fetch([Run(i, k, s) for s in range(NUM_SEEDS)]) for k in range(n)])
            for i, n in enumerate(map(len, problem.settings))
        )
        seconds = tuple(
            np.array([table.seconds([Run(i, k, s) for s in range(NUM_SEEDS)]) for k in range(n)])
            / NUM_SEEDS
            for i, n in enumerate(map(len, problem.settings))
        )
        step = loop_speeds(WHOLE, directory, pool)
    faster = min(step.values(), key=lambda times: sum(map(sum, times)))
    loop_seconds = tuple(
        np.array(times) * [s.steps for s in own]
        for times, own in zip(faster, problem.settings, strict=True)
    )
    return Pool(scores=scores, seconds=seconds, loop_seconds=loop_seconds)


def as_searched(problem: Problem, seeds_at_once: int) -> list[Lattice]:
    """The lattices with the costs that a study gives them."""
    context = problem.context
    costs = context.costs()
    return [
        replace(lattice, cost=tuple(cost_in_search(s, context, costs, seeds_at_once) for s in own))
        for lattice, own in zip(problem.lattices, problem.settings, strict=True)
    ]


def replay(pool: Pool, way: tuple[int, int], number: int) -> Outcome:
    """One search, to the precision of search_on_real_data.py."""
    warnings.simplefilter("ignore")
    problem = problem_of(WHOLE)
    lattices = as_searched(problem, way[0])
    target = SearchTarget(
        exponent_precision=problem.precision, max_seeds=NUM_SEEDS, seeds_at_once=way[0]
    )
    source = pool.shuffled(np.random.default_rng([STREAM, number]))
    landed = [Observations.none(lattice) for lattice in lattices]
    seconds = flops = 0.0
    for rounds in range(10_000):
        proposal = next_round(landed, lattices, target, workers=way[1], number=rounds + 1)
        if proposal.finished:
            break
        for r in proposal.runs:
            seconds += len(r.seeds) * pool.seconds[r.width][r.scale_index]
            flops += len(r.seeds) * problem.lattices[r.width].cost[r.scale_index]
        landed = [
            own.with_runs([r for r in proposal.runs if r.width == i], source[i])
            for i, own in enumerate(landed)
        ]
    law = proposal.law
    return Outcome(
        runs=proposal.spent_runs,
        seconds=seconds,
        flops=flops,
        rounds=rounds,
        reason=proposal.reason or "",
        estimate=math.nan if law is None else law.exponent,
        interval=(math.inf, -math.inf) if law is None else law.interval,
        optima=tuple((math.inf, -math.inf) if o is None else o.interval for o in proposal.optima),
    )


def replay_tpe(pool: Pool, number: int) -> Outcome:
    """The same with Optuna's TPE, the widths in turn; seconds are those of loops."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = problem_of(WHOLE)
    source = pool.shuffled(np.random.default_rng([STREAM, number]))

    def sampler(width: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=len(WIDTHS) * number + width)

    def scores(runs: Sequence[Run]) -> list[float]:
        return [float(source[r.width].scores[r.scale_index, r.seed]) for r in runs]

    trajectory = Trajectory(problem, sampler, "round robin")
    rounds = 0
    while not trajectory.seen.precise and len(trajectory.seen.scores) < MOST_TRIALS:
        trajectory.step(scores)
        rounds += 1
    runs, law = list(trajectory.seen.scores), trajectory.seen.law
    return Outcome(
        runs=len(runs),
        seconds=float(sum(pool.loop_seconds[r.width][r.scale_index] for r in runs)),
        flops=problem.flops(runs),
        rounds=rounds,
        reason="precise enough" if trajectory.seen.precise else "budget spent",
        estimate=math.nan if law is None else law.exponent,
        interval=(math.inf, -math.inf) if law is None else law.interval,
        optima=tuple(
            (math.inf, -math.inf) if o is None else o.interval for o in trajectory.seen.optima
        ),
    )


def share(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{100 * sum(hits) / len(hits):.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def truth_of(problem: Problem, pool: Pool) -> Seen:
    seen = Seen(problem)
    for i, own in enumerate(pool.scores):
        for (k, seed), score in np.ndenumerate(own):
            seen.scores[Run(i, k, seed)] = float(score)
    return seen


def row(name: str, done: Sequence[Outcome], truths: Sequence[float]) -> str:
    """Of the table; the truths are the exponent and the best ḡ of each width."""
    cells = [name, str(len(done)), share([d.reason == "precise enough" for d in done])]
    for i, truth in enumerate(truths):
        intervals = [(d.interval, *d.optima)[i] for d in done]
        cells.append(share([holds(interval, truth) for interval in intervals]))
    cells.append(f"{np.nanmean([d.estimate for d in done]):.2f}")
    cells.append(f"{statistics.median(d.runs for d in done):.0f}")
    cells.append(f"{statistics.median(d.flops for d in done) / 1e12:.2f}")
    cells.append(f"{statistics.median(d.seconds for d in done):.0f}")
    cells.append(f"{statistics.median(d.rounds for d in done):.0f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default="search_replays")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    pool = collect(Path(options.directory), options.workers)
    problem = problem_of(WHOLE)
    seen = truth_of(problem, pool)
    law, optima = seen.law, seen.optima
    if law is None or None in optima:
        raise FitError("all runs together do not give an exponent: nothing to compare with")
    print("# Searches on real runs, replayed: is the truth in the interval?\n")
    print("Written by `OMP_NUM_THREADS=1 python validation/search_replays.py`.\n")
    num_runs = sum(own.size for own in pool.scores)
    print(
        f"The problem of search_on_real_data.py; {num_runs} runs, {NUM_SEEDS} seeds of each of the"
    )
    print(f"{num_runs // NUM_SEEDS} settings. All of them give an exponent of {law.exponent:.2f}")
    print(f"({law.interval[0]:.2f} to {law.interval[1]:.2f}), taken for the truth with the best ḡ")
    print("of each width below. A replay shuffles the seeds of each setting; it searches until the")
    print(f"exponent's interval is at most {problem.precision:g} wide. Replays share runs, so they")
    print(
        "agree more than fresh searches would. Core seconds are those of the runs, ours in packs of"
    )
    print(f"{BLOCK}, TPE's as steps of ordinary loops on this machine. In brackets: 95 %.\n")
    print("| method | replays | precise enough | exponent covered ", end="")
    print("".join(f"| ḡ covered, w = {w} " for w in WIDTHS), end="")
    print("| mean exponent | median runs | TFLOP | core seconds | rounds or looks |")
    print("|---|---|---|---|" + "---|" * (len(WIDTHS) + 5))
    numbers = range(options.replays)
    truths = [law.exponent, *(o.noise_scale for o in optima if o is not None)]
    with make_pool(options.workers) as workers:
        for way in WAYS:
            name = f"ours, {way[0]} seeds and {way[1]} runs at once"
            done = workers.map(replay, *zip(*((pool, way, n) for n in numbers), strict=True))
            print(row(name, list(done), truths), flush=True)
        done = workers.map(replay_tpe, *zip(*((pool, n) for n in numbers), strict=True))
        print(row("Optuna TPE, loops", list(done), truths), flush=True)
    print("\n## The runs\n")
    print("Mean late test accuracy in percent ± its standard error; – where a run diverged.\n")
    print("| ḡ |" + "".join(f" w = {w} |" for w in WIDTHS))
    print("|---|" + "---|" * len(WIDTHS))
    for k, scale in enumerate(problem.lattices[0].noise_scale):
        cells = []
        for own in pool.scores:
            values = 100 * own[k]
            error = values.std(ddof=1) / math.sqrt(values.size)
            cells.append("–" if np.isnan(error) else f"{values.mean():.2f} ± {error:.2f}")
        print(f"| {scale:.3f} | " + " | ".join(cells) + " |")
    print("\nBest ḡ by all runs: ", end="")
    print(
        ", ".join(
            f"{o.noise_scale:.3f} ({o.interval[0]:.3f} to {o.interval[1]:.3f}) at w = {w}"
            for w, o in zip(WIDTHS, optima, strict=True)
            if o is not None
        )
        + "."
    )


if __name__ == "__main__":
    main()
