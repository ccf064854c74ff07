"""Layers that families are built from."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.families.base import image_size, require_at_least_one
from widthwise.families.layers import ScaledConv2d, as_image, conv, norm, pool


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weights(seed=0):
    return np.random.default_rng(seed)


class TestScaledConv2d:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"bias": False},
            {"stride": 2, "padding": 1},
            {"dilation": 2, "padding": "same"},
            {"groups": 2},
            {"padding": 1, "padding_mode": "circular"},
        ],
        ids=str,
    )
    def test_factor_on_the_product_and_not_on_the_bias(self, options):
        layer = ScaledConv2d(4, 6, 3, multiplier=0.25, **options).double()
        plain = nn.Conv2d(4, 6, 3, **{**options, "bias": False}).double()
        with torch.no_grad():
            plain.weight.copy_(layer.weight)
        x = torch.randn(2, 4, 7, 8, dtype=torch.float64, generator=generator())
        expected = 0.25 * plain(x)
        if layer.bias is not None:
            expected = expected + layer.bias[:, None, None]
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)

    def test_gradient_of_weights_carries_the_factor(self):
        layer = ScaledConv2d(2, 3, 1, multiplier=0.5)
        layer(torch.ones(1, 2, 1, 1)).sum().backward()
        assert layer.weight.grad.unique().tolist() == [0.5]
        assert layer.bias.grad.unique().tolist() == [1.0]

    def test_shows_its_factor(self):
        assert "multiplier=0.25" in repr(ScaledConv2d(2, 3, 3, multiplier=0.25))


class TestConv:
    # Five standard errors of the variance of 64·32·9 Gaussian weights.
    TOLERANCE = 5 * math.sqrt(2 / (64 * 32 * 9))

    def variance(self, parameterization, gain):
        layer = conv(parameterization, 32, 64, gain=gain, bias=True, generator=weights())
        return float(layer.weight.detach().var())

    def test_initial_variance(self):
        fan_in = 9 * 32
        assert self.variance("standard", 2.0) == pytest.approx(2 / fan_in, rel=self.TOLERANCE)
        assert self.variance("ntk", 2.0) == pytest.approx(2, rel=self.TOLERANCE)

    def test_the_check_notices_a_fan_in_without_the_kernel(self):
        assert self.variance("standard", 2.0) != pytest.approx(2 / 32, rel=self.TOLERANCE)

    def test_multiplier_is_one_over_the_root_of_fan_in(self):
        layer = conv("ntk", 4, 2, gain=2.0, bias=True, generator=weights())
        assert layer.multiplier == pytest.approx(1 / 6, rel=1e-12)
        assert type(conv("standard", 4, 2, gain=2.0, bias=True, generator=weights())) is nn.Conv2d

    def test_both_parameterizations_start_as_one_function(self):
        x = torch.randn(2, 4, 5, 5, generator=generator(1))
        ntk, standard = (
            conv(name, 4, 2, gain=2.0, bias=True, generator=weights())(x)
            for name in ("ntk", "standard")
        )
        torch.testing.assert_close(ntk, standard, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(("kernel_size", "stride", "side"), [(3, 1, 7), (3, 2, 4), (1, 2, 4)])
    def test_sizes(self, kernel_size, stride, side):
        layer = conv(
            "standard",
            3,
            5,
            kernel_size=kernel_size,
            stride=stride,
            gain=1.0,
            bias=False,
            generator=weights(),
        )
        assert layer(torch.zeros(2, 3, 7, 7)).shape == (2, 5, side, side)
        assert layer.bias is None

    def test_biases_start_at_zero(self):
        layer = conv("standard", 3, 5, gain=1.0, bias=True, generator=weights())
        assert layer.bias.tolist() == [0.0] * 5

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        conv("ntk", 3, 5, gain=1.0, bias=True, generator=weights())
        assert torch.equal(torch.rand(3), expected)


class TestTables:
    def test_normalizations(self):
        assert norm("none", 3) == ()
        (layer,) = norm("batch", 3)
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.num_features == 3

    def test_poolings(self):
        x = torch.randn(1, 2, 4, 6, generator=generator())
        assert torch.equal(pool("max", 2)(x), functional.max_pool2d(x, 2))
        assert torch.equal(pool("average", 2)(x), functional.avg_pool2d(x, 2))

    def test_unknown_names(self):
        with pytest.raises(InputError, match="normalization must be one of none, batch, got 'la'"):
            norm("la", 3)
        with pytest.raises(InputError, match="pooling must be one of max, average, got 'min'"):
            pool("min", 2)


class TestImages:
    def test_two_axes_get_a_channel(self):
        x = torch.randn(3, 4, 5)
        assert torch.equal(nn.Sequential(*as_image((4, 5)))(x), x[:, None])
        assert as_image((2, 4, 5)) == ()

    def test_sizes(self):
        assert image_size((4, 5)) == (1, 4, 5)
        assert image_size([3, 4, 5]) == (3, 4, 5)

    @pytest.mark.parametrize("shape", [(), (4,), (1, 2, 3, 4), (0, 4), (3, 4, -1)])
    def test_other_shapes(self, shape):
        with pytest.raises(InputError, match=r"\(height, width\) or \(channels, height, width\)"):
            image_size(shape)

    def test_counts(self):
        require_at_least_one(a=1, b=2)
        with pytest.raises(InputError, match="b must be at least 1, got 0"):
            require_at_least_one(a=1, b=0)
