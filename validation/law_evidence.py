"""Is ḡ_opt ∝ w, and what does the exponent depend on?

A multilayer perceptron as the base and others that differ from it in one thing: parameterization,
length of training, learning rate, number of training images, loss, depth, base width; and
ConvNets. Every optimum is sought by adaptive search on the bundled images.

    python validation/law_evidence.py [--workers 2] [--directory studies/law_evidence] [NAME ...]

Writes law_evidence.md, its figure, and law_evidence.csv, the runs, beside itself; names restrict
what is run, the page always holds everything that is complete. Resumes if interrupted.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis import Optimum, Resistance, measure_resistance
from widthwise.analysis.law import ZONES
from widthwise.analysis.words import estimate
from widthwise.errors import FitError
from widthwise.report.findings import setting_scores, width_curves
from widthwise.report.style import WIDTH_INCHES, house_style, width_axis, width_styles
from widthwise.study import Study
from widthwise.study.rounds import Rounds
from widthwise.study.store import Store

HERE = Path(__file__).parent
COLUMNS = [
    "widening_factor",
    "learning_rate",
    "batch_size",
    "steps",
    "seed",
    "normalized_noise_scale",
    "test_accuracy",
    "train_loss",
    "status",
]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A study: the base's fields with some of them replaced.

    Attributes:
        name: of its directory.
        words: what is different from the base.
        fields: section → key → value.
    """

    name: str
    words: str
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def noise_scales(octaves: int, highest: float) -> dict[str, Any]:
    """Half octaves below the highest."""
    return {"from": highest / 2.0**octaves, "to": highest, "num": 2 * octaves + 1}


BASE: Mapping[str, Mapping[str, Any]] = {
    "family": {"kind": "mlp", "base_width": 32, "depth": 1, "parameterization": "ntk"},
    "data": {"name": "fashion-mnist-mini", "num_train": 1024},
    "grid": {
        "widening_factor": [1, 2, 4, 8],
        "normalized_noise_scale": noise_scales(6, 2.0),
        "max_stable_learning_rate": 16,  # a quarter of it is used: 4 at every width
    },
    "training": {"physical_time": 80_000, "evaluations": 12},
    "search": {
        "precision": 2.0,
        "exponent_precision": 0.4,
        "max_runs": 400,
        "max_seeds": 48,
        "seeds_at_once": 6,
        "runs_at_once": 64,
    },
}


def standard(rate: float) -> dict[str, Any]:
    """Standard parameterization with learning rates up to this."""
    return {
        "family": {"parameterization": "standard"},
        "grid": {
            "normalized_noise_scale": noise_scales(6, 0.12),
            "max_stable_learning_rate": 4 * rate,
        },
        "training": {"physical_time": 500},
    }


def convnet(
    rate: float, highest: float, octaves: int, physical_time: float, **family: Any
) -> dict[str, Any]:
    """Two convolutions of 4·w and 8·w channels on 512 images, at three widths."""
    ghost = {"ghost_batch_size": 4} if family.get("normalization") == "batch" else {}
    return {
        "family": {"kind": "cnn", "base_width": 4, "depth": 2, **family},
        "data": {"num_train": 512, "num_test": 2000},
        "grid": {
            "widening_factor": [1, 2, 4],
            "normalized_noise_scale": noise_scales(octaves, highest),
            "max_stable_learning_rate": 4 * rate,
        },
        "training": {"physical_time": physical_time, **ghost},
        "search": {"max_runs": 75, "max_seeds": 24, "seeds_at_once": 2, "runs_at_once": 24},
    }


VARIANTS = (
    Variant(
        name="ntk",
        words="the base: NTK, one hidden layer of 32·w units, ε ≤ 4, τ = 80,000, 1,024 images",
    ),
    Variant(
        name="standard",
        words="standard parameterization, ε ≤ 0.04, τ = 500",
        fields=standard(0.04),
    ),
    Variant(
        name="standard-smaller-rate",
        words="the same with half the learning rate, ε ≤ 0.02",
        fields=standard(0.02),
    ),
    Variant(
        name="ntk-longer",
        words="training three times as long",
        fields={"training": {"physical_time": 240_000}},
    ),
    Variant(
        name="ntk-smaller-rate",
        words="half the learning rate, ε ≤ 2",
        fields={
            "grid": {"normalized_noise_scale": noise_scales(5, 1.0), "max_stable_learning_rate": 8}
        },
    ),
    Variant(
        name="ntk-more-data",
        words="4,096 images, trained twice as long",
        fields={
            "data": {"num_train": 4096},
            "grid": {"normalized_noise_scale": noise_scales(7, 1.0)},
            "training": {"physical_time": 160_000},
        },
    ),
    Variant(name="ntk-depth-2", words="two hidden layers", fields={"family": {"depth": 2}}),
    Variant(name="ntk-depth-3", words="three hidden layers", fields={"family": {"depth": 3}}),
    Variant(
        name="ntk-narrow", words="base width 8 instead of 32", fields={"family": {"base_width": 8}}
    ),
    Variant(
        name="ntk-mean-squared-error",
        words="mean squared error, ε ≤ 2, τ = 20,000",
        fields={
            "training": {"loss": "mean-squared-error", "physical_time": 20_000},
            "grid": {"normalized_noise_scale": noise_scales(6, 1.0), "max_stable_learning_rate": 8},
        },
    ),
    Variant(
        name="cnn-standard",
        words="ConvNet, standard, ε ≤ 0.05, τ = 200, 512 images",
        fields=convnet(0.05, 0.1, 6, 200, parameterization="standard"),
    ),
    Variant(
        name="cnn-standard-batch-norm",
        words="the same with batch norm over 4 examples, ε ≤ 0.1, τ = 400",
        fields=convnet(0.1, 0.1, 6, 400, parameterization="standard", normalization="batch"),
    ),
    Variant(
        name="cnn-ntk",
        words="ConvNet, NTK, ε ≤ 1, τ = 6,000",
        fields=convnet(1.0, 0.5, 6, 6000, parameterization="ntk"),
    ),
)


def specification(variant: Variant) -> dict[str, Any]:
    """The fields of its study."""
    sections = {name: {**section, **variant.fields.get(name, {})} for name, section in BASE.items()}
    return {"title": f"Law of the optimum: {variant.words}", "search": "adaptive", **sections}


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A study that is complete."""

    variant: Variant
    study: Study
    results: pl.DataFrame
    optima: Mapping[float, Optimum]
    ended: str
    resistance: Resistance | None

    @classmethod
    def of(cls, variant: Variant, study: Study) -> "Found":
        reason = Rounds.read(Store(study.directory)).reason
        assert reason is not None
        results, optima = study.results(), study.summary().optima
        try:
            resistance = measure_resistance(width_curves(setting_scores(results), optima))
        except FitError:
            resistance = None
        return cls(
            variant=variant,
            study=study,
            results=results,
            optima=optima,
            ended=reason,
            resistance=resistance,
        )

    def row(self) -> str:
        """Of the table of exponents."""
        law = self.study.summary().law
        seconds = float(self.results["seconds"].sum())
        located = sum(o.censoring == "none" for o in self.optima.values())
        cut_off = sum(o.cliff is not None for o in self.optima.values())
        value = "—" if law is None else estimate(law.exponent, law.interval)
        verdict = "—" if law is None else law.verdict
        holds_one = "—" if law is None else "yes" if _holds(law.interval, 1.0) else "no"
        tolerated = None if self.resistance is None else self.resistance.own_law
        tolerance = "—" if tolerated is None else estimate(tolerated.exponent, tolerated.interval)
        return (
            f"| {self.variant.name} | {self.variant.words} | {value} | {holds_one} | {verdict} "
            f"| {located} of {len(self.optima)} | {cut_off} | {tolerance} "
            f"| {len(self.results):,} | {seconds / 60:.1f} | {self.ended} |"
        )

    def optima_row(self) -> str:
        """Of the table of optima."""
        cells = {w: optimum_words(o) for w, o in self.optima.items()}
        return f"| {self.variant.name} | " + " | ".join(cells.get(w, "—") for w in WIDTHS) + " |"

    def accuracy_row(self) -> str:
        cells = {w: f"{100 * o.score:.1f}" for w, o in self.optima.items()}
        return f"| {self.variant.name} | " + " | ".join(cells.get(w, "—") for w in WIDTHS) + " |"


WIDTHS = (1.0, 2.0, 4.0, 8.0)


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def optimum_words(optimum: Optimum) -> str:
    low, high = optimum.interval
    if low <= 0.0 and math.isinf(high):
        return f"anything ({optimum.reason})"
    if optimum.censoring == "low":
        return f"< {high:.2g} ({optimum.reason})"
    if optimum.censoring == "high":
        return f"> {low:.2g} ({optimum.reason})"
    return f"{optimum.noise_scale:.2g} ({low:.2g}–{high:.2g})"


def figure(found: Sequence[Found]) -> Figure:
    """Optimum against width, a panel a study; dashed: in proportion to w."""
    columns = 3
    rows = math.ceil(len(found) / columns)
    with house_style():
        drawn = Figure(figsize=(1.25 * WIDTH_INCHES, 2.2 * rows), layout="constrained")
        panels = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes, f in zip(panels, found, strict=False):
            _draw(axes, f)
        for axes in panels[len(found) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel(r"$\bar{g}_\mathrm{opt}$")
    return drawn


def _draw(axes: Axes, f: Found) -> None:
    width_axis(axes, width_styles(f.optima))
    axes.set_yscale("log")
    lowest = min(o.measured[0] for o in f.optima.values())
    highest = max(o.measured[1] for o in f.optima.values())
    axes.set_ylim(lowest / 1.3, highest * 1.3)
    for width, optimum in f.optima.items():
        low, high = max(optimum.interval[0], lowest / 1.3), min(optimum.interval[1], highest * 1.3)
        axes.plot([width, width], [low, high], color="#1f4e79", linewidth=1.6)
        found = optimum.censoring == "none"
        axes.plot(
            [width],
            [optimum.noise_scale],
            marker="o",
            color="#1f4e79",
            markerfacecolor="#1f4e79" if found else "white",
        )
    law = f.study.summary().law
    title = f.variant.name
    if law is not None:
        widths = sorted(f.optima)
        axes.plot(widths, [law.predict(w)[0] for w in widths], color="#1f4e79", linewidth=0.8)
        middle = math.sqrt(widths[0] * widths[-1])
        level = law.predict(middle)[0]
        axes.plot(
            widths, [level * w / middle for w in widths], color="0.4", linewidth=0.9, linestyle="--"
        )
        title += f"\ns = {estimate(law.exponent, law.interval)}"
    axes.set_title(title, fontsize=9.5)


def page(found: Sequence[Found]) -> str:
    """Everything but the remarks."""
    low, high = ZONES["proportional"]
    lines = [
        "# Does the optimum grow with width, and what does its exponent depend on?",
        "",
        "Written by `python validation/law_evidence.py`, but for the remarks at the end. Bundled",
        "part of Fashion-MNIST, 8,000 test images, rectifiers, cross-entropy unless said, seeds",
        "0, 1, …. Every run of a study has the same physical time τ = ε·steps/(1 − m) and the same",
        "largest learning rate, so that noise scales differ in batch size. Test accuracy over the",
        "last quarter of training. In brackets: 95 % intervals. The runs: law_evidence.csv.",
        "",
        "## Exponent s of ḡ_opt ∝ w^s",
        "",
        f"“Proportional” only if the whole interval lies in {low:g} to {high:g}.",
        "By divergence: optima whose interval ends where noise makes training diverge. Tolerated",
        "noise: the highest ḡ at which accuracy is within 2 points of the width's own best, as w",
        "to an exponent.",
        "",
        "| study | what is different | s | holds 1 | verdict | optima known | by divergence "
        "| exponent of tolerated noise | runs | minutes of a core | the search ended |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(f.row() for f in found),
        "",
        "![Optimum against width](figures/law_evidence.svg)",
        "",
        "*Best normalized noise scale against widening factor, with 95 % intervals; hollow: known",
        "on one side only. Line: the fitted law. Dashed: in proportion to w.*",
        "",
        "## ḡ_opt of every width",
        "",
        "| study | " + " | ".join(f"w = {w:g}" for w in WIDTHS) + " |",
        "|---" * (len(WIDTHS) + 1) + "|",
        *(f.optima_row() for f in found),
        "",
        "## Test accuracy at the optimum, %",
        "",
        "| study | " + " | ".join(f"w = {w:g}" for w in WIDTHS) + " |",
        "|---" * (len(WIDTHS) + 1) + "|",
        *(f.accuracy_row() for f in found),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *(v.name for v in VARIANTS)])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=Path("studies/law_evidence"))
    options = parser.parse_args()
    found = []
    for variant in VARIANTS:
        wanted = not options.names or variant.name in options.names
        if not wanted and not (options.directory / variant.name).exists():
            continue
        study = Study.create(options.directory / variant.name, specification(variant))
        if wanted:
            print(variant.name, flush=True)
            study.run(options.workers)
        if Rounds.read(Store(study.directory)).reason is not None:
            found.append(Found.of(variant, study))
    (HERE / "law_evidence.md").write_text(page(found), encoding="utf-8")
    figure(found).savefig(HERE / "figures" / "law_evidence.svg")
    pl.concat(
        f.results.select(pl.lit(f.variant.name).alias("study"), *COLUMNS) for f in found
    ).write_csv(HERE / "law_evidence.csv", float_precision=6)


if __name__ == "__main__":
    main()
