"""All 60,000 images of Fashion-MNIST: the exponent of the best noise, at late times.

    python validation/full_size.py run [--rounds 2]    trains, resumes if interrupted
    python validation/full_size.py page                writes full_size.md

Needs the full data set, as in Debian's package dataset-fashion-mnist. The design:
full_size_design.py and .md. Runs are kept in studies/full_size; full_size.csv holds what the page
needs of them.
"""

import argparse
from pathlib import Path

from full_size_design import CASES, ROUND, SEEDS, specification

from widthwise.study import Study

HERE = Path(__file__).parent


def run(directory: Path, rounds: int) -> None:
    """Rounds of two seeds, all widths, both parameterizations."""
    for seeds in range(ROUND, ROUND * rounds + 1, ROUND):
        for case in CASES:
            study = Study.create(
                directory / case.parameterization, specification(case, seeds), yes=True
            )
            study.run(1, progress=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--rounds", type=int, default=2, choices=range(1, SEEDS // ROUND + 1))
    parser.add_argument("--directory", type=Path, default=Path("studies") / "full_size")
    options = parser.parse_args()
    if options.what == "run":
        run(options.directory, options.rounds)
