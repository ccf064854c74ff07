"""NTK and standard are one network: same outputs for ever, if every layer gets its own rate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise import families
from widthwise.engines import pack
from widthwise.errors import InputError
from widthwise.families.layers import ScaledLinear
from widthwise.theory.parameterization import (
    FORMS,
    PARAMETERIZATIONS,
    LayerWidths,
    Multipliers,
    TensorForm,
    form_multipliers,
    forward_multiplier,
    init_std,
    init_variance,
    mup_factors_of,
    noise_growth,
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

    @pytest.mark.parametrize("name", [n for n, rule in PARAMETERIZATIONS.items() if rule.drawn])
    def test_preactivations_start_alike(self, name):
        """Multiplier · standard deviation is √(gain / fan-in), whoever carries it."""
        product = forward_multiplier(name, 50) * init_std(name, 50, gain=2.0)
        assert product == pytest.approx(0.2, rel=1e-12)

    def test_unknown_name(self):
        with pytest.raises(InputError, match=r"one of standard, ntk, got 'mup'"):
            init_std("mup", 4)
        with pytest.raises(InputError, match=r"one of standard, ntk, default, mup, got 'kaiming'"):
            init_variance("kaiming", 4)

    def test_noise_growth(self):
        """w^(s+e) by hand: e = −1 but for NTK."""
        grown = {name: noise_growth(name, 16, 0.5) for name in PARAMETERIZATIONS}
        assert grown == {"standard": 0.25, "ntk": 4.0, "default": 0.25, "mup": 0.25}
        assert [noise_growth(name, 4) for name in PARAMETERIZATIONS] == [1.0, 4.0, 1.0, 1.0]

    @pytest.mark.parametrize("fan_in", [0, -1, float("nan")])
    def test_fan_in_is_positive(self, fan_in):
        with pytest.raises(InputError, match="must be positive"):
            forward_multiplier("ntk", fan_in)


POSITIVE = st.floats(1e-3, 1e3)


class TestTensorForm:
    def test_by_hand(self):
        """c 1 → ¼: W' = 4W, ε' = 16ε, λ' = λ/16."""
        form = TensorForm(multiplier=1, init_scale=0.5, learning_rate=0.1, weight_decay=0.32)
        after = form.with_multiplier(0.25)
        assert (after.multiplier, after.init_scale) == (0.25, 2.0)
        assert after.learning_rate == pytest.approx(1.6, rel=1e-15)
        assert after.weight_decay == pytest.approx(0.02, rel=1e-15)

    @given(c=POSITIVE, scale=POSITIVE, rate=POSITIVE, decay=POSITIVE, new=POSITIVE, last=POSITIVE)
    def test_what_stays(self, c, scale, rate, decay, new, last):
        before = TensorForm(multiplier=c, init_scale=scale, learning_rate=rate, weight_decay=decay)
        after = before.with_multiplier(new)
        for kept in (
            lambda f: f.multiplier * f.init_scale,
            lambda f: f.multiplier**2 * f.learning_rate,
            lambda f: f.learning_rate * f.weight_decay,
        ):
            assert kept(after) == pytest.approx(kept(before), rel=1e-12)
        direct, by_way = before.with_multiplier(last), after.with_multiplier(last)
        assert by_way.learning_rate == pytest.approx(direct.learning_rate, rel=1e-12)

    def test_agrees_with_the_standard_rate(self):
        ntk = TensorForm(multiplier=0.25, init_scale=1.0, learning_rate=0.8)
        expected = standard_weight_learning_rate("ntk", 0.8, 16)
        assert ntk.with_multiplier(1.0).learning_rate == pytest.approx(expected, rel=1e-15)

    @pytest.mark.parametrize(
        "wrong",
        [{"multiplier": 0.0}, {"init_scale": -1.0}, {"learning_rate": -1.0}, {"weight_decay": -1}],
    )
    def test_ranges(self, wrong):
        fields = {"multiplier": 1.0, "init_scale": 1.0, "learning_rate": 1.0} | wrong
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must lie in"):
            TensorForm(**fields)
        with pytest.raises(InputError, match="multiplier must lie in"):
            TensorForm(multiplier=1.0, init_scale=1.0, learning_rate=1.0).with_multiplier(-1.0)


class TestForms:
    # (fan-in factor, fan-out factor) → weight and bias multipliers, fan-in 16, widened by 4.
    BY_HAND = (
        ("standard", 4, 4, 1.0, 1.0),
        ("ntk", 4, 4, 0.25, 1.0),
        ("mup", 1, 4, 1.0, 1.0),
        ("mup", 4, 4, 1.0, 1.0),
        ("mup", 4, 1, 0.25, 1.0),
        ("mup-one-rate", 1, 4, 2.0, 2.0),
        ("mup-one-rate", 4, 4, 1.0, 2.0),
        ("mup-one-rate", 4, 1, 0.5, 1.0),
        ("mup-one-rate", 1, 1, 1.0, 1.0),
        ("mup-one-rate", 4, 16, 2.0, 4.0),
    )

    @pytest.mark.parametrize(("form", "into", "out", "weight", "bias"), BY_HAND)
    def test_multipliers(self, form, into, out, weight, bias):
        widths = LayerWidths(fan_in=16, fan_in_factor=into, fan_out_factor=out)
        assert form_multipliers(form, widths) == Multipliers(weight, bias)

    @given(into=st.sampled_from([1.0, 3.0]), out=st.sampled_from([1.0, 3.0]))
    def test_one_rate_is_mup_by_another_name(self, into, out):
        """Effective scale and rate of the two forms are equal."""
        factors = mup_factors_of(into, out)
        prescribed = TensorForm(
            multiplier=factors.multiplier,
            init_scale=factors.init_scale,
            learning_rate=factors.learning_rate,
        )
        widths = LayerWidths(fan_in=16, fan_in_factor=into, fan_out_factor=out)
        single = prescribed.with_multiplier(form_multipliers("mup-one-rate", widths).weight)
        assert single.learning_rate == pytest.approx(1.0, rel=1e-12)

    @given(factor=st.floats(1.5, 64.0))
    def test_layer_level_noise_scale_of_mup_grows_as_width(self, factor):
        """ε_eff/σ_eff² of a layer at constant ε, B, m; standard σ² falls as 1/fan-in."""
        for into, out in ((1.0, factor), (factor, factor), (factor, 1.0)):
            f = mup_factors_of(into, out)
            rate = f.multiplier**2 * f.learning_rate
            variance = (f.multiplier * f.init_scale) ** 2 / into
            assert rate / variance == pytest.approx(factor, rel=1e-12)

    def test_unknown_form(self):
        with pytest.raises(InputError, match=f"one of {', '.join(FORMS)}, got 'sp'"):
            form_multipliers("sp", LayerWidths(fan_in=4))

    @pytest.mark.parametrize("name", ["fan_in", "fan_in_factor", "fan_out_factor"])
    def test_widths_are_positive(self, name):
        with pytest.raises(InputError, match=rf"{name} must lie in \(0, ∞\)"):
            LayerWidths(**{"fan_in": 4} | {name: 0.0})
