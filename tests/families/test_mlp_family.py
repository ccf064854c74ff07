"""Built-in networks: shapes, initial variance, reproducibility."""

import math

import pytest
import torch
from torch import nn

from widthwise import families
from widthwise.errors import InputError
from widthwise.families.layers import ScaledLinear


def family(**options):
    return families.mlp(**{"input_shape": (4, 5), "num_classes": 3, "base_width": 6, **options})


def dense(module):
    return [layer for layer in module if isinstance(layer, nn.Linear)]


class TestShapes:
    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_every_hidden_layer_widens_and_nothing_else(self, depth):
        sizes = [(la.in_features, la.out_features) for la in dense(family(depth=depth).build(2.5))]
        assert sizes == [(20, 15), *[(15, 15)] * (depth - 1), (15, 3)]

    def test_logits(self):
        assert family().build(1)(torch.zeros(7, 4, 5)).shape == (7, 3)

    def test_without_bias(self):
        assert all(layer.bias is None for layer in dense(family(bias=False).build(1)))

    def test_parameterizations_have_their_layers(self):
        assert {type(la) for la in dense(family(parameterization="ntk").build(1))} == {ScaledLinear}
        assert {type(la) for la in dense(family().build(1))} == {nn.Linear}

    def test_activation(self):
        assert any(isinstance(m, nn.Tanh) for m in family(activation="tanh").build(1))


class TestInitialization:
    WIDTH = 60  # base 6 × 60 = 360 units: 360·360 weights in the middle

    def variances(self, **options):
        network = family(depth=2, **options).build(self.WIDTH, seed=5)
        return [float(layer.weight.detach().var()) for layer in dense(network)]

    # Five standard errors of the variance of the smallest layer (360·3 Gaussian weights).
    TOLERANCE = 5 * math.sqrt(2 / (360 * 3))

    def expected(self, parameterization, gains):
        fan_ins = (20, 360, 360)
        if parameterization == "ntk":
            return list(gains)
        return [gain / fan_in for gain, fan_in in zip(gains, fan_ins, strict=True)]

    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("tanh", 1.0)])
    def test_variance(self, parameterization, activation, gain):
        found = self.variances(parameterization=parameterization, activation=activation)
        wanted = self.expected(parameterization, (gain, gain, 1.0))
        assert found == pytest.approx(wanted, rel=self.TOLERANCE)

    def test_the_check_notices_a_wrong_gain(self):
        assert self.variances() != pytest.approx(
            self.expected("standard", (1.0, 1.0, 1.0)), rel=self.TOLERANCE
        )

    def test_biases_start_at_zero(self):
        assert all(not layer.bias.any() for layer in dense(family().build(3)))

    def test_family_level_variance(self):
        assert [family().init_variance(w) for w in (1, 2, 4)] == [2.0, 1.0, 0.5]
        ntk = family(parameterization="ntk")
        assert [ntk.init_variance(w) for w in (1, 2, 4)] == [2.0, 2.0, 2.0]

    def test_seeds(self):
        first, same, other = (family().build(2, seed=s)[1].weight for s in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        family().build(2, seed=1)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_width": 0}, "base_width must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"input_shape": ()}, "input_shape must hold positive sizes"),
        ({"activation": "step"}, "activation must be one of relu"),
        ({"parameterization": "mup"}, "parameterization must be one of standard, ntk"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        family(**options)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (1.1, r"whole number of units, got 6 × 1.1 = 6.6"),
        (0, "widening_factor must be positive, got 0"),
        (-1, "widening_factor must be positive"),
        (0.01, "whole number of units"),
    ],
)
def test_widths_are_whole(width, message):
    with pytest.raises(InputError, match=message):
        family().build(width)
