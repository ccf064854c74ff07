"""What is trained in a cell of the comparison, and what it costs at least."""

from dataclasses import dataclass

from widthwise.data import Dataset, DataSpec, load
from widthwise.families import WidthFamily
from widthwise.families.mlp import mlp

NUM_INPUTS, NUM_CLASSES = 784, 10
NUM_TRAIN = 1024
# Small, so that every run converges smoothly at every width and batch size here.
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Cell:
    """Replicas of the MLP 784-width-width-10, trained by plain SGD."""

    width: int
    batch_size: int
    num_replicas: int = 32  # sixteen a process on two cores: a study's pack

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of each dense layer."""
        return (NUM_INPUTS, self.width), (self.width, self.width), (self.width, NUM_CLASSES)

    @property
    def flops(self) -> int:
        """Floating-point operations of the products of one step of one run.

        2·B·n_in·n_out forward, as many for the weight gradient and, but for the first layer, for
        the input gradient. Biases, activations and the loss are left out: less than 1 % of it.

        >>> Cell(width=64, batch_size=16).flops == 2 * 16 * (2 * 784 * 64 + 3 * (64 * 64 + 64 * 10))
        True
        """
        return sum(
            2 * self.batch_size * fan_in * fan_out * (2 if first else 3)
            for (fan_in, fan_out), first in zip(self.layers, (True, False, False), strict=True)
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of the float32 weights of one run."""
        return sum(4 * fan_in * fan_out for fan_in, fan_out in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Least bytes of weights and inputs that one step of one run reads and writes.

        Weights: read forward, read backward (but in the first layer), read and written by the
        update. Inputs: gathered from the data (read, written), read forward and by the update.
        The weight gradient is not among them: it need not exist in memory.
        """
        weights = 4 * self.weight_bytes - 4 * NUM_INPUTS * self.width
        return weights + 4 * 4 * self.batch_size * NUM_INPUTS

    def family(self) -> WidthFamily:
        """Gives every replica its initial weights, by seed."""
        return mlp(input_shape=(28, 28), num_classes=NUM_CLASSES, base_width=self.width, depth=2)


CELLS = (Cell(64, 16), Cell(256, 16), Cell(256, 128), Cell(1024, 16), Cell(1024, 128))


def dataset() -> Dataset:
    """The bundled images; the test set is tiny, because nobody here is interested in it."""
    return load(DataSpec(num_train=NUM_TRAIN, num_test=64))
