"""Do the intervals cover? Planted optima, realistic noise, and how often the truth is inside.

Writes a Markdown table to standard output; the committed copy is planted_coverage.md.

    OMP_NUM_THREADS=1 python validation/planted_coverage.py > validation/planted_coverage.md
"""

import argparse
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import FitError

FloatArray = NDArray[np.float64]
Place = Literal["inside", "low", "high"]

PEAK = 78.0  # percent
CHANCE = 10.0
# Runs so far below the peak have diverged in the measurements that these curves imitate.
DIVERGED_BELOW = 50.0
# Not the random numbers on which the constants of the method were chosen.
STREAM = 1905


def quadratic(curvature: float) -> Callable[[FloatArray], FloatArray]:
    return lambda u: curvature * u**2


def bump(height: float, spread: float) -> Callable[[FloatArray], FloatArray]:
    return lambda u: height * (1.0 - np.exp(-0.5 * (u / spread) ** 2))


def collapse(slope: float, steepness: float) -> Callable[[FloatArray], FloatArray]:
    """Straight decline towards low noise, exponential fall towards high noise."""
    return lambda u: slope * (np.expm1(steepness * u) / steepness - u)


def two_piece(left: float, right: float) -> Callable[[FloatArray], FloatArray]:
    return lambda u: np.where(u < 0.0, left, right) * u**2


def plateau(fall: float) -> Callable[[FloatArray], FloatArray]:
    """Down by `fall` points to a level plateau at low noise, steeper than a parabola at high."""

    def drop(u: FloatArray) -> FloatArray:
        low, high = np.minimum(u, 0.0), np.maximum(u, 0.0)
        return fall * (1.0 - np.exp(-0.5 * (low / 1.5) ** 2)) + 1.2 * high**2 + 0.6 * high**4

    return drop


# Drop from the peak in percentage points at u octaves from the optimum.
CURVES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "parabola, 0.15 points/octave²": quadratic(0.15),
    "parabola, 0.5 points/octave²": quadratic(0.5),
    "parabola, 1.5 points/octave²": quadratic(1.5),
    "Gaussian bump, 1.5 octaves": bump(6.0, 1.5),
    "Gaussian bump, 3 octaves": bump(10.0, 3.0),
    "collapse, 0.5 points/octave, e-fold 1 octave": collapse(0.5, 1.0),
    "collapse, 0.3 points/octave, e-fold 2/3 octave": collapse(0.3, 1.5),
    "collapse, 0.2 points/octave, e-fold 1/2 octave": collapse(0.2, 2.0),
    "collapse, 0.3 points/octave, e-fold 1/3 octave": collapse(0.3, 3.0),
    "collapse, 0.2 points/octave, e-fold 1/4 octave": collapse(0.2, 4.0),
    "two half parabolas, 0.1 and 1": two_piece(0.1, 1.0),
    "two half parabolas, 0.05 and 3": two_piece(0.05, 3.0),
    "plateau 0.8 points down, steep fall": plateau(0.8),
}
# Shapes on which no method without knowledge of the shape can do well; shown, not hidden.
HARD_CURVES = {"plateau 0.15 points down, steep fall": plateau(0.15)}


@dataclass(frozen=True, kw_only=True)
class Design:
    num_seeds: int
    spacing: float  # octaves
    num_settings: int = 8
    noise: float = 0.4  # percentage points, of one seed at the peak


DESIGNS = (
    Design(num_seeds=5, spacing=1.0),
    Design(num_seeds=8, spacing=1.0),
    Design(num_seeds=10, spacing=float(np.log2(1.5)), num_settings=12),
)


def simulate(
    drop: Callable[[FloatArray], FloatArray],
    octaves: FloatArray,
    optimum: float,
    design: Design,
    rng: np.random.Generator,
) -> FloatArray:
    """Scores (K, S) as fractions; noise grows down the slope, and seeds share part of it."""
    room = PEAK - CHANCE
    fall = drop(octaves - optimum)
    saturated = room * (1.0 - np.exp(-fall / room))
    spread = design.noise * (1.0 + np.minimum(saturated, 20.0) / 5.0)
    common = 0.7 * design.noise * rng.standard_normal(design.num_seeds)
    own = rng.standard_normal((octaves.size, design.num_seeds)) * spread[:, None]
    scores = PEAK - saturated[:, None] + common + own
    scores[saturated > DIVERGED_BELOW] = np.nan
    return np.asarray(scores / 100.0)


def plant(
    name: str, design: Design, place: Place, case: int
) -> tuple[float, float, Optimum | None]:
    """Planted optimum and grid end in octaves, and what was found (None: FitError)."""
    curve = {**CURVES, **HARD_CURVES}[name]
    rng = np.random.default_rng([STREAM, case, len(name), design.num_seeds])
    octaves = np.arange(design.num_settings, dtype=np.float64) * design.spacing
    last = float(octaves[-1])
    optimum = {
        "inside": rng.uniform(1.5 * design.spacing, last - 1.5 * design.spacing),
        "low": -rng.uniform(0.5, 1.5) * design.spacing,
        "high": last + rng.uniform(0.5, 1.5) * design.spacing,
    }[place]
    scores = simulate(curve, octaves, optimum, design, rng)
    try:
        return optimum, last, locate_optimum(2.0**octaves, scores, seed=case)
    except FitError:
        return optimum, last, None


def covers(interval: tuple[float, float], truth: float) -> bool:
    return bool(interval[0] <= truth <= interval[1])


def wilson(hits: int, total: int) -> tuple[float, float]:
    """95 % Wilson interval of a share.

    >>> tuple(round(end, 3) for end in wilson(95, 100))
    (0.888, 0.978)
    """
    z = 1.959964
    share = hits / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return float(center - half), float(center + half)


def share(hits: int, total: int) -> str:
    if total == 0:
        return "–"
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


Row = tuple[str, int, int]  # the line of the table, hits, cases


def inside_row(name: str, design: Design, num_cases: int) -> Row:
    results = [plant(name, design, "inside", case) for case in range(num_cases)]
    found = [(t, o) for t, _, o in results if o is not None]
    hits = sum(covers(o.interval, 2.0**t) for t, o in found)
    widths = [_octaves(o.interval) for _, o in found]
    censored = sum(o.censoring != "none" for _, o in found)
    line = (
        f"| {name} | {design.num_seeds} | {design.spacing:.2f} | {len(found)} "
        f"| {share(hits, len(found))} | {np.median(widths):.2f} "
        f"| {100 * censored / max(len(found), 1):.1f} % |"
    )
    return line, hits, len(found)


def outside_row(name: str, place: Place, num_cases: int) -> Row:
    results = [plant(name, DESIGNS[1], place, case) for case in range(num_cases)]
    found = [o for *_, o in results if o is not None]
    right = sum(o.censoring == place for o in found)
    line = (
        f"| {name} | {place} | {len(found)} | {num_cases - len(found)} "
        f"| {share(right, len(found))} |"
    )
    return line, right, len(found)


LAW_CURVES = (
    "parabola, 0.5 points/octave²",
    "collapse, 0.5 points/octave, e-fold 1 octave",
    "collapse, 0.3 points/octave, e-fold 1/3 octave",
    "two half parabolas, 0.1 and 1",
)


CLIFF_LAWS = ((1.0, (1, 2, 4, 8)), (0.0, (1, 2, 4, 8)), (0.5, (1, 4, 16)))
LAWS = ((1.0, (1, 2, 4, 8, 16)), (0.0, (1, 2, 4, 8)), (0.5, (1, 4, 16)))


def law_row(name: str, exponent: float, factors: tuple[int, ...], num_cases: int) -> Row:
    laws = []
    octaves = np.arange(10.0)
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, case, len(name), len(factors)])
        start = rng.uniform(1.5, 4.0)
        optima = []
        for factor in factors:
            optimum = start + exponent * float(np.log2(factor))
            scores = simulate(CURVES[name], octaves, optimum, DESIGNS[1], rng)
            optima.append(locate_optimum(2.0**octaves, scores, seed=case))
        with contextlib.suppress(FitError):
            laws.append(fit_law(factors, optima))
    return _law_line(name, exponent, len(factors), laws)


def _law_line(name: str, exponent: float, num_widths: int, laws: Sequence[Law]) -> Row:
    hits = sum(covers(law.interval, exponent) for law in laws)
    width = np.median([law.interval[1] - law.interval[0] for law in laws])
    censored = np.mean([law.num_censored / law.num_widths for law in laws])
    verdicts = ", ".join(f"{k} {v}" for k, v in sorted(Counter(w.verdict for w in laws).items()))
    line = (
        f"| {name} | {exponent:g} | {num_widths} | {len(laws)} | {share(hits, len(laws))} "
        f"| {width:.2f} | {censored:.0%} | {verdicts} |"
    )
    return line, hits, len(laws)


CLIFF_DESIGNS = (
    Design(num_seeds=8, spacing=1.0),
    Design(num_seeds=6, spacing=0.5, num_settings=13),
)
# Octaves over which the chance to diverge goes from 27 to 73 %.
CLIFF_SOFTNESS = 0.1


def below_cliff(
    drop: Callable[[FloatArray], FloatArray],
    octaves: FloatArray,
    optimum: float,
    cliff: float,
    design: Design,
    rng: np.random.Generator,
) -> FloatArray:
    """Scores (K, S) of a curve that ends where noise makes training diverge."""
    scores = simulate(drop, octaves, optimum, design, rng)
    with np.errstate(over="ignore"):
        chance = 1.0 / (1.0 + np.exp((cliff - octaves) / (CLIFF_SOFTNESS / 2.0)))
    return np.where(rng.random(scores.shape) < chance[:, None], np.nan, scores)


def cliff_row(name: str, design: Design, num_cases: int) -> Row:
    """The optimum is the peak of the curve or, if that lies beyond it, the cliff."""
    octaves = np.arange(design.num_settings, dtype=np.float64) * design.spacing
    found, truths, closed = [], [], 0
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 7, case, len(name), design.num_seeds])
        cliff = rng.uniform(3.0 * design.spacing, float(octaves[-1]))
        peak = cliff + rng.uniform(-1.5, 1.5)
        scores = below_cliff(CURVES[name], octaves, peak, cliff, design, rng)
        with contextlib.suppress(FitError):
            optimum = locate_optimum(
                2.0**octaves, scores, seed=case, effective_rate=np.ones(octaves.size)
            )
            found.append(optimum)
            truths.append(min(peak, cliff))
            closed += optimum.cliff is not None
    hits = sum(covers(o.interval, 2.0**t) for t, o in zip(truths, found, strict=True))
    line = (
        f"| {name} | {design.num_seeds} | {design.spacing:.2f} | {len(found)} "
        f"| {share(hits, len(found))} | {np.median([_octaves(o.interval) for o in found]):.2f} "
        f"| {closed / max(len(found), 1):.0%} |"
    )
    return line, hits, len(found)


def cliff_law_row(name: str, exponent: float, factors: tuple[int, ...], num_cases: int) -> Row:
    """Peak and cliff go with width alike, the peak up to an octave below or above the cliff."""
    design = CLIFF_DESIGNS[1]
    octaves = np.arange(16.0) * design.spacing
    laws = []
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 8, case, len(name), len(factors)])
        start, ahead = rng.uniform(2.0, 3.0), rng.uniform(-1.0, 1.0)
        optima = []
        for factor in factors:
            cliff = start + exponent * float(np.log2(factor))
            scores = below_cliff(CURVES[name], octaves, cliff + ahead, cliff, design, rng)
            with contextlib.suppress(FitError):
                optima.append(
                    (
                        factor,
                        locate_optimum(
                            2.0**octaves, scores, seed=case, effective_rate=np.ones(octaves.size)
                        ),
                    )
                )
        with contextlib.suppress(FitError):
            laws.append(fit_law([f for f, _ in optima], [o for _, o in optima]))
    return _law_line(name, exponent, len(factors), laws)


CROWDED = Design(num_seeds=5, spacing=10.0 / 141.0, num_settings=142)

# Name, points that are lost an octave squared below and above the peak, error of the best network
# (points; where negative, all is right over a stretch), test examples.
SATURATED = (
    ("0.1 % wrong at best", 0.4, 1.2, 0.1, 100),
    ("0.1 % wrong at best", 0.4, 1.2, 0.1, 1000),
    ("all right round the best", 0.4, 1.2, -1.0, 100),
)


def counted(
    octaves: FloatArray,
    optimum: float,
    shape: tuple[str, float, float, float, int],
    num_seeds: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Scores (K, S) counted on one test set, whose examples are hard alike for all networks."""
    _, left, right, least, num_test = shape
    away = octaves - optimum
    wrong = (least + np.where(away < 0.0, left, right) * away**2) / 100.0
    hard = rng.random(num_test)
    own = hard + 0.003 * rng.standard_normal((octaves.size, num_seeds, num_test))
    return np.asarray(np.mean(own < 1.0 - wrong[:, None, None], axis=2))


def saturated_row(
    shape: tuple[str, float, float, float, int], design: Design, num_cases: int
) -> Row:
    octaves = np.arange(10) * design.spacing
    found, truths = [], []
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 9, case, shape[-1], design.num_seeds])
        truths.append(rng.uniform(1.5 * design.spacing, octaves[-1] - 1.5 * design.spacing))
        scores = counted(octaves, truths[-1], shape, design.num_seeds, rng)
        found.append(locate_optimum(2.0**octaves, scores, num_test=shape[-1], seed=case))
    hits = sum(covers(o.interval, 2.0**t) for t, o in zip(truths, found, strict=True))
    flat = sum(o.is_flat for o in found)
    line = (
        f"| {shape[0]} | {shape[-1]} | {design.num_seeds} | {design.spacing:.2f} | {len(found)} "
        f"| {share(hits, len(found))} | {np.median([_octaves(o.interval) for o in found]):.2f} "
        f"| {flat / len(found):.0%} |"
    )
    return line, hits, len(found)


def tied_row(num_tied: int, reach: str, num_cases: int) -> Row:
    """Settings that tie exactly: covered if all of them are."""
    hits = 0
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 10, case, num_tied])
        first = {"the lowest": 0, "inside": int(rng.integers(1, 10 - num_tied))}[reach]
        octaves = np.arange(10.0)
        scores = simulate(quadratic(1.0), octaves, 0.0, DESIGNS[1], rng)
        away = np.maximum(first - octaves, octaves - (first + num_tied - 1))
        drop = np.maximum(away, 0.0) * rng.uniform(0.02, 0.1)
        scores = np.where(away[:, None] <= 0.0, 1.0, 1.0 - drop[:, None] - 0.1 * (1 - scores))
        low, high = locate_optimum(2.0**octaves, scores, num_test=1000, seed=case).interval
        last = 2.0 ** (first + num_tied - 1)
        hits += bool(low <= (2.0**first if first else 0.0) and high >= last * (1.0 - 1e-9))
    return f"| {num_tied} | {reach} | {num_cases} | {share(hits, num_cases)} |", hits, num_cases


def saturated_law_row(exponent: float, num_test: int, num_cases: int) -> Row:
    shape = ("all right round the best", 0.4, 1.2, -0.5, num_test)
    octaves, laws, factors = np.arange(10.0), [], (1, 2, 4, 8)
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 11, case, num_test, len(factors)])
        start = rng.uniform(1.5, 4.0)
        optima = []
        for factor in factors:
            place = start + exponent * float(np.log2(factor))
            scores = counted(octaves, place, shape, DESIGNS[1].num_seeds, rng)
            optima.append(locate_optimum(2.0**octaves, scores, num_test=num_test, seed=case))
        with contextlib.suppress(FitError):
            laws.append(fit_law(factors, optima))
    return _law_line(f"all right round the best, {num_test}", exponent, len(factors), laws)


def _octaves(interval: tuple[float, float]) -> float:
    low, high = interval
    return float(np.log2(high / low)) if low > 0.0 and np.isfinite(high) else float("inf")


def print_table(title: str, columns: str, rows: Iterable[Row]) -> None:
    count = columns.count("|") + 1
    print(f"\n## {title}\n\n| {columns} |\n" + "|---" * count + "|")
    hits = total = 0
    for line, row_hits, row_total in rows:
        hits, total = hits + row_hits, total + row_total
        print(line, flush=True)
    print(f"\nAll together: {hits} of {total}, {share(hits, total)}.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="per row of a table")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("# Planted optima: do the 95 % intervals cover?\n")
    print("Written by `OMP_NUM_THREADS=1 python validation/planted_coverage.py", end="")
    print(f" --cases {options.cases}`.")
    print("Seeds have a standard deviation of 0.4 points at the peak, more down the slope, and")
    print("share a common part of 0.28 points. In brackets: 95 % Wilson intervals.")
    columns = (
        "curve | seeds | spacing (octaves) | cases | covered | median width (octaves) "
        "| called censored"
    )
    with ProcessPoolExecutor(options.workers) as pool:

        def rows(
            function: Callable[..., Row], arguments: Iterable[tuple[object, ...]]
        ) -> Iterable[Row]:
            return pool.map(function, *zip(*((*a, options.cases) for a in arguments), strict=True))

        inside = rows(inside_row, itertools.product(CURVES, DESIGNS))
        laws = rows(law_row, ((name, *law) for name in LAW_CURVES for law in LAWS))
        outside = rows(outside_row, itertools.product(CURVES, ("low", "high")))
        cliffs = rows(cliff_row, itertools.product(CURVES, CLIFF_DESIGNS))
        cliff_laws = rows(
            cliff_law_row, ((name, *law) for name in LAW_CURVES for law in CLIFF_LAWS)
        )
        hard = rows(inside_row, itertools.product(HARD_CURVES, DESIGNS))
        print_table("Optimum at least 1.5 settings inside the grid", columns, inside)
        print_table(
            "Exponent of the law (8 seeds, 10 settings an octave apart)",
            "curve | planted exponent | widths | cases | covered | median width "
            "| widths censored | verdicts",
            laws,
        )
        print_table(
            "Optimum half to one and a half settings outside the grid (8 seeds, octaves)",
            "curve | side | cases | too few stable settings | censored on the right side",
            outside,
        )
        print_table(
            "Curves that end where noise makes training diverge, up to 1.5 octaves from the peak",
            "curve | seeds | spacing (octaves) | cases | covered | median width (octaves) "
            "| interval closed by divergence",
            cliffs,
        )
        print_table(
            "Exponent where peak and divergence go with width alike (6 seeds, half octaves)",
            "curve | planted exponent | widths | cases | covered | median width "
            "| widths censored | verdicts",
            cliff_laws,
        )
        print_table(
            "142 settings over 10 octaves",
            columns,
            rows(inside_row, ((name, CROWDED) for name in CURVES)),
        )
        print_table(
            "Saturated test sets",
            "task | test examples | seeds | spacing (octaves) | cases | covered "
            "| median width (octaves) | called flat",
            rows(saturated_row, itertools.product(SATURATED, DESIGNS)),
        )
        print_table(
            "Settings that tie exactly at the top, all of which must be covered",
            "settings that tie | from | cases | covered",
            rows(tied_row, itertools.product((2, 3, 6), ("the lowest", "inside"))),
        )
        print_table(
            "Exponent on saturated test sets (8 seeds, octaves)",
            "task, test examples | planted exponent | widths | cases | covered | median width "
            "| widths censored | verdicts",
            rows(saturated_law_row, itertools.product((1.0, 0.0, 0.5), (100, 1000))),
        )
        print_table("Hard shapes, shown for honesty", columns, hard)


if __name__ == "__main__":
    main()
