"""What is trained in a cell of the comparison, and what it costs at least."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from widthwise.data import Dataset, DataSpec, load
from widthwise.families import WidthFamily, cnn, mlp

NUM_CLASSES = 10
# Small, so that every run converges smoothly at every width and batch size here.
LEARNING_RATE = 0.01
_IMAGE_SHAPE = (3, 32, 32)
# Few, because each is evaluated when losses are compared, at up to 0.1 GFLOP a run.
_NUM_IMAGES = 128


def _digits() -> Dataset:
    """The bundled images; the test set is tiny, because nobody here is interested in it."""
    return load(DataSpec(num_train=1024, num_test=64))


def _colour_images() -> Dataset:
    """Images (3, 32, 32) of Gaussian noise round a mean image a class: no real ones are bundled,
    and the time of a step does not depend on what they show."""
    generator = np.random.default_rng(0)
    means = generator.standard_normal((NUM_CLASSES, *_IMAGE_SHAPE), dtype=np.float32)

    def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(number) % NUM_CLASSES
        noise = generator.standard_normal((number, *_IMAGE_SHAPE), dtype=np.float32)
        return 0.5 * (means[labels] + noise), labels

    # Ten of them for testing, one a class.
    return Dataset.from_arrays(
        *draw(_NUM_IMAGES), *draw(NUM_CLASSES), name="noisy images", num_classes=NUM_CLASSES
    )


@dataclass(frozen=True)
class Network:
    """A kind of network with the data it is trained on.

    Attributes:
        label: of the networks, for titles.
        width_label: what its width counts.
        family: width → family, whose networks at widening factor 1 are of this width.
        dataset: loads or draws the data.
    """

    label: str
    width_label: str
    family: Callable[[int], WidthFamily]
    dataset: Callable[[], Dataset]


NETWORKS: dict[str, Network] = {
    "mlp": Network(
        label="MLP 784-width-width-10",
        width_label="width",
        family=lambda width: mlp((1, 28, 28), NUM_CLASSES, base_width=width, depth=2),
        dataset=_digits,
    ),
    "cnn": Network(
        label="CNN of three stages, 32×32×3",
        width_label="channels",
        family=lambda width: cnn(_IMAGE_SHAPE, NUM_CLASSES, base_width=width),
        dataset=_colour_images,
    ),
}


@dataclass(frozen=True)
class Layer:
    """A dense layer, or a convolution seen as one that is applied at many positions.

    Attributes:
        fan_in: inputs of one output (k²·C_in of a convolution).
        fan_out: outputs at one position.
        positions: where it is applied (H·W of a convolution's output, 1 of a dense layer).
    """

    fan_in: int
    fan_out: int
    positions: int

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of its product for one example."""
        return 2 * self.positions * self.fan_in * self.fan_out


@dataclass(frozen=True)
class Cell:
    """Replicas of one network, trained by plain SGD.

    Attributes:
        network: a key of :data:`NETWORKS`.
        width: hidden units of the MLP, channels of the CNN's first stage.
        batch_size: B.
        num_replicas: runs, shared out over the processes.
        pack_size: most runs in a pack of Widthwise's.
    """

    network: str
    width: int
    batch_size: int
    num_replicas: int = 32  # sixteen a process on two cores
    pack_size: int = 16

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers with weights, in the order in which they are applied.

        >>> Cell("mlp", 64, 16).layers[0]
        Layer(fan_in=784, fan_out=64, positions=1)
        >>> Cell("cnn", 8, 32).layers[1]
        Layer(fan_in=72, fan_out=16, positions=256)
        """
        return _layers(self.network, self.width)

    @property
    def num_inputs(self) -> int:
        """Floats of one example."""
        return math.prod(self.dataset().input_shape)

    @property
    def flops(self) -> int:
        """Floating-point operations of the products of one step of one run.

        2·B·positions·fan_in·fan_out forward (2·9·B·H·W·C_in·C_out of a 3×3 convolution), as many
        for the weight gradient and, but for the first layer, for the input gradient. The zeros
        that pad an image count. Biases, normalization, activations, pooling and the loss are left
        out.

        >>> dense = Cell("mlp", 64, 16)
        >>> dense.flops == 2 * 16 * (2 * 784 * 64 + 3 * (64 * 64 + 64 * 10))
        True
        """
        first, *others = self.layers
        passes = 2 * first.forward_flops + 3 * sum(layer.forward_flops for layer in others)
        return self.batch_size * passes

    @property
    def bytes_moved(self) -> int:
        """Least bytes of weights and inputs that one step of one run reads and writes, in float32.

        Weights: read forward, read backward (but in the first layer), read and written by the
        update. Inputs: gathered from the data (read, written), read forward and by the update.
        The weight gradient is not among them: it need not exist in memory. Nor are activations,
        which a cache can hold.
        """
        weights = [layer.fan_in * layer.fan_out for layer in self.layers]
        return 4 * (4 * sum(weights) - weights[0] + 4 * self.batch_size * self.num_inputs)

    def family(self) -> WidthFamily:
        """Gives every replica its initial weights, by seed."""
        return NETWORKS[self.network].family(self.width)

    def dataset(self) -> Dataset:
        """What the replicas are trained on."""
        return _dataset(self.network)


@cache
def _dataset(network: str) -> Dataset:
    return NETWORKS[network].dataset()


@cache
@torch.no_grad()
def _layers(network: str, width: int) -> tuple[Layer, ...]:
    """Read off the network itself, which one example is sent through."""
    layers: list[Layer] = []

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        weight = module.get_parameter("weight")
        positions = output[0].numel() // len(weight)
        layers.append(Layer(weight[0].numel(), len(weight), positions))

    module = NETWORKS[network].family(width).build(1.0, 0).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(note)
    module(torch.from_numpy(_dataset(network).test_inputs[:1]))
    return tuple(layers)


MLP_CELLS = (
    Cell("mlp", 64, 16),
    Cell("mlp", 256, 16),
    Cell("mlp", 256, 128),
    Cell("mlp", 1024, 16),
    Cell("mlp", 1024, 128),
)
# Where studies live.
SMALL_MLP_CELLS = tuple(
    Cell("mlp", width, batch_size) for width in (16, 32, 64, 128) for batch_size in (1, 4, 16)
)
# Fewer replicas of wide ones, whose steps take long; the pack does not gain from more.
CNN_CELLS = (
    Cell("cnn", 8, 32, num_replicas=32),
    Cell("cnn", 16, 32, num_replicas=32),
    Cell("cnn", 32, 32, num_replicas=16),
    Cell("cnn", 64, 32, num_replicas=8),
)
# On a card; each with several numbers of replicas.
CARD_CELLS = (
    *(Cell("mlp", width, batch_size) for width in (64, 256, 1024) for batch_size in (16, 128)),
    *(Cell("cnn", width, 32) for width in (8, 16, 32, 64)),
)
CARD_REPLICAS = (16, 64, 256, 512)
