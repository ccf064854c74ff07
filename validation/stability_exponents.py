"""How the largest stable learning rate of MLPs falls with width: exponents q with intervals.

    OMP_NUM_THREADS=1 python validation/stability_exponents.py

prints Markdown; the committed copy is validation/stability_exponents.md. The first network and its
data are those of examples/mlp_ntk.toml, whose first layer has a fan-in of 784 that does not widen.
The second has few inputs and many units: width is large from the start. The third has a second
hidden layer, so that a layer widens on both sides. ``--only 3`` runs one of them.
"""

import argparse
import platform
import sys
import time
from dataclasses import dataclass

import torch

from widthwise import families
from widthwise.data import Dataset, DataSpec, load
from widthwise.probes import StableLearningRate, fit_stability_law, max_stable_learning_rate
from widthwise.sgd.recipe import LossKind, Recipe

WIDTHS = (1, 2, 4, 8, 16)
LATE = 4  # the widths from here on show where an exponent is heading
SEEDS = 10
STEPS = 200
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Series:
    """One row of the summary: the same network at all widths."""

    parameterization: str
    loss: LossKind
    momentum: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A family and its data."""

    title: str
    data: DataSpec
    base_width: int
    depth: int = 1
    series: tuple[Series, ...]


_PLAIN = tuple(
    Series(parameterization=parameterization, loss=loss)
    for parameterization in ("standard", "ntk")
    for loss in ("cross-entropy", "mean-squared-error")
)
SETTINGS = (
    Setting(
        title="MLP 784-16w-10, 1,024 Fashion-MNIST images",
        data=DataSpec(num_train=1024),
        base_width=16,
        series=(*_PLAIN, Series(parameterization="standard", loss="cross-entropy", momentum=0.9)),
    ),
    Setting(
        title="MLP 40-64w-10, 1,000 MNIST-1D signals",
        data=DataSpec(name="mnist1d", num_train=1000),
        base_width=64,
        series=_PLAIN,
    ),
    Setting(
        title="MLP 40-32w-32w-10, 1,000 MNIST-1D signals",
        data=DataSpec(name="mnist1d", num_train=1000),
        base_width=32,
        depth=2,
        series=_PLAIN[:2],
    ),
)


def probe(setting: Setting, series: Series, data: Dataset) -> list[StableLearningRate]:
    family = families.mlp(
        data.input_shape,
        data.num_classes,
        base_width=setting.base_width,
        depth=setting.depth,
        parameterization=series.parameterization,
    )
    found = []
    for width in WIDTHS:
        began = time.process_time()
        rate = max_stable_learning_rate(
            family,
            data,
            widening_factor=width,
            batch_size=BATCH_SIZE,
            momentum=series.momentum,
            steps=STEPS,
            seeds=SEEDS,
            recipe=Recipe(loss=series.loss),
            device="cpu",
        )
        found.append(rate)
        print(f"{time.process_time() - began:5.1f} s  {rate}", file=sys.stderr, flush=True)
    return found


def exponent(found: list[StableLearningRate], first: int) -> str:
    pairs = [(w, rate) for w, rate in zip(WIDTHS, found, strict=True) if w >= first]
    law = fit_stability_law([w for w, _ in pairs], [rate for _, rate in pairs])
    low, high = law.interval
    bent = "" if law.lack_of_fit is None or law.lack_of_fit >= 0.05 else " †"
    return f"{law.exponent:.2f} ({low:.2f} to {high:.2f}){bent}"


def section(setting: Setting) -> str:
    began = time.process_time()
    data = load(setting.data)
    summary, details = [], []
    for series in setting.series:
        found = probe(setting, series, data)
        name = f"| {series.parameterization} | {series.loss} | {series.momentum:g} |"
        summary.append(f"{name} {exponent(found, 1)} | {exponent(found, LATE)} |")
        details += [
            f"{name} {rate.widening_factor:g} | {rate.value:.4g} | "
            f"{rate.interval[0]:.4g} to {rate.interval[1]:.4g} | {rate.curvature_bound:.4g} | "
            f"{rate.value / rate.curvature_bound:.2f} |"
            for rate in found
            if rate.curvature_bound is not None
        ]
    return f"""## {setting.title}

{time.process_time() - began:.0f} s of processor time.

| parameterization | loss | m | q, w = 1 to 16 | q, w = {LATE} to 16 |
|---|---|---|---|---|
{chr(10).join(summary)}

| parameterization | loss | m | w | ε_max | 95 % interval | 2(1+m)/λ | ratio |
|---|---|---|---|---|---|---|---|
{chr(10).join(details)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, choices=range(1, len(SETTINGS) + 1))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    chosen = SETTINGS if only is None else SETTINGS[only - 1 : only]
    sections = [section(setting) for setting in chosen]
    print(f"""# How the largest stable learning rate falls with width

Written by `OMP_NUM_THREADS=1 python validation/stability_exponents.py`: seeds 0–{SEEDS - 1},
{STEPS} steps, batches of {BATCH_SIZE}, 95 % intervals, one core of {platform.machine()}, \
torch {torch.__version__.partition("+")[0]}.

ε_max ∝ w^−q. † The widths do not lie on a power law within their intervals; the interval of q is
widened for it. λ is the top Hessian eigenvalue at initialization (seed 0); the ratio says how far
training goes beyond what that curvature alone would allow. What to make of it: docs/stability.md.

{chr(10).join(sections)}""")


if __name__ == "__main__":
    main()
