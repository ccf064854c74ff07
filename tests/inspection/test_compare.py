"""What `compare` reads off two networks."""

import json
import math

import pytest
import torch
from torch import nn

from widthwise.families import cnn, mlp, wide_resnet
from widthwise.families.layers import ScaledLinear
from widthwise.inspection import compare, inspect
from widthwise.inspection.scaling import read_scalings
from widthwise.text import plain


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network(w, *, draw=None, depth=2, inputs=20, classes=10, norm=None, last_width=None):
    """inputs → 64w → … → classes."""
    layers, n = [], inputs
    for _ in range(depth):
        layers += [nn.Linear(n, 64 * w), *([norm(64 * w)] if norm else []), nn.ReLU()]
        n = 64 * w
    if last_width:
        layers += [nn.Linear(n, last_width), nn.ReLU()]
        n = last_width
    layers.append(nn.Linear(n, classes))
    found = nn.Sequential(*layers)
    for layer in found:
        if draw and isinstance(layer, nn.Linear):
            draw(layer.weight)
            nn.init.zeros_(layer.bias)
    return found


def test_the_shapes_by_hand():
    found = compare(network(1), network(4))
    assert found.widening_factor == 4.0
    assert found.factors == ((4.0, 2),)
    assert found.widened == ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight")
    assert found.not_widened == (
        "0.weight: inputs, 20 in both",
        "4.weight: outputs (classes), 10 in both",
        "4.bias: 10 in both",
    )
    shapes = {item.path: (item.base_shape, item.target_shape, item.ratios) for item in found.growth}
    assert shapes["2.weight"] == ((64, 64), (256, 256), (4.0, 4.0))
    assert shapes["4.weight"] == ((10, 64), (10, 256), (1.0, 4.0))
    assert (found.depth_changed, found.normalization, found.convolutional) == (False, "none", False)
    assert found.questions == ()


FAMILIES = {
    "mlp": lambda p: mlp(
        input_shape=(8, 8), num_classes=10, base_width=32, depth=2, parameterization=p
    ),
    "cnn": lambda p: cnn(
        input_shape=(3, 16, 16), num_classes=10, base_width=16, parameterization=p
    ),
    "wide resnet": lambda p: wide_resnet(
        input_shape=(3, 16, 16), num_classes=10, base_width=8, parameterization=p
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("factor", [2, 4])
def test_our_families(family, parameterization, factor):
    built = FAMILIES[family](parameterization)
    found = compare(built.build(1), built.build(factor))
    assert (found.widening_factor, found.parameterization) == (factor, parameterization)
    assert found.convolutional is (family != "mlp")
    assert found.questions == ()


def fixed_std(weight):
    nn.init.normal_(weight, std=0.02)


def neither(weight):
    """std ∝ fan_in^(−1/4): between standard and NTK."""
    nn.init.normal_(weight, std=weight.shape[1] ** -0.25)


def mean_field(weight):
    """µP as a scale of the readout, std ∝ 1/n, without a multiplier."""
    fan_in = weight.shape[1]
    nn.init.normal_(weight, std=1 / fan_in if weight.shape[0] == 10 else fan_in**-0.5)


# How weights are drawn → what both widths show. The factor is 4.
DRAWS = {
    "default": (None, "default"),
    "kaiming fan-in": (nn.init.kaiming_normal_, "standard"),
    "kaiming fan-out": (lambda w: nn.init.kaiming_normal_(w, mode="fan_out"), None),
    "xavier": (nn.init.xavier_uniform_, "standard"),
    "fixed": (fixed_std, None),
    "neither": (neither, None),
    "zero readout": (
        lambda w: nn.init.zeros_(w) if w.shape[0] == 10 else nn.init.kaiming_normal_(w),
        "standard",
    ),
    "small readout": (mean_field, "mup"),
    "zeros": (nn.init.zeros_, None),
}


@pytest.mark.parametrize("name", DRAWS)
def test_parameterizations(name):
    draw, parameterization = DRAWS[name]
    found = compare(network(1, draw=draw), network(4, draw=draw))
    assert found.parameterization == parameterization
    asked = [text for text in found.questions if "give the plan parameterization" in text.lower()]
    assert len(asked) == (parameterization is None)


def test_a_hidden_weight_is_no_readout():
    """std ∝ 1/n is µP's in a readout only."""
    square = [nn.Linear(n, n) for n in (64, 256)]
    for layer in square:
        nn.init.normal_(layer.weight, std=1 / layer.in_features)
    found = compare(*square)
    assert found.parameterization is None
    assert found.parameterization_reason.startswith("in no known way: weight: std ∝ fan-in^-1.0")


def test_exponents_by_hand():
    """std 1/8 → 1/16 for fan-in 64 → 256: exponent ln 2/ln 4 = 1/2; c = 1/8 → 1/16: 1/2 too."""

    def build(n):
        layer = ScaledLinear(n, 30, multiplier=1 / math.sqrt(n), bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([1.0, -1.0]).repeat(30, n // 2) / math.sqrt(n))
        return layer

    (layer,) = read_scalings(inspect(build(64)), inspect(build(256)))
    # Kurtosis 1: a sample standard deviation without error.
    assert layer.std_exponent == pytest.approx((0.5, 0.5, 0.5))
    assert layer.multiplier_exponent == pytest.approx(0.5)
    assert layer.readout
    assert layer.kinds == {"mup readout"}  # 1/2 + 1/2 = 1: effective weights ∝ 1/n


def test_too_few_values_say_nothing():
    found = compare(nn.Linear(4, 1), nn.Linear(8, 1))
    assert (found.widening_factor, found.parameterization) == (2.0, None)
    assert "too few" in found.parameterization_reason


def small(w, std):
    """784-8w-10: the only weight whose fan-in widens has 80 values at the base."""
    layers = nn.Sequential(nn.Linear(784, 8 * w), nn.ReLU(), nn.Linear(8 * w, 10))
    for layer in (layers[0], layers[2]):
        nn.init.normal_(layer.weight, std=std(layer.weight.shape[1]))
    return layers


@pytest.mark.slow
def test_few_values_are_helped_by_the_schemes_or_end_in_a_question():
    """std ∝ n^(−1/4) lies between the laws; it must not pass as one of them."""
    for _ in range(8):
        lecun = compare(small(1, lambda n: n**-0.5), small(2, lambda n: n**-0.5))
        assert lecun.parameterization in ("standard", None)
        between = compare(small(1, lambda n: n**-0.25), small(4, lambda n: n**-0.25))
        assert between.parameterization is None
        assert len(between.questions) == 1


def test_the_bundled_family_at_its_smallest():
    for parameterization in ("standard", "ntk"):
        built = mlp(
            input_shape=(28, 28),
            num_classes=10,
            base_width=8,
            depth=1,
            parameterization=parameterization,
        )
        found = compare(built.build(1), built.build(2))
        assert found.parameterization == parameterization


def test_different_factors_are_a_question():
    found = compare(network(1, last_width=32), network(4, last_width=64))
    assert found.widening_factor is None
    assert dict(found.factors) == {4.0: 2, 2.0: 1}
    assert "4 (2 weights), 2 (1 weights)" in found.questions[0]
    assert "give the plan widening_factor" in found.questions[0]


def test_only_the_classes_grew():
    found = compare(network(1), network(1, classes=20))
    assert found.widening_factor is None
    assert "no weight's fan-in widened" in found.questions[0]


def test_the_inputs_grew_too():
    found = compare(network(1), network(4, inputs=40))
    assert found.widening_factor is None


def test_the_same_network():
    found = compare(network(1), network(1))
    assert (found.widening_factor, found.widened, found.questions) == (1.0, (), ())


def test_base_and_target_exchanged():
    found = compare(network(4), network(1))
    assert found.widening_factor == 0.25
    assert "exchanged" in found.questions[0]


def test_depth():
    found = compare(network(1), network(4, depth=3))
    assert found.depth_changed
    assert found.only_in_target == ("6.weight", "6.bias")
    assert any("depth" in text for text in found.questions)


def seq(*layers):
    return nn.Sequential(*layers)


NORMALIZATIONS = [
    (lambda: seq(nn.Linear(3, 3)), "none"),
    (lambda: seq(nn.BatchNorm1d(3)), "batch"),
    (lambda: seq(nn.SyncBatchNorm(3)), "batch"),
    (lambda: seq(nn.LayerNorm(3)), "layer"),
    (lambda: seq(nn.GroupNorm(1, 3)), "group"),
    (lambda: seq(nn.InstanceNorm2d(3)), "instance"),
    (lambda: seq(nn.RMSNorm(3)), "rms"),
    (lambda: seq(nn.RMSNorm(3), nn.BatchNorm1d(3)), "mixed"),
]


@pytest.mark.parametrize(("build", "kind"), NORMALIZATIONS)
def test_normalization(build, kind):
    assert compare(build(), build()).normalization == kind


@pytest.mark.parametrize(
    ("build", "convolutional"),
    [
        (lambda: nn.Conv2d(3, 4, 3), True),
        (lambda: nn.Conv2d(3, 4, 1), False),
        (lambda: nn.Conv2d(3, 4, 8, stride=8), False),  # patches of a transformer
        (lambda: nn.Linear(3, 4), False),
    ],
)
def test_convolutional(build, convolutional):
    assert compare(build(), build()).convolutional is convolutional


def test_depthwise_convolutions():
    """Groups grow with the channels: the fan-in of one does not."""

    def build(w):
        channels = 16 * w
        return nn.Sequential(
            nn.Conv2d(3, channels, 3),
            nn.Conv2d(channels, channels, 3, groups=channels),
            nn.Conv2d(channels, channels, 1),
        )

    found = compare(build(1), build(4))
    assert found.widening_factor == 4.0
    assert "1.weight: inputs of a group, 1 in both" in found.not_widened
    assert found.parameterization == "default"


def test_hyper_parameters_reach_both():
    """Standard: ḡ ∝ fan-in at constant ε, B, m; std here is exactly 1/√(fan-in) or so."""
    found = compare(network(1), network(4), learning_rate=0.1, batch_size=8)
    base = found.base["2.weight"].normalized_noise_scale
    target = found.target["2.weight"].normalized_noise_scale
    assert target / base == pytest.approx(4.0, rel=0.1)
    assert "ḡ (target)" in str(found)


def test_the_text_says_everything():
    text = str(compare(network(1, draw=fixed_std), network(4, draw=fixed_std, depth=3)))
    for part in (
        "Widening factor: 4",
        "Parameterization: unclear",
        "Normalization: none; convolutions: no; depth changed: yes",
        "0.weight: inputs, 20 in both",
        "Only in the target network: 6.weight, 6.bias",
        "Open:",
        "×4",
    ):
        assert part in text


def test_dictionary_is_json():
    content = compare(network(1), network(2)).to_dict()
    assert json.loads(json.dumps(plain(content)))["widening_factor"] == 2.0
    assert content["base"]["parameterization"] == "default"


def test_plain_values():
    found = compare(nn.Linear(20, 30), nn.Linear(20, 60))
    assert found.to_dict() == {
        "widening_factor": found.widening_factor,
        "factors": [list(pair) for pair in found.factors],
        "parameterization": found.parameterization,
        "parameterization_reason": found.parameterization_reason,
        "widened": ["weight", "bias"],
        "not_widened": list(found.not_widened),
        "depth_changed": False,
        "only_in_base": [],
        "only_in_target": [],
        "normalization": "none",
        "convolutional": False,
        "residual": False,
        "questions": list(found.questions),
        "growth": [
            {
                "path": "weight",
                "base_shape": [30, 20],
                "target_shape": [60, 20],
                "ratios": [2.0, 1.0],
                "fan_in": 1.0,
                "fan_out": 2.0,
            },
            {
                "path": "bias",
                "base_shape": [30],
                "target_shape": [60],
                "ratios": [2.0],
                "fan_in": 1.0,
                "fan_out": 2.0,
            },
        ],
        "base": found.base.to_dict(),
        "target": found.target.to_dict(),
    }


class TestTransposedConvolutions:
    """PyTorch stores their inputs first: what widens is told by what an output sums over."""

    def comparison(self, build):
        torch.manual_seed(0)
        return compare(build(8), build(32))

    def test_as_their_convolutional_siblings(self):
        def build(layer):
            return lambda c: nn.Sequential(layer(3, c, 3), layer(c, c, 3), layer(c, 3, 3))

        ours, theirs = (self.comparison(build(kind)) for kind in (nn.ConvTranspose2d, nn.Conv2d))
        assert ours.widening_factor == theirs.widening_factor == 4.0
        assert ours.not_widened == theirs.not_widened
        assert "0.weight: inputs, 3 in both" in ours.not_widened
        assert "2.weight: outputs (classes), 3 in both" in ours.not_widened
        assert [g.fan_in for g in ours.growth] == [g.fan_in for g in theirs.growth]
        # PyTorch draws them by the number of outputs: no law in the fan-in can be read off.
        assert ours.parameterization is None
        assert "only transposed convolutions widened" in ours.parameterization_reason

    def test_an_upsampling_tail_does_not_hide_the_parameterization(self):
        def trunk(c):
            return nn.Conv1d(3, 4 * c, 3), nn.ReLU(), nn.Conv1d(4 * c, 4 * c, 3)

        found = self.comparison(lambda c: nn.Sequential(*trunk(c), nn.ConvTranspose1d(4 * c, 3, 3)))
        alone = self.comparison(lambda c: nn.Sequential(*trunk(c)))
        assert found.widening_factor == 4.0
        assert found.parameterization == alone.parameterization == "standard"

    def test_groups(self):
        found = self.comparison(
            lambda c: nn.Sequential(
                nn.ConvTranspose2d(3, c, 3), nn.ConvTranspose2d(c, c, 3, groups=c)
            )
        )
        # A channel of its own each: what an output sums over stays.
        assert [g.fan_in for g in found.growth if g.path.endswith("weight")] == [1.0, 1.0]
        assert "1.weight: outputs of a group, 1 in both" in found.not_widened

    def test_one_that_narrows_is_noticed(self):
        torch.manual_seed(0)
        found = compare(nn.ConvTranspose3d(32, 3, 3), nn.ConvTranspose3d(8, 3, 3))
        assert found.widening_factor == 0.25
        assert "the target is narrower" in found.questions[0]
