"""Does the exponent on which a search stops hold the truth? Real runs, searched many times over.

The problem of search_on_real_data.py, every setting trained with 64 seeds: what all these runs say
of the exponent is taken for the truth. A replay shuffles the seeds of each setting and searches
among them, so that it stops when it happens to know enough, on real curves and real noise.
Whatever was trained is kept in a directory, and the same command goes on from there. Writes
Markdown, progress to standard error:

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
    make_pool,
    problem_of,
)

from widthwise.errors import FitError
from widthwise.search import Lattice, Observations, SearchTarget, next_round
from widthwise.study.settings import Setting

NUM_SEEDS = 64
STREAM = 1126
# seeds at once, runs at once: of the comparison with Optuna, and what a study takes by itself.
WAYS = ((SEEDS_AT_ONCE, RUNS_AT_ONCE), (4, 32), (8, 32))

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Scores (settings, seeds) of every width, and seconds of a run in a pack."""

    scores: tuple[FloatArray, ...]
    seconds: tuple[FloatArray, ...]

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
    return Pool(scores=scores, seconds=seconds)


def as_searched(problem: Problem, seeds_at_once: int) -> list[Lattice]:
    """The lattices with the costs that a study gives them."""
    costs, spec = problem.context.costs(), problem.context.spec
    evaluated = spec.training.evaluations * problem.context.num_evaluated

    def cost(setting: Setting) -> float:
        return costs[setting.widening_factor].run_cost(
            setting.steps,
            setting.batch_size,
            replicas=seeds_at_once,
            evaluated=evaluated,
        )

    return [
        replace(lattice, cost=tuple(cost(setting) for setting in own))
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
    print("agree more than fresh searches would. Core seconds are those of packs of")
    print(f"{BLOCK} on this machine. In brackets: 95 % intervals.\n")
    print("| seeds at once, runs at once | replays | precise enough | exponent covered ", end="")
    print("".join(f"| ḡ covered, w = {w} " for w in WIDTHS), end="")
    print("| mean exponent | median runs | TFLOP | core seconds | rounds |")
    print("|---|---|---|---|" + "---|" * (len(WIDTHS) + 5))
    for way in WAYS:
        with make_pool(options.workers) as workers:
            numbers = range(options.replays)
            done = list(workers.map(replay, [pool] * len(numbers), [way] * len(numbers), numbers))
        print(f"| {way[0]}, {way[1]} | {len(done)} ", end="")
        print(f"| {share([d.reason == 'precise enough' for d in done])} ", end="")
        print(f"| {share([holds(d.interval, law.exponent) for d in done])} ", end="")
        for i, optimum in enumerate(optima):
            assert optimum is not None
            print(f"| {share([holds(d.optima[i], optimum.noise_scale) for d in done])} ", end="")
        median = [
            statistics.median(values)
            for values in (
                [d.runs for d in done],
                [d.flops / 1e12 for d in done],
                [d.seconds for d in done],
                [d.rounds for d in done],
            )
        ]
        print(f"| {np.nanmean([d.estimate for d in done]):.2f} | {median[0]:.0f} ", end="")
        print(f"| {median[1]:.2f} | {median[2]:.0f} | {median[3]:.0f} |", flush=True)
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
