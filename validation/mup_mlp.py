"""The bundled MLP in µP (Yang et al. 2022, arXiv:2203.03466), relative to the network at w = 1.

At w = 1 it is the standard parameterization. µP asks for SGD rates w·ε in the input layer and, for
an effective readout of standard deviation ∝ 1/w, ε/w there. A multiplier c on a layer at rate ε
acts like rate c²·ε on the effective weights: c = √w and 1/√w give one rate to all layers, so that
packs can train it.
"""

import math

import torch
from torch import nn

from widthwise.families.layers import ScaledLinear

BASE_WIDTH = 8
INPUTS, CLASSES = 784, 10


def build(widening_factor: int, seed: int = 0) -> nn.Module:
    """MLP 784 – 8w – 10 without biases."""
    generator = torch.Generator().manual_seed(seed)
    root, width = math.sqrt(widening_factor), BASE_WIDTH * widening_factor
    first = ScaledLinear(INPUTS, width, bias=False, multiplier=root)
    readout = ScaledLinear(width, CLASSES, bias=False, multiplier=1 / root)
    with torch.no_grad():
        first.weight.normal_(0.0, math.sqrt(2 / INPUTS) / root, generator=generator)
        readout.weight.normal_(0.0, math.sqrt(1 / width), generator=generator)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), readout)
