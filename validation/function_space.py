"""SGD of a one-hidden-layer network in function space, in either parameterization.

The standard parameterization at rate ε is that of NTK with the rates ε·fan-in for weights and ε for
biases (docs/parameterizations.md). So its outputs move, while its weights hardly do, by the kernel

    K(h) = 784·K₁ + h·K₂ + K_b

of hidden weights, readout weights and biases of a network of h units; in NTK the three have the
factor one. Nothing is fitted.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from widthwise.data import Dataset
from widthwise.sgd.batches import batch_indices
from widthwise.sgd.evaluations import evaluation_steps
from widthwise.theory.kernels import mlp_kernels
from widthwise.training.infinite_width import Descent, InitialOutputs, loss_and_accuracy

_STEPS_AHEAD = 1024


def tangent(
    a: NDArray[np.floating], b: NDArray[np.floating], weights: float, readout: float
) -> NDArray[np.float64]:
    """(n, m): the kernel of one hidden layer of rectifiers whose hidden and readout weights have
    these rates, as multiples of ε in the NTK parameterization."""
    plain, biased = (mlp_kernels(a, b, bias=bias) for bias in (False, True))
    hidden = plain.tangent - plain.initial
    return weights * hidden + readout * plain.initial + (biased.tangent - plain.tangent)


def factors(parameterization: str, units: int, pixels: int) -> tuple[float, float]:
    """Rates of hidden and readout weights.

    >>> factors("standard", 16, 784), factors("ntk", 16, 784)
    ((784.0, 16.0), (1.0, 1.0))
    """
    return (float(pixels), float(units)) if parameterization == "standard" else (1.0, 1.0)


def train(
    data: Dataset,
    rates: tuple[float, float],
    settings: list[tuple[float, int, int]],
    *,
    physical_time: float,
    evaluations: int,
    late_fraction: float,
) -> Iterator[dict[str, float | int | str]]:
    """A row for each setting (ε, B, seed): accuracy at late times, and whether it diverged.

    Args:
        data: one-channel images of any shape.
        rates: of hidden and readout weights.
        settings: (ε, B, seed).
        physical_time, evaluations, late_fraction: as in a study.
    """
    x, y = data.train_inputs, np.asarray(data.train_labels)
    kernel = tangent(x, x, *rates).astype(np.float32)
    across = tangent(data.test_inputs, x, *rates).astype(np.float32)
    beginning = InitialOutputs.of(data)
    for rate, batch, seed in settings:
        steps = round(physical_time / rate)
        run = Descent(kernel, y, *beginning.drawn(seed))
        first, late = loss_and_accuracy(run.outputs, y)[0], []
        with np.errstate(over="ignore", invalid="ignore"):
            for target in evaluation_steps(steps, evaluations):
                while run.step < target:
                    count = min(target - run.step, _STEPS_AHEAD)
                    rows = batch_indices(seed, run.step, count, batch_size=batch, num_train=len(y))
                    run.descend(rows, np.full(count, rate))
                if target > (1 - late_fraction) * steps:
                    outputs = run.elsewhere(across)
                    late.append(loss_and_accuracy(outputs, np.asarray(data.test_labels))[1])
            sound = loss_and_accuracy(run.outputs, y)[0] <= first
        yield {
            "learning_rate": rate,
            "batch_size": batch,
            "steps": steps,
            "seed": seed,
            "test_accuracy": float(np.mean(late)) if sound else None,
            "status": "ok" if sound else "diverged",
        }
