"""Do the intervals cover? Planted optima, realistic noise, and how often the truth is inside.

Writes a Markdown table to standard output; the committed copy is planted_coverage.md.

    OMP_NUM_THREADS=1 python validation/planted_coverage.py > validation/planted_coverage.md

`--cases 10` is a look that takes a minute. What a run will cost is said first, to standard error.
"""

import argparse
import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.analysis.doubts import KINK
from widthwise.analysis.late_times import catching_up, late_mean, plateau_slope
from widthwise.analysis.settings import NOT_ARRIVED
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


def tent(left: float, right: float) -> Callable[[FloatArray], FloatArray]:
    """Straight on both sides of a kink, in points an octave."""
    return lambda u: np.where(u < 0.0, -left, right) * u


def two_humps(apart: float, lower: float, height: float, spread: float) -> Callable:
    """The second hump lies `apart` octaves from the optimum and is `lower` points lower."""

    def drop(u: FloatArray) -> FloatArray:
        first = height * np.exp(-0.5 * (u / spread) ** 2)
        second = (height - lower) * np.exp(-0.5 * ((u - apart) / spread) ** 2)
        return height - np.maximum(first, second)

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
KINKED_CURVES = {
    "tent, 0.3 and 0.3 points/octave": tent(0.3, 0.3),
    "tent, 1 and 1": tent(1.0, 1.0),
    "tent, 3 and 3": tent(3.0, 3.0),
    "tent, 0.3 and 1": tent(0.3, 1.0),
    "tent, 0.5 and 3": tent(0.5, 3.0),
    "tent, 3 and 0.5": tent(3.0, 0.5),
    "tent, 0.2 and 2": tent(0.2, 2.0),
}
TWO_PEAKED_CURVES = {
    "second hump 4 octaves above, 0.1 points lower": two_humps(4.0, 0.1, 5.0, 0.8),
    "second hump 4 octaves above, 0.3 points lower": two_humps(4.0, 0.3, 5.0, 0.8),
    "second hump 4 octaves below, 0.3 points lower": two_humps(-4.0, 0.3, 5.0, 0.8),
    "second hump 3 octaves above, 1 point lower": two_humps(3.0, 1.0, 5.0, 0.8),
    "wide humps 5 octaves apart, 0.2 points lower": two_humps(5.0, 0.2, 2.0, 1.2),
}
# A peak lower than the noise of a setting: no fit finds it.
HIDDEN_CURVES = {"plateau 0.15 points down, steep fall": plateau(0.15)}
ALL_CURVES = {**CURVES, **KINKED_CURVES, **TWO_PEAKED_CURVES, **HIDDEN_CURVES}


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
    curve = ALL_CURVES[name]
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


class Row(NamedTuple):
    """A line of a table, and what it adds to the table's totals."""

    line: str
    hits: int
    cases: int
    false_verdicts: int = 0
    covered_in_doubt: int = 0
    missed_in_doubt: int = 0


def row_of_optima(line: str, found: Sequence[tuple[float, Optimum]]) -> Row:
    """The line, with the coverage and the doubts of optima beside their planted octaves."""
    hit = [covers(o.interval, 2.0**truth) for truth, o in found]
    doubted = [bool(o.doubts) for _, o in found]
    return Row(
        line,
        sum(hit),
        len(found),
        covered_in_doubt=sum(d and h for d, h in zip(doubted, hit, strict=True)),
        missed_in_doubt=sum(d and not h for d, h in zip(doubted, hit, strict=True)),
    )


def doubts_shown(optima: Sequence[Optimum]) -> str:
    """The share with any doubt; in brackets: a kink, another peak, a level top."""
    kinds = [
        sum(KINK in o.doubts for o in optima),
        sum(any("another peak" in doubt for doubt in o.doubts) for o in optima),
        sum(any("level" in doubt for doubt in o.doubts) for o in optima),
    ]
    number = max(len(optima), 1)
    shares = ", ".join(f"{100 * kind / number:.0f}" for kind in kinds)
    return f"{100 * sum(bool(o.doubts) for o in optima) / number:.0f} % ({shares})"


def inside_row(name: str, design: Design, num_cases: int) -> Row:
    results = [plant(name, design, "inside", case) for case in range(num_cases)]
    found = [(t, o) for t, _, o in results if o is not None]
    hits = sum(covers(o.interval, 2.0**t) for t, o in found)
    widths = [_octaves(o.interval) for _, o in found]
    censored = sum(o.censoring != "none" for _, o in found)
    line = (
        f"| {name} | {design.num_seeds} | {design.spacing:.2f} | {len(found)} "
        f"| {share(hits, len(found))} | {np.median(widths):.2f} "
        f"| {100 * censored / max(len(found), 1):.0f} % | {doubts_shown([o for _, o in found])} |"
    )
    return row_of_optima(line, found)


def outside_row(name: str, place: Place, num_cases: int) -> Row:
    results = [plant(name, DESIGNS[1], place, case) for case in range(num_cases)]
    found = [o for *_, o in results if o is not None]
    right = sum(o.censoring == place for o in found)
    line = (
        f"| {name} | {place} | {len(found)} | {num_cases - len(found)} "
        f"| {share(right, len(found))} |"
    )
    return Row(line, right, len(found))


LAW_CURVES = (
    "parabola, 0.5 points/octave²",
    "collapse, 0.5 points/octave, e-fold 1 octave",
    "collapse, 0.3 points/octave, e-fold 1/3 octave",
    "two half parabolas, 0.1 and 1",
)
ODD_LAW_CURVES = (
    "tent, 1 and 1",
    "tent, 0.5 and 3",
    "second hump 4 octaves above, 0.3 points lower",
    "plateau 0.15 points down, steep fall",
)
RIGHT_VERDICTS = {1.0: "proportional", 0.0: "constant", 0.5: "other"}


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
            scores = simulate(ALL_CURVES[name], octaves, optimum, DESIGNS[1], rng)
            optima.append(locate_optimum(2.0**octaves, scores, seed=case))
        with contextlib.suppress(FitError):
            laws.append(fit_law(factors, optima))
    return _law_line(name, exponent, len(factors), laws)


def _law_line(name: str, exponent: float, num_widths: int, laws: Sequence[Law]) -> Row:
    hits = sum(covers(law.interval, exponent) for law in laws)
    width = np.median([law.interval[1] - law.interval[0] for law in laws] or [np.nan])
    censored = np.mean([law.num_censored / law.num_widths for law in laws] or [np.nan])
    false = sum(law.verdict not in (RIGHT_VERDICTS[exponent], "inconclusive") for law in laws)
    verdicts = ", ".join(f"{k} {v}" for k, v in sorted(Counter(w.verdict for w in laws).items()))
    line = (
        f"| {name} | {exponent:g} | {num_widths} | {len(laws)} | {share(hits, len(laws))} "
        f"| {width:.2f} | {censored:.0%} | {verdicts} |"
    )
    return Row(line, hits, len(laws), false_verdicts=false)


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
    return row_of_optima(line, list(zip(truths, found, strict=True)))


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
    return row_of_optima(line, list(zip(truths, found, strict=True)))


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
    return Row(
        f"| {num_tied} | {reach} | {num_cases} | {share(hits, num_cases)} |", hits, num_cases
    )


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


# Octaves from the optimum to the setting with the least noise that arrives.
ARRIVALS = (-2.0, 0.0, 2.0)
LATE_CURVES = (
    "parabola, 0.5 points/octave²",
    "collapse, 0.5 points/octave, e-fold 1 octave",
    "two half parabolas, 0.1 and 1",
)
# Exponents of the optimum, and of where settings begin to arrive.
LATE_LAWS = ((1.0, 0.0), (0.0, 0.0), (0.5, 0.0), (1.0, 1.0), (0.0, 1.0), (0.5, 1.0))
# Evaluations in a run, and what accuracy scatters by between two of them (a fraction).
EVALUATIONS, FLUTTER = 40, 0.001


def learned(
    final: FloatArray, octaves: FloatArray, arrival: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Late-time scores and slopes (K, S) of runs of one length, slower the less noise they have.

    A setting at `arrival` has come within 0.1 % of its final score when late times end.
    """
    steps = np.arange(1.0, EVALUATIONS + 1.0)
    time = EVALUATIONS / 7.0 * 2.0 ** (arrival - octaves)
    approached = 1.0 - np.exp(-steps / time[:, None, None])
    chance = CHANCE / 100.0
    curves = chance + (final[:, :, None] - chance) * approached
    curves += FLUTTER * rng.standard_normal(curves.shape)
    return late_mean(steps, curves, EVALUATIONS), plateau_slope(steps, curves, EVALUATIONS)


def locate_late(
    name: str,
    octaves: FloatArray,
    optimum: float,
    arrival: float,
    case: int,
    rng: np.random.Generator,
) -> Optimum:
    final = simulate(ALL_CURVES[name], octaves, optimum, DESIGNS[1], rng)
    scores, slopes = learned(final, octaves, arrival, rng)
    late = catching_up(scores, slopes, noise_scale=2.0**octaves)
    return locate_optimum(2.0**octaves, scores, seed=case, late=late)


def late_row(name: str, ahead: float, num_cases: int) -> Row:
    octaves, found, refused = np.arange(10.0), [], 0
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 12, case, len(name), int(10 + ahead)])
        truth = rng.uniform(2.5, 6.5)
        try:
            found.append((truth, locate_late(name, octaves, truth, truth + ahead, case, rng)))
        except FitError:
            refused += 1
    hits = sum(covers(o.interval, 2.0**t) for t, o in found)
    said = sum(o.reason == NOT_ARRIVED for _, o in found)
    line = (
        f"| {name} | {ahead:+.0f} | {len(found)} | {refused} | {share(hits, len(found))} "
        f"| {said / max(len(found), 1):.0%} |"
    )
    return row_of_optima(line, found)


def late_law_row(name: str, exponent: float, arrival_exponent: float, num_cases: int) -> Row:
    """Four widths whose settings arrive from one noise scale on, which may go with width."""
    octaves, factors, laws = np.arange(10.0), (1, 2, 4, 8), []
    for case in range(num_cases):
        rng = np.random.default_rng([STREAM, 13, case, len(name), int(10 * arrival_exponent)])
        start, ahead = rng.uniform(2.0, 4.0), rng.uniform(-2.0, 2.0)
        optima = []
        for factor in factors:
            wider = float(np.log2(factor))
            arrival = start + ahead + arrival_exponent * wider
            with contextlib.suppress(FitError):
                found = locate_late(name, octaves, start + exponent * wider, arrival, case, rng)
                optima.append((factor, found))
        with contextlib.suppress(FitError):
            laws.append(fit_law([f for f, _ in optima], [o for _, o in optima]))
    said = f"{name}; arrival goes as w^{arrival_exponent:g}"
    return _law_line(said, exponent, len(factors), laws)


def _octaves(interval: tuple[float, float]) -> float:
    low, high = interval
    return float(np.log2(high / low)) if low > 0.0 and np.isfinite(high) else float("inf")


def print_table(title: str, columns: str, rows: Iterable[Row]) -> Row:
    """The table, and its totals."""
    count = columns.count("|") + 1
    print(f"\n## {title}\n\n| {columns} |\n" + "|---" * count + "|")
    total = Row("", 0, 0)
    for row in rows:
        total = Row("", *(mine + its for mine, its in zip(total[1:], row[1:], strict=True)))
        print(row.line, flush=True)
    print(f"\nAll together: {total.hits} of {total.cases}, {share(total.hits, total.cases)}.")
    if total.covered_in_doubt or total.missed_in_doubt:
        print(
            f"A doubt stands beside {_part(total.covered_in_doubt, total.hits)} of the intervals "
            f"that cover, and beside {total.missed_in_doubt} of the "
            f"{total.cases - total.hits} that do not."
        )
    sys.stdout.flush()
    return total


def _part(number: int, whole: int) -> str:
    return f"{100 * number / max(whole, 1):.1f} %"


INSIDE = (
    "curve | seeds | spacing (octaves) | cases | covered | median width (octaves) "
    "| called censored | doubt shown (kink, peak, level)"
)
CLOSED = (
    "curve | seeds | spacing (octaves) | cases | covered | median width (octaves) "
    "| interval closed by divergence"
)
LAW = (
    "curve | planted exponent | widths | cases | covered | median width | widths censored "
    "| verdicts"
)

Arguments = Iterable[tuple[object, ...]]
# Title, columns, what makes a row, its arguments.
TABLES: tuple[tuple[str, str, Callable[..., Row], Arguments], ...] = (
    (
        "Optimum at least 1.5 settings inside the grid",
        INSIDE,
        inside_row,
        itertools.product(CURVES, DESIGNS),
    ),
    ("A kink at the top", INSIDE, inside_row, itertools.product(KINKED_CURVES, DESIGNS)),
    ("Two peaks", INSIDE, inside_row, itertools.product(TWO_PEAKED_CURVES, DESIGNS)),
    (
        "A peak lower than the noise of a setting",
        INSIDE,
        inside_row,
        itertools.product(HIDDEN_CURVES, DESIGNS),
    ),
    (
        "Settings with little noise that have not arrived (8 seeds, octaves)",
        "curve | octaves from the optimum to the least noise that arrives | cases "
        "| too few settings | covered | bounded by lateness",
        late_row,
        itertools.product(LATE_CURVES, ARRIVALS),
    ),
    (
        "Optimum half to one and a half settings outside the grid (8 seeds, octaves)",
        "curve | side | cases | too few stable settings | censored on the right side",
        outside_row,
        itertools.product(CURVES, ("low", "high")),
    ),
    (
        "Curves that end where noise makes training diverge, up to 1.5 octaves from the peak",
        CLOSED,
        cliff_row,
        itertools.product(CURVES, CLIFF_DESIGNS),
    ),
    (
        "142 settings over 10 octaves",
        INSIDE,
        inside_row,
        ((name, CROWDED) for name in (*CURVES, "tent, 1 and 1", "tent, 0.5 and 3")),
    ),
    (
        "Saturated test sets",
        "task | test examples | seeds | spacing (octaves) | cases | covered "
        "| median width (octaves) | called flat",
        saturated_row,
        itertools.product(SATURATED, DESIGNS),
    ),
    (
        "Settings that tie exactly at the top, all of which must be covered",
        "settings that tie | from | cases | covered",
        tied_row,
        itertools.product((2, 3, 6), ("the lowest", "inside")),
    ),
    (
        "Exponent of the law (8 seeds, 10 settings an octave apart)",
        LAW,
        law_row,
        ((name, *law) for name in LAW_CURVES for law in LAWS),
    ),
    (
        "Exponent where peak and divergence go with width alike (6 seeds, half octaves)",
        LAW,
        cliff_law_row,
        ((name, *law) for name in LAW_CURVES for law in CLIFF_LAWS),
    ),
    (
        "Exponent on saturated test sets (8 seeds, octaves)",
        LAW.replace("curve", "task, test examples"),
        saturated_law_row,
        itertools.product((1.0, 0.0, 0.5), (100, 1000)),
    ),
    (
        "Exponent of kinks, two peaks and hidden peaks (8 seeds, octaves)",
        LAW,
        law_row,
        ((name, *law) for name in ODD_LAW_CURVES for law in LAWS),
    ),
    (
        "Exponent where settings have not arrived (8 seeds, octaves)",
        LAW,
        late_law_row,
        ((name, *law) for name in LATE_CURVES[:2] for law in LATE_LAWS),
    ),
)
# Optima located for each case of a table's rows, all rows together: what a run costs.
OPTIMA_PER_CASE = 380


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="per row of a table; 10: a look")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    _say_cost(options.cases, options.workers)
    print("# Planted optima: do the 95 % intervals cover?\n")
    print("Written by `OMP_NUM_THREADS=1 python validation/planted_coverage.py", end="")
    print(f" --cases {options.cases}`.")
    print("Seeds have a standard deviation of 0.4 points at the peak, more down the slope, and")
    print("share a common part of 0.28 points. In brackets: 95 % Wilson intervals.")
    false = laws = 0
    with ProcessPoolExecutor(options.workers) as pool:
        begun = [
            (title, columns, [pool.submit(make, *given, options.cases) for given in arguments])
            for title, columns, make, arguments in TABLES
        ]
        for title, columns, rows in begun:
            total = print_table(title, columns, (row.result() for row in rows))
            if "verdicts" in columns:
                false, laws = false + total.false_verdicts, laws + total.cases
    print(f"\nFalse verdicts, of all planted laws: {false} of {laws}.")


def _say_cost(num_cases: int, num_workers: int) -> None:
    """An estimate to standard error, from a few cases."""
    begin = time.perf_counter()
    inside_row("two half parabolas, 0.1 and 1", DESIGNS[1], 20)
    seconds = (time.perf_counter() - begin) / 20 * OPTIMA_PER_CASE * num_cases / num_workers
    print(f"about {seconds / 60:.1f} minutes", file=sys.stderr)


if __name__ == "__main__":
    main()
