"""What the rest of the package needs to know of a width family."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, SupportsIndex

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, said_by


class WidthFamily(Protocol):
    """Networks that differ only in width.

    Attributes:
        name: short label for tables.
        parameterization: a row of :data:`widthwise.theory.parameterization.PARAMETERIZATIONS`.
    """

    @property
    def name(self) -> str: ...

    @property
    def parameterization(self) -> str: ...

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² at this width."""
        ...

    def build(self, widening_factor: float, seed: int = 0) -> nn.Module:
        """A freshly initialized network; the same arguments give the same weights."""
        ...


@dataclass(frozen=True)
class Width:
    """A layer width that grows with the widening factor, in units of the base width."""

    base: int

    def at(self, widening_factor: float) -> int:
        """base × widening_factor, which must be a whole number.

        >>> Width(8).at(2.5)
        20
        """
        if not widening_factor > 0:
            raise InputError(f"widening_factor must be positive, got {widening_factor}")
        width = self.base * widening_factor
        if not 1 <= width < math.inf or abs(width - round(width)) > 1e-9 * width:
            raise InputError(
                f"base_width × widening_factor must be a whole number of units, got {self.base} × "
                f"{widening_factor:g} = {width:g}; change one of them"
            )
        return round(width)


def require_at_least_one(**counts: int) -> None:
    """Make sure that sizes and numbers of layers are at least 1.

    Raises:
        InputError: naming the first that is not.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")


def require_seed(seed: int) -> int:
    """Make sure that a seed is one that PyTorch's generators take.

    Returns:
        It, in [0, 2^64): a negative one stands for seed + 2^64, as for ``torch.manual_seed``.

    Raises:
        InputError: if it is no whole number in [-2^63, 2^64).

    >>> require_seed(3), require_seed(-1) == 2**64 - 1
    (3, True)
    """
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex):
        raise InputError(f"seed must be a whole number, got {seed!r}", fields=("seed",))
    number = operator.index(seed)
    if not -(2**63) <= number < 2**64:
        raise InputError(
            f"seed must be below 2^64 and at least -2^63, got {seed}", fields=("seed",)
        )
    return number % 2**64


def image_size(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of an image; one of shape (height, width) has one channel.

    Raises:
        InputError: if the shape is not that of an image.

    >>> image_size((28, 28))
    (1, 28, 28)
    """
    sizes = tuple(input_shape)
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise InputError(
            "input_shape of a convolutional family must be (height, width) or (channels, height, "
            f"width), all at least 1, got {sizes}; use an mlp for data of another form"
        )
    channels, height, width = sizes if len(sizes) == 3 else (1, *sizes)
    return channels, height, width


def check_logits(
    family: WidthFamily,
    module: nn.Module,
    inputs: Tensor,
    num_classes: int,
    *,
    data: str | None = None,
) -> None:
    """Make sure that a family's network fits the data: inputs (n, *shape) → (n, num_classes).

    Args:
        data: name of the data set, for the message.

    Raises:
        InputError: with what it did instead.
    """
    of = "" if data is None else f" of the data set {data!r}"
    try:
        with torch.no_grad():
            output = module(inputs)
    except Exception as error:
        raise InputError(
            f"the family {family.name!r} must accept inputs{of} of shape "
            f"{tuple(inputs.shape)}, but its forward raised {said_by(error)}"
        ) from error
    expected = (len(inputs), num_classes)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"the family {family.name!r} must map inputs{of} of shape "
            f"{tuple(inputs.shape)} to logits of shape {expected} (batch, classes), got {got}"
        )
