"""Thirty-two MLPs trained by Widthwise, by ordinary loops, by torch.func and by JAX, side by side.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.mlp_peers --output docs/benchmarks/mlp_peers.md

JAX is optional (``pip install 'widthwise[benchmarks]'``). Takes about six minutes, with
``--quick`` one.
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.cells import CELLS, LEARNING_RATE, NUM_TRAIN, Cell
from benchmarks.summary import Times
from benchmarks.tables import GROUP_TITLES, markdown, summary
from benchmarks.timing import assemble, time_cell
from benchmarks.ways import OURS, PEAK, PEAK_ONE, Way, cores, ways


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    selected = [
        way
        for way in _available(ways(len(cores()), args.max_replicas))
        if not any(word in way.name for word in args.without)
    ]
    cells = [CELLS[i] for i in args.cells]
    results: dict[Cell, Times] = {}
    with ExitStack() as stack:
        teams = assemble(stack, selected)
        for cell in cells:
            print(f"width {cell.width}, batch {cell.batch_size} ...", file=sys.stderr, flush=True)
            results[cell] = time_cell(teams, cell, rounds=args.rounds, seconds=args.seconds)
    environment = _environment(args, argv)
    page = markdown(results, selected, environment)
    if args.output is None:
        print(page)
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(page, encoding="utf-8")
        record = _record(results, selected, environment)
        args.output.with_suffix(".json").write_text(
            json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    for group, mean in summary(results, selected).items():
        print(
            f"{mean.median:.2f} times as fast as the best of {GROUP_TITLES[group]} "
            f"({mean.low:.2f}–{mean.high:.2f})"
        )
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mlp_peers", description=__doc__)
    parser.add_argument("--output", type=Path, help="Markdown file; a JSON file goes beside it")
    parser.add_argument("--rounds", type=int, default=7, help="rounds a cell (default 7)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="about how long a way trains in a round"
    )
    parser.add_argument(
        "--cells", type=int, nargs="+", default=range(len(CELLS)), help="which cells, from 0"
    )
    parser.add_argument(
        "--max-replicas", type=int, help="most replicas in a pack (default: as the planner chooses)"
    )
    parser.add_argument(
        "--without", nargs="+", default=(), metavar="WORD", help="skip ways with this in the name"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.1 s: for a first look")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 3, 0.1
    if args.rounds < 1 or args.seconds <= 0 or (args.max_replicas or 1) < 1:
        parser.error("--rounds, --seconds and --max-replicas must be positive")
    if not set(args.cells) <= set(range(len(CELLS))):
        parser.error(f"--cells must lie in 0 … {len(CELLS) - 1}")
    if any(word in name for word in args.without for name in (OURS, PEAK, PEAK_ONE)):
        parser.error(f"--without cannot skip {OURS}, {PEAK} or {PEAK_ONE}")
    return args


def _available(every: Sequence[Way]) -> list[Way]:
    for way in every:
        if not way.available:
            print(f"{way.name}: skipped, {way.requires} is not installed", file=sys.stderr)
    return [way for way in every if way.available]


def _environment(args: argparse.Namespace, argv: Sequence[str] | None) -> dict[str, Any]:
    # Folders outside the repository are the reader's business, not the page's.
    given = [
        Path(word).name if Path(word).is_absolute() else word
        for word in (sys.argv[1:] if argv is None else argv)
    ]
    return {
        "command": " ".join(["python -m benchmarks.mlp_peers", *given]),
        "CPU": _cpu_model(),
        "cores": len(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "jax", "numpy", "widthwise")},
        "rounds": args.rounds,
        "seconds a block": args.seconds,
        "training images": NUM_TRAIN,
        "learning rate": LEARNING_RATE,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        parts = [line.partition(":") for line in lines]
        fields = {name.strip(): value.strip() for name, _, value in parts}
        name = fields.get("model name", platform.processor())
        details = (fields.get(k, "?") for k in ("cpu family", "model", "cache size"))
        return "{} (family {}, model {}, cache {})".format(name, *details)
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _record(
    results: Mapping[Cell, Times], selected: Sequence[Way], environment: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "environment": dict(environment),
        "unit": "µs per step and run; for products, µs per product",
        "groups": {way.name: way.group for way in selected},
        "cells": [
            {
                "width": cell.width,
                "batch_size": cell.batch_size,
                "num_replicas": cell.num_replicas,
                "flops": cell.flops,
                "bytes_moved": cell.bytes_moved,
                "times": {name: list(values) for name, values in times.items()},
            }
            for cell, times in results.items()
        ],
        "geometric_means": {
            group: {"center": mean.median, "low": mean.low, "high": mean.high}
            for group, mean in summary(results, selected).items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
