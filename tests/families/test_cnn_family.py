"""Plain ConvNets: shapes, counts, initial variance, and NTK = standard with rates a layer."""

import math

import pytest
import torch
from network_checks import (
    fan_in,
    in_standard_form,
    mean_square_is,
    num_parameters,
    rates,
    traced,
    train,
    unscaled_rule,  # noqa: F401 - a fixture
    weighted,
)
from torch import nn

from widthwise import families
from widthwise.errors import InputError
from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.theory.parameterization import standard_weight_learning_rate


def family(**options):
    defaults = {"input_shape": (3, 8, 8), "num_classes": 5, "base_width": 4, "depth": 2}
    return families.cnn(**{**defaults, **options})


class TestShapes:
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 32, 32), (2, 9, 17)])
    def test_logits(self, shape, parameterization, normalization):
        options = {"parameterization": parameterization, "normalization": normalization}
        module = family(input_shape=shape, depth=3, **options).build(0.5)
        assert module(torch.zeros(7, *shape)).shape == (7, 5)

    def test_every_layer_widens_but_not_the_ends(self):
        network = family(depth=3).build(2.5)
        sizes = [tuple(layer.weight.shape) for layer in weighted(network)]
        assert sizes == [(10, 3, 3, 3), (20, 10, 3, 3), (40, 20, 3, 3), (5, 40)]

    @pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32)])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_parameters_by_hand(self, shape, normalization):
        width, channels = 8 * 3, 1 if len(shape) == 2 else 3
        positions = (shape[-1] // 8) ** 2
        weights = 9 * (channels * width + 2 * width**2 + 8 * width**2) + 4 * width * positions * 10
        # A bias, or a scale and a shift of batch norm, for each of 7·width channels.
        others = 7 * width * {"none": 1, "batch": 2}[normalization] + 10
        network = families.cnn(shape, 10, normalization=normalization).build(3)
        assert num_parameters(network) == weights + others

    def test_batch_norm_replaces_biases(self):
        network = family(normalization="batch").build(1)
        kinds = [type(layer) for layer in network]
        stage = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
        assert kinds == [*stage, *stage, nn.Flatten, nn.Linear]
        assert [layer.bias is None for layer in weighted(network)] == [True, True, False]

    def test_without_bias(self):
        assert all(layer.bias is None for layer in weighted(family(bias=False).build(1)))

    def test_parameterizations_have_their_layers(self):
        kinds = {type(layer) for layer in weighted(family(parameterization="ntk").build(1))}
        assert kinds == {ScaledConv2d, ScaledLinear}
        assert {type(layer) for layer in weighted(family().build(1))} == {nn.Conv2d, nn.Linear}

    def test_options(self):
        kinds = {type(m) for m in family(pooling="average", activation="tanh").build(1)}
        assert {nn.AvgPool2d, nn.Tanh} <= kinds
        assert not {nn.MaxPool2d, nn.ReLU} & kinds

    def test_names_tell_families_apart(self):
        assert family().name == "cnn-2x4w-relu"
        assert family(normalization="batch").name == "cnn-2x4w-relu-batchnorm"

    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_traceable(self, parameterization, normalization):
        options = {"parameterization": parameterization, "normalization": normalization}
        module = family(input_shape=(8, 8), **options).build(1).eval()
        x = torch.randn(3, 8, 8)
        assert torch.equal(traced(module)(x), module(x))


class TestInitialWeights:
    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    def test_variance_of_each_layer(self, parameterization):
        network = family(parameterization=parameterization, num_classes=50).build(10, seed=3)
        for layer, gain in zip(weighted(network), (2, 2, 1), strict=True):
            expected = gain if parameterization == "ntk" else gain / fan_in(layer)
            # Five standard errors of the variance of this many Gaussian weights.
            tolerance = 5 * math.sqrt(2 / layer.weight.numel())
            assert float(layer.weight.detach().var()) == pytest.approx(expected, rel=tolerance)

    def test_biases_start_at_zero(self):
        assert all(not layer.bias.any() for layer in weighted(family().build(2)))

    def test_family_level_variance(self):
        assert [family().init_variance(w) for w in (1, 2, 4)] == [2.0, 1.0, 0.5]
        ntk = family(parameterization="ntk", activation="tanh")
        assert [ntk.init_variance(w) for w in (1, 2, 4)] == [1.0, 1.0, 1.0]

    def test_seeds(self):
        first, same, other = (family().build(2, seed=s).state_dict() for s in (1, 1, 2))
        assert all(torch.equal(first[key], same[key]) for key in first)
        assert not any(torch.equal(first[key], other[key]) for key in first if "weight" in key)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        family(normalization="batch").build(2, seed=1)
        assert torch.equal(torch.rand(3), expected)


def initial_outputs(width, inputs, num_seeds=300, **options):
    """(seeds, outputs) of networks with one stage: features of its channels are independent and
    alike, so that the second moment of outputs is the same at every width, exactly."""
    shape = tuple(inputs.shape[1:])
    built = family(input_shape=shape, num_classes=40, base_width=16, depth=1, **options)
    with torch.no_grad():
        outputs = [built.build(width, seed)(inputs).flatten() for seed in range(num_seeds)]
    return torch.stack(outputs)


class TestInitialOutputs:
    """One bright pixel: the 3×3 positions that see it have independent N(0, σ²) pre-activations,
    σ² = 2/9. Pooling squares hold 4, 2, 2 and 1 of them, the rest are 0.

    Average: with E[relu²] = σ²/2 and E[relu]² = σ²/(2π), channels contribute
    (9·σ²/2 + (12 + 2 + 2)·σ²/(2π))/16, spread over the 4 features that each channel has.
    """

    VARIANCE = 2 / 9
    EXPECTED = (9 * VARIANCE / 2 + 16 * VARIANCE / (2 * math.pi)) / 16 / 4

    def outputs(self, width, **options):
        image = torch.zeros(1, 4, 4)
        image[0, 1, 1] = 1.0
        return initial_outputs(width, image, pooling="average", **options)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("width", "parameterization"), [(1, "standard"), (2, "ntk"), (8, "standard")]
    )
    def test_variance_by_hand_at_every_width(self, width, parameterization):
        found = self.outputs(width, parameterization=parameterization)
        assert mean_square_is(found, self.EXPECTED)

    @pytest.mark.usefixtures("unscaled_rule")
    def test_the_check_notices_a_rule_without_fan_in(self):
        assert not mean_square_is(self.outputs(1), self.EXPECTED)

    def test_the_check_notices_a_constant_that_is_a_fifth_off(self):
        assert not mean_square_is(self.outputs(2), 1.2 * self.EXPECTED)

    @pytest.mark.parametrize("pooling", ["max", "average"])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_parameterizations_start_as_one_function(self, normalization, pooling):
        x = torch.randn(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        options = {"input_shape": (8, 8), "normalization": normalization, "pooling": pooling}
        ntk, standard = (
            family(**options, parameterization=name).build(2, seed=1).double()(x)
            for name in ("ntk", "standard")
        )
        torch.testing.assert_close(ntk, standard, rtol=1e-5, atol=1e-6)  # drawn in float32


class TestInitialOutputsWithBatchNorm:
    """Standardized pre-activations: the same second moment of outputs at every width.

    The value is that of one channel, computed without a network: σ cancels.
    """

    def outputs(self, width, **options):
        images = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(5))
        return initial_outputs(width, images, normalization="batch", **options)

    def expected(self):
        """Mean square of max-pooled relu of standardized convolutions, over 20,000 kernels."""
        generator = torch.Generator().manual_seed(6)
        images = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(5))
        kernels = torch.randn(20_000, 1, 3, 3, generator=generator)
        z = nn.functional.conv2d(images, kernels, padding=1)
        z = (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), correction=0, keepdim=True)
        return float(nn.functional.max_pool2d(z.relu(), 2).square().mean())

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("width", "parameterization"), [(1, "standard"), (2, "ntk"), (8, "standard")]
    )
    def test_variance_at_every_width(self, width, parameterization):
        found = self.outputs(width, parameterization=parameterization)
        assert mean_square_is(found, self.expected())

    @pytest.mark.slow
    @pytest.mark.usefixtures("unscaled_rule")
    def test_the_check_notices_a_rule_without_fan_in(self):
        assert not mean_square_is(self.outputs(1), self.expected())


class TestNTKIsStandardWithRatesALayer:
    """DESIGN's identity: weights divided by √fan_in at rates ε/fan_in, biases and batch norm at
    ε: the same outputs for ever."""

    LEARNING_RATE, MOMENTUM, STEPS = 0.1, 0.9, 50

    def batches(self):
        generator = torch.Generator().manual_seed(3)
        return [
            (
                torch.randn(6, 8, 8, generator=generator, dtype=torch.float64),
                torch.randint(5, (6,), generator=generator),
            )
            for _ in range(self.STEPS)
        ]

    def largest_difference(self, weight_rate, **options):
        ntk, standard = (
            family(input_shape=(8, 8), parameterization="ntk", **options).build(1, seed=2).double()
            for _ in range(2)
        )
        in_standard_form(standard)
        assert not any(isinstance(m, ScaledConv2d | ScaledLinear) for m in standard.modules())
        ordinary = rates(ntk, self.LEARNING_RATE, lambda _: self.LEARNING_RATE)
        scaled = rates(standard, self.LEARNING_RATE, weight_rate)
        outputs = train(ntk, ordinary, self.batches(), self.MOMENTUM)
        assert float((outputs[-1] - outputs[0]).abs().max()) > 0.1  # it did learn
        return float((train(standard, scaled, self.batches(), self.MOMENTUM) - outputs).abs().max())

    def by_the_table(self, fan_in):
        return standard_weight_learning_rate("ntk", self.LEARNING_RATE, fan_in)

    @pytest.mark.parametrize("pooling", ["max", "average"])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_same_outputs(self, normalization, pooling):
        options = {"normalization": normalization, "pooling": pooling}
        assert self.largest_difference(self.by_the_table, **options) < 1e-10

    @pytest.mark.parametrize(
        "wrong", [lambda fan_in: 0.1 / fan_in * (1 + 1e-6), lambda fan_in: 0.1 / fan_in**0.5]
    )
    def test_the_comparison_notices_a_wrong_rate(self, wrong):
        assert self.largest_difference(wrong) > 1e-10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_width": 0}, "base_width must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"input_shape": (20,)}, r"\(height, width\) or .* got \(20,\); use an mlp"),
        ({"input_shape": (8, 7), "depth": 3}, r"least 8 pixels, got input_shape \(8, 7\); use a"),
        ({"depth": 4}, r"depth 4 pools 4 times, .* 16 pixels, got input_shape \(3, 8, 8\)"),
        ({"activation": "step"}, "activation must be one of relu"),
        ({"pooling": "min"}, "pooling must be one of max, average, got 'min'"),
        ({"normalization": "layer"}, "normalization must be one of none, batch, got 'layer'"),
        ({"parameterization": "mup"}, "parameterization must be one of standard, ntk"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        family(**options)


def test_the_smallest_image_is_enough():
    assert family(input_shape=(8, 8), depth=3).build(1)(torch.zeros(2, 8, 8)).shape == (2, 5)


def test_widths_are_whole():
    with pytest.raises(InputError, match=r"whole number of units, got 4 × 1.1 = 4.4"):
        family().build(1.1)
