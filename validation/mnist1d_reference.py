"""Reproduce published test errors of a width family on MNIST-1D, and compare.

The published numbers: Greydanus & Kobak, MNIST-1D (arXiv:2011.14439), notebook
deep-double-descent: MLP 40-n-n-10 with PyTorch's default initialization, SGD with learning rate
0.01, momentum 0.9, batches of 100, 500 epochs, 4,000 training and 12,000 test examples, no label
noise; one unseeded run each.

    python validation/mnist1d_reference.py [--workers 2] [--directory studies/mnist1d] [--loops 5]

Writes validation/mnist1d_reference.md; ends with exit code 1 if a mean is further off than
TOLERANCE. The study resumes if interrupted. With --loops, the width that is furthest off is also
trained by an ordinary PyTorch loop that shares no code with ours, that many times.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from mnist1d_family import build
from scipy import stats
from torch import nn

import widthwise as ww
from widthwise.data import DataSpec, load

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
    parser.add_argument("--loops", type=int, default=0, help="ordinary loops for comparison")
    arguments = parser.parse_args()
    study = ww.Study.create(arguments.directory, SPEC)
    study.run(arguments.workers)
    lines, worst, width = table(study)
    if arguments.loops:
        lines += ["", loops_sentence(study.spec.data, width, arguments.loops)]
    text = "\n".join(lines)
    print(text)
    (HERE / "mnist1d_reference.md").write_text(text + "\n", encoding="utf-8")
    return int(worst > TOLERANCE)


def table(study: ww.Study) -> tuple[list[str], float, int]:
    """Markdown lines, the largest distance from a published error in points, and its width."""
    results = study.results()
    lines = [
        "# MNIST-1D: published test errors reproduced",
        "",
        "`python validation/mnist1d_reference.py --loops 5`",
        "",
        "Test error in % (mean over seeds 0–4 of each run's mean over the last quarter of "
        "training; 95 % interval of the mean by Student's t). The published runs are single and "
        "unseeded, so they scatter by about a run's own standard deviation.",
        "",
        "| n | published | measured | 95 % interval | standard deviation of runs | difference "
        "| in standard deviations |",
        "|---|---|---|---|---|---|---|",
    ]
    distances = {}
    for width, published in PUBLISHED_TEST_ERROR.items():
        rows = results.filter(results["widening_factor"] == width)
        errors = 100.0 * (1.0 - rows["test_accuracy"].to_numpy())
        mean, std = float(np.mean(errors)), float(np.std(errors, ddof=1))
        half = stats.t.ppf(0.975, len(errors) - 1) * std / np.sqrt(len(errors))
        distances[width] = abs(mean - published)
        lines.append(
            f"| {width} | {published:.2f} | {mean:.2f} | {mean - half:.2f} to {mean + half:.2f} "
            f"| {std:.2f} | {mean - published:+.2f} | {(mean - published) / std:+.1f} |"
        )
    furthest = max(distances, key=lambda width: distances[width])
    lines += [
        "",
        f"Largest difference: {distances[furthest]:.2f} points at n = {furthest}, over "
        f"{results['seed'].n_unique()} seeds a width.",
    ]
    return lines, distances[furthest], furthest


def loops_sentence(spec: DataSpec, width: int, num_runs: int) -> str:
    """The final test errors of ordinary loops at this width."""
    data = load(spec)
    errors = [loop_error(data, width, seed) for seed in range(num_runs)]
    return (
        f"Ordinary PyTorch loops at n = {width}, seeds 0–{num_runs - 1}, final test error: "
        f"{', '.join(f'{error:.2f}' for error in errors)}; mean {np.mean(errors):.2f}, standard "
        f"deviation {np.std(errors, ddof=1):.2f}."
    )


def loop_error(data: ww.Dataset, width: int, seed: int) -> float:
    """Final test error in % of one network, trained as the notebook does."""
    torch.manual_seed(seed)
    network = build(width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    inputs, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
    for _ in range(500):
        for rows in torch.randperm(len(labels)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        predicted = network(torch.from_numpy(data.test_inputs)).argmax(1).numpy()
    return 100.0 * float(np.mean(predicted != data.test_labels))


if __name__ == "__main__":
    sys.exit(main())
