"""Packs of architectures that others published equal their modules trained one by one.

The networks come from timm, torchvision and x-transformers, narrow and shallow and with random
initial weights: nothing is downloaded. validation/architectures.md has many more; what no engine
can serve is in test_impossible_layers.py. Only `make test-cluster` runs these, and imports those
packages.
"""

import re
import sys
import warnings
from pathlib import Path

import pytest
from torch import nn

sys.path.append(str(Path(__file__).parents[2]))  # validation is not part of the package

from validation.published.comparison import MOMENTUM, compare

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def every():
    """All of the page's networks, by name."""
    with warnings.catch_warnings():
        # What these packages warn of when imported is not ours to mend.
        warnings.simplefilter("ignore")
        from torchvision_here import import_torchvision

        import_torchvision()
        pytest.importorskip("timm", reason="timm is not installed")
        pytest.importorskip("x_transformers", reason="x-transformers is not installed")
        from validation.published import (
            from_pytorch,
            from_timm,
            from_torchvision,
            from_x_transformers,
        )
    return {
        **from_timm.ARCHITECTURES,
        **from_torchvision.ARCHITECTURES,
        **from_x_transformers.ARCHITECTURES,
        **from_pytorch.ARCHITECTURES,
    }


# One of a kind: the page has the others.
ARCHITECTURES = [
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
]
# These run in packed form; the others under vmap, which is slower: a change here is news.
IN_PACKED_FORM = {
    "ResNet (timm)",
    "SE-ResNeXt (timm)",
    "ResNet with group norm (timm)",
    "MobileNetV3 (torchvision)",
    "ShuffleNetV2 (torchvision)",
    "MLP-Mixer (timm)",
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_equals_one_by_one(name, every):
    found = compare(every[name])
    assert found.worst() < 1e-9
    # Training that stands still would agree whatever the pack does.
    assert found.moved > 1e-4
    assert found.engine == ("graph" if name in IN_PACKED_FORM else "vmap"), found.reason


def test_the_comparison_notices_a_wrong_momentum(every):
    found = compare(every["ViT (timm)"], momentum_alone=MOMENTUM * (1 + 1e-6))
    assert found.worst() > 1e-9


def test_the_comparison_notices_wrong_running_statistics(every):
    def change(module):
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum *= 1 + 1e-6

    found = compare(every["ResNet (timm)"], change_alone=change)
    assert found.buffers > 1e-9
    assert found.weights < 1e-9


def test_the_page_has_every_network_of_the_lists(every):
    page = (Path(__file__).parents[2] / "validation" / "architectures.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| \w+ \| (\S+) \| ", page, re.M)
    assert set(every) <= {f"{name} ({package})" for name, package in rows}
