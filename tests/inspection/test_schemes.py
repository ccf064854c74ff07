"""Standard deviations of the schemes, by hand and against what PyTorch and Keras draw."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from widthwise.inspection import SCHEMES, inspect
from widthwise.inspection.schemes import SCHEME, Fans

# A convolution 8 → 32 channels in 2 groups, 3×3: fan_in = 4·9 = 36, fan_out = 32·9 = 288 (PyTorch
# counts all groups), 144 a group, average 162.
FANS = Fans(fan_in=36, fan_out=288, default_fan=36, groups=2)
BY_HAND = {
    "pytorch_default": (1 / 6) / math.sqrt(3),
    "kaiming_normal(fan_in, relu)": math.sqrt(2 / 36),
    "kaiming_normal(fan_out, relu)": 1 / 12,
    "kaiming_normal(fan_out, linear)": math.sqrt(1 / 288),
    "kaiming_normal(fan_out/groups, relu)": math.sqrt(2 / 144),
    "lecun_normal": 1 / 6,
    "kaiming_uniform(fan_in, relu)": math.sqrt(2 / 36),
    "kaiming_uniform(fan_out, relu)": 1 / 12,
    "kaiming_uniform(fan_out, linear)": math.sqrt(1 / 288),
    "lecun_uniform": 1 / 6,
    "uniform(1/√fan_out)": math.sqrt(1 / 864),
    "xavier_normal": 1 / math.sqrt(162),
    "xavier_normal(relu)": 1 / 9,
    "xavier_normal(tanh)": 5 / 3 / math.sqrt(162),
    "xavier_uniform": 1 / math.sqrt(162),
    "xavier_uniform(relu)": 1 / 9,
    "xavier_uniform(tanh)": 5 / 3 / math.sqrt(162),
    "keras lecun_normal": 1 / 6,
    "keras he_normal": math.sqrt(2 / 36),
    "keras glorot_normal": 1 / math.sqrt(162),
    "ntk(σ0²=1)": 1.0,
    "ntk(σ0²=2)": math.sqrt(2),
    "normal(0.02)": 0.02,
    "truncated_normal(0.02)": 0.02 * 0.87962566103424,
    "normal(0.01)": 0.01,
    "normal(1e-6)": 1e-6,
    "normal(1)": 1.0,
    "uniform(0.05)": 0.05 / math.sqrt(3),
}


def test_the_table_by_hand_is_complete():
    assert set(BY_HAND) == {scheme.name for scheme in SCHEMES}
    assert len(SCHEMES) == len(SCHEME)


@pytest.mark.parametrize("name", BY_HAND)
def test_standard_deviations(name):
    assert SCHEME[name].std(FANS) == pytest.approx(BY_HAND[name], rel=1e-9)


def test_no_fan_no_deviation():
    assert SCHEME["lecun_normal"].std(Fans()) is None
    assert SCHEME["xavier_normal"].std(Fans(fan_in=3)) is None
    assert SCHEME["kaiming_normal(fan_out/groups, relu)"].std(Fans(fan_out=3)) is None


# What torch.nn.init calls the same.
INITIALIZERS = {
    "pytorch_default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "kaiming_normal(fan_in, relu)": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "kaiming_normal(fan_out, relu)": lambda w: nn.init.kaiming_normal_(
        w, mode="fan_out", nonlinearity="relu"
    ),
    "kaiming_normal(fan_out, linear)": lambda w: nn.init.kaiming_normal_(
        w, mode="fan_out", nonlinearity="linear"
    ),
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "kaiming_uniform(fan_in, relu)": lambda w: nn.init.kaiming_uniform_(w),
    "kaiming_uniform(fan_out, relu)": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out"),
    "lecun_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_normal(relu)": lambda w: nn.init.xavier_normal_(w, nn.init.calculate_gain("relu")),
    "xavier_normal(tanh)": lambda w: nn.init.xavier_normal_(w, nn.init.calculate_gain("tanh")),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_uniform(relu)": lambda w: nn.init.xavier_uniform_(w, nn.init.calculate_gain("relu")),
    "xavier_uniform(tanh)": lambda w: nn.init.xavier_uniform_(w, nn.init.calculate_gain("tanh")),
    "normal(0.02)": lambda w: nn.init.trunc_normal_(w, std=0.02),
    "truncated_normal(0.02)": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    "normal(0.01)": lambda w: nn.init.normal_(w, std=0.01),
}


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(90, 250), lambda: nn.Conv2d(12, 70, 3)], ids=["linear", "conv"]
)
def test_pytorch_s_initializers_are_told_apart(name, build):
    torch.manual_seed(11)
    layer = build()
    INITIALIZERS[name](layer.weight)
    assert inspect(layer)["weight"].matches == (name,)


def keras_variance_scaling(shape, fan, scale, distribution, generator):
    """keras.initializers.VarianceScaling, from its documentation: scale /= n; truncated normal with
    stddev = √scale / .87962566103423978, values beyond two of them drawn again; uniform within
    √(3·scale).
    """
    scale = scale / fan
    if distribution == "uniform":
        limit = math.sqrt(3 * scale)
        return generator.uniform(-limit, limit, shape)
    values = generator.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = generator.standard_normal(int(beyond.sum()))
    return values * math.sqrt(scale) / 0.87962566103423978


KERAS = {
    "keras he_normal": (2.0, "fan_in", "truncated"),
    "keras lecun_normal": (1.0, "fan_in", "truncated"),
    "keras glorot_normal": (1.0, "fan_avg", "truncated"),
    "xavier_uniform": (1.0, "fan_avg", "uniform"),  # glorot_uniform, the default of Dense and Conv
    "kaiming_uniform(fan_in, relu)": (2.0, "fan_in", "uniform"),  # he_uniform
    "lecun_uniform": (1.0, "fan_in", "uniform"),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_initializers(name):
    """A Dense(300 → 120) and a Conv2D(16 → 56, 3×3), kernels laid out as PyTorch lays them."""
    scale, mode, distribution = KERAS[name]
    generator = np.random.default_rng(5)
    network = nn.Sequential(nn.Conv2d(16, 56, 3), nn.Flatten(), nn.Linear(300, 120))
    fans = {"0": (16 * 9, 56 * 9), "2": (300, 120)}
    for place, (fan_in, fan_out) in fans.items():
        layer = network.get_submodule(place)
        fan = fan_in if mode == "fan_in" else (fan_in + fan_out) / 2
        kernel = keras_variance_scaling(layer.weight.shape, fan, scale, distribution, generator)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel))
            layer.bias.zero_()
    found = inspect(network)
    assert [found[f"{place}.weight"].verdict for place in fans] == [name, name]
    assert found["0.bias"].verdict == "zeros"
    assert found.parameterization == "standard"
