"""The MLPs of regret.py in µP relative to their networks at w = 1, with one learning rate for all
layers, so that packs can train them: see docs/parameterizations.md."""

from torch import nn

from widthwise import families
from widthwise.conversion import mup_family

IMAGES = mup_family(
    families.mlp(input_shape=(1, 28, 28), num_classes=10, base_width=8, depth=1, bias=False)
)
SIGNALS = mup_family(families.mlp(input_shape=(40,), num_classes=10, base_width=16, depth=2))


def images(widening_factor: float, seed: int = 0) -> nn.Module:
    """MLP 784 – 8w – 10 without biases."""
    return IMAGES.build(widening_factor, seed)


def signals(widening_factor: float, seed: int = 0) -> nn.Module:
    """MLP 40 – 16w – 16w – 10."""
    return SIGNALS.build(widening_factor, seed)
