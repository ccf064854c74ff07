"""A store under many hands: claims and landings a second, and what a look at a million runs costs.

Run from the repository root:

    python -m benchmarks.many_runs --output docs/benchmarks/many_runs.md

Takes a few minutes, and about 0.3 GB of disk.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import polars as pl

from benchmarks.comparison import write
from benchmarks.environment import environment
from benchmarks.summary import Spread
from benchmarks.synthetic import SEEDS, group, hyper_parameters, synthetic_run
from benchmarks.tables import table
from widthwise.runs.compacted import Compacted
from widthwise.runs.landing import Landing
from widthwise.runs.memory import Memory
from widthwise.runs.schema import LANDED_SCHEMA
from widthwise.runs.store import Store, part_of

NUM_MERGED, NUM_LANDED = 1_000_000, 1000
IN_A_SHARD = 4096
# The most that a look at the merged runs may cost, in seconds.
LIMIT = 10.0
# Look → code, with a Store at hand; each in a process of its own, which has read nothing before.
LOOKS = {
    "which runs have landed": "assert len(store.keys()) == count",
    "how each ended": 'assert len(store.table(columns=["key", "status"])[0]) == count',
}
_LOOK = """
import sys
from pathlib import Path
from time import perf_counter
from widthwise.runs.store import Store
store, count = Store(Path(sys.argv[1])), int(sys.argv[2])
started = perf_counter()
{look}
print(perf_counter() - started)
"""
_LABELS = ("command", "CPU", "cores", "system", "Python", "numpy", "widthwise", "rounds")


def merged(directory: Path, count: int) -> None:
    """A store of so many runs in shards: the curves of a few, under seeds of their own."""
    store, shared = Store(directory), group()
    store.prepare()
    compacted = Compacted(part_of(directory, "compacted"))
    few = [synthetic_run(number, shared).row() for number in range(IN_A_SHARD)]
    rows = pl.DataFrame(few, schema=LANDED_SCHEMA)
    for number, first in enumerate(range(0, count, IN_A_SHARD)):
        part = min(IN_A_SHARD, count - first)
        runs = [hyper_parameters(place) for place in range(part)]
        runs = [replace(run, seed=run.seed + SEEDS * number) for run in runs]
        new = rows.head(part).with_columns(
            pl.Series("key", [shared.key(run) for run in runs]),
            pl.Series("seed", [run.seed for run in runs]),
        )
        assert compacted.add(new, after=number)


def rate(work: Callable[[Landing], object], landings: Sequence[Landing]) -> float:
    """How many a second."""
    started = perf_counter()
    for landing in landings:
        work(landing)
    return len(landings) / (perf_counter() - started)


def rates(place: Path | Memory, landings: Sequence[Landing]) -> dict[str, float]:
    """What one process does in a second, one run at a time."""
    store = Store(place)
    store.prepare()

    def claim(landing: Landing) -> None:
        with store.leases.hold([landing.key]) as mine:
            assert mine

    def land(landing: Landing) -> None:
        assert store.land(landing)

    return {"claims, taken and given back": rate(claim, landings), "landings": rate(land, landings)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_runs", description=__doc__)
    parser.add_argument("--output", type=Path, help="Markdown file; a JSON file goes beside it")
    parser.add_argument("--merged", type=int, default=NUM_MERGED)
    parser.add_argument("--landed", type=int, default=NUM_LANDED)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    landings = [synthetic_run(number) for number in range(args.landed)]
    found: dict[tuple[str, str], list[float]] = {}
    looks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number in range(args.rounds):
            for kind, store in (("folder", place / f"{number}"), ("memory", Memory())):
                for what, value in rates(store, landings).items():
                    found.setdefault((kind, what), []).append(value)
        merged(place / "merged", args.merged)
        for _ in range(args.rounds):
            for what, code in LOOKS.items():
                words = ["-c", _LOOK.format(look=code), str(place / "merged"), str(args.merged)]
                done = subprocess.run(
                    [sys.executable, *words], check=True, capture_output=True, text=True
                )
                looks.setdefault(what, []).append(float(done.stdout))
        size = sum(path.stat().st_size for path in (place / "merged").rglob("*.parquet"))
    where = environment("many_runs", argv, rounds=args.rounds)
    where = {label: where[label] for label in _LABELS}
    spreads = {what: Spread.of(times) for what, times in looks.items()}
    page = "\n\n".join(
        [
            "# A store under many hands",
            f"Written by `{where['command']}`. On the clock; median of the rounds, smallest and "
            "largest in brackets.",
            table(("", ""), [(name, str(value)) for name, value in where.items()]),
            f"What one process does in a second, one run at a time, {args.landed} in a row. In a "
            "folder each landing waits for the disk twice.",
            table(
                ("store", "", "a second"),
                [
                    (kind, what, _shown(Spread.of(values), 0))
                    for (kind, what), values in found.items()
                ],
            ),
            f"A look at {args.merged} merged runs ({size / 1e6:.0f} MB in shards of {IN_A_SHARD}) "
            f"by a process that has read nothing before; it must stay below {LIMIT:g} s.",
            table(("look", "seconds"), [(what, _shown(s, 2)) for what, s in spreads.items()]),
        ]
    )
    record = {
        "environment": where,
        "rates": {f"{kind}: {what}": values for (kind, what), values in found.items()},
        "looks": looks,
    }
    write(args.output, page + "\n", record)
    return int(any(spread.median > LIMIT for spread in spreads.values()))


def _shown(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}–{spread.high:.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
