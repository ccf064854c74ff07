"""What no engine can serve is refused, with the layer's name and the reason."""

import pytest
import torch
from torch import nn

from widthwise.engines import pack
from widthwise.errors import InputError


class DataDependent(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Item(nn.Module):
    def forward(self, x):
        return x / x.abs().max().item()


class RandomLike(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class RandomOfFixedShape(nn.Module):
    """What symbolic tracing would take for a constant."""

    def forward(self, x):
        return x + torch.rand(6, dtype=torch.float64)


class RandomInPlace(nn.Module):
    def forward(self, x):
        return x + torch.empty_like(x).normal_()


IMPOSSIBLE = {
    "a branch on values": (DataDependent, "data-dependent"),
    "a number read from a tensor": (Item, r"item\(\)"),
    "random numbers like a tensor": (RandomLike, "random"),
    "random numbers of a fixed shape": (RandomOfFixedShape, "random"),
    "random numbers written in place": (RandomInPlace, "random"),
}


@pytest.mark.parametrize("layer_and_reason", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_layer_is_refused_by_name(layer_and_reason):
    layer, reason = layer_and_reason
    modules = [
        nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Tanh(), layer()), nn.Linear(6, 3)).double()
        for _ in range(2)
    ]
    example = torch.ones(5, 4, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(InputError, match=rf"(?s)'1\.1' \({layer.__name__}\).*{reason}"):
        pack(modules, [0.1, 0.2], example=example)
