"""The networks of study.toml. Put your own here: any torch.nn.Module will do."""

from torch import nn


def build(widening_factor: float) -> nn.Module:
    """A new network, so many times as wide as the one at factor 1.

    Everything that widens must follow from the factor; what goes in (1 × 28 × 28 pixels) and what
    comes out (10 classes) stays. Widthwise seeds PyTorch before each call, so that the initial
    weights follow from the seed of a run.
    """
    width = round(32 * widening_factor)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )
