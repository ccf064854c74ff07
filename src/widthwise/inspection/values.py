"""Numbers out of tensors: statistics of all values, and a sample of them for the tests."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from widthwise.inspection.fit import Sample, Values

# Values taken for the tests, evenly spaced; σ is then known to 0.14 %.
SAMPLE_SIZE = 2**18
# In half precision PyTorch draws uniform values on a grid of 2⁻⁸ (bfloat16) or 2⁻¹¹ (float16);
# fewer values than would notice it.
COARSE_SAMPLE_SIZE = 1_000
_COARSE = 1e-4  # between the roundings of float16 and float32
_UNUSABLE = 0.01
_CHUNK = 2**22


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean, standard deviation (about the mean, divisor n) and kurtosis (3 for a normal one)."""

    mean: float
    std: float
    kurtosis: float
    smallest: float
    largest: float

    @property
    def constant(self) -> bool:
        return self.smallest == self.largest

    @property
    def finite(self) -> bool:
        return math.isfinite(self.mean) and math.isfinite(self.std)


def why_not_measurable(tensor: Tensor) -> str | None:
    """Why no scheme can be sought in this tensor's values; None if it can."""
    if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
        return f"values of type {_type_name(tensor)} are not drawn but rounded or counted"
    if tensor.is_complex():
        return "complex values: no scheme of the table draws them"
    if tensor.layout is not torch.strided:
        return f"layout {str(tensor.layout).removeprefix('torch.')}: only dense values are measured"
    if torch.finfo(tensor.dtype).eps > _UNUSABLE:
        return f"{_type_name(tensor)} is too coarse to tell distributions apart"
    if tensor.numel() == 0:
        return "no values"
    return None


def statistics(tensor: Tensor) -> Statistics:
    """Of all values, in float64."""
    chunks = torch.split(tensor.detach().reshape(-1), _CHUNK)
    n = tensor.numel()
    total, smallest, largest = 0.0, math.inf, -math.inf
    for chunk in map(_plain, chunks):
        total += float(chunk.sum())
        smallest, largest = min(smallest, float(chunk.min())), max(largest, float(chunk.max()))
    mean, second, fourth = total / n, 0.0, 0.0
    for chunk in map(_plain, chunks):
        squares = (chunk - mean) ** 2
        second += float(squares.sum()) / n
        fourth += float((squares**2).sum()) / n
    constant = smallest == largest
    return Statistics(
        mean=largest if constant else mean,
        std=0.0 if constant else math.sqrt(second),
        kurtosis=fourth / second**2 if second > 0.0 and not constant else math.nan,
        smallest=smallest,
        largest=largest,
    )


def sample(tensor: Tensor) -> Sample:
    """Values for the tests; those of half precision are spread over what was rounded to them."""
    flat = tensor.detach().reshape(-1)
    rounding = torch.finfo(tensor.dtype).eps
    coarse = rounding > _COARSE
    size = min(flat.numel(), COARSE_SAMPLE_SIZE if coarse else SAMPLE_SIZE)
    if size < flat.numel():
        places = torch.arange(size, dtype=torch.int64) * flat.numel() // size
        flat = flat[places.to(flat.device)]
    values = _plain(flat)
    if coarse:
        values = _spread(values, rounding)
    return Sample.of(values, rounding)


def _spread(values: Values, rounding: float) -> Values:
    """Adds to each value a uniform error as large as its rounding, from a fixed generator."""
    _, exponent = np.frexp(values)  # |value| in [2^(e−1), 2^e): its last place is worth ε·2^(e−1)
    place = rounding * np.exp2(exponent.astype(np.float64) - 1.0)
    error = np.random.default_rng(0).uniform(-0.5, 0.5, values.shape)
    return np.asarray(values + place * error)


def _plain(tensor: Tensor) -> Values:
    return np.asarray(tensor.to("cpu", torch.float64).numpy())


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
