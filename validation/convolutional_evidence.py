"""What ConvNets and Wide ResNets show of the optimum, and of the noise that they tolerate.

Grids of batch sizes at one learning rate, with and without batch norm, standard and NTK, on a few
hundred bundled images.

    python validation/convolutional_evidence.py [--workers 2] [--directory DIRECTORY] [NAME ...]

Writes convolutional_evidence.md, its figure, and convolutional_evidence.csv, the runs, beside
itself; names restrict what is run, the page holds everything that is complete. Resumes if
interrupted.
"""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
from evidence import Found, Variant, make, optimum_words
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from widthwise.report.style import WIDTH_INCHES, house_style, width_styles


def variant(
    name: str,
    words: str,
    family: dict[str, Any],
    *,
    rate: float,
    batch_sizes: Sequence[int],
    widths: Sequence[int],
    steps: int,
    seeds: int,
    num_train: int,
    **training: Any,
) -> Variant:
    specification = {
        "title": words,
        "family": {"base_width": 4, **family},
        "data": {"name": "fashion-mnist-mini", "num_train": num_train, "num_test": 2000},
        "grid": {
            "widening_factor": list(widths),
            "learning_rate": rate,
            "batch_size": list(batch_sizes),
            "seeds": seeds,
        },
        "training": {"steps": steps, "evaluations": 8, **training},
    }
    return Variant(name=name, words=words, specification=specification)


CNN: dict[str, Any] = {"kind": "cnn", "depth": 2}
WRN: dict[str, Any] = {"kind": "wide_resnet", "depth": 10}
LARGE: dict[str, Any] = {"widths": (1, 2, 4, 8), "seeds": 8, "num_train": 512}
SMALL: dict[str, Any] = {"widths": (1, 2, 4), "seeds": 4, "num_train": 256, "steps": 2500}
GHOST: dict[str, Any] = {"ghost_batch_size": 4, "batch_sizes": (4, 8, 16, 32)}

VARIANTS = (
    variant(
        "cnn-standard",
        "ConvNet, standard, ε = 0.05",
        CNN,
        rate=0.05,
        batch_sizes=(1, 2, 4, 8, 16),
        steps=4000,
        **LARGE,
    ),
    variant(
        "cnn-ntk",
        "ConvNet, NTK, ε = 2",
        {**CNN, "parameterization": "ntk"},
        rate=2.0,
        batch_sizes=(1, 2, 4, 8, 16, 32),
        steps=2000,
        **LARGE,
    ),
    variant(
        "cnn-batch-norm",
        "ConvNet, standard, batch norm over 4 examples, ε = 0.2",
        {**CNN, "normalization": "batch"},
        rate=0.2,
        steps=2000,
        **GHOST,
        **LARGE,
    ),
    variant(
        "wide-resnet-standard",
        "WRN-10-w, standard, ε = 0.05",
        WRN,
        rate=0.05,
        batch_sizes=(2, 4, 8, 16, 32),
        **SMALL,
    ),
    variant(
        "wide-resnet-ntk",
        "WRN-10-w, NTK, ε = 0.5",
        {**WRN, "parameterization": "ntk"},
        rate=0.5,
        batch_sizes=(2, 4, 8, 16, 32),
        **SMALL,
    ),
    variant(
        "wide-resnet-batch-norm",
        "WRN-10-w, standard, batch norm over 4 examples, ε = 0.1",
        {**WRN, "normalization": "batch"},
        rate=0.1,
        **GHOST,
        **SMALL,
    ),
)


def row(f: Found) -> str:
    """Of the table of exponents."""
    return (
        f"| {f.variant.name} | {f.variant.words} | {f.exponent} | {f.located} | {f.tolerance} "
        f"| {len(f.results)} | {f.core_minutes:.0f} |"
    )


def table(f: Found) -> list[str]:
    """Accuracy by noise scale and width."""
    widths = sorted(f.optima)
    means = (
        f.results.filter(pl.col("status") == "ok")
        .group_by("batch_size", "widening_factor")
        .agg(
            pl.col("test_accuracy").mean().alias("mean"),
            (pl.col("test_accuracy").std() / pl.len().sqrt()).alias("error"),
            pl.col("train_loss").mean().alias("loss"),
            pl.len().alias("trained"),
        )
    )
    by = {(r["batch_size"], r["widening_factor"]): r for r in means.iter_rows(named=True)}
    lines = [
        f"### {f.variant.name}: {f.variant.words}",
        "",
        "| batch size | " + " | ".join(f"w = {w:g}" for w in widths) + " |",
        "|---" * (len(widths) + 1) + "|",
    ]
    for size in sorted(f.results["batch_size"].unique()):
        cells = (_cell(by.get((size, w))) for w in widths)
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    best = (optimum_words(f.optima[w]) for w in widths)
    lines.append("| best ḡ | " + " | ".join(best) + " |")
    if f.resistance is not None:
        tolerated = (
            f"> {own.measured[1]:.2g}"
            if (own := width.own).is_bound
            else f"{own.noise_scale:.2g} ({own.interval[0]:.2g}–{own.interval[1]:.2g})"
            for width in f.resistance.widths
        )
        lines.append("| tolerated ḡ | " + " | ".join(tolerated) + " |")
    return [*lines, ""]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "diverged"
    return f"{100 * row['mean']:.1f} ± {100 * row['error']:.1f} (loss {row['loss']:.2g})"


def figure(found: Sequence[Found]) -> Figure:
    """Accuracy against normalized noise scale, a panel a study."""
    columns = 3
    rows = math.ceil(len(found) / columns)
    with house_style():
        drawn = Figure(figsize=(1.25 * WIDTH_INCHES, 2.4 * rows), layout="constrained")
        panels = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes, f in zip(panels, found, strict=False):
            styles = width_styles(f.optima)
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(labelsize=8)
            for width, style in styles.items():
                ok = f.results.filter(
                    (pl.col("widening_factor") == width) & (pl.col("status") == "ok")
                )
                curve = (
                    ok.group_by("normalized_noise_scale")
                    .agg(
                        pl.col("test_accuracy").mean().alias("mean"),
                        (2 * pl.col("test_accuracy").std() / pl.len().sqrt()).alias("error"),
                    )
                    .sort("normalized_noise_scale")
                )
                axes.errorbar(
                    curve["normalized_noise_scale"],
                    100 * curve["mean"],
                    100 * curve["error"],
                    color=style.color,
                    marker=style.marker,
                    markersize=4,
                    label=f"w = {width:g}",
                )
            axes.set_title(f.variant.name, fontsize=9.5)
        for axes in panels[len(found) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel("test accuracy, %", fontsize=9)
        for axes in panels[len(found) - columns : len(found)]:
            axes.set_xlabel(r"normalized noise scale $\bar{g}$", fontsize=9)
        panels[0].legend(fontsize=7)
    return drawn


def page(found: Sequence[Found]) -> str:
    """Everything but the remarks."""
    lines = [
        "# ConvNets and Wide ResNets: what could be decided",
        "",
        "Written by `python validation/convolutional_evidence.py`, but for the remarks at the",
        "end. Base width 4; ConvNets: two convolutions, 512 images, 8 seeds; Wide ResNets of",
        "depth 10: 256 images, 4 seeds; bundled part of Fashion-MNIST, 2,000 test images.",
        "Without batch norm the last convolution of every residual branch starts at 0. Noise",
        "scales differ in batch size only. In brackets: 95 % intervals. Tolerated noise: the",
        "highest ḡ at which accuracy is within 2 points of the width's own best.",
        "",
        "| study | what | s of ḡ_opt ∝ w^s | optima known | exponent of tolerated noise | runs "
        "| minutes of a core |",
        "|---|---|---|---|---|---|---|",
        *map(row, found),
        "",
        "![Accuracy against noise](figures/convolutional_evidence.svg)",
        "",
        "*Test accuracy against normalized noise scale; bars: two standard errors.*",
        "",
        "## Test accuracy in %, ± its standard error over seeds, and training loss",
        "",
        *(line for f in found for line in table(f)),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    make("convolutional_evidence", __doc__, VARIANTS, page, figure)
