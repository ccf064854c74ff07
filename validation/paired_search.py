"""An exponent on real data, our adaptive search and Optuna with ordinary loops taking turns.

The problem, rules and methods are those of search_on_real_data.py. Pair r has images, samplers and
order of its own: in even pairs ours goes first. Needs `pip install optuna`. What was trained is
kept in a directory; the same command goes on from there. Writes Markdown, progress to standard
error; on two cores it takes about 20 minutes with nothing else to do:

    python validation/paired_search.py > validation/paired_search.md
"""

import argparse
import copy
import os
import platform
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import optuna
import torch
from real_problem import FUSED, RUNS_AT_ONCE, SEEDS_AT_ONCE, loop_speeds, make_pool
from search_on_real_data import Comparison, Line, say

from widthwise.hardware import describe_processor
from widthwise.study import Study
from widthwise.study.rounds import Searched

PAIRS = 5
AIM, DEFECT = 20.0, 10.0  # times as fast: what is wanted, and below what something is wrong


@dataclass(frozen=True)
class Shares:
    """Of our wall time, in seconds.

    Attributes:
        training: the runs' own seconds, shared out over the workers.
        choosing: what to run next.
        rest: starting, handing out, waiting for the last run of a round.
    """

    training: float
    choosing: float
    rest: float


@dataclass(frozen=True)
class Pair:
    """What both took."""

    ours: Line
    loops: Line
    shares: Shares

    @property
    def ratio(self) -> float:
        return self.loops.seconds / self.ours.seconds


def measured(options: argparse.Namespace, number: int) -> Pair:
    own = copy.copy(options)
    own.directory = options.directory / f"pair-{number}"
    comparison = Comparison(own, seed=number)

    def ours() -> tuple[Line, Shares]:
        spent = Stopwatch()
        with spent.on_choosing():
            line = comparison.ours()
        results = Study.open(own.directory / "ours").results()
        training = float(results["seconds"].sum()) / options.workers
        choosing = spent.kept(own.directory / "choosing.txt")
        return line, Shares(training, choosing, line.seconds - training - choosing)

    def loops() -> Line:
        with make_pool(options.workers) as pool:
            speeds = loop_speeds(comparison.size, options.directory, pool)
            faster = min(speeds, key=lambda name: float(np.sum(speeds[name])))
            live, _, runs, seconds = comparison.optuna_loops(pool, FUSED[faster])
        return comparison.line(f"Optuna, {faster} SGD", runs, seconds, "measured", live.seen.law)

    if number % 2 == 0:
        (our_line, shares), their_line = ours(), loops()
    else:
        their_line = loops()
        our_line, shares = ours()
    say(f"pair {number}: {their_line.seconds:.0f} s / {our_line.seconds:.0f} s")
    return Pair(our_line, their_line, shares)


class Stopwatch:
    """Time spent in choosing rounds, in this process."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def on_choosing(self) -> Any:
        from unittest import mock

        original = Searched.following

        def timed(*args: Any) -> Any:
            begun = perf_counter()
            try:
                return original(*args)
            finally:
                self._seconds += perf_counter() - begun

        return mock.patch.object(Searched, "following", timed)

    def kept(self, path: Path) -> float:
        """With what an earlier session spent."""
        if not path.exists():
            path.write_text(repr(self._seconds), encoding="utf-8")
        return float(path.read_text(encoding="utf-8"))


def print_page(pairs: list[Pair], options: argparse.Namespace) -> None:
    ratios = [pair.ratio for pair in pairs]
    print("# An exponent on real data: our search and Optuna with loops, in pairs\n")
    print("Written by `python validation/paired_search.py`.\n")
    print(
        "Problem, rules and methods are those of [search_on_real_data.md](search_on_real_data.md):"
    )
    print(
        "four widths of an MLP, 1,024 images, an exponent's 95 % interval at most 0.5 wide. Pair r"
    )
    print(
        "has images and samplers of its own; the methods take turns, ours first in even pairs. Our"
    )
    print(f"rounds have at least {RUNS_AT_ONCE} runs, {SEEDS_AT_ONCE} of a setting. Starting and")
    print(
        f"choosing count for ours, not for Optuna. {options.workers} processes with a thread each;"
    )
    print(f"{' '.join(describe_processor())}; PyTorch {torch.__version__}, Optuna")
    print(f"{optuna.__version__}, {platform.machine()}.\n")
    print("| pair | ours: runs | wall s | exponent (95 %) | Optuna: runs | wall s ", end="")
    print("| exponent (95 %) | times ours |\n|---|---|---|---|---|---|---|---|")
    for number, pair in enumerate(pairs):
        cells = [str(number)]
        for line in (pair.ours, pair.loops):
            law = "not met" if line.law is None or not line.reached else _exponent(line)
            cells += [str(line.runs), f"{line.seconds:.0f}", law]
        least = "" if pair.loops.reached else "> "
        print("| " + " | ".join([*cells, f"{least}{pair.ratio:.1f}"]) + " |")
    middle = float(np.median(ratios))
    print(f"\nMedian: **{middle:.1f} times** less wall time ({min(ratios):.1f} to ", end="")
    print(f"{max(ratios):.1f}). The aim was {AIM:g}, below {DEFECT:g} is a defect: ", end="")
    print("met." if middle >= AIM else "the aim is missed.", end=" ")
    print("A defect." if middle < DEFECT else "")
    print("\n| pair | ours: training s | choosing s | starting and waiting s |\n|---|---|---|---|")
    for number, pair in enumerate(pairs):
        s = pair.shares
        print(f"| {number} | {s.training:.1f} | {s.choosing:.1f} | {s.rest:.1f} |")


def _exponent(line: Line) -> str:
    assert line.law is not None
    low, high = line.law.interval
    return f"{line.law.exponent:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("studies/paired_search"))
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--minutes", type=float, default=25.0, help="at most, of Optuna in a pair")
    parser.add_argument("--pairs", type=int, nargs="+", default=range(PAIRS), help="which, from 0")
    parser.add_argument("--quick", action="store_true", help="a smoke test; proves nothing")
    options = parser.parse_args()
    options.policy = "round robin"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    options.directory.mkdir(parents=True, exist_ok=True)
    print_page([measured(options, number) for number in options.pairs], options)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
