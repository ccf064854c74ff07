"""Laws over widths, straight and bent: do the intervals cover, and how often is a bend seen?

Curves of accuracy with a planted optimum at seven widths, with the noise and the shapes of
planted_coverage.py; optima are located and laws fitted to the first three, five and all seven of
them. Writes a Markdown page to standard output; the committed copy is planted_laws.md.

    OMP_NUM_THREADS=1 python validation/planted_laws.py > validation/planted_laws.md

`--cases 5` is a look. What a run will cost is said first, to standard error.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from planted_coverage import CURVES as SHAPES
from planted_coverage import DESIGNS, LAW_CURVES, STREAM, covers, share, simulate

import widthwise as ww
from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import FitError

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
STUDIES = (3, 5, 7)  # the first so many of them
TARGETS = (4, 16)
OCTAVES = np.arange(13.0)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """log2 of the best noise scale over widths, and its slope: the local exponent."""

    value: Callable[[float], float]
    exponent: float | None = None  # of a straight law

    def slope(self, width: float) -> float:
        """Towards narrower networks, where the law has a kink, as `Law.local_exponent` counts."""
        return (self.value(width) - self.value(0.999 * width)) / -math.log2(0.999)


def straight(exponent: float) -> Planted:
    return Planted(value=lambda w: exponent * math.log2(w), exponent=exponent)


def saturating(exponent: float, half: float) -> Planted:
    """Local exponent exponent/(1 + (w/half)^exponent): half of it is left at w = half."""
    return Planted(value=lambda w: -math.log2(1.0 + (half / w) ** exponent))


def kinked(width: float, after: float = 0.0) -> Planted:
    """In proportion to w up to a kink, and to w^after beyond."""
    return Planted(
        value=lambda w: math.log2(min(w, width)) + after * math.log2(max(w / width, 1.0))
    )


LAWS: dict[str, Planted] = {
    "straight, exponent 1": straight(1.0),
    "straight, exponent 1/2": straight(0.5),
    "straight, exponent 0": straight(0.0),
    "saturating, 1 → 0, half at w = 1": saturating(1.0, 1.0),
    "saturating, 1 → 0, half at w = 8": saturating(1.0, 8.0),
    "saturating, 1 → 0, half at w = 64": saturating(1.0, 64.0),
    "in proportion, flat from w = 8 on": kinked(8.0),
    "in proportion, flat from w = 2 on": kinked(2.0),
    "in proportion, w^1/2 from w = 8 on": kinked(8.0, after=0.5),
}


@dataclass
class Row:
    """What the laws of one kind, fitted to so many widths, said."""

    planted: Planted
    widths: tuple[int, ...]
    num_laws: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    bent: int = 0
    factors: list[float] = field(default_factory=list)

    def add(self, law: Law) -> None:
        self.num_laws += 1
        self.bent += law.curve is not None
        exponent = self.planted.exponent
        self.hit("s", exponent is not None and covers(law.interval, exponent))
        for name, width in (("narrowest", 1), ("widest", self.widths[-1])):
            truth = self.planted.slope(width)
            self.hit(name, covers(law.local_exponent(width)[1], truth))
        for target in TARGETS:
            plan = ww.widen(
                learning_rate=1.0,
                batch_size=16,
                widening_factor=target,
                parameterization="ntk",
                law=law,
                keep="batch_size",
            )
            ends = plan.noise_ratio_interval or (0.0, math.inf)
            truth = 2.0 ** (self.planted.value(target) - self.planted.value(1))
            self.hit(f"× {target}", covers(ends, truth))
        self.factors.append(ends[1] / ends[0] if ends[0] > 0.0 else math.inf)

    def hit(self, name: str, hit: bool) -> None:
        self.hits[name] = self.hits.get(name, 0) + hit

    def line(self, name: str) -> str:
        exact = self.planted.exponent is not None
        said = ["–" if not exact else share(self.hits["s"], self.num_laws)]
        said += [share(self.hits[key], self.num_laws) for key in list(self.hits)[1:]]
        return (
            f"| {name} | {len(self.widths)} | {self.num_laws} | {' | '.join(said)} "
            f"| {np.median(self.factors):.1f} | {share(self.bent, self.num_laws)} |"
        )


def optima(planted: Planted, rank: int, case: int) -> Iterator[Optimum]:
    """At every width, with the shapes of planted_coverage.py in turn."""
    rng = np.random.default_rng([STREAM, 20, rank, case])
    values = [planted.value(width) for width in WIDTHS]
    start = rng.uniform(2.0, 4.0) - min(values)
    drop = SHAPES[LAW_CURVES[case % len(LAW_CURVES)]]
    for value in values:
        scores = simulate(drop, OCTAVES, start + value, DESIGNS[1], rng)
        yield locate_optimum(2.0**OCTAVES, scores, seed=case)


def rows(name: str, rank: int, num_cases: int) -> list[Row]:
    planted = LAWS[name]
    found = [Row(planted=planted, widths=WIDTHS[:number]) for number in STUDIES]
    for case in range(num_cases):
        located = list(optima(planted, rank, case))
        for row in found:
            try:
                law = fit_law(row.widths, located[: len(row.widths)])
            except FitError:
                continue
            if np.all(np.isfinite(law.interval)):
                row.add(law)
    return found


COLUMNS = (
    "law",
    "widths",
    "laws",
    "s covered",
    "local exponent at the narrowest",
    "at the widest",
    *(f"plan's ε/B, {target} times as wide" for target in TARGETS),
    f"end to end, {TARGETS[-1]} times (median factor)",
    "called bent",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="of each law; 5: a look")
    options = parser.parse_args()
    begin = time.perf_counter()
    rows(next(iter(LAWS)), 0, 2)
    minutes = (time.perf_counter() - begin) / 2 * options.cases * len(LAWS) / 60
    print(f"about {minutes:.1f} minutes", file=sys.stderr)
    print("# Planted laws: do the intervals cover, and is a bend seen?\n")
    print("Written by `OMP_NUM_THREADS=1 python validation/planted_laws.py", end="")
    print(f" --cases {options.cases}`.")
    print("Optima of eight seeds at 13 settings an octave apart, located at w = 1, 2, 4, …; shapes")
    print("and noise are those of planted_coverage.py, four shapes in turn. Laws whose exponent is")
    print("bounded on both sides. In brackets: 95 % Wilson intervals.")
    print(f"\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    done: list[Row] = []
    for rank, name in enumerate(LAWS):
        for row in rows(name, rank, options.cases):
            print(row.line(name), flush=True)
            done.append(row)
    print(f"\n{summary(done)}")


def summary(done: list[Row]) -> str:
    """Totals over all rows."""
    laws = sum(row.num_laws for row in done)
    straight_ones = [row for row in done if row.planted.exponent is not None]
    able = [row for row in straight_ones if len(row.widths) > STUDIES[0]]
    return "\n".join(
        (
            "All together: s of straight laws covered in "
            f"{_total(straight_ones, 's')}; a plan's ε/B 4 times as wide in "
            f"{_total(done, '× 4')}, 16 times in {_total(done, '× 16')}, of {laws} laws.",
            "Straight laws of five and seven widths called bent: "
            f"{share(sum(r.bent for r in able), sum(r.num_laws for r in able))}.",
        )
    )


def _total(of: list[Row], name: str) -> str:
    return share(sum(row.hits[name] for row in of), sum(row.num_laws for row in of))


if __name__ == "__main__":
    main()
