"""What a store of many runs costs: time to see how far a study is and what it lacks, bytes a run.

Run from the repository root:

    python -m benchmarks.store --output docs/benchmarks/store.md

Takes a few minutes, and about 1 GB of disk.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.comparison import write
from benchmarks.environment import environment
from benchmarks.startup import cpu_seconds
from benchmarks.summary import Spread
from benchmarks.synthetic import EVALUATIONS, synthetic_study
from benchmarks.tables import table
from widthwise.runs.store import Store

NUM_RUNS = 100_000
# The most that a study with so many runs may cost, in seconds.
LIMITS = {"status": 2.0, "open": 5.0}
_OPEN = """
import sys
from pathlib import Path
from widthwise.runs.store import Store
from widthwise.study.asked import read_asked
directory = Path(sys.argv[1])
store = Store(directory / "store")
store.prepare()
damage = store.verify()
missing = set(read_asked(directory).keys) - store.keys()
assert not damage and len(missing) == int(sys.argv[2]), (damage, len(missing))
"""
_RESULTS = """
import sys
from widthwise.study import Study
assert len(Study.open(sys.argv[1]).results()) == int(sys.argv[2])
"""
_LABELS = ("command", "CPU", "cores", "system", "Python", "numpy", "widthwise", "runs", "rounds")


@dataclass(frozen=True)
class Cost:
    """CPU seconds of whole processes, over the rounds; and bytes of the store, a run."""

    seconds: Mapping[str, Spread]
    bytes_a_run: float


def measure(directory: Path, count: int, missing: int, rounds: int) -> Cost:
    """What the commands on a study cost."""
    commands = {
        "status": ("-m", "widthwise", "status", str(directory)),
        "open": ("-c", _OPEN, str(directory), str(missing)),
        "results": ("-c", _RESULTS, str(directory), str(count)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, words in commands.items():
            seconds[name].append(cpu_seconds(words))
    size = sum(path.stat().st_size for path in (directory / "store").rglob("*") if path.is_file())
    return Cost({name: Spread.of(times) for name, times in seconds.items()}, size / count)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--output", type=Path, help="Markdown file; a JSON file goes beside it")
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    # Lies in files of their own: as after the training of a store that was just merged, and all.
    loose = {"merged": 0, "1000 runs loose": 1000, "all loose": args.runs}
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, number in loose.items():
            place = Path(folder) / f"{number}"
            synthetic_study(place, args.runs, loose=min(number, args.runs), missing=7)
            rounds = 1 if number == args.runs else args.rounds
            costs[name] = measure(place, args.runs, 7, rounds)
        started = perf_counter()
        Store(place / "store").compact()
        merging = perf_counter() - started
    where = environment("store", argv, rounds=args.rounds)
    where["runs"] = args.runs
    where = {label: where[label] for label in _LABELS}
    page = "\n\n".join(
        [
            f"# A store of {args.runs} runs",
            "Written by `" + where["command"] + f"`. Synthetic runs of {EVALUATIONS} evaluations.",
            table(("", ""), [(name, str(value)) for name, value in where.items()]),
            "CPU time of a whole process, in s: median of the rounds, smallest and largest in "
            "brackets; with all runs loose, one round. Other work on the machine changes it "
            "little; on a quiet one the time on the clock is less, since several cores share in "
            "reading. `status` must stay below "
            f"{LIMITS['status']:g} s and opening below {LIMITS['open']:g} s where the runs are "
            "merged, which a running study sees to.",
            table(
                (
                    "",
                    "`widthwise status`",
                    "open: verify everything, find what is missing",
                    "read all results",
                    "bytes a run",
                ),
                [
                    (
                        name,
                        *(_seconds(cost.seconds[what]) for what in ("status", "open", "results")),
                        f"{cost.bytes_a_run:.0f}",
                    )
                    for name, cost in costs.items()
                ],
            ),
            f"Merging {args.runs} loose runs takes {merging:.0f} s.",
        ]
    )
    fields = {
        name: {
            "bytes_a_run": cost.bytes_a_run,
            **{what: vars(spread) for what, spread in cost.seconds.items()},
        }
        for name, cost in costs.items()
    }
    write(args.output, page + "\n", {"environment": where, "costs": fields, "merging": merging})
    return int(
        any(
            costs[name].seconds[what].median > limit
            for what, limit in LIMITS.items()
            for name in ("merged", "1000 runs loose")
        )
    )


def _seconds(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
