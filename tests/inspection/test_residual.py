"""Residual sums are read off what a network computes."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision_here import import_torchvision

from widthwise.families import cnn, mlp, wide_resnet
from widthwise.inspection import compare
from widthwise.inspection.residual import has_residual_sums


class Apply(nn.Module):
    """``function(self, x)``, with some layers to use."""

    def __init__(self, function):
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.table = nn.Parameter(torch.zeros(5, 6))
        self.vector = nn.Parameter(torch.zeros(6))
        self.words, self.places = nn.Embedding(7, 6), nn.Embedding(7, 6)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


class BasicBlock(nn.Module):
    """As torchvision's, with a projection."""

    def __init__(self, channels, width, stride=2):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential(
            nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        return self.relu(out)


class Plain(BasicBlock):
    """The same without its skip."""

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class Dense(nn.Module):
    """Concatenates, as DenseNet."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 4, 3, padding=1)

    def forward(self, x):
        x = torch.cat([x, self.first(x)], 1)
        return torch.cat([x, self.second(torch.relu(x))], 1)


class Transformer(nn.Module):
    """One block before a readout, with or without its skips."""

    def __init__(self, skips=True):
        super().__init__()
        self.skips = skips
        self.words, self.places = nn.Embedding(11, 8), nn.Parameter(torch.zeros(1, 16, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, ids):
        x = self.words(ids) + self.places[:, : ids.shape[1]]
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        mask = torch.zeros_like(ids).unsqueeze(1) + (ids == 0).unsqueeze(1).float()
        y = self.out(torch.softmax(q @ k.transpose(1, 2) + mask, -1) @ v)
        x = x + y if self.skips else y
        y = self.mlp(self.norm2(x))
        return x + y if self.skips else y


SUMS = {
    "identity": lambda m, x: x + m.one(x),
    "torch.add": lambda m, x: torch.add(m.one(x), x),
    "keyword": lambda m, x: torch.add(x, other=m.one(x), alpha=2),
    "method": lambda m, x: m.one(x).add(x),
    "in place": lambda m, x: m.one(x).add_(x),
    "scaled": lambda m, x: 0.5 * x + 0.5 * m.two(torch.relu(m.one(x))),
    "sum of a list": lambda m, x: sum([x, m.one(x)]),
    "around functions": lambda m, x: x + functional.linear(x, 2.0 * m.one.weight),
    "branches": lambda m, x: m.one(x) + m.two(x),
    "of a hidden layer": lambda m, x: (lambda h: m.two(h) + h)(m.one(x)),
}
NO_SUMS = {
    "bias": lambda m, x: m.one(x) + m.vector,
    "table": lambda m, x: m.one(x + m.table[: x.shape[0]]),
    "places of a length": lambda m, x: m.one(x) + m.places(torch.arange(x.size(0))),
    "a constant": lambda m, x: m.one(x) + 1.0,
    "zeros of that size": lambda m, x: m.one(x) + torch.zeros_like(x) + x.new_ones(6),
    "twice": lambda m, x: (lambda h: h + h)(m.one(x)),
    "an activation": lambda m, x: (lambda h: h * 0.5 * (1.0 + torch.tanh(0.8 * (h + 0.04 * h**3))))(
        m.one(x)
    ),
    "a mask": lambda m, x: m.one(x) + (x == 0.0).float(),
    "a gate": lambda m, x: m.one(x) * torch.sigmoid(m.two(x)),
    "a table added to one branch": lambda m, x: torch.relu(x + m.table[0]) + x,
}


def closed(function):
    """The same behind control flow that tracing cannot follow."""

    def run(m, x):
        if x.sum() > 1e9:
            raise AssertionError("not with these inputs")
        result = function(m, x)
        return result + 0.0 * sum(p.sum() for p in m.parameters())  # every weight takes part

    return run


@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    assert has_residual_sums(Apply(SUMS[name])) is True
    assert has_residual_sums(Apply(closed(SUMS[name]))) is True


@pytest.mark.parametrize("name", NO_SUMS)
def test_what_is_added_otherwise(name):
    assert has_residual_sums(Apply(NO_SUMS[name])) is False
    assert has_residual_sums(Apply(closed(NO_SUMS[name]))) is False


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), False),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(9, 3)),
            False,
        ),
        (nn.Sequential(BasicBlock(3, 4), BasicBlock(4, 8)), True),
        (nn.Sequential(Plain(3, 4), Plain(4, 8)), False),
        (Dense(), False),
        (Transformer(), True),
        (Transformer(skips=False), False),
        (nn.TransformerEncoderLayer(8, 2, 16), True),
        (Apply(lambda m, x: m.two(nn.functional.silu(m.one(x)))), False),
        (nn.MultiheadAttention(8, 2), None),
        (nn.LSTM(4, 8), False),
        (nn.ReLU(), False),
    ],
)
def test_networks(module, expected):
    assert has_residual_sums(module) is expected


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_families(parameterization):
    options = {"num_classes": 10, "parameterization": parameterization}
    plain = mlp((8, 8), base_width=8, **options), cnn((3, 8, 8), base_width=4, **options)
    for family in plain:
        assert has_residual_sums(family.build(1)) is False
    assert has_residual_sums(wide_resnet((3, 8, 8), base_width=4, **options).build(1)) is True


def test_two_inputs():
    class Two(nn.Module):
        def __init__(self, skip):
            super().__init__()
            self.one, self.two, self.skip = nn.Linear(4, 4), nn.Linear(4, 4), skip

        def forward(self, x, z=None):
            h = self.one(x) + self.two(z)
            return h + self.two(h) if self.skip else h

    assert has_residual_sums(Two(skip=False)) is False
    assert has_residual_sums(Two(skip=True)) is True


class Unused(nn.Module):
    """Which layers run depends on values."""

    def __init__(self):
        super().__init__()
        self.usual, self.rare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        if x.abs().max() > 1e9:
            return x + self.rare(x)
        return self.usual(x)


def test_what_did_not_run_leaves_it_open():
    assert has_residual_sums(Unused()) is None


def test_a_network_that_cannot_be_run():
    class Needs(Unused):
        def forward(self, x):
            raise RuntimeError("not here")

    class ResidualBlock(Needs):
        pass

    assert has_residual_sums(Needs()) is None
    assert has_residual_sums(ResidualBlock()) is True


class Counting(nn.Module):
    """Changes itself wherever it can when it runs."""

    def __init__(self, follow):
        super().__init__()
        self.layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.norm, self.dropout = nn.BatchNorm1d(4), nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.last, self.follow = None, follow

    def forward(self, x):
        self.calls += 1
        if self.follow and x.sum() > 1e9:
            return x
        self.last = self.dropout(self.norm(self.layer(x)))
        return self.last + x


@pytest.mark.parametrize("follow", [False, True])
def test_the_module_stays_as_it_is(follow):
    module = Counting(follow).train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    assert has_residual_sums(module) is True
    assert module.last is None
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_old_weight_norm():
    with pytest.warns(FutureWarning):
        layer = torch.nn.utils.weight_norm(nn.Linear(4, 4))
    assert has_residual_sums(nn.Sequential(layer)) is False


@pytest.mark.slow
def test_published_networks():
    models = import_torchvision().models
    expected = {
        models.resnet18: True,
        models.mobilenet_v2: True,
        models.vit_b_32: True,
        models.vgg11: False,
        models.densenet121: False,
        models.alexnet: False,
        models.squeezenet1_1: False,
    }
    found = {}
    for build in expected:
        with torch.device("meta"):  # drawing hundreds of millions of weights takes seconds
            module = build(weights=None)
        found[build] = has_residual_sums(module)
    assert found == expected


def test_compare_says_so():
    found = compare(*(nn.Sequential(BasicBlock(3, 8 * w)) for w in (1, 2)))
    assert found.residual is True
    assert found.to_dict()["residual"] is True
    assert "residual sums: yes" in str(found)
    plain = compare(nn.Linear(4, 8), nn.Linear(4, 16))
    assert plain.residual is False
    assert "residual sums: no" in str(plain)
    mixed = compare(Plain(3, 8), BasicBlock(3, 16))
    assert mixed.residual is True
    unclear = compare(Unused(), Unused())
    assert unclear.residual is None
    assert "residual sums: unclear" in str(unclear)
