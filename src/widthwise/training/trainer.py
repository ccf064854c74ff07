"""Trains one pack: runs that share every shape and the number of steps, in; their results, out.

No files, clocks or processes here. A caller that wants to show progress, stop or save a
checkpoint drives a :class:`PackTrainer` from evaluation to evaluation; everyone else calls
:func:`train_pack`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from widthwise.data import Dataset
from widthwise.engines import EngineChoice, Pack, TrainsChunks, pack
from widthwise.engines.captured import captured
from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.hardware import computing, require_precision
from widthwise.sgd.batches import whole_batch
from widthwise.sgd.evaluations import EVALUATED, VALIDATED
from widthwise.sgd.feeding import BatchFeed
from widthwise.sgd.learning_rate import rate_factors
from widthwise.training.evaluation import evaluate, evaluation_rows, largest_activation
from widthwise.training.job import PackJob, RunResult, summarized
from widthwise.training.networks import (
    build_modules,
    check_batch_size,
    check_network,
    network_inputs,
)

# The training loss is evaluated on at most this many examples, the first of the set.
MAX_TRAIN_EVALUATION = 10_000
# Indices drawn ahead: a few MB, so that drawing costs nothing beside training.
_INDICES_AHEAD = 1 << 18
_MAX_STEPS_AHEAD = 512
# Of packs that take whole chunks, whose steps are short: drawing an epoch's order costs more.
_MAX_STEPS_IN_A_CALL = 4096
# Products in one call, which cannot be interrupted, at most: about half a second.
_PRODUCTS_AHEAD = 20_000_000_000
# Examples on which a fresh pack proves itself, and on which networks are tried.
_SAMPLE = 8


def train_pack(family: WidthFamily, dataset: Dataset, job: PackJob) -> list[RunResult]:
    """Train all replicas of a job to the end; results in the order of ``job.replicas``."""
    trainer = PackTrainer(family, dataset, job)
    while not trainer.done:
        trainer.advance()
    return trainer.results()


class PackTrainer:
    """A pack in training, advanced from one evaluation to the next.

    Args:
        family, dataset, job: what is trained.
        device: where; None is the CPU. On a CUDA device the data lie on it and steps are replayed
            as a graph (not run on one yet).
        engine: as for :func:`widthwise.engines.pack`.

    Raises:
        InputError: if the family's modules do not fit the data or the batch size, cannot be
            packed, or the device cannot compute in the recipe's precision.
    """

    def __init__(
        self,
        family: WidthFamily,
        dataset: Dataset,
        job: PackJob,
        device: torch.device | None = None,
        engine: EngineChoice = "auto",
    ) -> None:
        if not 1 <= job.batch_size <= dataset.num_train:
            raise InputError(
                f"batch_size must lie in [1, {dataset.num_train}] (the training examples), "
                f"got {job.batch_size}"
            )
        self.job = job
        self._device = torch.device("cpu") if device is None else device
        require_precision(job.recipe.precision, self._device)
        self._schedule = job.evaluation_steps()
        modules = build_modules(
            family, job.widening_factor, [r.seed for r in job.replicas], job.recipe
        )
        modules = [module.to(self._device) for module in modules]
        self._data = _Tensors.of(dataset, modules[0], self._device)
        self._feed = BatchFeed(
            self._data.train,
            self._data.train_labels,
            batch_size=job.batch_size,
            sampling=job.sampling,
            recipe=job.recipe,
        )
        with computing("float32", self._device):  # what proves itself does so in full precision
            built = _build_pack(family, job, modules, self._data, engine)
        self._pack = captured(built, self._device)
        self._takes_chunks = isinstance(built, TrainsChunks) and job.recipe.augmentation == "none"
        self._num_parameters = sum(p.numel() for p in self._pack.parameters(0).values())
        self._rows = evaluation_rows(
            largest_activation(modules[0], self._data.train[:_SAMPLE]),
            self._num_parameters,
            # What is trained alone is evaluated as if alone: its bits know no company.
            1 if isinstance(built, TrainsChunks) else len(modules),
        )
        self._alive = list(range(len(job.replicas)))
        self._diverged_at: dict[int, int] = {}
        names = EVALUATED + (VALIDATED if self._data.validation is not None else ())
        shape = (len(job.replicas), len(self._schedule))
        self._curves = {name: np.full(shape, np.nan) for name in names}
        self._evaluated = 0
        self.step = 0
        self._evaluate()

    @property
    def done(self) -> bool:
        return self.step >= self.job.steps or not self._alive

    @property
    def engine(self) -> str:
        """Which engine trains the pack."""
        return self._pack.engine

    @property
    def reason(self) -> str:
        """Why which engine trains the pack and, on a CUDA device, whether steps are replayed."""
        return self._pack.reason

    @property
    def num_diverged(self) -> int:
        """Replicas dropped so far because their loss left the finite numbers."""
        return len(self._diverged_at)

    def train(self, until: int, on_progress: Callable[[int], None] | None = None) -> None:
        """Train up to step ``until``, without evaluating.

        Args:
            until: not beyond the next evaluation.
            on_progress: called every few hundred steps with the number of steps done.
        """
        with computing(self.job.recipe.precision, self._device):
            while self.step < until and self._alive:
                self._train_chunk(self._chunk(until))
                if on_progress is not None:
                    on_progress(self.step)

    def advance(self, on_progress: Callable[[int], None] | None = None) -> None:
        """Train up to the next evaluation, and evaluate.

        Args:
            on_progress: as for :meth:`train`.
        """
        target = self._schedule[self._evaluated]
        self.train(target, on_progress)
        self.step = target
        self._evaluate()

    def state(self) -> dict[str, Any]:
        """A checkpoint of tensors and plain values, taken between calls of :meth:`advance`."""
        return {
            "step": self.step,
            "evaluated": self._evaluated,
            "alive": list(self._alive),
            "diverged_at": dict(self._diverged_at),
            "curves": {name: torch.from_numpy(c.copy()) for name, c in self._curves.items()},
            "pack": {name: tensor.clone() for name, tensor in self._pack.state().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same job, bit for bit."""
        if state["alive"]:
            # Some may have been dropped at initialization, here as there.
            self._pack.keep([self._alive.index(i) for i in state["alive"]])
            self._pack.restore(state["pack"])
        self._alive = list(state["alive"])
        self._diverged_at = dict(state["diverged_at"])
        self._curves = {name: tensor.numpy().copy() for name, tensor in state["curves"].items()}
        self._evaluated = state["evaluated"]
        self.step = state["step"]

    def results(self) -> list[RunResult]:
        """One result a replica, in the job's order; call when :attr:`done`."""
        return [self._result(i) for i in range(len(self.job.replicas))]

    def weights(self, i: int) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Copies of the parameters and buffers of the replica of this index in the job, and of its
        momentum buffers (:meth:`widthwise.engines.Pack.velocities`), as they are now; None if it
        was dropped because its loss left the finite numbers."""
        if i not in self._alive:
            return None
        column = self._alive.index(i)
        tensors = {**self._pack.parameters(column), **self._pack.buffers(column)}
        return tensors, self._pack.velocities(column)

    def _chunk(self, target: int) -> int:
        """Steps of the next call, which ends a block or at the target."""
        examples = len(self._alive) * self.job.batch_size  # a step
        ahead, most, block = _INDICES_AHEAD // examples, _MAX_STEPS_AHEAD, 1
        if self._takes_chunks and isinstance(self._pack, TrainsChunks):
            ahead = min(ahead, _PRODUCTS_AHEAD // (3 * self._num_parameters * examples))
            most, block = _MAX_STEPS_IN_A_CALL, self._pack.steps_of_block
        end = self.step + max(min(ahead, most), 1)
        whole = max(end // block, self.step // block + 1) * block
        return min(whole, target) - self.step

    def _train_chunk(self, num_steps: int) -> None:
        job = self.job
        losses = self._data.train.new_empty((num_steps, len(self._alive)))
        factors = rate_factors(job.recipe, self.step, num_steps, job.steps)
        seeds = [job.replicas[i].seed for i in self._alive]
        if isinstance(self._pack, TrainsChunks) and self._takes_chunks:
            self._pack.train_steps(
                self._data.train,
                self._data.train_labels,
                self._feed.indices(seeds, self.step, num_steps),
                losses,
                first_number=self.step,
                rate_factors=torch.from_numpy(factors),
            )
        else:
            self._train_steps(seeds, losses, factors.tolist())
        self._drop_diverged(losses)
        self.step += num_steps

    def _train_steps(self, seeds: Sequence[int], losses: Tensor, factors: Sequence[float]) -> None:
        step = self._pack.step
        batches = self._feed.steps(seeds, self.step, len(factors))
        for k, (inputs, targets) in enumerate(batches):
            step(inputs, targets, losses[k], number=self.step + k, rate_factor=factors[k])

    def _drop_diverged(self, losses: Tensor) -> None:
        finite = torch.isfinite(losses)
        if bool(finite.all()):
            return
        sound = finite.all(0)
        first_bad = (~finite).to(torch.int64).argmax(0)
        for column, replica in enumerate(self._alive):
            if not sound[column]:
                self._diverged_at[replica] = self.step + int(first_bad[column])
        self._keep([column for column in range(len(self._alive)) if sound[column]])

    def _keep(self, columns: Sequence[int]) -> None:
        self._alive = [self._alive[column] for column in columns]
        if columns:
            self._pack.keep(columns)

    def _evaluate(self) -> None:
        if self._alive:
            for name, (inputs, labels) in self._data.evaluation_sets().items():
                with computing("float32", self._device):
                    loss, accuracy = evaluate(
                        self._pack, inputs, labels, self.job.recipe, self._rows
                    )
                self._curves[f"{name}_loss"][self._alive, self._evaluated] = loss
                self._curves[f"{name}_accuracy"][self._alive, self._evaluated] = accuracy
            # Weights can leave the finite numbers in the very last update before an evaluation.
            finite = np.isfinite(self._curves["train_loss"][self._alive, self._evaluated])
            if not finite.all():
                for column in np.flatnonzero(~finite):
                    self._diverged_at[self._alive[column]] = self.step
                self._keep(np.flatnonzero(finite).tolist())
        self._evaluated += 1

    def _result(self, i: int) -> RunResult:
        return summarized(
            self.job,
            i,
            {name: curve[i] for name, curve in self._curves.items()},
            self._diverged_at.get(i),
            num_parameters=self._num_parameters,
            engine=self._pack.engine,
        )


@dataclass(frozen=True)
class _Tensors:
    """The data set as tensors, sharing its memory where the network computes in float32."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor] | None
    num_classes: int

    @classmethod
    def of(cls, dataset: Dataset, module: nn.Module, device: torch.device) -> "_Tensors":
        def pair(inputs: NDArray[Any], labels: NDArray[Any]) -> tuple[Tensor, Tensor]:
            return network_inputs(module, inputs, device), torch.from_numpy(labels).to(device)

        train, train_labels = pair(dataset.train_inputs, dataset.train_labels)
        validation = None
        if dataset.validation_inputs is not None and dataset.validation_labels is not None:
            validation = pair(dataset.validation_inputs, dataset.validation_labels)
        return cls(
            name=dataset.name,
            train=train,
            train_labels=train_labels,
            test=pair(dataset.test_inputs, dataset.test_labels),
            validation=validation,
            num_classes=dataset.num_classes,
        )

    def evaluation_sets(self) -> dict[str, tuple[Tensor, Tensor]]:
        seen = slice(MAX_TRAIN_EVALUATION)
        sets = {"train": (self.train[seen], self.train_labels[seen]), "test": self.test}
        if self.validation is not None:
            sets["validation"] = self.validation
        return sets


def _build_pack(
    family: WidthFamily,
    job: PackJob,
    modules: Sequence[nn.Module],
    data: _Tensors,
    engine: EngineChoice,
) -> Pack:
    check_network(family, modules[0], data.train[:_SAMPLE], data.num_classes, data=data.name)
    check_batch_size(modules[0], data.train[: job.batch_size], job.recipe)
    # Ghost batch norm takes whole parts only; two of them show whether they are kept apart.
    ghost = job.recipe.ghost_batch_size
    rows = _SAMPLE if ghost is None else whole_batch(min(2 * ghost, len(data.train)), ghost)
    return pack(
        modules,
        [r.learning_rate for r in job.replicas],
        [r.momentum for r in job.replicas],
        recipe=job.recipe,
        seeds=[r.seed for r in job.replicas],
        example=(data.train[:rows], data.train_labels[:rows]),
        engine=engine,
    )
