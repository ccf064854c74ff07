"""NTK and standard are one network: same outputs for ever, if every layer gets its own rate."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise import families
from widthwise.errors import InputError
from widthwise.families.layers import ScaledLinear
from widthwise.packing import pack
from widthwise.parameterization import (
    PARAMETERIZATIONS,
    forward_multiplier,
    init_std,
    init_variance,
    standard_weight_learning_rate,
)

STEPS, BATCH_SIZE, LEARNING_RATE = 100, 5, 0.1


def ntk_network(seed):
    family = families.mlp(
        input_shape=(2, 3), num_classes=3, base_width=8, depth=2, parameterization="ntk"
    )
    return family.build(2, seed).double()


def in_standard_form(network):
    """Ordinary linear layers whose weights are divided by √n_in."""
    layers = []
    for layer in network:
        if isinstance(layer, ScaledLinear):
            plain = nn.Linear(layer.in_features, layer.out_features).double()
            with torch.no_grad():
                plain.weight.copy_(layer.weight / layer.in_features**0.5)
                plain.bias.copy_(layer.bias)
            layer = plain
        layers.append(layer)
    return nn.Sequential(*layers)


def layer_rates(network, rate_of):
    """Parameter groups: ε/n_in for weights, ε for biases."""
    groups = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            groups.append({"params": [layer.weight], "lr": rate_of(layer.in_features)})
            groups.append({"params": [layer.bias], "lr": LEARNING_RATE})
    return groups


def by_the_table(fan_in):
    return standard_weight_learning_rate("ntk", LEARNING_RATE, fan_in)


def batches():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn((STEPS, BATCH_SIZE, 2, 3), generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (STEPS, BATCH_SIZE), generator=generator)


def outputs_of_ordinary_training(network, groups, momentum):
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=momentum)
    inputs, targets = batches()
    outputs = []
    for x, y in zip(inputs, targets, strict=True):
        outputs.append(network(x).detach())
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return torch.stack([*outputs, network(inputs[0]).detach()])


def outputs_of_packed_training(networks, momentum):
    """Of the first network; the second stands for whoever shares its pack."""
    packed = pack(networks, [LEARNING_RATE, 0.02], [momentum] * 2)
    inputs, targets = batches()
    losses = torch.empty(2, dtype=torch.float64)
    outputs = []
    for x, y in zip(inputs, targets, strict=True):
        outputs.append(packed.logits(x)[0].clone())
        packed.step(x.expand(2, *x.shape).contiguous(), y.expand(2, -1), losses)
    return torch.stack([*outputs, packed.logits(inputs[0])[0]])


def largest_difference(ntk_outputs, rate_of, momentum):
    standard = in_standard_form(ntk_network(0))
    groups = layer_rates(standard, rate_of)
    return float(
        (ntk_outputs - outputs_of_ordinary_training(standard, groups, momentum)).abs().max()
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
class TestSameTrajectory:
    def test_ordinary_training(self, momentum):
        network = ntk_network(0)
        outputs = outputs_of_ordinary_training(network, network.parameters(), momentum)
        assert float((outputs[-1] - outputs[0]).abs().max()) > 0.1  # it did learn
        assert largest_difference(outputs, by_the_table, momentum) < 1e-10

    def test_packed_training(self, momentum):
        outputs = outputs_of_packed_training([ntk_network(0), ntk_network(1)], momentum)
        assert largest_difference(outputs, by_the_table, momentum) < 1e-10

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda fan_in: LEARNING_RATE / fan_in * (1 + 1e-6),
            lambda fan_in: LEARNING_RATE / fan_in**0.5,
            lambda fan_in: LEARNING_RATE,
        ],
        ids=["one millionth off", "square root of fan-in", "one rate for all"],
    )
    def test_the_comparison_notices_a_wrong_rate(self, momentum, wrong):
        outputs = outputs_of_packed_training([ntk_network(0), ntk_network(1)], momentum)
        assert largest_difference(outputs, wrong, momentum) > 1e-10


class TestTable:
    def test_by_hand(self):
        assert init_std("standard", 8, gain=2.0) == pytest.approx(0.5, rel=1e-12)
        assert init_std("ntk", 8, gain=2.0) == pytest.approx(2**0.5, rel=1e-12)
        assert forward_multiplier("standard", 16) == 1.0
        assert forward_multiplier("ntk", 16) == pytest.approx(0.25, rel=1e-12)
        assert standard_weight_learning_rate("ntk", 0.8, 16) == pytest.approx(0.05, rel=1e-12)
        assert standard_weight_learning_rate("standard", 0.8, 16) == 0.8

    def test_variance_falls_with_width_in_standard_only(self):
        np.testing.assert_allclose(init_variance("standard", [1, 2, 4], 2.0), [2, 1, 0.5])
        np.testing.assert_allclose(init_variance("ntk", [1, 2, 4], 2.0), [2, 2, 2])

    @pytest.mark.parametrize("name", PARAMETERIZATIONS)
    def test_preactivations_start_alike(self, name):
        """Multiplier · standard deviation is √(gain / fan-in), whoever carries it."""
        product = forward_multiplier(name, 50) * init_std(name, 50, gain=2.0)
        assert product == pytest.approx(0.2, rel=1e-12)

    def test_unknown_name(self):
        with pytest.raises(InputError, match=r"one of standard, ntk, got 'mup'"):
            init_std("mup", 4)

    @pytest.mark.parametrize("fan_in", [0, -1, float("nan")])
    def test_fan_in_is_positive(self, fan_in):
        with pytest.raises(InputError, match="must be positive"):
            forward_multiplier("ntk", fan_in)
