"""What the command line costs before it works: CPU time of short commands beside PyTorch's import.

Run from the repository root:

    python -m benchmarks.startup --output docs/benchmarks/startup.md

Takes a minute. CPU time, so that a busy machine changes little.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.comparison import write
from benchmarks.environment import environment
from benchmarks.summary import Spread, paired_ratios
from benchmarks.tables import ratio, table

TORCH = 'python -c "import torch"'
# What is timed → the arguments of Python; the reference first.
COMMANDS: dict[str, tuple[str, ...]] = {
    TORCH: ("-c", "import torch"),
    'python -c "pass"': ("-c", "pass"),
    'python -c "import widthwise"': ("-c", "import widthwise"),
    "widthwise --help": ("-m", "widthwise", "--help"),
    "widthwise widen, NTK, w = 4": (
        *("-m", "widthwise", "widen", "--learning-rate", "0.1", "--batch-size", "128"),
        *("--factor", "4", "--parameterization", "ntk"),
    ),
    "widthwise datasets": ("-m", "widthwise", "datasets"),
}
# These must cost less than the reference.
LIMITED = ("widthwise --help", "widthwise widen, NTK, w = 4")
LEAST_ROUNDS = 9
# Of the environment: what bears on how long Python takes to begin.
_LABELS = ("command", "CPU", "cores", "system", "Python", "torch", "numpy", "widthwise", "rounds")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--output", type=Path, help="Markdown file; a JSON file goes beside it")
    parser.add_argument("--rounds", type=int, default=15, help="in each, every command runs once")
    args = parser.parse_args(argv)
    if args.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be at least {LEAST_ROUNDS}, got {args.rounds}")
    times = in_turns(COMMANDS, args.rounds)
    where = environment("startup", argv, rounds=args.rounds)
    where = {label: where[label] for label in _LABELS}
    page = "\n\n".join(
        [
            "# How soon the command line is there",
            "Written by `" + where["command"] + "`.",
            table(("", ""), [(name, str(value)) for name, value in where.items()]),
            "User and system time of a process, children included, in ms: median of "
            f"{args.rounds} rounds in which all take turns, smallest and largest in brackets. The "
            "ratio is to PyTorch's import in the same round; "
            f"{' and '.join(f'`{name}`' for name in LIMITED)} must stay below 1.",
            table(("", "ms", "times PyTorch's import"), [_row(name, times) for name in times]),
        ]
    )
    write(args.output, page + "\n", {"environment": where, "unit": "s", "times": times})
    late = [name for name in LIMITED if median(_ratios(name, times)) >= 1.0]
    for name in late:
        print(f"{name} takes longer than {TORCH}", file=sys.stderr)
    return 1 if late else 0


def in_turns(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Command → CPU seconds in each round, after one round that fills the disk's cache."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, arguments in commands.items():
            seconds = cpu_seconds(arguments)
            if turn:
                times[name].append(seconds)
    return times


def cpu_seconds(arguments: Sequence[str]) -> float:
    """User and system time of Python with these arguments.

    Raises:
        CalledProcessError: if it does not end with 0.
    """
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def _ratios(name: str, times: Mapping[str, Sequence[float]]) -> list[float]:
    return paired_ratios(times[name], times[TORCH])


def _row(name: str, times: Mapping[str, Sequence[float]]) -> tuple[str, str, str]:
    ms = Spread.of([1e3 * seconds for seconds in times[name]])
    return (
        f"`{name}`",
        f"{ms.median:.0f} ({ms.low:.0f}–{ms.high:.0f})",
        ratio(Spread.of(_ratios(name, times))),
    )


if __name__ == "__main__":
    sys.exit(main())
