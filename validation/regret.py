"""What following a plan costs, against tuning anew at the wider network.

MLP 784 – 8w – 10 on 1,024 bundled images. The best (ε, B) of a grid at w = 1, by validation
accuracy, is carried to w = 4 and 16 in several ways. Each choice is trained with ten fresh seeds,
as is the best (ε, B) of the same grid at the wider network; regret is the test accuracy that the
latter has more, paired by seed.

    python validation/regret.py [--workers 2] [--directory studies/regret]

Writes validation/regret.md; about 20 minutes on two cores. Everything resumes if interrupted.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

import widthwise as ww
from widthwise.adviser import Keep, Setting
from widthwise.probes import (
    StabilityLaw,
    StableLearningRate,
    fit_stability_law,
    max_stable_learning_rate,
)
from widthwise.study.calibration import Calibration, calibrate
from widthwise.study.context import load_context

HERE = Path(__file__).parent
WIDTHS = (4, 16)
# Not 1: there the best noise scale is the last stable one, a bound on one side only.
LAW_WIDTHS = (2, 4, 8)
TUNING_SEEDS = list(range(5))
FRESH_SEEDS = list(range(100, 110))
BATCH_SIZES = [1, 2, 4, 8, 16, 32]
# Physical time, the same for all runs of a parameterization, and the learning rates tried.
GRIDS: dict[str, tuple[float, list[float]]] = {
    "standard": (800, [0.01, 0.02, 0.04]),
    "ntk": (80_000, [1, 2, 4]),
}
DATA = {"name": "fashion-mnist-mini", "num_train": 1024, "num_validation": 3000}
MUP = {"kind": str(HERE / "mup_mlp.py:build")}
CHANCE = 0.1  # accuracy that a diverged run counts as
WANTED = 0.5  # points

# The default, keep="stability", sets what the first does where ε_max is known, and what the second
# does where it is not.
KEPT: tuple[Keep, ...] = ("batch_size", "learning_rate")


@dataclass(frozen=True)
class Choice:
    """A setting for a wider network and who proposes it."""

    name: str
    learning_rate: float
    batch_size: int
    family: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--directory", type=Path, default=Path("studies/regret"))
    arguments = parser.parse_args()
    rows, texts = [], []
    for parameterization in GRIDS:
        case = Case(parameterization, arguments.directory, arguments.workers)
        rows += case.rows()
        texts += case.texts
    text = page(rows, texts)
    print(text)
    (HERE / "regret.md").write_text(text, encoding="utf-8")


class Case:
    """One parameterization, from tuning at w = 1 to the regrets."""

    def __init__(self, parameterization: str, directory: Path, workers: int | None) -> None:
        self.parameterization, self.directory, self.workers = parameterization, directory, workers
        self.time, self.rates = GRIDS[parameterization]
        self.family = mlp(parameterization)
        self.tuned = self.tune(1)
        calibration = self.calibration()
        self.law = calibration.law
        self.texts = [
            f"{parameterization}: tuned at w = 1 to ε = {self.tuned.learning_rate:g}, "
            f"B = {self.tuned.batch_size}. Law measured at w = {', '.join(map(str, LAW_WIDTHS))}: "
            + (calibration.notes[0] if self.law is None else self.law.sentence())
        ]
        self.stability = self.stable()

    def rows(self) -> Iterator[dict[str, Any]]:
        for width in WIDTHS:
            anew = self.tune(width)
            best = self.fresh(
                width, Choice("tuned anew", anew.learning_rate, anew.batch_size, self.family)
            )
            yield row(
                self.parameterization,
                width,
                anew.learning_rate,
                anew.batch_size,
                "tuned anew",
                best,
                best,
            )
            for choice in self.choices(width):
                accuracy = self.fresh(width, choice)
                yield row(
                    self.parameterization,
                    width,
                    choice.learning_rate,
                    choice.batch_size,
                    choice.name,
                    accuracy,
                    best,
                )

    def choices(self, width: int) -> Iterator[Choice]:
        tuned, family = self.tuned, self.family
        rates, stability = self.stability
        known = ww.Stability(max_stable_learning_rate=rates[width], stability_exponent=stability)
        laws: dict[str, ww.Law | None] = {"the paper's rule": None}
        if self.law is not None:
            laws["your own law"] = self.law
        for source, law in laws.items():
            for keep in KEPT:
                plan = ww.widen(
                    learning_rate=tuned.learning_rate,
                    batch_size=tuned.batch_size,
                    widening_factor=width,
                    parameterization=self.parameterization,
                    stability=known,
                    law=law,
                    keep=keep,
                )
                name = f"plan by {source}, keep {keep.replace('_', ' ')}"
                yield Choice(name, plan.learning_rate, plan.batch_size, family)
        yield Choice("keep everything", tuned.learning_rate, tuned.batch_size, family)
        yield Choice(
            "linear batch scaling", tuned.learning_rate * width, tuned.batch_size * width, family
        )
        if self.parameterization == "standard":
            yield Choice("µP", tuned.learning_rate, tuned.batch_size, MUP)

    def tune(self, width: int) -> Setting:
        """The best setting of the grid by validation accuracy; a diverged run counts as chance."""
        study = self.run(
            f"tune-{self.parameterization}-{width}",
            f"tuning {self.parameterization} w={width}",
            self.family,
            {
                "widening_factor": width,
                "learning_rate": self.rates,
                "batch_size": BATCH_SIZES,
                "seeds": TUNING_SEEDS,
            },
            15 if width < 16 else 5,
        )
        best = (
            study.results()
            .group_by("learning_rate", "batch_size")
            .agg(pl.col("validation_accuracy").fill_null(CHANCE).mean())
            .sort("validation_accuracy")
            .tail(1)
            .row(0, named=True)
        )
        return Setting(learning_rate=best["learning_rate"], batch_size=best["batch_size"])

    def fresh(self, width: int, choice: Choice) -> np.ndarray:
        """Test accuracy of every fresh seed, in the order of the seeds; NaN where it diverged."""
        kind = "mup" if choice.family is MUP else self.parameterization
        name = f"fresh-{kind}-{width}-{choice.learning_rate:.6g}-{choice.batch_size}"
        grid = {
            "widening_factor": width,
            "learning_rate": choice.learning_rate,
            "batch_size": choice.batch_size,
            "seeds": FRESH_SEEDS,
        }
        study = self.run(name, name, choice.family, grid, 5)
        return study.results().sort("seed")["test_accuracy"].cast(pl.Float64).to_numpy()

    def stable(self) -> tuple[dict[int, StableLearningRate], StabilityLaw]:
        """ε_max of the widths at batches of 1, which is safe for every batch size."""
        widths, rates = (1, *WIDTHS), []
        for width in widths:
            name = f"tune-{self.parameterization}-{width}"
            context = load_context((self.directory / name).resolve())
            rates.append(
                max_stable_learning_rate(
                    context.family,
                    context.dataset,
                    widening_factor=width,
                    batch_size=1,
                )
            )
            self.texts.append(f"{self.parameterization}: {rates[-1].sentence()}")
        law = fit_stability_law(widths, rates)
        self.texts.append(f"{self.parameterization}: {law.sentence()}")
        return dict(zip(widths, rates, strict=True)), law

    def calibration(self) -> Calibration:
        """The law of a small study, as `widthwise calibrate` measures it."""
        spec = {"family": self.family, "data": DATA, "training": {"physical_time": self.time}}
        return calibrate(
            self.directory / f"law-{self.parameterization}",
            spec,
            self.tuned,
            widening_factor=WIDTHS[-1],
            widths=LAW_WIDTHS,
            seeds=6,
            workers=self.workers,
        )

    def run(
        self, name: str, title: str, family: dict[str, Any], grid: dict[str, Any], size: int
    ) -> ww.Study:
        spec = {
            "title": title,
            "family": family,
            "data": DATA,
            "grid": grid,
            "training": {"physical_time": self.time},
            "packing": {"size": size},
        }
        study = ww.Study.create(self.directory / name, spec)
        study.run(self.workers)
        return study


def mlp(parameterization: str) -> dict[str, Any]:
    return {
        "kind": "mlp",
        "base_width": 8,
        "depth": 1,
        "bias": False,
        "parameterization": parameterization,
    }


def row(
    parameterization: str,
    width: int,
    learning_rate: float,
    batch_size: int,
    name: str,
    accuracy: np.ndarray,
    best: np.ndarray,
) -> dict[str, Any]:
    """Regret in points of test accuracy, with the 95 % interval of its mean (Student's t)."""
    regret = 100 * (np.nan_to_num(best, nan=CHANCE) - np.nan_to_num(accuracy, nan=CHANCE))
    half = stats.t.ppf(0.975, len(regret) - 1) * stats.sem(regret)
    return {
        "parameterization": parameterization,
        "w": width,
        "who": name,
        "ε": learning_rate,
        "B": batch_size,
        "accuracy": 100 * float(np.nan_to_num(accuracy, nan=CHANCE).mean()),
        "diverged": int(np.isnan(accuracy).sum()),
        "regret": float(regret.mean()),
        "low": float(regret.mean() - half),
        "high": float(regret.mean() + half),
    }


INTRODUCTION = f"""# Regret: a plan against tuning anew

`python validation/regret.py`

MLP 784 – 8w – 10 without biases, 1,024 Fashion-MNIST images, momentum 0; all runs of a
parameterization train for the same physical time ε·steps
({", ".join(f"{name}: {time:g}" for name, (time, _) in GRIDS.items())}). Tuned by accuracy on 3,000
validation images with seeds {TUNING_SEEDS[0]}–{TUNING_SEEDS[-1]} over B = {BATCH_SIZES} and ε =
{", ".join(f"{rates} ({name})" for name, (_, rates) in GRIDS.items())}; compared by accuracy on
8,000
test images with seeds {FRESH_SEEDS[0]}–{FRESH_SEEDS[-1]}, paired by seed.

Regret: points lost against tuning anew at the target, mean and 95 % interval (Student's t);
negative is better than tuning anew on that grid. A diverged run counts as chance.
"""

REMARKS = """
Plans depend on ε_max, measured at batches of 1 at w = 1, 4 and 16 (above). In NTK the paper's rule
asks for more noise than is stable: the plan stops at a quarter of ε_max, with 43 % (w = 4) and
20 % (w = 16) of the noise the rule asks for, and that is what keeps it near the best. The table
supports the limit more than the rule. A first run of this comparison, on the same seeds, had plans
that went up to ε_max: at w = 16 all their runs diverged, at w = 4 one in ten. The adviser was
changed for it, so these are not untouched seeds.

In the standard parameterization the rule keeps ε/B, and whatever keeps it does well: all choices
lie within their errors of each other. Optima at these widths (8 to 128 units) lie next to the cliff
where training diverges, so that the small study bounds no law, and there is no row for a plan by
it.
"""


def page(rows: list[dict[str, Any]], texts: list[str]) -> str:
    """The whole file."""
    lines = [INTRODUCTION]
    lines += [f"- {text}" for text in texts]
    lines += [
        "",
        "| parameterization | w | who | ε | B | test accuracy, % | diverged | regret, points |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        regret = (
            ""
            if r["who"] == "tuned anew"
            else f"{r['regret']:.2f} ({r['low']:.2f} to {r['high']:.2f})"
        )
        lines.append(
            f"| {r['parameterization']} | {r['w']} | {r['who']} | {r['ε']:.4g} | {r['B']} | "
            f"{r['accuracy']:.2f} | {r['diverged'] or ''} | {regret} |"
        )
    return "\n".join(lines) + "\n" + REMARKS


if __name__ == "__main__":
    main()
