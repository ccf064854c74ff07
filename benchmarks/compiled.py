"""The compiled engine beside the packed one, dense networks 784-H-…-10, float32, one core.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.compiled --output docs/benchmarks/compiled.md

Takes about ten minutes, with ``--quick`` three. Both train through the trainer that studies use,
so that drawing indices, gathering and the calls themselves are in the times. Cells and rules are
constants of this file.
"""

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.comparison import parsed, parser_of, write
from benchmarks.environment import environment
from benchmarks.summary import Spread, geometric_mean
from benchmarks.tables import ratio, table
from widthwise.data import Dataset
from widthwise.families import mlp
from widthwise.training.job import PackJob, Replica
from widthwise.training.trainer import PackTrainer

INPUTS, CLASSES, EXAMPLES = 784, 10, 1024
# Replicas of a pack: the fastest of these, in a trial before the rounds, is the packed engine's.
PACK_SIZES = (1, 4, 16, 64)
# The compiled engine computes one run after the other; a few show what handing them out costs.
RUNS = 4
NARROW_BATCHES, WIDE_BATCHES = (1, 2, 4, 8), (16, 32)
WANTED = {"B ≤ 8": 6.0, "B = 16 and 32": 3.0}  # times as fast in the geometric mean
_PRODUCT = 1024  # of the square matrices whose product tells the core's speed
_IN_CACHE = 1 << 16  # floats that fit into a core's own cache, read and written in place
_STEPS = 1 << 40  # of a job that never ends


@dataclass(frozen=True)
class Cell:
    """784-H-…-10 with B examples a step."""

    batch_size: int
    width: int
    depth: int
    momentum: float

    @property
    def sizes(self) -> list[int]:
        return [INPUTS, *[self.width] * self.depth, CLASSES]

    def floor(self, products: float, bytes_moved: float) -> float:
        """µs that a step takes at least: its operations at ``products`` FLOP/s, or its weights (and
        velocities) read and written once at ``bytes_moved`` bytes/s, whichever is longer; hidden
        layers' weights are read once more for the backward product."""
        first, *others = (a * b for a, b in itertools.pairwise(self.sizes))
        flops = (4 * first + 6 * sum(others)) * self.batch_size
        passes = 4 if self.momentum else 2
        moved = 4 * (passes * first + (passes + 1) * sum(others))
        return 1e6 * max(flops / products, moved / bytes_moved)


CELLS = tuple(
    Cell(batch_size, width, depth, momentum)
    for depth in (1, 2)
    for momentum in (0.0, 0.9)
    for width in (16, 32, 64, 128)
    for batch_size in (*NARROW_BATCHES, *WIDE_BATCHES)
)


@dataclass(frozen=True)
class Measured:
    """Of one cell, round by round.

    Attributes:
        pack_size: replicas of the packed engine.
        compiled, packed: µs a step and run.
        floor: µs, by the speeds measured in the same round.
    """

    pack_size: int
    compiled: list[float]
    packed: list[float]
    floor: list[float]

    @property
    def speedup(self) -> Spread:
        return Spread.of([p / c for p, c in zip(self.packed, self.compiled, strict=True)])

    @property
    def at_the_floor(self) -> Spread:
        """The speedup of an engine that took no longer than the floor."""
        bounds = map(min, self.floor, self.compiled)
        return Spread.of([p / b for p, b in zip(self.packed, bounds, strict=True)])

    @property
    def share(self) -> Spread:
        """Of the floor in the time."""
        return Spread.of([f / c for f, c in zip(self.floor, self.compiled, strict=True)])


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(parser_of("compiled", __doc__), argv)
    torch.set_num_threads(1)
    data = images()
    results: dict[Cell, Measured] = {}
    for cell in CELLS:
        results[cell] = measure(cell, data, args.rounds, args.seconds)
        print(cell, ratio(results[cell].speedup), file=sys.stderr, flush=True)
    where = environment("compiled", argv, rounds=args.rounds, seconds_a_block=args.seconds)
    record = {
        "environment": where,
        "unit": "µs per step and run",
        "cells": [{**asdict(cell), **asdict(measured)} for cell, measured in results.items()],
    }
    write(args.output, markdown(results, where), record)
    print(verdict(results))
    return 0


def images() -> Dataset:
    """Noise in the shape of Fashion-MNIST, half of it zero as there."""
    generator = np.random.default_rng(0)
    inputs = generator.random((EXAMPLES, 28, 28)) * (generator.random((EXAMPLES, 28, 28)) < 0.5)
    labels = generator.integers(CLASSES, size=EXAMPLES)
    return Dataset.from_arrays(
        inputs.astype(np.float32), labels, inputs[:16].astype(np.float32), labels[:16]
    )


def trainer(cell: Cell, data: Dataset, engine: Any, replicas: int) -> PackTrainer:
    family = mlp((28, 28), CLASSES, base_width=cell.width, depth=cell.depth)
    runs = tuple(
        Replica(learning_rate=0.01, momentum=cell.momentum, seed=seed) for seed in range(replicas)
    )
    job = PackJob(
        widening_factor=1,
        batch_size=cell.batch_size,
        steps=_STEPS,
        replicas=runs,
        evaluations=8,
    )
    return PackTrainer(family, data, job, engine=engine)


def block(one: PackTrainer, steps: int) -> float:
    """µs a step and run."""
    begun = perf_counter()
    one.train(one.step + steps)
    if one.num_diverged:
        raise RuntimeError(f"{one.num_diverged} runs diverged: {one.job}")
    return 1e6 * (perf_counter() - begun) / steps / len(one.job.replicas)


def measure(cell: Cell, data: Dataset, rounds: int, seconds: float) -> Measured:
    packs = {size: trainer(cell, data, "chain", size) for size in PACK_SIZES}
    trials = {size: min(block(one, 16) for _ in range(3)) for size, one in packs.items()}
    pack_size = min(trials, key=lambda size: trials[size])
    packed, compiled = packs[pack_size], trainer(cell, data, "compiled", RUNS)
    block(compiled, 64)

    def steps(one: PackTrainer) -> int:
        took = block(one, 64) * len(one.job.replicas)
        return max(16, round(1e6 * seconds / took))

    lengths = steps(compiled), steps(packed)
    measured = Measured(pack_size, [], [], [])
    for _ in range(rounds):
        measured.compiled.append(block(compiled, lengths[0]))
        measured.packed.append(block(packed, lengths[1]))
        measured.floor.append(cell.floor(products_a_second(), bytes_a_second()))
    return measured


def products_a_second() -> float:
    """FLOP/s of a large product on this core; the best of a few."""
    a = torch.rand(_PRODUCT, _PRODUCT)
    return 2 * _PRODUCT**3 / _shortest(lambda: a @ a, 3)


def bytes_a_second() -> float:
    """Bytes read and written in place a second in the core's own cache; the best of many."""
    a = np.ones(_IN_CACHE, np.float32)
    one = np.float32(1)
    return 2 * a.nbytes / _shortest(lambda: np.multiply(a, one, out=a), 200)


def _shortest(function: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        begun = perf_counter()
        function()
        found.append(perf_counter() - begun)
    return min(found)


def verdict(results: Mapping[Cell, Measured]) -> str:
    """One line a group of cells."""
    lines = []
    for name, batches in zip(WANTED, (NARROW_BATCHES, WIDE_BATCHES), strict=True):
        speedups = [m.speedup.median for c, m in results.items() if c.batch_size in batches]
        mean = geometric_mean(speedups)
        lines.append(
            f"{name}: {mean:.2f} times as fast in the geometric mean (wanted: {WANTED[name]:g}), "
            f"{min(speedups):.2f} to {max(speedups):.2f}"
        )
        possible = [m.at_the_floor.median for c, m in results.items() if c.batch_size in batches]
        lines.append(f"{name}, were every cell at its floor: {geometric_mean(possible):.2f}")
    for name, widths in (("H ≥ 64", (64, 128)), ("H ≤ 32", (16, 32))):
        shares = [m.share.median for c, m in results.items() if c.width in widths]
        lines.append(
            f"{name}: {100 * geometric_mean(shares):.0f} % of the floor in the geometric mean, "
            f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %"
        )
    return "\n".join(lines)


def markdown(results: Mapping[Cell, Measured], where: Mapping[str, Any]) -> str:
    """The whole page."""
    rows = [
        (
            f"{c.depth}, {c.momentum:g}, {c.width}, {c.batch_size}",
            f"{Spread.of(m.compiled).median:.1f}",
            f"{Spread.of(m.packed).median:.1f} ({m.pack_size})",
            ratio(m.speedup),
            f"{100 * m.share.median:.0f} %",
        )
        for c, m in results.items()
    ]
    parts = [
        "# The compiled engine beside the packed one",
        f"Written by `{where['command']}`; see [performance.md](../performance.md). Networks "
        "784-H-…-10 in float32 on one core, through the trainer, with the drawing of indices. The "
        f"packed engine has the fastest number of replicas of {', '.join(map(str, PACK_SIZES))} "
        f"in a trial beforehand. Medians of {where['rounds']} rounds in which both take turns, "
        "smallest and largest in brackets; ratios are of the same round. Floor: operations at the "
        f"speed of {_PRODUCT}×{_PRODUCT} products, or weights and velocities read and written once "
        "in the core's own cache, whichever takes longer; both speeds are measured in each round.",
        table(("", ""), [(name, str(value)) for name, value in where.items()]),
        "\n".join(f"- {line}" for line in verdict(results).splitlines()),
        table(
            (
                "depth, momentum, H, B",
                "compiled, µs per step and run",
                "packed (replicas)",
                "times as fast",
                "share of the floor",
            ),
            rows,
        ),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
