"""The same SGD at infinite width: a process of the outputs alone.

In the NTK parameterization an ever wider network moves each weight ever less, and a step of SGD at
fixed learning rate and batch size tends to

    f(x) ← f(x) − (ε/B) Σ_b K(x, x_b) δ_b,

where δ_b is the loss's gradient by the outputs of example b, and K the network's kernel, which no
longer changes. Its noise knows no width: what a study measures at growing width can be set against
this limit, run with the same batches. With momentum the velocity is one of outputs.

Source: Jacot, Gabriel & Hongler (2018), arXiv:1806.07572; Lee et al. (2019), arXiv:1902.06720.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.data import Dataset
from widthwise.errors import InputError
from widthwise.families.mlp import MLPFamily
from widthwise.sgd.batches import batch_indices
from widthwise.sgd.evaluations import EVALUATED
from widthwise.sgd.learning_rate import rate_factors
from widthwise.theory.kernels import initial_variance, mlp_kernels
from widthwise.training.job import PackJob, RunResult, summarized

ENGINE = "infinite width"
# Of outputs on training images, 8 MB a thousand images: more has no place beside a study.
MAX_TRAIN = 16_384
_STEPS_AHEAD = 1024


def train_infinitely_wide(family: MLPFamily, dataset: Dataset, job: PackJob) -> list[RunResult]:
    """Train the infinitely wide network of a family; results in the order of ``job.replicas``.

    Batches are those of the same seeds at any width. Initial outputs are drawn from the seed, of
    the distribution that fresh networks tend to: exactly on training examples together with each
    single test example (test examples are not drawn jointly, on which no accuracy depends).

    Args:
        family: of rectifiers, in the NTK parameterization; its base width does not matter.
        dataset: images and labels; at most 16,384 training examples, whose kernel is kept.
        job: its widening factor does not matter. Plain SGD or momentum, cross-entropy; no weight
            decay, augmentation, smoothing or ghost batches.

    Raises:
        InputError: for what has no such limit or is not computed here.
    """
    _require_limit(family, dataset, job)
    problem = _Problem.of(family, dataset)
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverge
        return [_train(problem, job, i) for i in range(len(job.replicas))]


def _require_limit(family: MLPFamily, dataset: Dataset, job: PackJob) -> None:
    recipe = job.recipe
    plain = (
        (family.parameterization == "ntk", "parameterization", "ntk", family.parameterization),
        (family.activation == "relu", "activation", "relu", family.activation),
        (recipe.loss == "cross-entropy", "loss", "cross-entropy", recipe.loss),
        (recipe.augmentation == "none", "augmentation", "none", recipe.augmentation),
        (recipe.weight_decay == 0, "weight_decay", 0, recipe.weight_decay),
        (recipe.label_smoothing == 0, "label_smoothing", 0, recipe.label_smoothing),
        (not recipe.nesterov, "nesterov", False, recipe.nesterov),
    )
    for holds, name, wanted, got in plain:
        if not holds:
            raise InputError(
                f"{name} must be {wanted} for the limit of infinite width, got {got!r}"
            )
    if dataset.num_train > MAX_TRAIN:
        raise InputError(
            f"num_train must be at most {MAX_TRAIN}, whose kernel is kept in memory, got "
            f"{dataset.num_train}"
        )


@dataclass(frozen=True, eq=False)
class InitialOutputs:
    """Outputs of fresh networks, ever wider, of which there is one distribution in both the NTK and
    the standard parameterization.

    Attributes:
        root: (N, N), of the covariance on training examples.
        mean_of: (n, N), takes what ``root`` takes to the mean of a test example's output.
        spread: (n,), its standard deviation about that.
        num_classes: of them, independent of each other.
    """

    root: NDArray[np.float64]
    mean_of: NDArray[np.float64]
    spread: NDArray[np.float64]
    num_classes: int

    @classmethod
    def of(cls, dataset: Dataset, *, depth: int = 1) -> "InitialOutputs":
        train, test = dataset.train_inputs, dataset.test_inputs
        values, vectors = np.linalg.eigh(mlp_kernels(train, train, depth=depth).initial)
        size = np.sqrt(np.maximum(values, 0.0))
        inverse = np.where(size > 1e-6 * size.max(), 1 / np.maximum(size, 1e-300), 0.0)
        mean_of = mlp_kernels(test, train, depth=depth).initial @ (vectors * inverse)
        spread = np.sqrt(np.maximum(initial_variance(test) - np.square(mean_of).sum(1), 0.0))
        return cls(vectors * size, mean_of, spread, dataset.num_classes)

    def drawn(self, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of one network on training and test examples: (N, classes), (n, classes)."""
        generator = np.random.default_rng([seed, 0x1F])
        shared = generator.standard_normal((len(self.root), self.num_classes))
        own = generator.standard_normal((len(self.spread), self.num_classes))
        test = self.mean_of @ shared + self.spread[:, None] * own
        return (self.root @ shared).astype(np.float32), test.astype(np.float32)


@dataclass(frozen=True)
class _Problem:
    """What all runs share.

    Attributes:
        labels, test_labels: (N,), (n,).
        kernel: (N, N), tangent, on training examples; ``to_test``: (n, N).
        initial: outputs at first.
    """

    labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    kernel: NDArray[np.float32]
    to_test: NDArray[np.float32]
    initial: InitialOutputs

    @classmethod
    def of(cls, family: MLPFamily, dataset: Dataset) -> "_Problem":
        depth, bias = family.depth, family.bias
        train, test = dataset.train_inputs, dataset.test_inputs
        return cls(
            np.asarray(dataset.train_labels),
            np.asarray(dataset.test_labels),
            mlp_kernels(train, train, depth=depth, bias=bias).tangent.astype(np.float32),
            mlp_kernels(test, train, depth=depth, bias=bias).tangent.astype(np.float32),
            InitialOutputs.of(dataset, depth=depth),
        )


def _train(problem: _Problem, job: PackJob, index: int) -> RunResult:
    replica, schedule = job.replicas[index], job.evaluation_steps()
    run = Descent(
        problem.kernel,
        problem.labels,
        *problem.initial.drawn(replica.seed),
        momentum=replica.momentum,
    )
    curves = {name: np.full(len(schedule), np.nan) for name in EVALUATED}
    diverged_at = None
    for k, target in enumerate(schedule):
        while run.step < target:
            count = min(target - run.step, _STEPS_AHEAD)
            rows = batch_indices(
                replica.seed,
                run.step,
                count,
                batch_size=job.batch_size,
                num_train=len(problem.labels),
                sampling=job.sampling,
            )
            factors = rate_factors(job.recipe, run.step, count, job.steps)
            run.descend(rows, replica.learning_rate * factors)
        values = (
            *loss_and_accuracy(run.outputs, problem.labels),
            *loss_and_accuracy(run.elsewhere(problem.to_test), problem.test_labels),
        )
        if not np.isfinite(values[0]):
            diverged_at = target
            break
        for name, value in zip(EVALUATED, values, strict=True):
            curves[name][k] = value
    return summarized(job, index, curves, diverged_at, num_parameters=0, engine=ENGINE)


class Descent:
    """SGD on the outputs.

    Args:
        kernel: (N, N), tangent, between training examples.
        labels: (N,).
        outputs: (N, classes), initial, of training examples; copied.
        test_outputs: (n, classes), initial, of others.
        momentum: m.

    Attributes:
        step: updates made.
        outputs: (N, classes), now.
    """

    def __init__(
        self,
        kernel: NDArray[np.floating],
        labels: NDArray[np.int64],
        outputs: NDArray[np.floating],
        test_outputs: NDArray[np.floating],
        *,
        momentum: float = 0.0,
    ) -> None:
        self._kernel, self._labels, self._momentum = kernel, labels, momentum
        self._test_outputs = test_outputs
        self.outputs = outputs.copy()
        # The same in the span of the training examples' kernel functions.
        self._coefficients = np.zeros_like(outputs)
        self._velocity, self._coefficient_velocity = np.zeros_like(outputs), np.zeros_like(outputs)
        self.step = 0

    def descend(self, rows: NDArray[np.int64], learning_rates: ArrayLike) -> None:
        """Updates by the batches rows (steps, B), each with its learning rate."""
        for batch, rate in zip(rows, np.asarray(learning_rates), strict=True):
            delta = _softmax(self.outputs[batch])
            delta[np.arange(len(batch)), self._labels[batch]] -= 1
            delta *= 1 / len(batch)
            moved = self._kernel[batch].T @ delta
            if self._momentum:
                self._velocity *= self._momentum
                self._velocity += moved
                self._coefficient_velocity *= self._momentum
                np.add.at(self._coefficient_velocity, batch, delta)
                self.outputs -= rate * self._velocity
                self._coefficients -= rate * self._coefficient_velocity
            else:
                self.outputs -= rate * moved
                np.subtract.at(self._coefficients, batch, rate * delta)
        self.step += len(rows)

    def elsewhere(self, kernel: NDArray[np.floating]) -> NDArray[np.floating]:
        """Outputs (n, classes) now, where ``kernel`` (n, N) leads."""
        outputs: NDArray[np.floating] = self._test_outputs + kernel @ self._coefficients
        return outputs


def _softmax(outputs: NDArray[np.floating]) -> NDArray[np.floating]:
    exponentials = np.exp(outputs - outputs.max(1, keepdims=True))
    shares: NDArray[np.floating] = exponentials / exponentials.sum(1, keepdims=True)
    return shares


def loss_and_accuracy(
    outputs: NDArray[np.floating], labels: NDArray[np.int64]
) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers of outputs (n, classes)."""
    top = outputs.max(1)
    spread = np.log(np.exp(outputs - top[:, None]).sum(1, dtype=np.float64))
    losses = spread + top - outputs[np.arange(len(labels)), labels]
    return float(losses.mean()), float((outputs.argmax(1) == labels).mean())
