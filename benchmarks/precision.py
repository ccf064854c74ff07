"""Widthwise with products in bfloat16 beside itself with products in float32.

Run from the repository root, on a machine with nothing else to do and a CPU with AMX-BF16 or
AVX512-BF16:

    python -m benchmarks.precision --output docs/benchmarks/precision.md

Takes about five minutes, with ``--quick`` one.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.cells import CNN_CELLS, MLP_CELLS, NETWORKS, Cell
from benchmarks.comparison import announce, cell_record, parsed, parser_of, write
from benchmarks.environment import environment
from benchmarks.peers import product
from benchmarks.planning import planned
from benchmarks.summary import Spread, paired_ratios
from benchmarks.tables import ratio, share_of_peak, table
from benchmarks.timing import Measurement, assemble, time_cell
from benchmarks.ways import OURS_GROUP, PEAK_GROUP, Way, cores
from widthwise.errors import InputError
from widthwise.hardware import describe_hardware, require_precision, rounds_products

FLOAT32, BF16 = "float32", "bf16"
FLOAT32_PEAK, BF16_PEAK = "float32 product", "bf16 product"
CELLS = (*MLP_CELLS, *CNN_CELLS)
# A dense step with fewer operations a byte of weights and inputs waits for memory.
COMPUTE_BOUND = 20.0
TOLERANCE = 0.02  # between losses after a few dozen steps; a bfloat16 number is off by up to 0.004
LEAST_SPEEDUP = 1.4  # wanted in the compute-bound cells of MLPs, where there is AMX

Results = Mapping[Cell, Measurement]
PackSizes = Mapping[Cell, int]


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(parser_of("precision", __doc__), argv)
    try:
        require_precision("bf16", torch.device("cpu"))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    num_processes = len(cores())
    cells = planned(CELLS, num_processes)
    in_bf16 = planned(CELLS, num_processes, precision="bf16")
    sizes = {cell: other.pack_size for cell, other in zip(cells, in_bf16, strict=True)}
    results: dict[Cell, Measurement] = {}
    with ExitStack() as stack:
        teams = assemble(stack, ways(num_processes, sizes))
        for cell in cells:
            announce(cell)
            results[cell] = time_cell(
                teams,
                cell,
                rounds=args.rounds,
                seconds=args.seconds,
                relative_tolerance=TOLERANCE,
            )
    where = environment(
        "precision",
        argv,
        hardware=describe_hardware(),
        dense_layers="products that round" if rounds_products() else "copies in bfloat16",
        rounds=args.rounds,
        seconds_a_block=args.seconds,
    )
    record = {
        "environment": where,
        "unit": "µs per step and run; for products, µs per product",
        "cells": [
            {**cell_record(cell, measured), "bf16_pack_size": sizes[cell]}
            for cell, measured in results.items()
        ],
    }
    write(args.output, markdown(results, sizes, where, num_processes), record)
    print(verdict(results))
    return 0


def ways(num_processes: int, bf16_pack_sizes: PackSizes) -> tuple[Way, ...]:
    """Both precisions, and large products in both, one process a core."""
    shared: dict[str, Any] = {"processes": num_processes, "threads": 1}
    return (
        Way(name=FLOAT32, groups=(OURS_GROUP,), module="ours", **shared),
        Way(
            name=BF16,
            groups=(OURS_GROUP,),
            module="ours",
            options={"precision": "bf16", "pack_sizes": dict(bf16_pack_sizes)},
            **shared,
        ),
        Way(name=FLOAT32_PEAK, groups=(PEAK_GROUP,), module="product", **shared),
        Way(
            name=BF16_PEAK,
            groups=(PEAK_GROUP,),
            module="product",
            options={"dtype": torch.bfloat16},
            **shared,
        ),
    )


def speedup(measured: Measurement) -> Spread:
    """Time with float32 over that with bf16, round by round."""
    return Spread.of(paired_ratios(measured.times[FLOAT32], measured.times[BF16]))


def is_compute_bound(cell: Cell) -> bool:
    """Of the dense cells, those that the promise is about."""
    return cell.network == "mlp" and cell.flops >= COMPUTE_BOUND * cell.bytes_moved


def verdict(results: Results) -> str:
    """One line on the compute-bound cells."""
    each = [(cell, speedup(m)) for cell, m in results.items() if is_compute_bound(cell)]
    named = ", ".join(f"{_label(cell)}: {ratio(spread)}" for cell, spread in each)
    met = all(spread.median >= LEAST_SPEEDUP for _, spread in each)
    return (
        f"bf16 in the compute-bound dense cells, times as fast as float32: {named}; wanted: "
        f"{LEAST_SPEEDUP}; {'met' if met else 'not met'}"
    )


def markdown(
    results: Results, sizes: PackSizes, environment: Mapping[str, Any], num_processes: int
) -> str:
    """The whole page."""
    parts = [
        "# Products in bfloat16",
        "Written by `" + environment["command"] + "`; see [hardware.md](../hardware.md). Both "
        "train the same runs from the same weights on the same batches, and end with losses "
        f"that agree to {100 * TOLERANCE:.0f} % (checked in each run).",
        table(("", ""), [(name, str(value)) for name, value in environment.items()]),
        f"Median of {environment['rounds']} rounds in which both take turns, smallest and largest "
        "in brackets; ratios are of the same round. Packs are as large as the planner measures, "
        "for each precision. Operations a byte: by formula, over the least that weights and inputs "
        "move in float32. Shares: operations of the layers' products, by formula, over those of "
        f"{product.SIZE}×{product.SIZE} products in the same precision on all cores.",
        _table(results, sizes, num_processes),
        verdict(results) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(results: Results, sizes: PackSizes, num_processes: int) -> str:
    rows = []
    for cell, measured in results.items():
        times = measured.times
        shares = [
            f"{share_of_peak(cell, times[way], times[peak], num_processes).median:.0f} %"
            for way, peak in ((FLOAT32, FLOAT32_PEAK), (BF16, BF16_PEAK))
        ]
        rows.append(
            (
                _label(cell),
                f"{cell.flops / cell.bytes_moved:.0f}",
                f"{cell.pack_size}, {sizes[cell]}",
                *(_time(Spread.of(times[way])) for way in (FLOAT32, BF16)),
                ratio(speedup(measured)),
                *shares,
            )
        )
    return table(
        (
            "network",
            "operations a byte",
            "runs in a pack: float32, bf16",
            "float32, µs per step and run",
            "bf16",
            "times as fast",
            "float32, share of peak",
            "bf16, share of peak",
        ),
        rows,
    )


def _label(cell: Cell) -> str:
    kind = cell.network.upper()
    return f"{kind}, {NETWORKS[cell.network].width_label} {cell.width}, B = {cell.batch_size}"


def _time(spread: Spread) -> str:
    return f"{spread.median:.0f} ({spread.low:.0f}–{spread.high:.0f})"


if __name__ == "__main__":
    sys.exit(main())
