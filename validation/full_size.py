"""All 60,000 images of Fashion-MNIST: the exponent of the best noise, at late times.

    python validation/full_size.py run [--rounds 2]    trains, resumes if interrupted
    python validation/full_size.py page                writes full_size.md

Needs the full data set, as in Debian's package dataset-fashion-mnist. The design:
full_size_design.py and .md. Runs are kept in studies/full_size; full_size.csv holds what the page
needs of them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import committed_runs
import polars as pl
from far_widths_findings import CaseFound, find
from far_widths_page import NOTHING, exponent, place, points, write
from full_size_design import (
    BASE_UNITS,
    CASES,
    LATE_FRACTION,
    NUM_TEST,
    NUM_TRAIN,
    ROUND,
    SEEDS,
    UNITS,
    specification,
)

from widthwise.analysis.late_times import catching_up
from widthwise.runs.analyses import setting_scores
from widthwise.study import Study
from widthwise.text import listing

HERE = Path(__file__).parent


def run(directory: Path, rounds: int) -> None:
    """Rounds of two seeds, all widths, both parameterizations; then the table."""
    for seeds in range(ROUND, ROUND * rounds + 1, ROUND):
        for case in CASES:
            study = Study.create(
                directory / case.parameterization, specification(case, seeds), yes=True
            )
            study.run(1, progress=False)
            committed_runs.write(
                {
                    c.parameterization: Study.open(directory / c.parameterization)
                    for c in CASES
                    if (directory / c.parameterization).exists()
                },
                HERE / "full_size.csv",
            )


def findings(runs: pl.DataFrame) -> CaseFound:
    """What the runs of a parameterization say."""
    return find(
        runs,
        base_units=BASE_UNITS,
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        late_fraction=LATE_FRACTION,
    )


def late_settings(runs: pl.DataFrame) -> Iterator[tuple[int, float]]:
    """Units and ε/B of settings that had not arrived."""
    for (width,), own in runs.group_by("widening_factor", maintain_order=True):
        assert isinstance(width, float)
        table = setting_scores(own)
        scales = table.columns["normalized_noise_scale"].to_numpy()
        late = catching_up(table.scores, table.slopes, LATE_FRACTION, noise_scale=scales)
        variance = table.columns["init_variance"][0]
        for scale in sorted(scales[late]):
            yield round(width * BASE_UNITS), float(scale * variance)


def page(tables: dict[str, pl.DataFrame]) -> str:
    """Everything but the remarks."""
    lines = [
        "# 60,000 images: the exponent of the best noise",
        "",
        "Written by `python validation/full_size.py page` from full_size.csv, but for the remarks",
        "at the end; the runs by the same script (`run`). Design and power, made before the runs:",
        "[full_size_design.md](full_size_design.md). All of Fashion-MNIST: 60,000 training and",
        "10,000 test images; one hidden layer, cross-entropy. 95 % intervals in brackets.",
        "",
        "| | s of ḡ_opt ∝ w^s | verdict | exponent of the tolerated noise | runs | seeds "
        "| minutes of a shared core |",
        "|---" * 7 + "|",
    ]
    found = {name: findings(runs) for name, runs in tables.items()}
    for name, case in found.items():
        law, runs = case.optimum_law(UNITS[0], UNITS[-1]), tables[name]
        lines.append(
            f"| {name} | {exponent(law)} | {NOTHING if law is None else law.verdict} "
            f"| {exponent(case.tolerance_law(UNITS[0], UNITS[-1]))} | {runs.height} "
            f"| {runs['seed'].n_unique()} | {runs['seconds'].sum() / 60:.0f} |"
        )
    lines.append("")
    for name, case in found.items():
        late = [f"{units} units at {rate:.2g}" for units, rate in late_settings(tables[name])]
        lines += [
            f"## {name}",
            "",
            "| units | best ε/B | tolerated ε/B | accuracy at the best, % "
            "| gain of noise, points |",
            "|---" * 5 + "|",
            *(
                f"| {w.units:.0f} | {place(w.best())} | {place(w.bears())} "
                f"| {100 * w.optimum.score:.2f} | {points(w)} |"
                for w in case.widths
            ),
            "",
            *(f"{units:.0f} units: {why}.\n" for units, why in case.problems.items()),
            f"Not arrived at late times: {listing(late)}." if late else "All settings had arrived.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--rounds", type=int, default=2, choices=range(1, SEEDS // ROUND + 1))
    parser.add_argument("--directory", type=Path, default=Path("studies") / "full_size")
    options = parser.parse_args()
    if options.what == "run":
        run(options.directory, options.rounds)
    else:
        write(page(committed_runs.read(HERE / "full_size.csv")), HERE / "full_size.md")
