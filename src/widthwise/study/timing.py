"""Times steps of packs as they will be trained."""

from dataclasses import replace
from time import perf_counter

import torch

from widthwise.data import Dataset
from widthwise.families import WidthFamily
from widthwise.recipe import Recipe
from widthwise.training import PackJob, PackTrainer, Replica

_BLOCKS = 3
_MAX_STEPS = 64  # in a block
_SECONDS = 0.02  # about how long a block takes, if its steps are short
_EXAMPLES = 256  # of the training set, if a batch has no more


def time_step(
    family: WidthFamily,
    dataset: Dataset,
    recipe: Recipe,
    widening_factor: float,
    batch_size: int,
    num_replicas: int,
    momentum: float,
    device: torch.device | None = None,
) -> float:
    """Seconds of one step of a pack, drawing its batches included; on one thread, as in a worker.

    The quickest of three blocks: whatever else the machine does only adds to it.
    """
    job = PackJob(
        widening_factor=widening_factor,
        batch_size=batch_size,
        steps=2 + _BLOCKS * _MAX_STEPS,
        # A rate of nearly 0: timing must not depend on whether the run would diverge.
        replicas=tuple(
            Replica(learning_rate=1e-12, momentum=momentum, seed=seed)
            for seed in range(num_replicas)
        ),
        evaluations=1,
        recipe=recipe,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = PackTrainer(family, _few_examples(dataset, batch_size), job, device)
        trainer.train(1)
        steps = max(1, min(_MAX_STEPS, int(_SECONDS / _seconds(trainer, 1))))
        return min(_seconds(trainer, steps) / steps for _ in range(_BLOCKS))
    finally:
        torch.set_num_threads(threads)


def _seconds(trainer: PackTrainer, steps: int) -> float:
    start = perf_counter()
    trainer.train(trainer.step + steps)
    return perf_counter() - start


def _few_examples(dataset: Dataset, batch_size: int) -> Dataset:
    """As much of a data set as is needed to train, and hardly anything to evaluate."""
    train = slice(max(batch_size, _EXAMPLES))
    return replace(
        dataset,
        train_inputs=dataset.train_inputs[train],
        train_labels=dataset.train_labels[train],
        test_inputs=dataset.test_inputs[:1],
        test_labels=dataset.test_labels[:1],
        validation_inputs=None,
        validation_labels=None,
    )
