"""The command line that the comparisons share."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cells import NETWORKS, Cell
from benchmarks.environment import environment
from benchmarks.planning import planned
from benchmarks.tables import Results, markdown, summary
from benchmarks.timing import Measurement, assemble, time_cell
from benchmarks.ways import GROUP_TITLES, OURS, PEAK, PEAK_ONE, Way, cores


@dataclass(frozen=True)
class Comparison:
    """Cells, and the ways that are compared in them.

    Attributes:
        script: its module in ``benchmarks``.
        title: of its page.
        cells: what is trained, the cheapest first.
        ways: number of cores → ways.
    """

    script: str
    title: str
    cells: tuple[Cell, ...]
    ways: Callable[[int], tuple[Way, ...]]

    def main(self, argv: Sequence[str] | None, description: str | None) -> int:
        """Run it as the command line says, and write the page."""
        args = self._parse(argv, description)
        selected = [
            way
            for way in available(self.ways(len(cores())))
            if not any(word in way.name for word in args.without)
        ]
        cells = [self.cells[i] for i in args.cells]
        if args.pack_size is None:
            cells = planned(cells, len(cores()))
        else:
            cells = [replace(cell, pack_size=args.pack_size) for cell in cells]
        results: dict[Cell, Measurement] = {}
        with ExitStack() as stack:
            teams = assemble(stack, selected)
            for cell in cells:
                announce(cell)
                results[cell] = time_cell(teams, cell, rounds=args.rounds, seconds=args.seconds)
        where = environment(
            self.script,
            argv,
            networks=", ".join({NETWORKS[cell.network].label: None for cell in results}),
            training_examples=next(iter(results)).dataset().num_train,
            rounds=args.rounds,
            seconds_a_block=args.seconds,
        )
        page = markdown(self.title, results, selected, where)
        write(args.output, page, _record(results, selected, where))
        for group, mean in summary(results, selected).items():
            print(
                f"{mean.median:.2f} times as fast as the best of {GROUP_TITLES[group]} "
                f"({mean.low:.2f}–{mean.high:.2f})"
            )
        return 0

    def _parse(self, argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
        parser = parser_of(self.script, description)
        parser.add_argument(
            "--cells", type=int, nargs="+", default=range(len(self.cells)), help="which, from 0"
        )
        parser.add_argument(
            "--pack-size", type=int, help="most runs in a pack (default: as the planner chooses)"
        )
        parser.add_argument(
            "--without", nargs="+", default=(), metavar="WORD", help="skip ways so named"
        )
        args = parsed(parser, argv)
        if args.pack_size is not None and args.pack_size < 1:
            parser.error("--pack-size must be positive")
        if not set(args.cells) <= set(range(len(self.cells))):
            parser.error(f"--cells must lie in 0 … {len(self.cells) - 1}")
        if any(word in name for word in args.without for name in (OURS, PEAK, PEAK_ONE)):
            parser.error(f"--without cannot skip {OURS}, {PEAK} or {PEAK_ONE}")
        return args


def parser_of(script: str, description: str | None) -> argparse.ArgumentParser:
    """With the options that every benchmark of rounds has."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{script}", description=description)
    parser.add_argument("--output", type=Path, help="Markdown file; a JSON file goes beside it")
    parser.add_argument("--rounds", type=int, default=7, help="rounds a cell (default 7)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="about how long a way trains in a round"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.1 s: for a first look")
    return parser


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments, those of :func:`parser_of` checked."""
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 3, 0.1
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return args


def available(every: Sequence[Way]) -> list[Way]:
    """The ways for which all is installed; the others are named on standard error."""
    for way in every:
        if way.missing is not None:
            print(f"{way.name}: skipped, {way.missing} is not installed", file=sys.stderr)
    return [way for way in every if way.missing is None]


def announce(cell: Cell) -> None:
    """Say on standard error what is about to be timed."""
    label = NETWORKS[cell.network].width_label
    print(f"{label} {cell.width}, batch {cell.batch_size} ...", file=sys.stderr, flush=True)


def write(output: Path | None, page: str, record: Mapping[str, Any]) -> None:
    """The page to a file with the record beside it, or to standard output."""
    if output is None:
        print(page)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    output.with_suffix(".json").write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def cell_record(cell: Cell, measured: Measurement) -> dict[str, Any]:
    """A cell and all that was measured in it, as plain values."""
    return {
        "network": cell.network,
        "width": cell.width,
        "batch_size": cell.batch_size,
        "num_replicas": cell.num_replicas,
        "pack_size": cell.pack_size,
        "flops": cell.flops,
        "bytes_moved": cell.bytes_moved,
        "times": measured.times,
        "memory_bytes": measured.memory,
    }


def _record(
    results: Results, selected: Sequence[Way], environment: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "environment": dict(environment),
        "unit": "µs per step and run; for products, µs per product",
        "groups": {way.name: list(way.groups) for way in selected},
        "cells": [cell_record(cell, measured) for cell, measured in results.items()],
        "geometric_means": {
            group: {"center": mean.median, "low": mean.low, "high": mean.high}
            for group, mean in summary(results, selected).items()
        },
    }
