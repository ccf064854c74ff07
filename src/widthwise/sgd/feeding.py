"""Feeds a pack in training: gathers every replica's batch, and transforms its images."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.sgd.augmentation import (
    AugmentedImages,
    Transforms,
    draw_transforms,
    stack_transforms,
)
from widthwise.sgd.batches import Sampling, batch_indices
from widthwise.sgd.recipe import Recipe


class BatchFeed:
    """Batches for replicas of given seeds: every replica has its own, whatever the others are.

    Args:
        inputs, labels: the training set, (N, *shape) and (N,).
        batch_size: B.
        sampling: "epochs" or "replacement".
        recipe: its augmentation.

    Raises:
        InputError: if the examples are no images and the recipe augments images.
    """

    def __init__(
        self, inputs: Tensor, labels: Tensor, *, batch_size: int, sampling: Sampling, recipe: Recipe
    ) -> None:
        self._inputs, self._labels = inputs, labels
        self._batch_size, self._sampling, self._recipe = batch_size, sampling, recipe
        self._images = None if recipe.augmentation == "none" else AugmentedImages(inputs, recipe)

    def steps(
        self, seeds: Sequence[int], first_step: int, num_steps: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs (R, B, *shape) and targets (R, B) of consecutive steps, for R seeds.

        The inputs of a step may be overwritten by those of the next.
        """
        distinct, column = _distinct(seeds)
        drawn = [self._draw(seed, first_step, num_steps) for seed in distinct]
        rows = np.concatenate([drawn[c] for c in column], axis=1)
        indices = torch.from_numpy(rows).to(self._inputs.device)
        targets = self._labels[indices].view(num_steps, len(seeds), self._batch_size)
        shape = (len(seeds), self._batch_size, *self._inputs.shape[1:])
        if self._images is None:
            flat = self._inputs.new_empty((rows.shape[1], *shape[2:]))
            for k in range(num_steps):
                torch.index_select(self._inputs, 0, indices[k], out=flat)
                yield flat.view(shape), targets[k]
            return
        transforms = [self._transforms(seed, first_step, num_steps) for seed in distinct]
        stacked = stack_transforms([transforms[c] for c in column])
        for k in range(num_steps):
            yield self._images.take(indices[k], stacked[k]).view(shape), targets[k]

    def indices(self, seeds: Sequence[int], first_step: int, num_steps: int) -> Tensor:
        """Which examples consecutive steps see, (R, num_steps, B), for R seeds."""
        distinct, column = _distinct(seeds)
        drawn = [self._draw(seed, first_step, num_steps) for seed in distinct]
        return torch.from_numpy(np.stack([drawn[c] for c in column]))

    def _draw(self, seed: int, first_step: int, num_steps: int) -> NDArray[np.int64]:
        return batch_indices(
            seed,
            first_step,
            num_steps,
            batch_size=self._batch_size,
            num_train=len(self._labels),
            sampling=self._sampling,
        )

    def _transforms(self, seed: int, first_step: int, num_steps: int) -> Transforms:
        return draw_transforms(seed, first_step, num_steps, self._batch_size, self._recipe)


def _distinct(seeds: Sequence[int]) -> tuple[list[int], list[int]]:
    """Seeds without repetition, and which of them each one is: runs of one seed see the same
    batches."""
    distinct = list(dict.fromkeys(seeds))
    return distinct, [distinct.index(seed) for seed in seeds]
