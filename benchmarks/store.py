"""What a store of many runs costs: time to see how far a study is and what it lacks, bytes a run.

Run from the repository root:

    python -m benchmarks.store --output docs/benchmarks/store.md

Takes a few minutes, and about 1 GB of disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.comparison import write
from benchmarks.environment import environment
from benchmarks.summary import Spread
from benchmarks.tables import table
from widthwise.runs.key import Group, Run
from widthwise.runs.landing import Landing
from widthwise.runs.schema import MEASURED
from widthwise.runs.store import Store
from widthwise.sgd.evaluations import EVALUATED, evaluation_steps
from widthwise.study.asked import Asked
from widthwise.study.record import DataRecord, StudyRecord
from widthwise.study.spec import StudySpec

NUM_RUNS = 100_000
EVALUATIONS, STEPS = 20, 2000
NUM_TRAIN, NUM_TEST = 4000, 1000
SEEDS = 10
# The most that a study with so many runs may cost, in seconds.
LIMITS = {"status": 2.0, "open": 5.0}
FAMILY = {"kind": "mlp", "parameterization": "ntk"}
DATA = "0" * 64
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


def group(evaluations: int = EVALUATIONS) -> Group:
    """What the synthetic runs share."""
    return Group(family=FAMILY, data=DATA, recipe={}, sampling="epochs", evaluations=evaluations)


def synthetic_run(number: int, shared: Group | None = None, *, salt: int = 0) -> Landing:
    """A run as it could have been trained: its curves have the digits of measured ones.

    Args:
        number: other runs have others.
        shared: its group; None takes :func:`group`.
        salt: other results of the same run have others.
    """
    shared = group() if shared is None else shared
    setting, seed = divmod(number, SEEDS)
    run = Run(
        widening_factor=float(1 + setting % 8),
        learning_rate=0.01 * 1.001 ** (setting // 8),
        batch_size=8,
        momentum=0.0,
        steps=STEPS,
        seed=seed,
    )
    rng = np.random.default_rng([number, salt])
    steps = evaluation_steps(STEPS, shared.evaluations)
    measured = {
        "family": "mlp",
        "init_variance": 2.0,
        "num_train": NUM_TRAIN,
        "num_parameters": 12345,
        "status": "ok",
        "diverged_at_step": None,
        "curve_step": steps,
        **dict.fromkeys((f"curve_{name}" for name in MEASURED), None),
    }
    decay = np.exp(-np.arange(len(steps)) / 5)
    for part, size in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        losses = 0.2 + 2 * decay * rng.uniform(0.9, 1.1, len(steps))
        hits = np.round(size * (0.9 - 0.8 * decay) + rng.normal(size=len(steps)))
        measured[f"curve_{part}_loss"] = losses.astype(np.float32).astype(float).tolist()
        measured[f"curve_{part}_accuracy"] = (hits / size).tolist()
    losses = measured[f"curve_{EVALUATED[0]}"]
    measured |= {"initial_train_loss": losses[0], "final_train_loss": losses[-1]}
    provenance = {
        "engine": "chain",
        "pack": f"{setting:032x}",
        "device": "cpu",
        "processor": "Intel(R) Xeon(R) Processor (family 6, model 167, cache 491520 KB)",
        "instruction_set": "AVX512",
        "versions": "widthwise 0.2.0, torch 2.13.0+cpu, numpy 2.4.6, python 3.11.7",
        "seconds": float(rng.uniform(0.1, 10.0)),
    }
    return Landing(group=shared, run=run, measured=measured, provenance=provenance)


def land_quickly(store: Store, landings: Iterator[Landing] | Sequence[Landing]) -> None:
    """Without waiting for the disk, run by run."""
    folder = store.path / "landed"
    for landing in landings:
        (folder / f"{landing.key}.json").write_bytes(landing.encode())


def synthetic_study(directory: Path, count: int, *, loose: int = 0, missing: int = 0) -> None:
    """A study that asks for many runs.

    Args:
        directory: of the study.
        count: its runs that have landed.
        loose: how many of them lie in files of their own.
        missing: how many more it asks for.
    """
    directory.mkdir(parents=True)
    spec = StudySpec.parse(
        {
            "title": "Synthetic",
            "family": {"kind": "mlp", "parameterization": "ntk"},
            "grid": {"widening_factor": [1, 2], "learning_rate": [0.1], "batch_size": [8]},
            "training": {"steps": STEPS, "evaluations": EVALUATIONS},
        }
    )
    data = DataRecord(
        name="synthetic",
        in_memory=False,
        fingerprint=DATA,
        input_shape=(2, 3),
        num_classes=3,
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        num_validation=0,
    )
    StudyRecord(spec=spec, data=data, family=FAMILY).write(directory)
    store, shared = Store(directory / "store"), group()
    store.prepare()
    together = 4096
    for first in range(0, count - loose, together):
        numbers = range(first, min(first + together, count - loose))
        land_quickly(store, [synthetic_run(number, shared) for number in numbers])
        store.compact()
    land_quickly(store, (synthetic_run(n, shared) for n in range(count - loose, count)))
    runs = (synthetic_run(number, shared) for number in range(count + missing))
    Asked.of({landing.key: landing.run for landing in runs}).write(directory)


@dataclass(frozen=True)
class Cost:
    """Seconds of whole processes, over the rounds; and bytes of the store, a run."""

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
            started = perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(perf_counter() - started)
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
            "Seconds of a whole process: median of the rounds, smallest and largest in brackets; "
            "with all runs loose, one round. `status` must stay below "
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
