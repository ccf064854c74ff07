"""The networks of MNIST-1D's double-descent experiment: 40-n-n-10, PyTorch's default weights."""

from torch import nn


def build(widening_factor: int) -> nn.Module:
    """An MLP whose two hidden layers are ``widening_factor`` units wide."""
    n = widening_factor
    return nn.Sequential(
        nn.Flatten(), nn.Linear(40, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 10)
    )
