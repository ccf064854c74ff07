"""Is ḡ_opt ∝ w, and what does the exponent depend on?

A multilayer perceptron as the base and others that differ from it in one thing: parameterization,
length of training, learning rate, number of training images, loss, depth, base width; and
ConvNets. Every optimum is sought by adaptive search on the bundled images.

    python validation/law_evidence.py [--workers 2] [--directory studies/law_evidence] [NAME ...]

Writes law_evidence.md, its figure, and law_evidence.csv, the runs, beside itself, and the numbers
that advice quotes (src/widthwise/adviser/own_studies.json); names restrict what is run, the page
always holds everything that is complete. Resumes if interrupted.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evidence import NOTHING, Found, Variant, end_of_search, make, optimum_words
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis.law import ZONES
from widthwise.report.style import WIDTH_INCHES, house_style, width_axis, width_styles


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


def variant(
    name: str, words: str, fields: Mapping[str, Mapping[str, Any]] | None = None
) -> Variant:
    """A study: the base's sections with some of their keys replaced (section → key → value)."""
    replaced = fields or {}
    sections = {key: {**section, **replaced.get(key, {})} for key, section in BASE.items()}
    title = f"Law of the optimum: {words}"
    specification = {"title": title, "search": "adaptive", **sections}
    return Variant(name=name, words=words, specification=specification)


VARIANTS = (
    variant(
        name="ntk",
        words="the base: NTK, one hidden layer of 32·w units, ε ≤ 4, τ = 80,000, 1,024 images",
    ),
    variant(
        name="standard",
        words="standard parameterization, ε ≤ 0.04, τ = 500",
        fields=standard(0.04),
    ),
    variant(
        name="standard-smaller-rate",
        words="the same with half the learning rate, ε ≤ 0.02",
        fields=standard(0.02),
    ),
    variant(
        name="ntk-longer",
        words="training three times as long",
        fields={"training": {"physical_time": 240_000}},
    ),
    variant(
        name="ntk-smaller-rate",
        words="half the learning rate, ε ≤ 2",
        fields={
            "grid": {"normalized_noise_scale": noise_scales(5, 1.0), "max_stable_learning_rate": 8}
        },
    ),
    variant(
        name="ntk-more-data",
        words="4,096 images, trained twice as long",
        fields={
            "data": {"num_train": 4096},
            "grid": {"normalized_noise_scale": noise_scales(7, 1.0)},
            "training": {"physical_time": 160_000},
        },
    ),
    variant(name="ntk-depth-2", words="two hidden layers", fields={"family": {"depth": 2}}),
    variant(name="ntk-depth-3", words="three hidden layers", fields={"family": {"depth": 3}}),
    variant(
        name="ntk-narrow", words="base width 8 instead of 32", fields={"family": {"base_width": 8}}
    ),
    variant(
        name="ntk-mean-squared-error",
        words="mean squared error, ε ≤ 2, τ = 20,000",
        fields={
            "training": {"loss": "mean-squared-error", "physical_time": 20_000},
            "grid": {"normalized_noise_scale": noise_scales(6, 1.0), "max_stable_learning_rate": 8},
        },
    ),
    variant(
        name="cnn-standard",
        words="ConvNet, standard, ε ≤ 0.05, τ = 200, 512 images",
        fields=convnet(0.05, 0.1, 6, 200, parameterization="standard"),
    ),
    variant(
        name="cnn-standard-batch-norm",
        words="the same with batch norm over 4 examples, ε ≤ 0.1, τ = 400",
        fields=convnet(0.1, 0.1, 6, 400, parameterization="standard", normalization="batch"),
    ),
    variant(
        name="cnn-ntk",
        words="ConvNet, NTK, ε ≤ 1, τ = 6,000",
        fields=convnet(1.0, 0.5, 6, 6000, parameterization="ntk"),
    ),
)


WIDTHS = (1.0, 2.0, 4.0, 8.0)


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def row(f: Found) -> str:
    """Of the table of exponents."""
    law = f.law
    verdict = NOTHING if law is None else law.verdict
    holds_one = NOTHING if law is None else "yes" if _holds(law.interval, 1.0) else "no"
    cut_off = sum(o.cliff is not None for o in f.optima.values())
    return (
        f"| {f.variant.name} | {f.variant.words} | {f.exponent} | {holds_one} | {verdict} "
        f"| {f.located} | {cut_off} | {f.tolerance} "
        f"| {len(f.results):,} | {f.core_minutes:.1f} | {end_of_search(f.study)} |"
    )


def optima_row(f: Found) -> str:
    """Of the table of optima."""
    cells = {w: optimum_words(o) for w, o in f.optima.items()}
    return _width_row(f, cells)


def accuracy_row(f: Found) -> str:
    cells = {w: f"{100 * o.score:.1f}" for w, o in f.optima.items()}
    return _width_row(f, cells)


def _width_row(f: Found, cells: Mapping[float, str]) -> str:
    return f"| {f.variant.name} | " + " | ".join(cells.get(w, NOTHING) for w in WIDTHS) + " |"


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
    law, title = f.law, f.variant.name
    if law is not None:
        widths = sorted(f.optima)
        axes.plot(widths, [law.predict(w)[0] for w in widths], color="#1f4e79", linewidth=0.8)
        middle = math.sqrt(widths[0] * widths[-1])
        level = law.predict(middle)[0]
        axes.plot(
            widths, [level * w / middle for w in widths], color="0.4", linewidth=0.9, linestyle="--"
        )
        title += f"\ns = {f.exponent}"
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
        *map(row, found),
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
        *map(optima_row, found),
        "",
        "## Test accuracy at the optimum, %",
        "",
        "| study | " + " | ".join(f"w = {w:g}" for w in WIDTHS) + " |",
        "|---" * (len(WIDTHS) + 1) + "|",
        *map(accuracy_row, found),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    make("law_evidence", __doc__, VARIANTS, page, figure, for_advice=True)
