"""How the time of Widthwise grows with the number of runs, with width and with batch size.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.scaling --output docs/benchmarks/scaling.md

Takes about ten minutes, with ``--quick`` four (estimated).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.cells import NETWORKS, Cell
from benchmarks.comparison import announce, cell_record, parsed, parser_of, write
from benchmarks.environment import environment
from benchmarks.planning import largest_pack, planned
from benchmarks.summary import Spread, paired_ratios
from benchmarks.tables import share_of_peak, table
from benchmarks.timing import Measurement, Team, assemble, time_cell
from benchmarks.ways import OURS, PEAK, cores, ours, peaks
from widthwise.study.spec import PackingSpec

NUM_RUNS = (256, 64, 16, 8, 4, 2, 1)  # the most first: losses of the others are compared with its
MANY, FEW = NUM_RUNS[0], 16
MOST_TIMES_AS_LONG = 1.15  # a run of MANY, at most, as one of FEW
RUNS_CELLS = tuple(
    Cell(*cell, num_replicas=MANY)
    for cell in (("mlp", 64, 16), ("mlp", 256, 16), ("cnn", 8, 32), ("cnn", 16, 32))
)
WIDTH_CELLS = (
    *(Cell("mlp", width, 16, num_replicas=FEW) for width in (16, 32, 64, 128, 256, 512, 1024)),
    *(Cell("cnn", width, 32, num_replicas=FEW) for width in (4, 8, 16, 32)),
)
BATCH_CELLS = (
    *(Cell("mlp", 64, batch, num_replicas=FEW) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    *(Cell("cnn", 8, batch, num_replicas=FEW) for batch in (1, 4, 16, 64, 128)),
)
MEMORY_CELLS = (Cell("mlp", 256, 16), Cell("cnn", 16, 32))
# A study trains a pack to its end. Were packs to take turns after a few steps, many runs would find
# the caches cold at every turn, as they do not there.
STEPS_IN_A_ROW = 20
BUDGETS_MB = (64.0, 256.0, PackingSpec().memory_mb)
_MOST_IN_A_BUDGET = 256  # runs of a pack: so many that memory, and nothing else, limits them


@dataclass(frozen=True)
class Held:
    """What a pack held that was as large as its budget allows.

    Attributes:
        cell: all its runs in one pack.
        budget: MB.
        peak: bytes, at most, while the pack was built, trained and evaluated, beyond what the
            process held before.
    """

    cell: Cell
    budget: float
    peak: int


Results = Mapping[Cell, Measurement]


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(parser_of("scaling", __doc__), argv)
    runs = _time_runs(args)
    curves = _time_curves(args)
    held = measure_memory(MEMORY_CELLS)
    where = environment("scaling", argv, rounds=args.rounds, seconds_a_block=args.seconds)
    record = {
        "environment": where,
        "unit": "µs per step and run; for products, µs per product",
        "runs": [cell_record(*item) for item in runs.items()],
        "curves": [cell_record(*item) for item in curves.items()],
        "memory": [{**_plain(h.cell), "budget_mb": h.budget, "peak_bytes": h.peak} for h in held],
    }
    write(args.output, markdown(runs, curves, held, where), record)
    for cell, growth in growths(runs).items():
        print(
            f"{_name(cell)}: a run of {MANY} takes {growth.median:.2f} times as long as one of "
            f"{FEW} ({growth.low:.2f}–{growth.high:.2f}); wanted: at most {MOST_TIMES_AS_LONG}"
        )
    return 0


def growths(runs: Results) -> dict[Cell, Spread]:
    """Time of a step and run of MANY over that of FEW, round by round, for each cell."""
    return {
        cell: Spread.of(paired_ratios(measured.times[_label(MANY)], measured.times[_label(FEW)]))
        for cell, measured in runs.items()
    }


def measure_memory(cells: Sequence[Cell]) -> list[Held]:
    """Train packs as large as each budget allows, one at a time."""
    held = []
    for cell in cells:
        for budget in BUDGETS_MB:
            packing = PackingSpec(memory_mb=budget, max_replicas=_MOST_IN_A_BUDGET)
            size = largest_pack(cell, packing)
            if size == 0:
                continue  # a study would refuse it
            whole = replace(cell, num_replicas=size, pack_size=size)
            with Team(ours(1)) as team:
                # What libraries set up when they are first used is the process's, not the pack's.
                _train(team, replace(cell, num_replicas=1))
                held.append(Held(whole, budget, _train(team, whole)))
    return held


def _train(team: Team, cell: Cell) -> int:
    """Build, train and evaluate; bytes held meanwhile."""
    team.start(cell, steps=2, blocks=1)
    team.block()
    team.losses()
    held = team.whole_memory()
    team.stop()
    return held


def markdown(
    runs: Results, curves: Results, held: Sequence[Held], environment: Mapping[str, Any]
) -> str:
    """The whole page."""
    parts = [
        "# How the time of a step grows",
        "Written by `" + environment["command"] + "`; see [performance.md](../performance.md).",
        table(("", ""), [(name, str(value)) for name, value in environment.items()]),
        "## With the number of runs",
        "µs per step and run, all cores at work (with one run, one core): median, smallest and "
        f"largest of {environment['rounds']} rounds (fewer where one takes long) in which the "
        f"numbers of runs take turns; a pack takes at least {STEPS_IN_A_ROW} steps in a row. Packs "
        "are as large as the planner's measurement says, unless there are fewer runs. Last: the "
        f"time of a run of {MANY} over that of one of {FEW}, in the same rounds; it should not "
        f"exceed {MOST_TIMES_AS_LONG}.",
        _runs_table(runs),
        "## With width and batch size",
        f"{FEW} runs. Operations by formula; their rate as a share of that of large float32 "
        "products on all cores, timed in the same rounds.",
        _curves_table(curves),
        "## Memory",
        "A pack as large as the budget allows (`packing.memory_mb`, other limits lifted), in a "
        "process of its own: most memory held while it was built, trained and evaluated, beyond "
        "what the process held before, when it had trained a single run.",
        _memory_table(held),
    ]
    return "\n\n".join(parts) + "\n"


def _time_runs(args: argparse.Namespace) -> dict[Cell, Measurement]:
    number = len(cores())
    ways = [ours(min(count, number), _label(count), count) for count in NUM_RUNS]
    return _time(args, RUNS_CELLS, ways, STEPS_IN_A_ROW)


def _time_curves(args: argparse.Namespace) -> dict[Cell, Measurement]:
    number = len(cores())
    cells = tuple(dict.fromkeys(WIDTH_CELLS + BATCH_CELLS))  # some are in both
    return _time(args, cells, [ours(number), peaks(number)[0]])


def _time(
    args: argparse.Namespace, cells: Sequence[Cell], ways: Any, min_steps: int = 1
) -> dict[Cell, Measurement]:
    results = {}
    with ExitStack() as stack:
        teams = assemble(stack, ways)
        for cell in planned(cells, len(cores())):
            announce(cell)
            results[cell] = time_cell(
                teams, cell, rounds=args.rounds, seconds=args.seconds, min_steps=min_steps
            )
    return results


def _label(count: int) -> str:
    return f"{count} runs" if count > 1 else "1 run"


def _name(cell: Cell) -> str:
    return (
        f"{cell.network}, {NETWORKS[cell.network].width_label} {cell.width}, B = {cell.batch_size}"
    )


def _plain(cell: Cell) -> dict[str, Any]:
    return {
        "network": cell.network,
        "width": cell.width,
        "batch_size": cell.batch_size,
        "pack_size": cell.pack_size,
    }


def _runs_table(runs: Results) -> str:
    labels = [_label(count) for count in reversed(NUM_RUNS)]
    rows = []
    for cell, growth in growths(runs).items():
        spreads = [Spread.of(runs[cell].times[label]) for label in labels]
        rows.append(
            [_name(cell), str(cell.pack_size)]
            + [f"{s.median:.0f} ({s.low:.0f}–{s.high:.0f})" for s in spreads]
            + [f"{growth.median:.2f} ({growth.low:.2f}–{growth.high:.2f})"]
        )
    return table(("network", "in a pack", *labels, f"{MANY} over {FEW}"), rows)


def _curves_table(curves: Results) -> str:
    rows = []
    for cell, measured in curves.items():
        times = Spread.of(measured.times[OURS])
        share = share_of_peak(cell, measured.times[OURS], measured.times[PEAK], len(cores()))
        rows.append(
            (
                _name(cell),
                str(cell.pack_size),
                f"{times.median:.0f} ({times.low:.0f}–{times.high:.0f})",
                f"{cell.flops / 1e6:.2f}",
                f"{cell.flops / (1e3 * times.median):.1f}",
                f"{share.median:.0f} % ({share.low:.0f}–{share.high:.0f})",
            )
        )
    heads = ("network", "in a pack", "µs a step and run", "MFLOP", "GFLOP/s", "of the peak")
    return table(heads, rows)


def _memory_table(held: Sequence[Held]) -> str:
    rows = [
        (
            _name(h.cell),
            f"{h.budget:.0f}",
            str(h.cell.pack_size),
            f"{h.peak / 1e6:.0f}",
            "yes" if h.peak <= 1e6 * h.budget else "**no**",
        )
        for h in held
    ]
    return table(("network", "budget, MB", "runs in the pack", "held, MB", "within"), rows)


if __name__ == "__main__":
    sys.exit(main())
