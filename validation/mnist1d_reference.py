"""Reproduce published test errors of a width family on MNIST-1D, and compare.

The published numbers: Greydanus & Kobak, MNIST-1D (arXiv:2011.14439), notebook
deep-double-descent: MLP 40-n-n-10 with PyTorch's default initialization, SGD with learning rate
0.01, momentum 0.9, batches of 100, 500 epochs, 4,000 training and 12,000 test examples, no label
noise; one unseeded run each.

    python validation/mnist1d_reference.py [--workers 2] [--directory studies/mnist1d]

Writes validation/mnist1d_reference.md; ends with exit code 1 if a mean is further off than
TOLERANCE. The study resumes if interrupted.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import stats

import widthwise as ww

HERE = Path(__file__).parent
PUBLISHED_TEST_ERROR = {36: 41.66, 61: 41.24, 104: 38.61, 177: 38.09, 300: 37.25}
TOLERANCE = 1.0  # points of test error
SPEC = {
    "title": "MNIST-1D, MLP 40-n-n-10",
    "family": {"kind": str(HERE / "mnist1d_family.py:build")},
    "data": {
        "name": "mnist1d",
        "num_train": 4000,
        "num_test": 12000,
        "preprocessing": "none",
    },
    "grid": {
        "widening_factor": list(PUBLISHED_TEST_ERROR),
        "learning_rate": 0.01,
        "batch_size": 100,
        "momentum": 0.9,
        "seeds": 5,
    },
    "training": {"epochs": 500},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--directory", default="studies/mnist1d")
    arguments = parser.parse_args()
    study = ww.Study.create(arguments.directory, SPEC)
    study.run(arguments.workers)
    lines, worst = table(study)
    text = "\n".join(lines)
    print(text)
    (HERE / "mnist1d_reference.md").write_text(text + "\n", encoding="utf-8")
    return int(worst > TOLERANCE)


def table(study: ww.Study) -> tuple[list[str], float]:
    """Markdown lines, and the largest distance from a published error in points."""
    results = study.results()
    lines = [
        "# MNIST-1D: published test errors reproduced",
        "",
        "`python validation/mnist1d_reference.py`",
        "",
        "Test error in % (mean over seeds 0–4 of each run's mean over the last quarter of "
        "training; 95 % interval of the mean by Student's t). The published runs are single and "
        "unseeded, so they scatter by about a run's own standard deviation.",
        "",
        "| n | published | measured | 95 % interval | standard deviation of runs | difference "
        "| in standard deviations |",
        "|---|---|---|---|---|---|---|",
    ]
    worst = 0.0
    for width, published in PUBLISHED_TEST_ERROR.items():
        rows = results.filter(results["widening_factor"] == width)
        errors = 100.0 * (1.0 - rows["test_accuracy"].to_numpy())
        mean, std = float(np.mean(errors)), float(np.std(errors, ddof=1))
        half = stats.t.ppf(0.975, len(errors) - 1) * std / np.sqrt(len(errors))
        worst = max(worst, abs(mean - published))
        lines.append(
            f"| {width} | {published:.2f} | {mean:.2f} | {mean - half:.2f} to {mean + half:.2f} "
            f"| {std:.2f} | {mean - published:+.2f} | {(mean - published) / std:+.1f} |"
        )
    seeds = results["seed"].n_unique()
    lines += ["", f"Largest difference: {worst:.2f} points over {seeds} seeds a width."]
    return lines, worst


if __name__ == "__main__":
    sys.exit(main())
