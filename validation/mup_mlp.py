"""The MLP of regret.py in µP relative to its network at w = 1, with one learning rate for all
layers, so that packs can train it: see docs/parameterizations.md."""

from torch import nn

from widthwise import families
from widthwise.conversion import mup_family

FAMILY = mup_family(
    families.mlp(input_shape=(1, 28, 28), num_classes=10, base_width=8, depth=1, bias=False)
)


def build(widening_factor: float, seed: int = 0) -> nn.Module:
    """MLP 784 – 8w – 10 without biases."""
    return FAMILY.build(widening_factor, seed)
