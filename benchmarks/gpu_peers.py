"""Many networks trained on one card: Widthwise, loops with and without CUDA graphs, torch.func.

Run from the repository root, on a machine with a CUDA device and nothing else to do:

    python -m benchmarks.gpu_peers --output docs/benchmarks/gpu_peers.md

Written for a card, and not run on one yet. ``--device cpu --quick`` tries the script itself on a
CPU, with tiny networks; its page says so. JAX is not among the ways here.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from benchmarks.agreement import require_cpu_losses
from benchmarks.card_tables import WANTED, against_loops, markdown, name
from benchmarks.card_ways import LOOPS, card_ways, fits
from benchmarks.cells import CARD_CELLS, CARD_REPLICAS, Cell
from benchmarks.comparison import announce, cell_record, parsed, parser_of, write
from benchmarks.environment import environment
from benchmarks.planning import planned
from benchmarks.tables import Results
from benchmarks.timing import Measurement, assemble, time_cell
from benchmarks.ways import Way
from widthwise.errors import InputError
from widthwise.hardware import card_memory, describe_hardware, resolve_device

# To try the script on a CPU.
TINY_CELLS, TINY_REPLICAS = (Cell("mlp", 8, 16), Cell("cnn", 4, 8)), (2, 4)
_PROCESSES, _FEW_PROCESSES = 4, 2
_CHECKED_RUNS = 4  # against the CPU, in each cell; more if there are more processes


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    ways = card_ways(args.processes, args.device)
    where = _environment(args, argv)
    cells, left_out = args.fitting, args.left_out
    results: dict[Cell, Measurement] = {}
    with ExitStack() as stack:
        teams = assemble(stack, ways)
        require_cpu_losses(teams, cells, max(_CHECKED_RUNS, args.processes))
        if args.pack_size is None:
            cells = planned(cells, 1, args.device)
        for cell in cells:
            announce(cell)
            results[cell] = time_cell(teams, cell, rounds=args.rounds, seconds=args.seconds)
            if args.output is not None:  # after each: what fails later does not take it along
                page = markdown(results, ways, left_out, where, args.device)
                write(args.output, page, _record(results, ways, where))
    if args.output is None:
        print(markdown(results, ways, left_out, where, args.device))
    for cell, ratio in against_loops(results).items():
        print(
            f"{name(cell)}, {cell.num_replicas} runs: {ratio.median:.1f} times as fast as {LOOPS} "
            f"({ratio.low:.1f}–{ratio.high:.1f}); wanted: {WANTED:g}"
        )
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments, with the cells that fit on the device and those that do not."""
    parser = parser_of("gpu_peers", __doc__)
    parser.add_argument(
        "--device", default="cuda", help='"cuda", "cuda:1" …; "cpu" only tries the script'
    )
    parser.add_argument("--cells", type=int, nargs="+", help="which, from 0 (default: all)")
    parser.add_argument("--replicas", type=int, nargs="+", help="runs in a cell")
    parser.add_argument(
        "--processes", type=int, help=f"that share the card, in ways with several ({_PROCESSES})"
    )
    parser.add_argument(
        "--pack-size", type=int, help="most runs in a pack (default: as the planner chooses)"
    )
    args = parsed(parser, argv)
    try:
        args.device = str(resolve_device(args.device))
    except InputError as error:
        parser.error(str(error))
    tried = args.device == "cpu"
    if tried and not args.quick:
        parser.error("--device cpu only tries the script, with tiny networks: add --quick")
    offered = TINY_CELLS if tried else CARD_CELLS
    args.processes = args.processes or (_FEW_PROCESSES if tried else _PROCESSES)
    replicas = args.replicas or (TINY_REPLICAS if tried else CARD_REPLICAS)
    indices = range(len(offered)) if args.cells is None else args.cells
    if not set(indices) <= set(range(len(offered))):
        parser.error(f"--cells must lie in 0 … {len(offered) - 1}")
    if not 2 <= args.processes <= min(replicas):
        parser.error("--processes must lie between 2 and the smallest of --replicas")
    if args.pack_size is not None and args.pack_size < 1:
        parser.error("--pack-size must be positive")
    cells = [
        replace(offered[i], num_replicas=number, pack_size=args.pack_size or 1)
        for i in indices
        for number in replicas
    ]
    memory = card_memory(torch.device(args.device))
    ways = card_ways(args.processes, args.device)
    args.fitting = [cell for cell in cells if fits(cell, ways, memory)]
    args.left_out = [cell for cell in cells if cell not in args.fitting]
    if not args.fitting:
        parser.error("no cell fits in the card's memory: ask for fewer --replicas")
    return args


def _environment(args: argparse.Namespace, argv: Sequence[str] | None) -> dict[str, Any]:
    return environment(
        "gpu_peers",
        argv,
        device=args.device,
        devices=describe_hardware(),
        CUDA_of_PyTorch=torch.version.cuda or "none",
        rounds=args.rounds,
        seconds_a_block=args.seconds,
    )


def _record(
    results: Results, ways: Sequence[Way], environment: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "environment": dict(environment),
        "unit": "µs per step and run; for products, µs per product",
        "groups": {way.name: list(way.groups) for way in ways},
        "cells": [
            {**cell_record(cell, measured), "remarks": measured.remarks}
            for cell, measured in results.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
