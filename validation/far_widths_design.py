"""Design of far_widths.py: settings, seeds, rules, what it costs and what it can decide.

    python validation/far_widths_design.py

Writes far_widths_design.md. Committed before the first run that counts. The power calculation rests
on runs of law_evidence.csv (seeds 0 to 59), none of which is used again: seeds begin at 100 here.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widthwise.analysis import Optimum, WidthCurve, fit_law, locate_optimum, measure_resistance
from widthwise.errors import FitError

HERE = Path(__file__).parent
UNITS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
BASE_UNITS = 4
PIXELS, CLASSES, NUM_TRAIN, NUM_TEST = 784, 10, 1024, 8000
FIRST_SEED = 100
EVALUATIONS, LATE_FRACTION = 8, 0.5
# Below the tolerated noise that is expected, in octaves of ε/B.
LITTLE = -4.0
_TOP = (-2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25)
_ENDS = (LITTLE, -3.0, -2.5, 0.5, 1.0)
# The machine turned out to be slow: before any run of these widths in the standard parameterization
# had been made, their settings were cut to those that decide what noise they tolerate.
_COSTLY, _CUT = (512, 1024), -1.0
# Runs a setting at the top; a quarter of them at the ends. The first half is the first round.
SEEDS: Mapping[int, int] = dict(zip(UNITS, (64, 48, 32, 32, 32, 24, 20, 16, 12), strict=True))
# Floating-point operations a second of a core while training and evaluating, by units (measured).
_RATES: Mapping[int, float] = {u: min(10e9 * (u / 4) ** 0.5, 70e9) for u in UNITS}


# Networks without biases: units → seeds; octaves from what those with biases were to tolerate.
WITHOUT = "ntk-without-biases"
_WITHOUT_SEEDS: Mapping[int, int] = {16: 5, 64: 5, 256: 4, 1024: 2}
_WITHOUT_OCTAVES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A parameterization and where its noise is sought.

    Attributes:
        parameterization: "ntk" or "standard".
        learning_rate: the nearest to it that gives the wanted ε/B with a whole B.
        physical_time: τ = ε·steps.
        tolerated: units → ε/B expected to cost two points; settings lie about it.
        finer: further settings, in octaves from it.
        share: of SEEDS.
        pilot: units → study of law_evidence.csv, and its base width.
    """

    parameterization: str
    learning_rate: float
    physical_time: float
    tolerated: Mapping[int, float]
    finer: tuple[float, ...]
    share: float
    pilot: Mapping[int, tuple[str, int]]

    def init_variance(self, units: int) -> float:
        """σ_init², 2 at four units."""
        return 2.0 if self.parameterization == "ntk" else 2.0 * BASE_UNITS / units


_NARROW, _WIDE, _STANDARD = ("ntk-narrow", 8), ("ntk", 32), ("standard-smaller-rate", 32)
CASES = (
    Case(
        parameterization="ntk",
        learning_rate=4.0,
        physical_time=80_000,
        tolerated=dict(zip(UNITS, (0.35, 0.7, 1.15, 1.5, 1.9, 2.4, 2.7, 3.0, 3.4), strict=True)),
        finer=(),
        share=1.0,
        pilot={u: _NARROW if u < 64 else _WIDE for u in (8, 16, 32, 64, 128, 256)},
    ),
    Case(
        parameterization="standard",
        learning_rate=0.014,
        physical_time=500,
        tolerated=dict.fromkeys(UNITS, 0.0125),
        finer=(-0.125, 0.125),
        share=0.5,
        pilot=dict.fromkeys((32, 64, 128, 256), _STANDARD),
    ),
)


@dataclass(frozen=True)
class Setting:
    """What is run with the seeds FIRST_SEED, FIRST_SEED + 1, …"""

    learning_rate: float
    batch_size: int
    seeds: int

    @property
    def rate(self) -> float:
        """ε/B."""
        return self.learning_rate / self.batch_size


def settings(case: Case, units: int, share: float = 1.0) -> Iterator[Setting]:
    """Of one width, by noise; with this share of the seeds.

    Args:
        case: of a parameterization.
        units: a width.
        share: in (0, 1].
    """
    cut = case.parameterization == "standard" and units in _COSTLY
    for octave in sorted((*_TOP, *_ENDS, *case.finer)):
        if cut and octave < _CUT:
            continue
        rate = case.tolerated[units] * 2.0**octave
        batch = max(1, round(case.learning_rate / rate))
        seeds = SEEDS[units] * case.share * share / (4 if octave in _ENDS else 1)
        yield Setting(float(f"{rate * batch:.6g}"), batch, max(3, round(seeds)))


def specification(case: Case, share: float = 1.0, widths: Sequence[int] = UNITS) -> dict[str, Any]:
    """The study of a case; of these widths only."""
    return {
        "title": f"One hidden layer of 4 to 1,024 units, {case.parameterization}",
        "family": {
            "kind": "mlp",
            "base_width": BASE_UNITS,
            "depth": 1,
            "parameterization": case.parameterization,
        },
        "data": {"name": "fashion-mnist-mini", "num_train": NUM_TRAIN},
        "grid": [
            {
                "widening_factor": units / BASE_UNITS,
                "learning_rate": s.learning_rate,
                "batch_size": s.batch_size,
                "seeds": list(range(FIRST_SEED, FIRST_SEED + s.seeds)),
            }
            for units in widths
            for s in settings(case, units, share)
        ],
        "training": {
            "physical_time": case.physical_time,
            "evaluations": EVALUATIONS,
            "late_fraction": LATE_FRACTION,
        },
    }


def without_biases() -> dict[str, Any]:
    """NTK networks that have no biases, at a few widths: the study of question 8."""
    ntk = CASES[0]
    grid = []
    for units, seeds in _WITHOUT_SEEDS.items():
        for octave in _WITHOUT_OCTAVES:
            rate = ntk.tolerated[units] * 2.0**octave
            batch = max(1, round(ntk.learning_rate / rate))
            grid.append(
                {
                    "widening_factor": units / BASE_UNITS,
                    "learning_rate": float(f"{rate * batch:.6g}"),
                    "batch_size": batch,
                    "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds)),
                }
            )
    asked = specification(ntk)
    return {
        **asked,
        "title": f"{asked['title']}, without biases",
        "family": {**asked["family"], "bias": False},
        "grid": grid,
    }


def operations(case: Case, units: int, setting: Setting) -> float:
    """Floating-point operations of a run: forward and backward without the inputs' gradient,
    evaluations on all examples."""
    weights = units * (PIXELS + CLASSES)
    steps = case.physical_time / setting.learning_rate
    training = steps * setting.batch_size * (4 * weights + 2 * units * CLASSES)
    return training + (EVALUATIONS + 1) * (NUM_TRAIN + NUM_TEST) * 2 * weights


def minutes(case: Case, units: int) -> float:
    """Of a core, at the measured rate."""
    total = sum(s.seeds * operations(case, units, s) for s in settings(case, units))
    return total / _RATES[units] / 60


@dataclass(frozen=True, eq=False)
class Pilot:
    """Mean and scatter of late-time accuracy against log2(ε/B), NaN where runs diverged."""

    places: NDArray[np.float64]
    means: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def drawn(
        self, places: NDArray[np.float64], seeds: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """(K, seeds) of made-up scores."""
        inside = np.clip(places, self.places[0], self.places[-1])
        means = np.interp(inside, self.places, self.means)
        scatter = np.interp(inside, self.places, self.scatter)
        return means[:, None] + scatter[:, None] * rng.standard_normal((len(places), seeds))


def pilot(case: Case, units: int) -> tuple[Pilot, int]:
    """Of the nearest width that was run, and that width."""
    nearest = min(case.pilot, key=lambda u: abs(math.log(u / units)))
    study, base = case.pilot[nearest]
    runs = pl.read_csv(HERE / "law_evidence.csv").filter(
        (pl.col("study") == study) & (pl.col("widening_factor") == nearest / base)
    )
    found = (
        runs.group_by((pl.col("learning_rate") / pl.col("batch_size")).log(2).round(3).alias("x"))
        .agg(pl.col("test_accuracy").mean().alias("mean"), pl.col("test_accuracy").std().alias("s"))
        .sort("x")
    )
    columns = found.with_columns(pl.col("s").fill_null(strategy="forward")).to_numpy().T
    return Pilot(*np.asarray(columns, dtype=np.float64)), nearest


def octave_widths(case: Case, units: int, repeats: int = 8) -> tuple[float, float]:
    """Half widths of the 95 % intervals that the local exponent of the optimum and that of the
    tolerated noise can be expected to have between a width and twice that: medians over made-up
    studies.
    """
    rng = np.random.default_rng([2026, units])
    halves: list[tuple[float, float]] = []
    for _ in range(repeats):
        curves = [_made_up(case, u, rng) for u in (units, 2 * units)]
        factors = [curve.widening_factor for curve in curves]
        try:
            law = fit_law(factors, [curve.optimum for curve in curves])
            own = measure_resistance(curves).own_law
        except FitError:
            law, own = None, None
        pair = [
            math.inf if found is None else (found.interval[1] - found.interval[0]) / 2
            for found in (law, own)
        ]
        halves.append((pair[0], pair[1]))
    first, second = np.median(np.array(halves), axis=0)
    return float(first), float(second)


def _made_up(case: Case, units: int, rng: np.random.Generator) -> WidthCurve:
    """Scores as the pilot's at the design's settings, moved to where this width's are expected."""
    curve, nearest = pilot(case, units)
    moved = math.log2(case.tolerated[units] / case.tolerated[nearest])
    chosen = list(settings(case, units))
    rates = np.array([s.rate for s in chosen])
    counts = np.array([s.seeds for s in chosen])
    scores = curve.drawn(np.log2(rates) - moved, counts.max(), rng)
    ran = np.arange(counts.max()) < counts[:, None]
    scores = np.where(ran, scores, math.nan)
    scales = rates / case.init_variance(units)
    learning_rates = np.array([s.learning_rate for s in chosen])
    optimum: Optimum = locate_optimum(
        scales, scores, num_test=NUM_TEST, ran=ran, effective_rate=learning_rates
    )
    return WidthCurve(
        widening_factor=units / BASE_UNITS,
        noise_scale=scales,
        scores=scores,
        optimum=optimum,
        ran=ran,
    )


RULES = """\
## Rules, fixed before the runs

**Stopping.** Two rounds, all widths: the first half of the seeds of every setting, then the rest.
A round is run whole. If the machine does not give the time for the second, widths are taken off
from the top, and the page says so. No setting is added or dropped for what it shows.

The machine was slow. Before any of their runs, 512 and 1,024 units of the standard parameterization
were cut to the settings that decide what noise they tolerate; their best noise and the gain of
noise are not asked for.

**Local exponents.** `fit_law` on two neighbouring widths, an octave apart, for the optimum and for
the tolerated noise (2 points below the width's own best; `measure_resistance`). *First half*: the
law of 4 to 64 units. *Second half*: of 64 to 1,024. *End*: of 256 to 1,024.

**Gain of noise.** Score at the optimum less the score at little noise, four octaves of ε/B below
what the width was expected to tolerate; the two intervals are added in squares.

**The limit.** `train_infinitely_wide`, five seeds, the same τ and ε, settings about ε/B = 6; its
tolerated noise and its gain by the same functions.

**The conjecture, NTK parameterization.** A question has the answer “no” if the opposite is shown
at 95 %, “yes” if it is shown itself, “open” otherwise.

1. *Bends*: the exponent of the tolerated noise is smaller in the second half than in the first
   (intervals do not overlap).
2. *Flattens*: that of the end lies below 0.5.
3. *Approaches the limit*: the limit tolerates no less than 1,024 units do (no: the interval of the
   network lies above the limit's), and the ratio of the two is smaller at 1,024 units than at 64.
4. *The optimum bends*: as 1, for the optimum.
5. *It dissolves*: the gain of noise is smaller at 1,024 units than at 16 (intervals do not
   overlap), and that of the limit is below 0.2 points.

The conjecture on tolerated noise is **confirmed** if 1 to 3 are “yes”, **refuted** if one is “no”,
**bounded** otherwise. The conjecture on the optimum: the same with 4 and 5.

**Standard parameterization.** In function space SGD at rate ε has the kernel h·K₂ + 784·K₁ + K_b:
readout, hidden layer, biases. What that process tolerates (`Descent`, the same images) is
computed for every width h; nothing in it can be fitted to the networks.

6. *Proportional while narrow*: the exponent of the tolerated noise from 32 to 256 units lies in
   0.75 to 1.25.
7. *It bends, too*: that of the end lies below 1.

**Confirmed**, **refuted** or **bounded** as above, with 6 and 7.

**A question added** when all NTK runs and those of the standard parameterization up to 512 units
had been looked at, before its own runs. With h = 784 units the two parameterizations are one but
for the biases, whose rate is 784 times as large in NTK at equal rates of the weights; and yet the
standard one bore about three times the noise. So:

8. *It is the biases*: NTK networks without biases, of 16, 64, 256 and 1,024 units, and their limit
   in function space. “Yes” if they tolerate more than twice the ε/B of those with biases at 1,024
   units (lower end of the one against twice the upper end of the other), “no” if less than 1.25
   times, and the exponent of their tolerated noise from 16 to 1,024 units is reported.
"""


def page() -> str:
    """The design as Markdown."""
    lines = [
        "# Far and fine: design",
        "",
        "Written by `python validation/far_widths_design.py` before the runs of",
        "[far_widths.md](far_widths.md). One hidden layer of 4 to 1,024 units, 1,024 images of the",
        f"bundled part of Fashion-MNIST, 8,000 test images, seeds from {FIRST_SEED} on. Equal",
        "physical time for all settings of a parameterization. Noise scales differ in batch size;",
        "the learning rate is the nearest to the one given that makes the batch whole.",
        "",
        "The half widths are medians over eight made-up studies with the scatter and the curves of",
        "law_evidence.csv, of the nearest width there, at the seeds given here. They are those of",
        "95 % intervals of a local exponent, from this width to the next.",
        "",
    ]
    for case in CASES:
        lines += [
            f"## {case.parameterization}: ε about {case.learning_rate:g}, "
            f"τ = {case.physical_time:,.0f}",
            "",
            "| units | ε/B | batch sizes | settings | seeds | 10⁹ FLOPs a run "
            "| minutes of a core | ± optimum | ± tolerated |",
            "|---" * 9 + "|",
            *("| " + " | ".join(row) + " |" for row in _rows(case)),
            "",
            f"In all {sum(minutes(case, u) for u in UNITS):.0f} minutes of a core. An exponent of "
            "the optimum to ± 0.2 at every octave would take (half width/0.2)² times the runs.",
            "",
        ]
    return "\n".join([*lines, RULES])


def _rows(case: Case) -> Iterator[Sequence[str]]:
    for units in UNITS:
        chosen = list(settings(case, units))
        rates, batches = [s.rate for s in chosen], [s.batch_size for s in chosen]
        work = [operations(case, units, s) / 1e9 for s in chosen]
        halves = octave_widths(case, units) if units < UNITS[-1] else (math.nan, math.nan)
        yield (
            f"{units:,}",
            f"{min(rates):.2g} to {max(rates):.2g}",
            f"{min(batches)} to {max(batches)}",
            f"{len(chosen)}",
            " or ".join(str(n) for n in sorted({s.seeds for s in chosen})),
            f"{min(work):.0f} to {max(work):.0f}",
            f"{minutes(case, units):.1f}",
            *("" if math.isnan(half) else f"{half:.2f}".replace("inf", "open") for half in halves),
        )


if __name__ == "__main__":
    (HERE / "far_widths_design.md").write_text(page(), encoding="utf-8")
