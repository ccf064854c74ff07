"""Random crops and horizontal flips of training images: a pure function of a seed and the step.

Nothing is carried from step to step, so a run can be resumed anywhere, and other runs cannot
disturb it. Images are padded with zeros *after* preprocessing: where the mean was removed, the
border is the mean, not black.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

_STREAM = 0x6175_676D  # keeps these draws apart from anything else seeded by the same number
# A generator costs some 20 µs to set up, so one serves a block of steps.
_STEPS_PER_BLOCK = 64


@dataclass(frozen=True)
class Transforms:
    """What happens to the images of some batches.

    Attributes:
        offsets: (..., 2), row and column of the crop's upper left corner in the padded image, each
            in [0, 2 · crop_padding]; crop_padding is the image in its place. 0 without crops.
        flips: (...), whether the crop is mirrored left to right afterwards.
    """

    offsets: NDArray[np.int64]
    flips: NDArray[np.bool_]

    def __getitem__(self, step: int) -> "Transforms":
        """Those of one step."""
        return Transforms(self.offsets[step], self.flips[step])


def draw_transforms(
    seed: int, first_step: int, num_steps: int, batch_size: int, recipe: Recipe
) -> Transforms:
    """Transforms of consecutive steps of one run, shapes (num_steps, batch_size, ...).

    Offsets are uniform over all (2 · crop_padding + 1)² places, flips have probability ½; all are
    independent.

    >>> drawn = draw_transforms(0, 0, 100, 4, Recipe(augmentation="crop-flip", crop_padding=2))
    >>> drawn.offsets.shape, drawn.flips.shape
    ((100, 4, 2), (100, 4))
    >>> again = draw_transforms(0, 99, 1, 4, Recipe(augmentation="crop-flip", crop_padding=2))
    >>> bool((again.offsets == drawn.offsets[99:]).all())
    True
    """
    first_block, skipped = divmod(first_step, _STEPS_PER_BLOCK)
    last_block = (first_step + num_steps - 1) // _STEPS_PER_BLOCK
    blocks = [
        _block(seed, block, batch_size, recipe) for block in range(first_block, last_block + 1)
    ]
    wanted = slice(skipped, skipped + num_steps)
    return Transforms(
        np.concatenate([b.offsets for b in blocks])[wanted],
        np.concatenate([b.flips for b in blocks])[wanted],
    )


def _block(seed: int, block: int, batch_size: int, recipe: Recipe) -> Transforms:
    generator = np.random.default_rng([_STREAM, seed, block])
    shape = (_STEPS_PER_BLOCK, batch_size)
    offsets = np.zeros((*shape, 2), dtype=np.int64)
    flips = np.zeros(shape, dtype=np.bool_)
    if recipe.crops:
        offsets = generator.integers(2 * recipe.crop_padding + 1, size=(*shape, 2))
    if recipe.flips:
        flips = generator.integers(2, size=shape, dtype=np.bool_)
    return Transforms(offsets, flips)


def stack_transforms(runs: list[Transforms]) -> Transforms:
    """(S, B, ...) of each of R runs → (S, R·B, ...), run after run within a step."""
    return Transforms(
        np.concatenate([run.offsets for run in runs], axis=1),
        np.concatenate([run.flips for run in runs], axis=1),
    )


class AugmentedImages:
    """Images from which transformed batches are taken; gathering and cropping are one operation.

    Keeps one copy of all images with their border, (N, C, H + 2p, W + 2p).

    Args:
        images: (N, H, W) or (N, C, H, W).
        recipe: its augmentation and crop_padding.

    Raises:
        InputError: if examples have another shape.

    >>> images = AugmentedImages(torch.tensor([[[1.0, 2.0]]]), Recipe(augmentation="flip"))
    >>> transforms = Transforms(np.zeros((2, 2), dtype=int), np.array([False, True]))
    >>> images.take(torch.tensor([0, 0]), transforms)
    tensor([[[1., 2.]],
            [[2., 1.]]])
    """

    def __init__(self, images: Tensor, recipe: Recipe) -> None:
        if images.ndim not in (3, 4):
            raise InputError(
                f"augmentation {recipe.augmentation!r} needs images of shape (height, width) or "
                f"(channels, height, width), got examples of shape {tuple(images.shape[1:])}; "
                'use augmentation "none"'
            )
        height, width = images.shape[-2:]
        channels_first = images if images.ndim == 4 else images.unsqueeze(1)
        if recipe.crops:
            channels_first = functional.pad(channels_first, (recipe.crop_padding,) * 4)
        # (N, C, rows, columns, H, W) → (N, rows, columns, C, H, W): every crop there is, as a view.
        crops = channels_first.unfold(2, height, 1).unfold(3, width, 1)
        self._crops = crops.permute(0, 2, 3, 1, 4, 5)
        self._shape = tuple(images.shape[1:])

    def take(self, rows: Tensor, transforms: Transforms) -> Tensor:
        """Some examples, transformed.

        Args:
            rows: (n,) indices of examples.
            transforms: offsets (n, 2) and flips (n,).

        Returns:
            (n, *example_shape), contiguous.
        """
        down, right = torch.from_numpy(transforms.offsets).unbind(1)
        taken = self._crops[rows, down, right]
        flipped = torch.from_numpy(np.flatnonzero(transforms.flips))
        if len(flipped) > 0:
            taken[flipped] = taken[flipped].flip(-1)
        return taken.view(-1, *self._shape)
