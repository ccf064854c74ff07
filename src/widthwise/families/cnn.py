"""Plain convolutional networks of growing width."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from widthwise.errors import InputError
from widthwise.families.base import Width, image_size, require_at_least_one
from widthwise.families.layers import (
    activation,
    as_image,
    conv,
    linear,
    norm,
    pool,
    require_drawn,
    weight_generator,
)
from widthwise.theory.parameterization import READOUT_GAIN, init_variance

_POOL_SIZE = 2


@dataclass(frozen=True, kw_only=True)
class CNNFamily:
    """image → [3×3 convolution → (batch norm) → activation → 2×2 pooling] × depth → classes.

    Stage s = 0, 1, … has base_width·w·2^s channels; the readout is one dense layer on the flattened
    last stage. Every fan-in but the first is proportional to w.

    Park et al. (2019), arXiv:1905.03776, widen ConvNets by their number of channels; that, the
    initialization and the two parameterizations are the paper's. The number of stages, the kernel
    size, channels that double and the pooling are our choice: a small network of the common form,
    not a copy of theirs.

    Convolutions followed by batch norm have no bias, whatever ``bias`` says: batch norm
    subtracts it again and has a shift of its own.

    Pooling makes the second moment of activations differ from that of a network without it ("max"
    raises it, "average" lowers it), by factors that do not depend on w as w grows.

    Attributes:
        input_shape: (height, width) or (channels, height, width); each side at least 2^depth.
        num_classes: width of the readout, which does not widen.
        base_width: channels of the first stage at widening factor 1.
        depth: number of stages, at least 1.
        parameterization: "standard" or "ntk".
        normalization: a key of :data:`widthwise.families.layers.NORMALIZATIONS`.
        bias: whether layers have biases (they start at 0).
        activation: a key of :data:`widthwise.families.layers.ACTIVATIONS`.
        pooling: a key of :data:`widthwise.families.layers.POOLINGS`.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    base_width: int = 8
    depth: int = 3
    parameterization: str = "standard"
    normalization: str = "none"
    bias: bool = True
    activation: str = "relu"
    pooling: str = "max"

    def __post_init__(self) -> None:
        require_drawn(self.parameterization)
        activation(self.activation)
        pool(self.pooling, _POOL_SIZE)
        norm(self.normalization, 1)
        require_at_least_one(
            base_width=self.base_width, depth=self.depth, num_classes=self.num_classes
        )
        _, height, width = image_size(self.input_shape)
        if min(height, width) < _POOL_SIZE**self.depth:
            raise InputError(
                f"a cnn of depth {self.depth} pools {self.depth} times, which needs sides of at "
                f"least {_POOL_SIZE**self.depth} pixels, got input_shape {self.input_shape}; "
                "use a smaller depth"
            )

    @property
    def name(self) -> str:
        normalized = "" if self.normalization == "none" else f"-{self.normalization}norm"
        return f"cnn-{self.depth}x{self.base_width}w-{self.activation}{normalized}"

    def init_variance(self, widening_factor: float) -> float:
        """Family-level σ_init² with the gain of the convolutions."""
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
        channels, height, width = image_size(self.input_shape)
        layers = [*as_image(self.input_shape)]
        for stage in range(self.depth):
            fan_in_channels, channels = channels, first * 2**stage
            nonlinearity, gain = activation(self.activation)
            normalizing = norm(self.normalization, channels)
            convolution = conv(
                self.parameterization,
                fan_in_channels,
                channels,
                gain=gain,
                bias=self.bias and not normalizing,
                generator=generator,
            )
            layers += [convolution, *normalizing, nonlinearity, pool(self.pooling, _POOL_SIZE)]
        positions = (height // _POOL_SIZE**self.depth) * (width // _POOL_SIZE**self.depth)
        readout = linear(
            self.parameterization,
            channels * positions,
            self.num_classes,
            gain=READOUT_GAIN,
            bias=self.bias,
            generator=generator,
        )
        return nn.Sequential(*layers, nn.Flatten(), readout)


def cnn(
    input_shape: Sequence[int],
    num_classes: int,
    base_width: int = 8,
    depth: int = 3,
    parameterization: str = "standard",
    normalization: str = "none",
    bias: bool = True,
    activation: str = "relu",
    pooling: str = "max",
) -> CNNFamily:
    """A family of plain ConvNets; the arguments are :class:`CNNFamily`'s.

    >>> family = cnn(input_shape=(3, 32, 32), num_classes=10, base_width=8, depth=2)
    >>> family.build(widening_factor=4, seed=0)
    Sequential(
      (0): Conv2d(3, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (1): ReLU()
      (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
      (3): Conv2d(32, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (4): ReLU()
      (5): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
      (6): Flatten(start_dim=1, end_dim=-1)
      (7): Linear(in_features=4096, out_features=10, bias=True)
    )
    """
    return CNNFamily(
        input_shape=tuple(input_shape),
        num_classes=num_classes,
        base_width=base_width,
        depth=depth,
        parameterization=parameterization,
        normalization=normalization,
        bias=bias,
        activation=activation,
        pooling=pooling,
    )
