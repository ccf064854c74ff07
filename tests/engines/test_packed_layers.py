"""Every layer and function that has a packed form computes, and learns, what the modules do."""

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded
from torch import nn
from torch.nn import functional

from widthwise import families
from widthwise.engines.layer_rules import LAYER_RULES
from widthwise.families.ghost_norm import with_ghost_batch_norm
from widthwise.sgd.recipe import Recipe

RATES, MOMENTA = [0.03, 0.01, 0.05], [0.9, 0.0, 0.5]
IMAGE, SERIES, VECTOR = (2, 6, 6), (2, 12), (6,)


def image(*layers, features):
    """Layers between a convolution and a readout of this many features."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), *(f() for f in layers), nn.Flatten(),
            nn.Linear(features, 3),
        )
    )  # fmt: skip


def vector(*layers, features=8):
    return seeded(
        lambda: nn.Sequential(nn.Linear(6, 8), *(f() for f in layers), nn.Linear(features, 3))
    )


def series(*layers, features):
    return seeded(
        lambda: nn.Sequential(*(f() for f in layers), nn.Flatten(), nn.Linear(features, 3))
    )


ACTIVATIONS = [
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.Mish, nn.Hardtanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Identity, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus,
    nn.Softsign, nn.LogSigmoid, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink,
]  # fmt: skip

LAYERS = {
    "convolution, no bias": (image(lambda: nn.Conv2d(4, 4, 3, bias=False), features=64), IMAGE),
    "stride": (image(lambda: nn.Conv2d(4, 5, 3, stride=2, padding=1), features=45), IMAGE),
    "unequal stride": (image(lambda: nn.Conv2d(4, 5, (3, 1), stride=(2, 1)), features=60), IMAGE),
    "dilation": (image(lambda: nn.Conv2d(4, 4, 3, dilation=2, padding=2), features=144), IMAGE),
    "groups": (image(lambda: nn.Conv2d(4, 6, 3, groups=2), features=96), IMAGE),
    "depthwise": (image(lambda: nn.Conv2d(4, 8, 3, groups=4), features=128), IMAGE),
    "padding by name": (image(lambda: nn.Conv2d(4, 4, 3, padding="same"), features=144), IMAGE),
    "1 x 1": (image(lambda: nn.Conv2d(4, 4, 1), nn.ReLU, features=144), IMAGE),
    "conv1d": (
        series(
            lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=1),
            nn.ReLU,
            lambda: nn.Conv1d(4, 4, 3, groups=2),
            features=16,
        ),
        SERIES,
    ),
    "batch norm 2d": (image(lambda: nn.BatchNorm2d(4), nn.ReLU, features=144), IMAGE),
    "batch norm, no affine": (image(lambda: nn.BatchNorm2d(4, affine=False), features=144), IMAGE),
    "batch norm, other momentum": (
        image(lambda: nn.BatchNorm2d(4, momentum=0.3, eps=0.01), features=144),
        IMAGE,
    ),
    "batch norm, cumulative": (
        image(lambda: nn.BatchNorm2d(4, momentum=None), features=144),
        IMAGE,
    ),
    "batch norm, no statistics": (
        image(lambda: nn.BatchNorm2d(4, track_running_stats=False), features=144),
        IMAGE,
    ),
    "batch norm 1d": (vector(lambda: nn.BatchNorm1d(8), nn.ReLU), VECTOR),
    "batch norm 1d, series": (
        series(lambda: nn.Conv1d(2, 4, 3), lambda: nn.BatchNorm1d(4), features=40),
        SERIES,
    ),
    "ghost batch norm": (
        seeded(
            lambda: with_ghost_batch_norm(
                nn.Sequential(
                    nn.Conv2d(2, 4, 3),
                    nn.BatchNorm2d(4),
                    nn.ReLU(),
                    nn.Flatten(),
                    nn.Linear(64, 5),
                    nn.BatchNorm1d(5),
                    nn.Linear(5, 3),
                ),
                3,
            )
        ),
        IMAGE,
    ),
    "group norm": (image(lambda: nn.GroupNorm(2, 4), nn.ReLU, features=144), IMAGE),
    "layer norm": (vector(lambda: nn.LayerNorm(8)), VECTOR),
    "layer norm, no bias": (vector(lambda: nn.LayerNorm(8, bias=False)), VECTOR),
    "layer norm, images": (image(lambda: nn.LayerNorm([6, 6]), features=144), IMAGE),
    "layer norm, channels too": (image(lambda: nn.LayerNorm([4, 6, 6]), features=144), IMAGE),
    "max pooling": (image(lambda: nn.MaxPool2d(2), features=36), IMAGE),
    "max pooling of rectified": (image(nn.ReLU, lambda: nn.MaxPool2d(2), features=36), IMAGE),
    "max pooling, padded": (
        image(nn.ReLU, lambda: nn.MaxPool2d(3, stride=2, padding=1), features=36),
        IMAGE,
    ),
    "average pooling": (image(lambda: nn.AvgPool2d(2), nn.ReLU, features=36), IMAGE),
    "adaptive average pooling": (image(lambda: nn.AdaptiveAvgPool2d(2), features=16), IMAGE),
    "adaptive max pooling": (image(lambda: nn.AdaptiveMaxPool2d(1), features=4), IMAGE),
    "pooling of series": (
        series(lambda: nn.MaxPool1d(2), lambda: nn.AvgPool1d(2), features=6),
        SERIES,
    ),
    "zero padding": (image(lambda: nn.ZeroPad2d(1), lambda: nn.MaxPool2d(2), features=64), IMAGE),
    "dropout": (vector(nn.ReLU, lambda: nn.Dropout(0.3)), VECTOR),
    "dropout of channels": (image(lambda: nn.Dropout2d(0.4), features=144), IMAGE),
    "two dropouts": (vector(lambda: nn.Dropout(0.5), nn.Tanh, lambda: nn.Dropout(0.1)), VECTOR),
    "unflatten": (
        vector(lambda: nn.Unflatten(1, (2, 4)), lambda: nn.Flatten(), nn.Tanh),
        VECTOR,
    ),
    "softmax": (vector(lambda: nn.Softmax(dim=1)), VECTOR),
    "log-softmax": (vector(lambda: nn.LogSoftmax(dim=-1)), VECTOR),
    "linear on series": (
        series(lambda: nn.Linear(12, 5), nn.ReLU, lambda: nn.Linear(5, 4, bias=False), features=8),
        SERIES,
    ),
    **{f"{kind.__name__}": (image(kind, features=144), IMAGE) for kind in ACTIVATIONS},
}


class Written(nn.Module):
    """A hand-written forward over a convolution, an embedding and plain parameters."""

    def __init__(self, forward):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.readout, self.embed = nn.Linear(4, 3), nn.Embedding(5, 4)
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.token = nn.Parameter(torch.rand(1, 1, 4))
        self.number = nn.Parameter(torch.tensor(0.7))
        self.kernel = nn.Parameter(torch.rand(4, 2, 1, 1))
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def attention(net, x):
    h = net.norm(net.conv(x)).flatten(2).transpose(1, 2)  # (B, 36, 4)
    h = torch.cat([net.token.expand(h.shape[0], -1, -1), h], dim=1)
    q, k, v = torch.chunk(torch.cat([h, h * 2, h - 1], -1), 3, dim=-1)
    a = functional.scaled_dot_product_attention(q, k, v)
    b = torch.softmax(q @ k.transpose(-2, -1) / 2, dim=-1) @ v
    return net.readout((a + b)[:, 0])


FORWARDS = {
    "residual": lambda n, x: n.readout((n.conv(x) + n.norm(n.conv(x)).relu()).mean((2, 3))),
    "in place": lambda n, x: n.readout(
        functional.relu(n.norm(n.conv(x)), inplace=True).mean(dim=(2, 3), keepdim=True).flatten(1)
    ),
    "added in place": lambda n, x: n.readout(
        functional.adaptive_avg_pool2d(n.conv(x).add_(1.0), 1).view(x.size(0), -1)
    ),
    "scaled by parameters": lambda n, x: n.readout((n.conv(x) * n.scale * n.number).sum((2, 3))),
    "concatenated": lambda n, x: n.readout(
        functional.max_pool2d(
            functional.relu(torch.cat([n.conv(x)[:, :2], n.conv(x)[:, 2:]], 1)), 6
        ).reshape(-1, 4)
    ),
    "squeeze and excite": lambda n, x: n.readout(
        (n.conv(x) * torch.sigmoid(n.conv(x).mean((2, 3), keepdim=True))).amax((2, 3))
    ),
    "embedded": lambda n, x: n.readout(
        n.embed((x.flatten(1).long() * x.flatten(1).long()).clamp(0, 4)).mean(1)
    ),
    "own kernel": lambda n, x: n.readout(functional.conv2d(x, n.kernel).mean((2, 3)).tanh()),
    "own matrix": lambda n, x: functional.linear(
        n.conv(x).mean((2, 3)), n.readout.weight, n.readout.bias
    ),
    "functional dropout": lambda n, x: n.readout(
        functional.dropout(n.conv(x), 0.2, n.training).mean((2, 3))
    ),
    "permuted": lambda n, x: n.readout(
        n.conv(x).permute(0, 2, 3, 1).reshape(x.shape[0], 36, 4)[:, 7]
    ),
    "unsqueezed": lambda n, x: n.readout(
        n.conv(x).mean((2, 3)).unsqueeze(1).squeeze(1).unsqueeze(-1).flatten(1)
    ),
    "stacked": lambda n, x: n.readout(torch.stack([n.conv(x), n.norm(x.repeat_interleave(2, 1))], 1)
        .unbind(1)[0].mean((2, 3))),
    "functional norms": lambda n, x: n.readout(
        functional.layer_norm(
            functional.group_norm(n.conv(x), 2, n.readout.weight[0], n.norm.bias).mean((2, 3)),
            (4,), n.norm.weight, n.norm.bias,
        )
    ),
    "functional group norm": lambda n, x: n.readout(
        functional.group_norm(n.conv(x), 2, n.norm.weight, n.norm.bias).mean((2, 3))
    ),
    "functional layer norm": lambda n, x: n.readout(
        functional.layer_norm(n.conv(x).mean((2, 3)), (4,), n.norm.weight, n.norm.bias)
    ),
    "attention": attention,
}  # fmt: skip
VMAPPED = {"stacked", "functional norms"}  # repeat_interleave; a part of a parameter


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    make, shape = LAYERS[name]
    inputs, targets = batches(12, 3, shape)
    error, packed = largest_error(make, RATES, MOMENTA, inputs, targets)
    expected = "chain" if shape == VECTOR and packed.engine == "chain" else "graph"
    assert packed.engine == expected, packed.reason
    assert error < 1e-10


@pytest.mark.parametrize("name", FORWARDS)
def test_hand_written_forwards(name):
    inputs, targets = batches(12, 3, IMAGE)
    make = seeded(lambda: Written(FORWARDS[name]))
    error, packed = largest_error(make, RATES, MOMENTA, inputs, targets)
    assert packed.engine == ("vmap" if name in VMAPPED else "graph"), packed.reason
    assert error < 1e-10


def test_every_layer_with_a_packed_form_is_tested():
    built = {type(layer) for make, _ in LAYERS.values() for layer in make(0).modules()} | {
        type(layer) for layer in Written(None).modules()
    }
    family = families.cnn(input_shape=(1, 8, 8), num_classes=3, depth=1, parameterization="ntk")
    built |= {type(layer) for layer in family.build(1).modules()}
    untested = {kind.__name__ for kind in set(LAYER_RULES) - built}
    assert untested == {
        "Conv3d", "BatchNorm3d", "Dropout1d", "Dropout3d", "MaxPool3d", "AvgPool3d", "Threshold",
        "AdaptiveAvgPool1d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool3d",
    }  # fmt: skip


OPTIONS = {
    "the paper's": Recipe(),
    "nesterov": Recipe(nesterov=True),
    "weight decay": Recipe(weight_decay=0.05),
    "nesterov and decay": Recipe(nesterov=True, weight_decay=0.05),
    "label smoothing": Recipe(label_smoothing=0.2),
    "mean squared error": Recipe(loss="mean-squared-error", weight_decay=0.01),
}
NETWORKS = {
    "chain": families.mlp(input_shape=VECTOR, num_classes=3, base_width=8, depth=2).build,
    "graph": LAYERS["batch norm 2d"][0],
    "vmap": seeded(lambda: Written(FORWARDS["stacked"])),
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("engine", "momenta"),
    [
        *[(engine, MOMENTA) for engine in NETWORKS],
        # The update is one for all engines, but its call is not.
        *[("chain", [momentum] * 3) for momentum in (0.0, 0.9)],
    ],
)
def test_training_options_under_a_schedule(engine, option, momenta):
    inputs, targets = batches(30, 3, VECTOR if engine == "chain" else IMAGE)
    factors = torch.linspace(1.0, 0.1, 30, dtype=torch.float64).tolist()
    make = NETWORKS[engine]
    error, packed = largest_error(
        lambda seed: make(1, seed) if engine == "chain" else make(seed),
        RATES, momenta, inputs, targets, recipe=OPTIONS[option], factors=factors,
    )  # fmt: skip
    assert packed.engine == engine
    assert error < 1e-9
