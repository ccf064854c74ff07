"""Tables of runs: do the intervals of ``analyze`` cover, and does it tell moving from fixed?

Writes a Markdown page to standard output; the committed copy is table_coverage.md.

    OMP_NUM_THREADS=1 python validation/table_coverage.py > validation/table_coverage.md

`--cases 2` is a look. The curves are those of planted_coverage.py.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from planted_coverage import CHANCE, CURVES, DIVERGED_BELOW, PEAK, covers, share

from widthwise.analysis.law import ZONES
from widthwise.sweeps import SweepAnalysis, analyze

FloatArray = NDArray[np.float64]

# Not the random numbers on which the method was chosen.
STREAM = 2111
# Of losses: smallest, largest (chance), and by what part one point of the curves raises them.
BEST_LOSS, CHANCE_LOSS, A_POINT = 0.5, 2.3, 0.03
EDGE = ZONES["constant"][1]
# Four curves for the verdicts: symmetric, lopsided, steep to one side.
FEW_CURVES = (
    "parabola, 0.5 points/octave²",
    "collapse, 0.5 points/octave, e-fold 1 octave",
    "two half parabolas, 0.1 and 1",
    "Gaussian bump, 1.5 octaves",
)


@dataclass(frozen=True, kw_only=True)
class Design:
    """A table: settings at each width, and runs of them.

    Attributes:
        seeds: of each setting, drawn from these.
        seed_named: whether the table says which seed a run has; then seeds share 0.28 points.
        noise: of one run at the top, in points; more down the slope.
        ragged: whether each width has a grid of its own, some settings left out.
    """

    num_settings: int = 10
    spacing: float = 1.0  # octaves
    num_widths: int = 4
    seeds: tuple[int, ...] = (1,)
    seed_named: bool = False
    noise: float = 0.4
    loss: bool = False
    ragged: bool = False

    @property
    def said(self) -> str:
        seeds = (
            str(self.seeds[0])
            if len(set(self.seeds)) == 1
            else f"{min(self.seeds)}–{max(self.seeds)}"
        )
        return (
            f"{'loss' if self.loss else 'accuracy'} | {self.num_settings} | {self.spacing:g} "
            f"| {seeds}{', paired' if self.seed_named else ''}{', ragged' if self.ragged else ''} "
            f"| {self.noise:g}"
        )


def plant(
    curve: str, design: Design, exponent: float, case: int
) -> tuple[dict[str, list[float]], dict[float, float]]:
    """Columns of a table, and width → planted optimum, in octaves."""
    rng = np.random.default_rng([STREAM, case, len(curve), design.num_settings, len(design.seeds)])
    last = (design.num_settings - 1) * design.spacing
    moved = exponent * np.arange(design.num_widths)
    room = 1.5 * design.spacing
    start = rng.uniform(room - min(moved.min(), 0.0), last - room - max(moved.max(), 0.0))
    columns: dict[str, list[float]] = {name: [] for name in ("width", "lr", "seed", "score")}
    common = 0.28 * rng.standard_normal(max(design.seeds)) * design.seed_named
    for i, move in enumerate(moved):
        octaves = np.arange(design.num_settings) * design.spacing
        if design.ragged:
            octaves = octaves + rng.uniform(-0.4, 0.4) * design.spacing
            octaves = octaves[rng.random(octaves.size) > 0.15]
        fall = CURVES[curve](octaves - start - move)
        for place, points in zip(octaves, fall, strict=True):
            for seed in range(int(rng.choice(design.seeds))):
                columns["width"].append(2.0**i)
                columns["lr"].append(2.0**place)
                columns["seed"].append(seed)
                columns["score"].append(_score(points, common[seed], design, rng))
    return columns, {2.0**i: float(start + move) for i, move in enumerate(moved)}


def _score(fall: float, common: float, design: Design, rng: np.random.Generator) -> float:
    if design.loss:
        mean = min(np.log(BEST_LOSS) + A_POINT * fall, np.log(CHANCE_LOSS))
        return float(np.exp(mean + A_POINT * (common + design.noise * rng.standard_normal())))
    room = PEAK - CHANCE
    fallen = room * (1.0 - np.exp(-fall / room))
    spread = design.noise * (1.0 + min(fallen, 20.0) / 5.0)
    if fallen > DIVERGED_BELOW:
        return float("nan")
    return float((PEAK - fallen + common + spread * rng.standard_normal()) / 100.0)


def look(columns: dict[str, list[float]], design: Design) -> SweepAnalysis:
    return analyze(
        columns,
        width="width",
        x="lr",
        score="score",
        seed="seed" if design.seed_named else None,
        minimize=design.loss,
    )


class Counted(NamedTuple):
    """Intervals of optima and of exponents that cover, of how many; verdicts."""

    line: str
    optima: tuple[int, int]
    exponents: tuple[int, int]
    false: int


def count_cases(curves: Sequence[str], design: Design, exponent: float, num_cases: int) -> Counted:
    hits = number = closed = lawful = law_hits = 0
    widths, law_widths = [], []
    verdicts: Counter[str] = Counter()
    for curve in curves:
        for case in range(num_cases):
            columns, planted = plant(curve, design, exponent, case)
            found = look(columns, design)
            for width, optimum in found.optima.items():
                low, high = optimum.interval
                number, hits = number + 1, hits + covers(optimum.interval, 2.0 ** planted[width])
                if low > 0.0 and np.isfinite(high):
                    closed += 1
                    widths.append(float(np.log2(high / low)))
            verdicts[found.verdict if found.law else "no law"] += 1
            if found.law is not None:
                lawful, law_hits = lawful + 1, law_hits + covers(found.law.interval, exponent)
                law_widths.append(found.law.interval[1] - found.law.interval[0])
    # At the border of the zone of no change neither verdict is false.
    wrong = {"moves"} if abs(exponent) < EDGE else {"fixed"} if abs(exponent) > EDGE else set()
    false = sum(verdicts[said] for said in wrong)
    said = ", ".join(f"{name} {times}" for name, times in sorted(verdicts.items()))
    line = (
        f"| {design.said} | {exponent:g} | {share(hits, number)} | {closed / number:.0%} "
        f"| {np.median(widths or [np.nan]):.2f} | {share(law_hits, lawful)} "
        f"| {np.median(law_widths or [np.nan]):.2f} | {said} |"
    )
    return Counted(line, (hits, number), (law_hits, lawful), false)


ONE_RUN = tuple(
    Design(num_settings=settings, spacing=spacing, loss=loss)
    for loss in (False, True)
    for settings, spacing in ((8, 1.0), (10, 1.0), (14, 0.5), (20, 0.42))
)
SEVERAL = (
    Design(seeds=(2,), seed_named=True),
    Design(seeds=(3,), seed_named=True),
    Design(seeds=(3,)),
    Design(seeds=(5,), seed_named=True),
    Design(seeds=(8,), seed_named=True),
    Design(seeds=(1, 2, 3)),
    Design(seeds=(3, 4, 5, 6), seed_named=True),
    Design(seeds=(1, 2, 3), num_settings=14, spacing=0.5, ragged=True),
    Design(seeds=(1,), num_settings=20, spacing=0.42, ragged=True, loss=True),
    Design(seeds=(3,), num_settings=14, spacing=0.5, loss=True),
)
PRECISE = Design(num_settings=20, spacing=0.42, noise=0.1, num_widths=5)
TOLD_APART = (
    *(replace(PRECISE, loss=loss) for loss in (False, True)),
    Design(num_settings=12, spacing=0.75, seeds=(5,), noise=0.2, num_widths=5),
)
COLUMNS = (
    "score | settings a width | octaves apart | seeds | noise (points) | planted exponent "
    "| optimum covered | closed on both sides | median width of these (octaves) "
    "| exponent covered | median width | verdicts"
)


def print_table(title: str, rows: Iterator[Counted]) -> Counted:
    """The table, and its totals."""
    print(f"\n## {title}\n\n| {COLUMNS} |\n" + "|---" * (COLUMNS.count("|") + 1) + "|")
    counted = []
    for row in rows:
        counted.append(row)
        print(row.line, flush=True)
    totals = [
        (sum(row[i][0] for row in counted), sum(row[i][1] for row in counted)) for i in (1, 2)
    ]
    false = sum(row.false for row in counted)
    print(
        f"\nAll together: optima {share(*totals[0])} of {totals[0][1]}, exponents "
        f"{share(*totals[1])} of {totals[1][1]}; {false} false verdicts.",
        flush=True,
    )
    return Counted("", totals[0], totals[1], false)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=4, help="tables for each curve of a row")
    cases = parser.parse_args().cases
    every, few = tuple(CURVES), FEW_CURVES
    print("# Tables of runs: do the intervals of `analyze` cover?\n")
    print("Written by `OMP_NUM_THREADS=1 python validation/table_coverage.py", end="")
    print(f"{'' if cases == 4 else f' --cases {cases}'}`.")
    print("A row is tables of four or five widths, an octave apart, whose planted optimum moves as")
    print("width to the exponent; curves and what a point is are those of planted_coverage.md. The")
    print("noise of one run grows down the slope of an accuracy, and goes with the size of a loss.")
    print("At -0.25, the border of the zone of no change, no verdict is false.")
    print("In brackets: 95 % Wilson intervals.")
    move: Callable[[Design], float] = lambda design: -0.5 if design.spacing == 1.0 else -0.25  # noqa: E731
    print_table("One run a setting", (count_cases(every, d, move(d), cases) for d in ONE_RUN))
    print_table("Several runs a setting", (count_cases(every, d, move(d), cases) for d in SEVERAL))
    print_table(
        "Fixed or moving",
        (
            count_cases(few, design, exponent, 2 * cases)
            for design in TOLD_APART
            for exponent in (0.0, -0.5, -1.0)
        ),
    )


if __name__ == "__main__":
    main()
