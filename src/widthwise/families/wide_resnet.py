"""Wide residual networks, with and without batch norm."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from widthwise.errors import InputError
from widthwise.families.base import Width, image_size, require_at_least_one
from widthwise.families.layers import (
    activation,
    as_image,
    conv,
    linear,
    norm,
    require_drawn,
    weight_generator,
)
from widthwise.theory.parameterization import READOUT_GAIN, init_variance

# Stride of the first block of each group; group g has 2^g times the channels of the first.
_GROUP_STRIDES = (1, 2, 2)
# Two positions a side are left for the last group: with one, batch norm would have a single value
# a channel to normalize when the batch size is 1.
_MIN_SIDE = 5


class PreActivationBlock(nn.Module):
    """x ↦ residual + branch(a) with a = preactivation(x): He et al. (2016), arXiv:1603.05027.

    The residual is x itself, or shortcut(a) where the shape changes.
    """

    def __init__(
        self, preactivation: nn.Sequential, branch: nn.Sequential, shortcut: nn.Conv2d | None
    ) -> None:
        super().__init__()
        self.preactivation = preactivation
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        activated = self.preactivation(x)
        residual = x if self.shortcut is None else self.shortcut(activated)
        output: Tensor = residual + self.branch(activated)
        return output


@dataclass(frozen=True, kw_only=True)
class WideResNetFamily:
    """Pre-activation WRN-n-w: stem → 3 groups of (n − 4)/6 basic blocks → average → classes.

    Source: Zagoruyko & Komodakis (2016), arXiv:1605.07146, table 1. The stem is a 3×3 convolution;
    the groups have 1, 2 and 4 times base_width·w channels and, from the second on, begin with
    stride 2; a block is [(batch norm) → activation → 3×3 convolution] × 2, and its shortcut is a
    1×1 convolution where the shape changes. Weights are drawn by fan-in (the published code: by
    fan-out). Convolutions have no bias with batch norm (as published; it would be redundant).

    **The stem widens** with everything else (``widen_stem=True``). In the published network it has
    base_width channels at every w: then the first group has a shortcut convolution at w > 1 that
    it lacks at w = 1, so that networks of different w differ in more than width; and that
    shortcut and the first group's first convolution have a fan-in that does not grow, hence a
    σ_init² that stays where all others fall as 1/w (standard). ``widen_stem=False`` builds that.
    Either way the stem's own fan-in, and so its σ_init², is that of the image.

    **Without batch norm** the last convolution of every residual branch starts at 0, biases too:
    each block starts as its shortcut, so that signals neither grow nor vanish with depth and the
    network trains. It is the first rule of Fixup (Zhang, Dauphin & Ma 2019, arXiv:1901.09321; for
    the readout, which Fixup zeroes too, we keep the usual draw), and at the start the same
    function as SkipInit (De & Smith 2020, arXiv:2002.10444), whose scalar is here folded into the
    weights. Fixup's other rules (smaller first convolutions in a branch, scalar biases and
    multipliers) are left out. Those last convolutions have σ_init = 0 in every parameterization and
    at every width: a layer-level normalized noise scale does not exist for them, and the
    family-level σ_init² is that of all other layers.

    Attributes:
        input_shape: (height, width) or (channels, height, width); each side at least 5.
        num_classes: width of the readout, which does not widen.
        base_width: channels of the first group at widening factor 1 (16 as published).
        depth: n = 6k + 4 with k ≥ 1 blocks a group: 10, 16, 22, 28, …
        parameterization: "standard" or "ntk".
        normalization: a key of :data:`widthwise.families.layers.NORMALIZATIONS`.
        bias: whether the readout, and convolutions without batch norm, have biases (they start
            at 0).
        activation: a key of :data:`widthwise.families.layers.ACTIVATIONS`.
        widen_stem: whether the stem widens.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    base_width: int = 16
    depth: int = 10
    parameterization: str = "standard"
    normalization: str = "none"
    bias: bool = True
    activation: str = "relu"
    widen_stem: bool = True

    def __post_init__(self) -> None:
        require_drawn(self.parameterization)
        activation(self.activation)
        norm(self.normalization, 1)
        require_at_least_one(base_width=self.base_width, num_classes=self.num_classes)
        if self.depth < 10 or self.depth % 6 != 4:
            raise InputError(
                "depth of a wide_resnet must be 6k + 4 with k ≥ 1 (10, 16, 22, 28, …), "
                f"got {self.depth}"
            )
        _, height, width = image_size(self.input_shape)
        if min(height, width) < _MIN_SIDE:
            raise InputError(
                f"a wide_resnet halves images twice, which needs sides of at least {_MIN_SIDE} "
                f"pixels, got input_shape {self.input_shape}; use a cnn of smaller depth"
            )

    @property
    def name(self) -> str:
        normalized = "" if self.normalization == "none" else f"-{self.normalization}norm"
        return f"wrn-{self.depth}x{self.base_width}w-{self.activation}{normalized}"

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² with the gain of the convolutions (of those that do not start
        at 0)."""
        _, gain = activation(self.activation)
        return float(init_variance(self.parameterization, widening_factor, gain))

    def build(self, widening_factor: float, seed: int = 0) -> nn.Sequential:
        """The network at this width, as an ordinary module: (batch, *input_shape) → logits of
        shape (batch, num_classes).

        Raises:
            InputError: if base_width × widening_factor is not a whole number.
        """
        first = Width(self.base_width).at(widening_factor)
        generator = weight_generator(seed)
        image_channels, _, _ = image_size(self.input_shape)
        channels = first if self.widen_stem else self.base_width
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for layer in as_image(self.input_shape):
            layers["image"] = layer
        layers["stem"] = self._conv(image_channels, channels, generator)
        for group, first_stride in enumerate(_GROUP_STRIDES):
            blocks = []
            for stride in [first_stride] + [1] * ((self.depth - 4) // 6 - 1):
                blocks.append(self._block(channels, first * 2**group, stride, generator))
                channels = first * 2**group
            layers[f"group{group + 1}"] = nn.Sequential(*blocks)
        readout = linear(
            self.parameterization,
            channels,
            self.num_classes,
            gain=READOUT_GAIN,
            bias=self.bias,
            generator=generator,
        )
        layers["preactivation"] = self._preactivation(channels)
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["readout"] = readout
        return nn.Sequential(layers)

    def _preactivation(self, channels: int) -> nn.Sequential:
        nonlinearity, _ = activation(self.activation)
        return nn.Sequential(*norm(self.normalization, channels), nonlinearity)

    def _conv(
        self,
        in_channels: int,
        out_channels: int,
        generator: np.random.Generator,
        kernel_size: int = 3,
        stride: int = 1,
    ) -> nn.Conv2d:
        _, gain = activation(self.activation)
        return conv(
            self.parameterization,
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            gain=gain,
            bias=self.bias and not norm(self.normalization, out_channels),
            generator=generator,
        )

    def _block(
        self, in_channels: int, out_channels: int, stride: int, generator: np.random.Generator
    ) -> PreActivationBlock:
        same_shape = in_channels == out_channels and stride == 1
        shortcut = (
            None
            if same_shape
            else self._conv(in_channels, out_channels, generator, kernel_size=1, stride=stride)
        )
        first = self._conv(in_channels, out_channels, generator, stride=stride)
        between = self._preactivation(out_channels)
        last = self._conv(out_channels, out_channels, generator)
        if not norm(self.normalization, out_channels):
            nn.init.zeros_(last.weight)
        return PreActivationBlock(
            preactivation=self._preactivation(in_channels),
            branch=nn.Sequential(first, *between, last),
            shortcut=shortcut,
        )


def wide_resnet(
    input_shape: Sequence[int],
    num_classes: int,
    base_width: int = 16,
    depth: int = 10,
    parameterization: str = "standard",
    normalization: str = "none",
    bias: bool = True,
    activation: str = "relu",
    widen_stem: bool = True,
) -> WideResNetFamily:
    """A family of wide residual networks; the arguments are :class:`WideResNetFamily`'s.

    >>> family = wide_resnet(input_shape=(28, 28), num_classes=10, normalization="batch")
    >>> network = family.build(widening_factor=2, seed=0)
    >>> network.stem
    Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    >>> import torch
    >>> network(torch.zeros(5, 28, 28)).shape
    torch.Size([5, 10])
    """
    return WideResNetFamily(
        input_shape=tuple(input_shape),
        num_classes=num_classes,
        base_width=base_width,
        depth=depth,
        parameterization=parameterization,
        normalization=normalization,
        bias=bias,
        activation=activation,
        widen_stem=widen_stem,
    )
