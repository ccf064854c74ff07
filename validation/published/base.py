"""What a published architecture is to us: how to build it small, and what it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

CLASSES = 5
IMAGE = (3, 32, 32)
TOKENS, VOCABULARY = 7, 11
SERIES = (9, 4)

Kind = Literal["convolutional", "residual", "mixer", "transformer", "recurrent"]


def images(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(*size, *IMAGE, generator=generator, dtype=torch.float64)


def large_images(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(*size, 3, 64, 64, generator=generator, dtype=torch.float64)


def tokens(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(VOCABULARY, (*size, TOKENS), generator=generator).double()


def series(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(*size, *SERIES, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Architecture:
    """A published network.

    Attributes:
        build: a narrow and shallow one, freshly initialized from PyTorch's generator.
        draw_inputs: (size, generator) → inputs (*size, *shape).
        rate_factor: of the learning rates, for a network so steep as it is initialized that its
            dynamics amplify rounding.
    """

    kind: Kind
    build: Callable[[], nn.Module]
    draw_inputs: Callable[..., Tensor] = images
    rate_factor: float = 1.0


class FloatTokens(nn.Module):
    """A text model for inputs that are stored as floating-point numbers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens.long())


class Averaged(nn.Module):
    """Layers for sequences, with a readout of what they give on average over the sequence."""

    def __init__(self, layers: nn.Module, features: int) -> None:
        super().__init__()
        self.layers, self.readout = layers, nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found = self.layers(x)
        if isinstance(found, tuple):  # recurrent layers: outputs and last state
            found = found[0]
        return self.readout(found.mean(1))


class Logits(nn.Module):
    """A model of the transformers package, which returns several things by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits
