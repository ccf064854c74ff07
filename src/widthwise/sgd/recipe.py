"""How runs are trained beyond ε, B and m: one frozen value that every part of training reads.

The defaults are the paper's setting: constant learning rate, plain or heavy-ball SGD, mean
cross-entropy, no augmentation, float32.
"""

import itertools
from dataclasses import dataclass
from typing import Literal, get_args

from widthwise.errors import InputError, perhaps

ScheduleKind = Literal["constant", "cosine", "step"]
LossKind = Literal["cross-entropy", "mean-squared-error"]
Augmentation = Literal["none", "flip", "crop", "crop-flip"]
Precision = Literal["float32", "tf32", "bf16"]

MAX_CROP_PADDING = 1024


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training options shared by all runs of a pack.

    Attributes:
        nesterov: Nesterov momentum as in ``torch.optim.SGD``; only matters where momentum > 0.
        weight_decay: λ ≥ 0 of an L2 penalty added to the gradient of every trained parameter
            (``torch.optim.SGD``; not decoupled).
        schedule: of the learning rate over the run, after warm-up: "constant"; "cosine" from ε
            to 0 at the end (Loshchilov & Hutter 2017, without restarts); "step" multiplies ε by
            ``decay_factor`` at each of ``decay_at``.
        warmup: part of the steps in [0, 1) over which the learning rate rises linearly to ε.
        decay_at: parts of the run in (0, 1), ascending, not within the warm-up; only for "step".
        decay_factor: positive; only for "step".
        loss: mean over the batch; "mean-squared-error" is against one-hot targets, mean over
            classes too (``torch.nn.functional.mse_loss``).
        label_smoothing: in [0, 1), for cross-entropy (Szegedy et al. 2016).
        augmentation: of training images (channels, height, width) or (height, width): random
            crop after zero padding by ``crop_padding`` pixels, random horizontal flip, or both.
        crop_padding: pixels, 1 to 1024.
        ghost_batch_size: batch-norm statistics are taken over consecutive parts of this many
            examples of a batch (Hoffer et al. 2017), so that they do not change with B; None
            takes them over the batch.
        precision: "tf32" and "bf16" compute products in fewer bits; weights stay in float32.
    """

    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: ScheduleKind = "constant"
    warmup: float = 0.0
    decay_at: tuple[float, ...] = ()
    decay_factor: float = 0.1
    loss: LossKind = "cross-entropy"
    label_smoothing: float = 0.0
    augmentation: Augmentation = "none"
    crop_padding: int = 4
    ghost_batch_size: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, kinds in (
            ("schedule", ScheduleKind),
            ("loss", LossKind),
            ("augmentation", Augmentation),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise InputError(
                    f"{name} must be one of {', '.join(get_args(kinds))}, "
                    f"got {getattr(self, name)!r}{perhaps(getattr(self, name), get_args(kinds))}"
                )
        if not 0.0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay must lie in [0, ∞), got {self.weight_decay}")
        if not 0.0 <= self.warmup < 1.0:
            raise InputError(f"warmup is a part of the run in [0, 1), got {self.warmup}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.label_smoothing > 0 and self.loss != "cross-entropy":
            raise InputError(
                f"label_smoothing goes with cross-entropy, got loss {self.loss!r}; "
                "leave one of them out"
            )
        if not 0.0 < self.decay_factor < float("inf"):
            raise InputError(f"decay_factor must lie in (0, ∞), got {self.decay_factor}")
        ascending = all(a < b for a, b in itertools.pairwise(self.decay_at))
        if not ascending or not all(0.0 < part < 1.0 for part in self.decay_at):
            raise InputError(
                f"decay_at holds ascending parts of the run in (0, 1), got {self.decay_at}"
            )
        if self.decay_at and self.decay_at[0] < self.warmup:
            raise InputError(
                f"decay_at must begin after the warm-up, got {self.decay_at[0]} with warmup "
                f"{self.warmup}; change one of them"
            )
        if bool(self.decay_at) != (self.schedule == "step"):
            raise InputError(
                f'schedule "step" and decay_at go together, got schedule {self.schedule!r} and '
                f"decay_at {self.decay_at}"
            )
        if self.crop_padding < 1:
            raise InputError(f"crop_padding must be at least 1, got {self.crop_padding}")
        if self.crop_padding > MAX_CROP_PADDING:
            raise InputError(
                f"crop_padding must be at most {MAX_CROP_PADDING}, got {self.crop_padding}"
            )
        if self.ghost_batch_size is not None and self.ghost_batch_size < 2:
            raise InputError(f"ghost_batch_size must be at least 2, got {self.ghost_batch_size}")

    @property
    def constant_rate(self) -> bool:
        """Whether every step has the same learning rate."""
        return self.schedule == "constant" and self.warmup == 0.0

    @property
    def crops(self) -> bool:
        return self.augmentation.startswith("crop")

    @property
    def flips(self) -> bool:
        return self.augmentation.endswith("flip")
