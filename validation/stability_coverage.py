"""Do the intervals of the largest stable learning rate cover? Planted curves, then networks.

    OMP_NUM_THREADS=1 python validation/stability_coverage.py

writes validation/stability_coverage.md. Planted: thresholds of seeds drawn from known laws, whose
90 % point is known exactly. Networks: an MLP, against a scan in steps of 2.5 % with 40 other seeds.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from widthwise import families
from widthwise.data import DataSpec, load
from widthwise.probes import max_stable_learning_rate
from widthwise.probes.shares import non_increasing, search, threshold_draws
from widthwise.sgd.recipe import Recipe
from widthwise.training import PackJob, Replica, train_pack

OUTPUT = Path(__file__).with_suffix(".md")
SHARE = 0.9
TOLERANCE = 0.05
LAWS = {
    "normal": stats.norm,
    "long tail to small ε (Gumbel)": stats.gumbel_l,
    "long tail to large ε (Gumbel)": stats.gumbel_r,
    "uniform": stats.uniform,
    "Laplace": stats.laplace,
    "Student's t, 3 degrees": stats.t(3),
}
CHATTER = "no thresholds: every run decides anew"
SPREADS = (0.03, 0.1, 0.5)
SEEDS = (3, 5, 10, 20)
STEP = 0.025
OTHER_SEEDS = range(1000, 1040)
CASES = [
    (parameterization, loss, width, 0.0)
    for parameterization in ("standard", "ntk")
    for loss in ("cross-entropy", "mean-squared-error")
    for width in (1, 2)
] + [(parameterization, "cross-entropy", 1, 0.9) for parameterization in ("standard", "ntk")]


def planted(
    name: str, spread: float, seeds: int, rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """What the search asks, and the true 90 % point, in octaves."""
    offset = 2.0 * rng.random()
    if name == CHATTER:
        point = offset + spread * float(stats.norm.ppf(1.0 - SHARE))
        return (
            lambda r: rng.random((len(r), seeds)) < stats.norm.sf((r[:, None] - offset) / spread)
        ), point
    law = LAWS[name]
    thresholds = offset + spread * law.rvs(size=seeds, random_state=rng) / law.std()
    point = offset + spread * float(law.ppf(1.0 - SHARE) / law.std())
    return (lambda r: r[:, None] <= thresholds), point


def planted_row(name: str, spread: float, cases: int, rng: np.random.Generator) -> str:
    cells = []
    for seeds in SEEDS:
        hits, widths = 0, []
        for _ in range(cases):
            stable, point = planted(name, spread, seeds, rng)
            scan = search(stable, 0.0, share=SHARE, octaves=float(np.log2(1.0 + TOLERANCE)))
            last = scan.last_stable(SHARE)
            draws = threshold_draws(scan, SHARE, num_draws=1000, rng=rng)
            low, high = np.quantile(draws, [0.025, 0.975])
            low, high = min(low, scan.log2_rates[last]), max(high, scan.log2_rates[last + 1])
            hits += bool(low <= point <= high)
            widths.append(high - low)
        cells.append(f"{100 * hits / cases:.1f} % ({np.median(widths):.2f})")
    return f"| {name} | {spread:g} | " + " | ".join(cells) + " |"


def network_row(case: tuple[str, str, int, float]) -> tuple[str, bool]:
    parameterization, loss, width, momentum = case
    data = load(DataSpec(num_train=256, num_test=10))
    family = families.mlp(data.input_shape, 10, base_width=16, parameterization=parameterization)
    recipe = Recipe(loss=loss)
    found = max_stable_learning_rate(
        family,
        data,
        widening_factor=width,
        batch_size=16,
        momentum=momentum,
        recipe=recipe,
        device="cpu",
    )
    low, high = found.interval
    rates = np.exp(np.arange(np.log(low / 1.25), np.log(high * 1.25), STEP))
    shares = []
    for rate in rates:
        job = PackJob(
            widening_factor=width,
            batch_size=16,
            steps=found.steps,
            replicas=tuple(
                Replica(learning_rate=float(rate), momentum=momentum, seed=s) for s in OTHER_SEEDS
            ),
            evaluations=8,
            recipe=recipe,
        )
        sound = [result.status == "ok" for result in train_pack(family, data, job)]
        shares.append(np.mean(sound))
    reached = non_increasing(np.array(shares)) >= SHARE - 1e-9
    if not reached.any() or reached.all():
        raise RuntimeError(f"{case}: the scan does not hold the limit; widen it")
    value = float(rates[reached][-1])
    inside = low <= value <= high
    return (
        f"| {parameterization} | {loss} | {width} | {momentum:g} | {found.value:.4g} | "
        f"{low:.4g} to {high:.4g} | {value:.4g} | {'yes' if inside else 'no'} |"
    ), inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100, help="planted cases a row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    rng = np.random.default_rng(0)
    rows = [
        planted_row(name, spread, arguments.cases, rng)
        for name in (*LAWS, CHATTER)
        for spread in SPREADS
    ]
    networks = [network_row(case) for case in CASES]
    inside = sum(hit for _, hit in networks)
    command = " ".join(["OMP_NUM_THREADS=1 python", *map(shlex.quote, sys.argv)])
    text = f"""# Largest stable learning rate: do the 95 % intervals cover?

Written by `{command}` in {time.process_time() - began:.0f} s of one core.

## Planted curves

log2 of each seed's threshold is drawn from a law with the given standard deviation (octaves); the
limit is the point above which 90 % of all thresholds lie. {arguments.cases} cases a cell: share of
intervals that hold it, and median width in octaves.
Neighbouring learning rates end up within 5 % (0.07 octaves).

| thresholds | spread | {" | ".join(f"{s} seeds" for s in SEEDS)} |
|---|---|{"---|" * len(SEEDS)}
{chr(10).join(rows)}

## Networks

MLP 784-16w-10 on 256 bundled images, batches of 16, 200 steps. The probe: seeds 0–9, tolerance 5 %.
The scan: 40 other seeds, steps of 2.5 %, the same definition (shares made non-increasing, largest
ε at which they are at least 90 %). The scan's value has an error of its own, so that fewer than
95 % are expected inside.

| parameterization | loss | w | m | probe | 95 % interval | scan | inside |
|---|---|---|---|---|---|---|---|
{chr(10).join(row for row, _ in networks)}

{inside} of {len(networks)} inside.
"""
    OUTPUT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
