"""Packs of architectures that others published equal their modules trained one by one.

The networks come from timm, torchvision and x-transformers, narrow and shallow and with random
initial weights: nothing is downloaded. What no engine can serve is refused by name.
validation/architectures.md has many more.
"""

import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision_here import import_torchvision

sys.path.append(str(Path(__file__).parents[2]))  # validation is not part of the package

from validation.published.comparison import MOMENTUM, compare
from widthwise.engines import pack
from widthwise.errors import InputError

with warnings.catch_warnings():
    # What these packages warn of when imported is not ours to mend.
    warnings.simplefilter("ignore")
    import_torchvision()
    pytest.importorskip("timm", reason="timm is not installed")
    pytest.importorskip("x_transformers", reason="x-transformers is not installed")
    from validation.published import from_pytorch, from_timm, from_torchvision, from_x_transformers

EVERY = {
    **from_timm.ARCHITECTURES,
    **from_torchvision.ARCHITECTURES,
    **from_x_transformers.ARCHITECTURES,
    **from_pytorch.ARCHITECTURES,
}
# One of a kind: the page has the others.
ARCHITECTURES = {
    name: EVERY[name]
    for name in (
        "ResNet (timm)",
        "SE-ResNeXt (timm)",
        "ResNet with group norm (timm)",
        "ResNetV2 with weight standardization (timm)",
        "EfficientNet (timm)",
        "MobileNetV3 (torchvision)",
        "ShuffleNetV2 (torchvision)",
        "DenseNet (timm)",
        "ConvNeXt (timm)",
        "MLP-Mixer (timm)",
        "ViT (timm)",
        "text transformer (x-transformers)",
        "transformer with ALiBi and sandwich norm (x-transformers)",
        "two-layer LSTM in both directions (PyTorch)",
        "transformer encoder with dropout (PyTorch)",
    )
}
# These run in packed form; the others under vmap, which is slower: a change here is news.
IN_PACKED_FORM = {
    "ResNet (timm)",
    "SE-ResNeXt (timm)",
    "ResNet with group norm (timm)",
    "MobileNetV3 (torchvision)",
    "ShuffleNetV2 (torchvision)",
    "MLP-Mixer (timm)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_equals_one_by_one(name):
    found = compare(ARCHITECTURES[name])
    assert found.worst() < 1e-9
    # Training that stands still would agree whatever the pack does.
    assert found.moved > 1e-4
    assert found.engine == ("graph" if name in IN_PACKED_FORM else "vmap"), found.reason


@pytest.mark.slow
def test_the_comparison_notices_a_wrong_momentum():
    found = compare(ARCHITECTURES["ViT (timm)"], momentum_alone=MOMENTUM * (1 + 1e-6))
    assert found.worst() > 1e-9


@pytest.mark.slow
def test_the_comparison_notices_wrong_running_statistics():
    def change(module):
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum *= 1 + 1e-6

    found = compare(ARCHITECTURES["ResNet (timm)"], change_alone=change)
    assert found.buffers > 1e-9
    assert found.weights < 1e-9


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


def test_the_page_has_every_network_of_the_lists():
    page = (Path(__file__).parents[2] / "validation" / "architectures.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| \w+ \| (\S+) \| ", page, re.M)
    assert set(EVERY) <= {f"{name} ({package})" for name, package in rows}
