"""MNIST-1D: ten one-dimensional templates, deformed at random.

Source: Greydanus & Kobak, "Scaling down deep learning with MNIST-1D", arXiv:2011.14439; their
package `mnist1d` (Apache-2.0), whose values this module reproduces for the same seed and size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import RawData
from widthwise.errors import InputError

NUM_TRAIN = 4000
NUM_TEST = 1000
SEED = 42
NUM_CLASSES = 10
_MOST = 10**7
LENGTH = 40

Floats = NDArray[np.float64]

# One row a digit, 0 to 9.
_TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
_TEMPLATE_LENGTH = _TEMPLATES.shape[1]
_PADDING = (36, 60)  # zeros appended, from and to, both included
_STRETCHED = _TEMPLATE_LENGTH + _PADDING[1]
_MAX_TRANSLATION = 48
_AMPLITUDE_SPREAD = 0.4
_SHEAR = 0.75
_CORRELATED_NOISE = 0.25
_INDEPENDENT_NOISE = 0.02
_NOISE_WIDTH = 2  # standard deviation of the Gaussian filter, in grid points
_NOT_ZERO = 1e-8  # tells the template's own zeros from the padding


@dataclass(frozen=True, eq=False)
class _Draws:
    """Random numbers of one example or, stacked, of all of them."""

    padding: NDArray[np.int64]
    amplitude: Floats
    translation: NDArray[np.int64]
    correlated_noise: Floats
    independent_noise: Floats
    shear: Floats


def generate_mnist1d(*, num_train: int, num_test: int, seed: int) -> RawData:
    """Generate the data set as published.

    As in the published recipe, all examples are shuffled and standardized together, so a training
    set of another size or beside a test set of another size is a different one. If
    num_train + num_test is not a multiple of 10, a few more examples are generated and dropped.

    Args:
        num_train: training examples; published: NUM_TRAIN.
        num_test: test examples; published: NUM_TEST.
        seed: of NumPy's legacy generator, below 2**32; published: SEED.

    Returns:
        Inputs of shape (num_examples, 40), float64.
    """
    if num_train < 1 or num_test < 1:
        raise InputError(
            f"num_train and num_test must be at least 1, got {num_train} and {num_test}; "
            f"the published sizes are {NUM_TRAIN} and {NUM_TEST}"
        )
    if num_train + num_test > _MOST:
        raise InputError(
            f"MNIST-1D must have at most {_MOST} examples, got {num_train} and {num_test}; each "
            "takes a kilobyte while it is made"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"the seed of MNIST-1D must lie in [0, 2**32), got {seed}; choose another")
    rng = np.random.RandomState(seed)
    num_per_class = -(-(num_train + num_test) // NUM_CLASSES)
    labels = np.repeat(np.arange(NUM_CLASSES), num_per_class)
    signals = _deform(_templates(), labels, _draw(rng, len(labels)))
    order = rng.permutation(len(labels))
    signals, labels = signals[order], labels[order]
    signals = (signals - signals.mean()) / signals.std()
    end = num_train + num_test
    return RawData(
        train_inputs=signals[:num_train],
        train_labels=labels[:num_train],
        test_inputs=signals[num_train:end],
        test_labels=labels[num_train:end],
        num_classes=NUM_CLASSES,
    )


def _templates() -> Floats:
    """Whitened templates that begin at 0; shape (10, 12)."""
    x = _TEMPLATES - _TEMPLATES.mean(axis=1, keepdims=True)
    whitened: Floats = x / x.std(axis=1, keepdims=True)
    return (whitened - whitened[:, :1]) / 6.0


def _draw(rng: np.random.RandomState, num_examples: int) -> _Draws:
    """Random numbers in the order in which the published code consumes them."""
    low, high = _PADDING
    padding = np.empty(num_examples, dtype=np.int64)
    amplitude = np.empty(num_examples)
    translation = np.empty(num_examples, dtype=np.int64)
    noise = np.empty((2, num_examples, _STRETCHED))
    shear = np.empty(num_examples)
    for i in range(num_examples):
        padding[i] = low + int(rng.rand() * (high - low + 1))
        amplitude[i] = 1 + _AMPLITUDE_SPREAD * (rng.rand() - 0.5)
        translation[i] = rng.choice(_MAX_TRANSLATION)
        noise[0, i] = rng.randn(_STRETCHED)
        noise[1, i] = rng.randn(_STRETCHED)
        shear[i] = _SHEAR * (rng.rand() - 0.5)
    return _Draws(padding, amplitude, translation, noise[0], noise[1], shear)


def _deform(templates: Floats, labels: NDArray[np.int64], draws: _Draws) -> Floats:
    """Pad, stretch, scale, translate, add noise, shear and subsample; shape (len(labels), 40)."""
    from scipy.ndimage import gaussian_filter1d  # SciPy is slow to import

    signals = np.empty((len(labels), _STRETCHED))
    for i, label in enumerate(labels):
        padded = np.concatenate([templates[label] + _NOT_ZERO, np.zeros(draws.padding[i])])
        stretched = _resample(padded, _STRETCHED) * draws.amplitude[i]
        signals[i] = np.roll(stretched, draws.translation[i])
    correlated = gaussian_filter1d(_CORRELATED_NOISE * draws.correlated_noise, _NOISE_WIDTH)
    signals = np.where(signals != 0, signals, correlated)
    signals = signals + _INDEPENDENT_NOISE * draws.independent_noise
    signals = signals - draws.shear[:, None] * np.linspace(-0.5, 0.5, _STRETCHED)
    return np.stack([_resample(signal, LENGTH) for signal in signals])


def _resample(signal: Floats, length: int) -> Floats:
    grid = np.linspace(0, 1, len(signal))
    return np.interp(np.linspace(0, 1, length), grid, signal)
