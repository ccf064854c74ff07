"""A converted network gives the outputs of the original for ever."""

import copy

import pytest
import torch
from conversion.networks import (
    LEARNING_RATE,
    difference,
    network,
    plain_cnn,
    trajectory,
)
from torch import nn

from widthwise import families
from widthwise.conversion import convert
from widthwise.errors import InputError

EXACT = 1e-10
KINDS = ["mlp", "cnn"]


def of_module(module, *, weight_decay=0.0, **options):
    """Outputs of an unconverted copy at one rate for all."""
    twin = copy.deepcopy(module)
    groups = [{"params": list(twin.parameters()), "weight_decay": weight_decay}]
    return trajectory(twin, groups, **options)


def of_conversion(conversion, **options):
    return trajectory(conversion.module, conversion.parameter_groups(), **options)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kind", KINDS)
class TestSameTrajectory:
    @pytest.mark.slow
    def test_standard_to_ntk_and_back(self, kind, momentum):
        module = network(kind, "standard")
        expected = of_module(module, momentum=momentum)
        assert difference(expected[0], expected[-1]) > 0.1  # it did learn
        ntk = convert(module, "ntk", learning_rate=LEARNING_RATE)
        back = convert(ntk.module, "standard", learning_rate=ntk.learning_rates)
        assert all(
            rate == pytest.approx(LEARNING_RATE, rel=1e-14) for rate in back.learning_rates.values()
        )
        for conversion in (ntk, back):
            got = of_conversion(copy.deepcopy(conversion), momentum=momentum)
            assert difference(got, expected) < EXACT

    @pytest.mark.parametrize("form", ["standard", "mup", "mup-one-rate"])
    def test_from_ntk(self, kind, momentum, form):
        module, base = network(kind, "ntk", width=2), network(kind, "ntk", width=1)
        expected = of_module(module, momentum=momentum)
        conversion = convert(module, form, learning_rate=LEARNING_RATE, base=base)
        assert difference(of_conversion(conversion, momentum=momentum), expected) < EXACT

    @pytest.mark.parametrize("tensor", ["weight", "bias"])
    def test_a_rate_wrong_by_a_millionth_is_noticed(self, kind, momentum, tensor):
        module = network(kind, "standard")
        expected = of_module(module, momentum=momentum)
        ntk = convert(module, "ntk", learning_rate=LEARNING_RATE)
        groups = ntk.parameter_groups()
        names = {id(p): name for name, p in ntk.module.named_parameters()}
        wrong = next(g for g in groups if names[id(g["params"][0])].endswith(tensor))
        wrong["lr"] *= 1 + 1e-6
        assert difference(trajectory(ntk.module, groups, momentum=momentum), expected) > EXACT


class TestWhatElseIsKept:
    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["ntk", "mup-one-rate"])
    def test_nesterov_and_weight_decay(self, form):
        options = {"momentum": 0.8, "nesterov": True}
        module, base = network("cnn", "standard"), network("cnn", "standard", width=1)
        expected = of_module(module, weight_decay=0.1, **options)
        assert difference(expected, of_module(module, **options)) > 1e-3  # it matters
        conversion = convert(module, form, learning_rate=LEARNING_RATE, weight_decay=0.1, base=base)
        assert difference(of_conversion(conversion, **options), expected) < EXACT

    def test_unadapted_weight_decay_is_noticed(self):
        module = network("mlp", "standard")
        expected = of_module(module, weight_decay=0.1)
        ntk = convert(module, "ntk", learning_rate=LEARNING_RATE, weight_decay=0.1)
        groups = [group | {"weight_decay": 0.1} for group in ntk.parameter_groups()]
        assert difference(trajectory(ntk.module, groups), expected) > 1e-3

    @pytest.mark.slow
    def test_norms_frozen_parameters_and_layers_used_twice(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = plain_cnn(4)[:6]
                self.mix = nn.Conv2d(8, 8, 1)
                self.again = self.mix
                self.body[0].weight.requires_grad_(False)
                self.readout = nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 3))

            def forward(self, x):
                return self.readout(self.again(torch.relu(self.mix(self.body(x)))))

        torch.manual_seed(0)
        module = Twice().double()
        ntk = convert(module, "ntk", learning_rate=LEARNING_RATE)
        assert ntk.module.mix is ntk.module.again
        frozen = ntk.module.body[0].weight
        assert not frozen.requires_grad
        assert not any(p is frozen for g in ntk.parameter_groups() for p in g["params"])
        expected = of_module(module, momentum=0.9)
        assert difference(of_conversion(ntk, momentum=0.9), expected) < EXACT

    def test_the_module_is_not_changed_and_no_numbers_are_drawn(self):
        module = network("cnn", "standard").eval()
        before = copy.deepcopy(module.state_dict())
        state = torch.get_rng_state()
        conversion = convert(module, "ntk", learning_rate=LEARNING_RATE)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
        assert not any(m.training for m in conversion.module.modules())
        assert list(conversion.module.state_dict()) == list(before)

    def test_options_of_convolutions(self):
        torch.manual_seed(0)
        layer = nn.Conv2d(
            4, 8, (3, 2), stride=2, padding=(2, 1), dilation=2, groups=2, padding_mode="reflect"
        ).double()
        x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
        ntk = convert(layer, "ntk", learning_rate=1.0)
        assert isinstance(ntk.module, families.ScaledConv2d)
        assert ntk.module.multiplier == pytest.approx(12**-0.5)  # 3·2·4/2 inputs
        assert difference(ntk.module(x), layer(x)) < 1e-14


class TestByHand:
    def test_ntk_of_a_linear_layer(self):
        """c 1 → ½ with 4 inputs: W' = 2W at 4ε and λ/4; the bias stays."""
        layer = nn.Linear(4, 2)
        conversion = convert(layer, "ntk", learning_rate=0.1, weight_decay=0.4)
        weight, bias = conversion.tensors
        assert torch.equal(conversion.module.weight, 2 * layer.weight)
        assert (weight.name, weight.after.multiplier, weight.after.init_scale) == ("weight", 0.5, 2)
        assert weight.after.learning_rate == pytest.approx(0.4, rel=1e-15)
        assert weight.after.weight_decay == pytest.approx(0.1, rel=1e-15)
        assert bias.after == bias.before
        assert [(g["lr"], g["weight_decay"]) for g in conversion.parameter_groups()] == [
            pytest.approx((0.4, 0.1)),
            pytest.approx((0.1, 0.4)),
        ]

    def test_one_rate_form(self):
        """Widened fourfold: input c = √4, hidden 1, readout 1/√4; biases √4, √4, 1."""
        base, wide = families.mlp((3,), 2, 4, 2).build(1), families.mlp((3,), 2, 4, 2).build(4)
        after = {
            t.name: t.after
            for t in convert(wide, "mup-one-rate", learning_rate=1.0, base=base).tensors
        }
        multipliers = {"1": (2.0, 2.0), "3": (1.0, 2.0), "5": (0.5, 1.0)}
        for layer, (weight, bias) in multipliers.items():
            assert after[f"{layer}.weight"].multiplier == weight
            assert after[f"{layer}.bias"].multiplier == bias


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class TestErrors:
    @pytest.mark.parametrize(
        ("module", "form", "options", "match"),
        [
            (nn.Linear(2, 2), "kaiming", {}, r"one of standard, ntk, mup, mup-one-rate, got 'ka"),
            (nn.Linear(2, 2), "mup", {}, r"relative to a base network, got none; pass base="),
            (Doubled(2, 2), "ntk", {}, r"must be Linear.*got Doubled 'module' with 'weight'"),
            (nn.Sequential(nn.Conv1d(2, 2, 3)), "ntk", {}, r"got Conv1d '0' with 'weight'"),
            (nn.Linear(2, 2), "ntk", {"learning_rate": {"weight": 1.0}}, r"none for 'bias'; add"),
            (nn.Linear(2, 2), "ntk", {"learning_rate": -1.0}, r"learning_rate must lie in \[0, ∞"),
            (nn.Linear(2, 2), "ntk", {"weight_decay": -1.0}, r"weight_decay must lie in \[0, ∞"),
            (nn.Linear(2, 2), "mup", {"base": nn.Linear(2, 1, False)}, r"no parameter 'bias'"),
        ],
    )
    def test_names_rule_and_remedy(self, module, form, options, match):
        with pytest.raises(InputError, match=match):
            convert(module, form, **{"learning_rate": 0.1} | options)

    def test_tied_weights(self):
        tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(4, 4))
        tied[1].weight = tied[0].weight
        convert(tied, "ntk", learning_rate=0.1)  # both layers want ½: nothing stands in the way
        tied[2].weight = tied[0].weight
        with pytest.raises(InputError, match=r"Embedding '2' shares .* multiplier 0\.5.*untie"):
            convert(tied, "ntk", learning_rate=0.1)
        other = nn.Sequential(nn.Conv2d(4, 1, 2), nn.Conv2d(4, 1, 2))
        other[1].bias = other[0].bias
        convert(other, "ntk", learning_rate=0.1)

    def test_tied_layers_of_different_multipliers(self):
        tied = nn.Sequential(nn.Linear(4, 4), families.ScaledLinear(4, 4, multiplier=2.0))
        tied[1].weight = tied[0].weight
        with pytest.raises(InputError, match=r"'1' shares a tensor.*got 2 and 1; untie"):
            convert(tied, "ntk", learning_rate=0.1)

    def test_hooks(self):
        hooked = nn.Sequential(nn.Linear(4, 4))
        hooked[0].register_forward_hook(lambda *_: None)
        with pytest.raises(InputError, match="layer '0' must have no hooks"):
            convert(hooked, "ntk", learning_rate=0.1)
