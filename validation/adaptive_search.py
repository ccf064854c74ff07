"""What does an optimum cost? Adaptive search, a grid, and Optuna on planted curves.

Every method sees the same table of scores (a setting's seed s scores the same whoever asks), the
same half-octave lattice (the grid: every second setting) and the same stopping rule: the 95 %
interval of `locate_optimum` from all runs so far is closed and at most one octave wide, and every
setting that decides where the peak is has at least three seeds. The others are also shown
with the interval alone as their rule, without a least number of seeds.
Needs `pip install optuna` (GP: torch). Writes Markdown; the committed copy is adaptive_search.md.

    OMP_NUM_THREADS=1 python validation/adaptive_search.py > validation/adaptive_search.md
"""

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from numpy.typing import ArrayLike, NDArray
from planted_coverage import CURVES, Design, covers, share, simulate

from widthwise.analysis import Optimum, fit_law, locate_optimum
from widthwise.errors import FitError
from widthwise.search import (
    Lattice,
    Observations,
    SearchTarget,
    next_round,
    octave_lattice,
)
from widthwise.search.refine import thin
from widthwise.search.state import WidthState

FloatArray = NDArray[np.float64]

# Neither the stream of planted_coverage.py nor the one on which the search was tuned.
STREAM = 2026
NOISES = (0.2, 0.4, 0.8)  # percentage points, of one seed at the peak
RANGE = (-5.0, 5.0)  # octaves; the planted optimum lies anywhere in it
PRECISION = 1.0  # octaves
MAX_SEEDS = 64
WORKERS = 8
LATTICE = octave_lattice(2.0 ** RANGE[0], 2.0 ** RANGE[1])
COST = np.asarray(LATTICE.cost)
GRID = np.arange(0, LATTICE.size, 2)
GRID_COST = float(MAX_SEEDS * COST[GRID].sum())  # what the grid may spend, and so anyone


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    curve: str
    noise: float
    optimum: float  # octaves
    scores: FloatArray  # (settings, MAX_SEEDS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    optimum: Optimum | None
    narrow: bool  # the interval alone
    done: bool  # ... and enough seeds


@dataclass(frozen=True, kw_only=True)
class Outcome:
    reached: bool
    cost: float
    runs: int
    covered: bool | None  # None: no interval
    rounds: int = 0
    reason: str = ""
    lenient: "Outcome | None" = None  # at the first look with a narrow interval


def plant(case: int) -> Problem:
    names = list(CURVES)
    curve = names[case % len(names)]
    noise = NOISES[case // len(names) % len(NOISES)]
    rng = np.random.default_rng([STREAM, case])
    optimum = rng.uniform(*RANGE)
    design = Design(num_seeds=MAX_SEEDS, spacing=0.5, noise=noise)
    scores = simulate(CURVES[curve], LATTICE.octaves, optimum, design, rng)
    return Problem(curve=curve, noise=noise, optimum=optimum, scores=scores)


TARGET = SearchTarget(precision=PRECISION, max_seeds=MAX_SEEDS)


def look_at(problem: Problem, lattice: Lattice, rows: NDArray[np.intp], counts: ArrayLike) -> Look:
    """The interval from the first seeds of each setting, and what the rule says of it."""
    ran = np.arange(MAX_SEEDS) < np.asarray(counts)[:, None]
    observations = Observations(scores=problem.scores[rows], ran=ran)
    state = WidthState(lattice=lattice, observations=observations, confidence=0.95, seed=0)
    narrow = state.interval_width <= PRECISION
    return Look(optimum=state.optimum, narrow=narrow, done=narrow and not thin(state, TARGET))


def inside(optimum: Optimum | None, problem: Problem) -> bool | None:
    return None if optimum is None else covers(optimum.interval, 2.0**problem.optimum)


def search_it(problem: Problem, _: int) -> Outcome:
    full = Observations(scores=problem.scores, ran=np.ones(problem.scores.shape, dtype=bool))
    landed = Observations.none(LATTICE)
    number = 1
    while True:
        proposal = next_round([landed], [LATTICE], TARGET, workers=WORKERS, number=number)
        if proposal.finished:
            return Outcome(
                reached=proposal.reason == "precise enough",
                cost=proposal.spent_cost,
                runs=proposal.spent_runs,
                covered=inside(proposal.optima[0], problem),
                rounds=number - 1,
                reason=str(proposal.reason),
            )
        landed = landed.with_runs(proposal.runs, full)
        number += 1


def grid_it(problem: Problem, _: int) -> Outcome:
    seeds, looks, first = 2, 0, None
    lattice = Lattice(
        widening_factor=1.0,
        noise_scale=tuple(LATTICE.noise_scale[k] for k in GRID),
        cost=tuple(LATTICE.cost[k] for k in GRID),
    )
    while True:
        looks += 1
        look = look_at(problem, lattice, GRID, np.full(GRID.size, seeds))
        outcome = Outcome(
            reached=look.narrow,
            cost=float(seeds * COST[GRID].sum()),
            runs=seeds * GRID.size,
            covered=inside(look.optimum, problem),
            rounds=looks,
        )
        first = first or (outcome if look.narrow else None)
        if look.done or seeds == MAX_SEEDS:
            return replace(outcome, reached=look.done, lenient=first or outcome)
        seeds = min(MAX_SEEDS, max(seeds + 1, int(1.1 * seeds)))


def sampler_it(
    make: Callable[[int], optuna.samplers.BaseSampler], max_trials: int
) -> Callable[[Problem, int], Outcome]:
    """A trial is one run, of the next seed of its setting; diverged runs score chance level.

    Looked at every 8 trials, as our rounds are; later every tenth part, which costs it little.
    """

    def run(problem: Problem, case: int) -> Outcome:
        study = optuna.create_study(direction="maximize", sampler=make(case))
        space = {"k": optuna.distributions.IntDistribution(0, LATTICE.size - 1)}
        every = np.arange(LATTICE.size)
        counts = np.zeros(LATTICE.size, dtype=int)
        cost, due, looks, first = 0.0, WORKERS, 0, None
        for number in range(1, max_trials + 1):
            trial = study.ask(space)
            k = int(trial.params["k"])
            score = problem.scores[k, counts[k] % MAX_SEEDS]
            counts[k] += 1
            cost += float(COST[k])
            study.tell(trial, 0.1 if np.isnan(score) else float(score))
            last = number == max_trials or cost >= GRID_COST
            if number < due and not last:
                continue
            due, looks = max(due + WORKERS, int(1.1 * due)), looks + 1
            look = look_at(problem, LATTICE, every, counts)
            outcome = Outcome(
                reached=look.narrow,
                cost=cost,
                runs=number,
                covered=inside(look.optimum, problem),
                rounds=looks,
            )
            first = first or (outcome if look.narrow else None)
            if look.done or last:
                return replace(outcome, reached=look.done, lenient=first or outcome)
        raise AssertionError("the last trial returns")

    return run


def ratios(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> FloatArray:
    """Cost ratios of the problems that either solved.

    Infinite where only they did. Where only we did, their cost when they gave up stands for what
    they would have needed, which favors them.
    """
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.reached or b.reached]
    return np.array([a.cost / b.cost if a.reached else np.inf for a, b in pairs])


def median_interval(values: FloatArray) -> tuple[float, float, float]:
    """Median and its 95 % interval from order statistics (normal approximation to the ranks)."""
    ordered, n = np.sort(values), values.size
    half = 0.98 * np.sqrt(n)
    low, high = max(int(np.floor(n / 2 - half)), 0), min(int(np.ceil(n / 2 + half)), n - 1)
    return (
        float(np.quantile(ordered, 0.5, method="higher")),
        float(ordered[low]),
        float(ordered[high]),
    )


def format_median(values: FloatArray) -> str:
    if values.size == 0:
        return "–"
    middle, low, high = median_interval(values)
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def print_summary(results: dict[str, list[Outcome]]) -> None:
    print("| method | problems | reached 1 octave | covered, of those reached ", end="")
    print("| covered, all with an interval | median runs | median rounds or looks |")
    print("|---|---|---|---|---|---|---|")
    for name, outcomes in results.items():
        done = [o for o in outcomes if o.reached]
        with_interval = [o for o in outcomes if o.covered is not None]
        print(
            f"| {name} | {len(outcomes)} | {share(len(done), len(outcomes))} "
            f"| {share(sum(bool(o.covered) for o in done), len(done))} "
            f"| {share(sum(bool(o.covered) for o in with_interval), len(with_interval))} "
            f"| {np.median([o.runs for o in done]):.0f} "
            f"| {np.median([o.rounds for o in done]):.0f} |"
        )


def print_ratios(problems: Sequence[Problem], results: dict[str, list[Outcome]]) -> None:
    third = (RANGE[1] - RANGE[0]) / 3.0
    groups: dict[str, Callable[[Problem], bool]] = {
        "all": lambda p: True,
        **{f"noise {n}": (lambda p, n=n: p.noise == n) for n in NOISES},
        "optimum in the dear third": lambda p: p.optimum < RANGE[0] + third,
        "in the middle third": lambda p: RANGE[0] + third <= p.optimum < RANGE[1] - third,
        "in the cheap third": lambda p: p.optimum >= RANGE[1] - third,
    }
    others = [name for name in results if name != "ours"]
    print("\n| our cost / its cost, median (95 %) | " + " | ".join(others) + " |")
    print("|---" * (len(others) + 1) + "|")
    for group, belongs in groups.items():
        cells = []
        for name in others:
            chosen = [i for i in range(len(results[name])) if belongs(problems[i])]
            ours = [results["ours"][i] for i in chosen]
            theirs = [results[name][i] for i in chosen]
            cells.append(format_median(ratios(ours, theirs)))
        print(f"| {group} | " + " | ".join(cells) + " |")
    cells = []
    for name in others:
        values = ratios(results["ours"][: len(results[name])], results[name])
        cells.append(f"{share(int(np.sum(values > 1.0)), values.size)}")
    print("| share in which ours costs more | " + " | ".join(cells) + " |")


def print_curves(problems: Sequence[Problem], ours: Sequence[Outcome]) -> None:
    print("\n| curve | problems | reached | covered, of those reached |\n|---|---|---|---|")
    for curve in CURVES:
        mine = [o for p, o in zip(problems, ours, strict=True) if p.curve == curve]
        done = [o for o in mine if o.reached]
        hits = sum(bool(o.covered) for o in done)
        print(f"| {curve} | {len(mine)} | {len(done)} | {hits} |")


def search_widths(case: int, exponent: float) -> tuple[Outcome, float, bool]:
    """Four widths, an exponent wanted to 0.5; the cost, the interval's width, and if it covers."""
    factors = (1.0, 2.0, 4.0, 8.0)
    names = list(CURVES)
    curve, noise = CURVES[names[case % len(names)]], NOISES[case % 2]
    rng = np.random.default_rng([STREAM, 1, case])
    start = rng.uniform(-2.0, 1.0)
    lattices = [
        Lattice(
            widening_factor=w,
            noise_scale=LATTICE.noise_scale,
            cost=tuple((w**2 * COST).tolist()),
        )
        for w in factors
    ]
    design = Design(num_seeds=MAX_SEEDS, spacing=0.5, noise=noise)
    full = []
    for w in factors:
        peak = start + exponent * float(np.log2(w))
        scores = simulate(curve, LATTICE.octaves, peak, design, rng)
        full.append(Observations(scores=scores, ran=np.ones(scores.shape, dtype=bool)))
    landed = [Observations.none(lattice) for lattice in lattices]
    target, number = SearchTarget(exponent_precision=0.5, max_seeds=MAX_SEEDS), 1
    while True:
        p = next_round(landed, lattices, target, workers=WORKERS, number=number)
        if p.finished:
            break
        landed = [
            own.with_runs([r for r in p.runs if r.width == i], full[i])
            for i, own in enumerate(landed)
        ]
        number += 1
    reached = p.reason == "precise enough" and p.law is not None
    outcome = Outcome(
        reached=reached,
        cost=p.spent_cost,
        runs=p.spent_runs,
        covered=None if p.law is None else covers(p.law.interval, exponent),
        rounds=number - 1,
        reason=str(p.reason),
    )
    return outcome, _grid_law(full, lattices, factors), bool(outcome.covered)


def _grid_law(
    full: Sequence[Observations], lattices: Sequence[Lattice], factors: Sequence[float]
) -> float:
    """Cost at which the grid's exponent is as precise; its cost at 64 seeds if it never is."""
    each = float(sum(np.asarray(lattice.cost)[GRID].sum() for lattice in lattices))
    seeds = 2
    while True:
        try:
            scale = np.asarray(LATTICE.noise_scale)[GRID]
            law = fit_law(factors, [locate_optimum(scale, f.scores[GRID, :seeds]) for f in full])
            if law.interval[1] - law.interval[0] <= 0.5:
                return seeds * each
        except FitError:
            pass
        if seeds == MAX_SEEDS:
            return seeds * each
        seeds = min(MAX_SEEDS, max(seeds + 1, int(1.25 * seeds)))


def print_exponents(num_cases: int) -> None:
    print("\n## Four widths: cost of an exponent's interval 0.5 wide\n")
    print("| exponent | cases | reached | covered, of those reached ", end="")
    print("| our cost / the grid's, median (95 %) | median rounds |")
    print("|---|---|---|---|---|---|")
    for exponent in (0.0, 1.0):
        rows = [search_widths(case, exponent) for case in range(num_cases)]
        done = [r for r in rows if r[0].reached]
        values = np.array([r[0].cost / r[1] if r[0].reached else np.inf for r in rows])
        print(
            f"| {exponent:g} | {num_cases} | {share(len(done), num_cases)} "
            f"| {share(sum(r[2] for r in done), len(done))} | {format_median(values)} "
            f"| {np.median([r[0].rounds for r in rows]):.0f} |",
            flush=True,
        )


def print_one_width(options: argparse.Namespace, seconds: dict[str, float]) -> None:
    problems = [plant(case) for case in range(options.cases)]
    tpe = sampler_it(lambda case: optuna.samplers.TPESampler(seed=case), options.trials)
    gp = sampler_it(lambda case: optuna.samplers.GPSampler(seed=case), options.gp_trials)
    methods: dict[str, tuple[Callable[[Problem, int], Outcome], int]] = {
        "ours": (search_it, options.cases),
        "grid of spacing 2": (grid_it, options.cases),
        "Optuna TPE": (tpe, options.cases),
        "Optuna GP": (gp, min(options.gp_cases, options.cases)),
    }
    results: dict[str, list[Outcome]] = {}
    for name, (run, count) in methods.items():
        begun = time.process_time()
        results[name] = [run(problems[case], case) for case in range(count)]
        seconds[name] = time.process_time() - begun
    for name in list(results):
        if name != "ours":
            lenient = [o.lenient for o in results[name] if o.lenient is not None]
            results[f"{name}, interval alone"] = lenient
    print("## One width: cost of an interval one octave wide\n")
    print_summary(results)
    print_ratios(problems, results)
    print("\nHow our searches ended: ", end="")
    ends = Counter(o.reason for o in results["ours"])
    print(", ".join(f"{reason} {count}" for reason, count in ends.most_common()) + ".")
    print("\n### Ours, by curve")
    print_curves(problems, results["ours"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=208)
    parser.add_argument("--gp-cases", type=int, default=208)
    parser.add_argument("--law-cases", type=int, default=13)
    parser.add_argument("--trials", type=int, default=400, help="at most, of a TPE study")
    parser.add_argument("--gp-trials", type=int, default=120)
    parser.add_argument("--part", choices=("one", "four", "both"), default="both")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("# What an optimum costs: adaptive search, a grid, Optuna\n")
    print(
        "Written by `OMP_NUM_THREADS=1 python validation/adaptive_search.py`, but for the remarks"
    )
    print(f"at the end. Random stream {STREAM}. Curves of planted_coverage.py, noise of one seed")
    print(f"{', '.join(map(str, NOISES))} points at the peak, the optimum anywhere in ten octaves.")
    print(f"Cost ∝ 1/ḡ; at most {MAX_SEEDS} seeds a setting; rounds of at least {WORKERS} runs;")
    print(f"Optuna: at most {options.trials} (TPE) or {options.gp_trials} (GP) trials, or the cost")
    print("of the whole grid. In brackets: 95 % intervals.\n")
    seconds: dict[str, float] = {}
    if options.part in ("one", "both"):
        print_one_width(options, seconds)
    if options.part in ("four", "both"):
        begun = time.process_time()
        print_exponents(options.law_cases)
        seconds["four widths"] = time.process_time() - begun
    print("\nProcessor seconds: ", end="")
    print(", ".join(f"{name} {value:.0f}" for name, value in seconds.items()) + ".")
    print(f"Optuna {optuna.__version__}, NumPy {np.__version__}.")


if __name__ == "__main__":
    main()
