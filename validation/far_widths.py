"""From 4 to 1,024 units: the local exponent of the best noise and of the tolerated noise.

    python validation/far_widths.py run [--rounds 2]   trains, resumes if interrupted
    python validation/far_widths.py limit              the same SGD in function space
    python validation/far_widths.py page               writes far_widths.md and its figure

The design, with the rules that decide: far_widths_design.py and .md. Runs are kept in
studies/far_widths; far_widths.csv holds what the page needs of them, far_widths_limit.csv the runs
in function space. The page is made from the two tables alone.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import committed_runs
import far_widths_limit as limit
import far_widths_page
import polars as pl
from far_widths_design import CASES, UNITS, WITHOUT, specification, without_biases

from widthwise.study import Study

HERE = Path(__file__).parent
NAMES = [*(case.parameterization for case in CASES), WITHOUT]


def run(directory: Path, rounds: int, names: Sequence[str]) -> None:
    """All runs of the first rounds, of these parameterizations; then the table."""
    for share in (0.5, 1.0)[:rounds]:
        for case in (case for case in CASES if case.parameterization in names):
            for count in range(2, len(UNITS) + 1):  # narrow ones first
                asked = specification(case, share, UNITS[:count])
                place = directory / case.parameterization
                Study.create(place, asked, yes=True).run(1, progress=False)
    if WITHOUT in names:
        Study.create(directory / WITHOUT, without_biases(), yes=True).run(1, progress=False)
    begun = [n for n in NAMES if (directory / n).exists()]
    committed_runs.write({n: Study.open(directory / n) for n in begun}, HERE / "far_widths.csv")


def run_limit(count: int | None) -> None:
    """Function space, for both parameterizations, or the first of its parts: some minutes."""
    data, (ntk, standard) = limit.images(), CASES
    parts = [
        lambda: limit.ntk(data, ntk.physical_time, ntk.learning_rate),
        lambda: limit.ntk(data, ntk.physical_time, ntk.learning_rate, bias=False),
        *(partial(limit.standard, data, u, standard.learning_rate) for u in limit.UNITS[::-1]),
    ]
    rows: list[pl.DataFrame] = []
    for part in parts[:count]:
        rows.append(part())
        pl.concat(rows).write_csv(HERE / "far_widths_limit.csv", float_precision=6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "limit", "page"])
    parser.add_argument("--rounds", type=int, default=2, choices=[1, 2])
    parser.add_argument("--directory", type=Path, default=Path("studies") / "far_widths")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--parts", type=int, help="of the limit: NTK with biases, without, …")
    options = parser.parse_args()
    if options.what == "run":
        run(options.directory, options.rounds, options.only)
    elif options.what == "limit":
        run_limit(options.parts)
    else:
        far_widths_page.make()
