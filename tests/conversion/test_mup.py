"""µP's groups, initialization and training are those of the package mup, its oracle."""

import copy

import mup
import numpy as np
import pytest
import torch
from conversion.networks import (
    LEARNING_RATE,
    SHAPE,
    difference,
    network,
    plain_cnn,
    plain_mlp,
    trajectory,
)
from torch import nn

from widthwise import families
from widthwise.conversion import (
    convert,
    mup_factors,
    mup_family,
    mup_module,
    mup_parameter_groups,
    one_rate_mup,
)
from widthwise.engines import pack
from widthwise.errors import InputError

NETWORKS = {"mlp": plain_mlp, "cnn": plain_cnn}
SETTINGS = {"momentum": 0.9, "weight_decay": 0.02}


def by_the_package(build, width, base_width):
    """The same draws, with MuReadout in place of the last layer, and base shapes set."""

    def with_readout(w):
        torch.manual_seed(1)
        module = build(w)
        readout = mup.MuReadout(module[-1].in_features, 3)
        readout.load_state_dict(module[-1].state_dict())
        module[-1] = readout
        return module

    module = with_readout(width)
    mup.set_base_shapes(module, with_readout(base_width))
    return module.double()


def ours(build, width, base_width):
    torch.manual_seed(1)
    module = build(width)
    return mup_module(module, build(base_width)).double()


def described(groups, module):
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [
        ([names[id(p)] for p in g["params"]], g["lr"], g["momentum"], g["weight_decay"])
        for g in groups
        if g["params"]
    ]


@pytest.mark.parametrize(("width", "base_width"), [(12, 4), (4, 12), (4, 4), (7, 3)])
@pytest.mark.parametrize("kind", NETWORKS)
class TestAgainstThePackage:
    def test_groups_equal_those_of_musgd(self, kind, width, base_width):
        build = NETWORKS[kind]
        theirs = by_the_package(build, width, base_width)
        expected = mup.MuSGD(theirs.parameters(), lr=0.3, **SETTINGS).param_groups
        module = build(width)
        groups = mup_parameter_groups(module, build(base_width), learning_rate=0.3, **SETTINGS)
        assert described(groups, module) == described(expected, theirs)

    def test_same_initialization_and_training(self, kind, width, base_width):
        build = NETWORKS[kind]
        theirs, mine = by_the_package(build, width, base_width), ours(build, width, base_width)
        for a, b in zip(theirs.parameters(), mine.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
        mine.load_state_dict(theirs.state_dict())
        optimizer = mup.MuSGD(theirs.parameters(), lr=LEARNING_RATE, **SETTINGS)
        options = {"momentum": SETTINGS["momentum"], "steps": 40}
        expected = trajectory(theirs, optimizer.param_groups, **options)
        groups = mup_parameter_groups(
            mine, build(base_width), learning_rate=LEARNING_RATE, **SETTINGS
        )
        assert difference(trajectory(mine, groups, **options), expected) < 1e-10


def test_the_comparison_notices_a_wrong_group():
    theirs = by_the_package(plain_mlp, 12, 4)
    expected = mup.MuSGD(theirs.parameters(), lr=0.3, **SETTINGS).param_groups
    module = plain_mlp(12)
    wrong = mup_parameter_groups(module, plain_mlp(6), learning_rate=0.3, **SETTINGS)
    assert described(wrong, module) != described(expected, theirs)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
class TestOneRate:
    @pytest.mark.slow
    def test_follows_mup_with_its_groups(self, kind, momentum):
        module, base = network(kind, "standard", 4), network(kind, "standard", 1)
        prescribed = mup_module(module, base)
        groups = mup_parameter_groups(
            prescribed, base, learning_rate=LEARNING_RATE, momentum=momentum, weight_decay=0.05
        )
        expected = trajectory(prescribed, groups, momentum=momentum)
        single = one_rate_mup(module, base)
        one = [{"params": single.parameters(), "lr": LEARNING_RATE, "weight_decay": 0.05}]
        assert difference(trajectory(single, one, momentum=momentum), expected) < 1e-10
        wrong = one_rate_mup(module, network(kind, "standard", 2))
        one = [{"params": wrong.parameters(), "lr": LEARNING_RATE, "weight_decay": 0.05}]
        assert difference(trajectory(wrong, one, momentum=momentum), expected) > 1e-3

    def test_trains_in_a_pack(self, kind, momentum):
        module, base = network(kind, "standard", 2), network(kind, "standard", 1)
        single = one_rate_mup(module, base)
        x = torch.randn(6, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        y = torch.tensor([0, 1, 2, 0, 1, 2])
        packed = pack([single, single], [0.1, 0.2], [momentum] * 2, example=(x, y))
        assert packed.engine == "graph"
        optimizer = torch.optim.SGD(single.parameters(), lr=0.1, momentum=momentum)
        losses = torch.empty(2, dtype=torch.float64)
        for _ in range(5):
            packed.step(x.expand(2, *x.shape).contiguous(), y.expand(2, -1), losses)
            optimizer.zero_grad()
            nn.functional.cross_entropy(single(x), y).backward()
            optimizer.step()
        assert difference(packed.logits(x)[0], single(x)) < 1e-10


class TestFamily:
    FAMILY = families.mlp(SHAPE, 3, base_width=8, depth=2, bias=False)

    def test_without_biases_every_layer_is_an_ordinary_or_scaled_one(self):
        module = mup_family(self.FAMILY).build(4, seed=3)
        kinds = [type(layer) for layer in module if isinstance(layer, nn.Linear)]
        assert kinds == [families.ScaledLinear, nn.Linear, families.ScaledLinear]
        assert pack([module], [0.1]).engine == "chain"
        standard = self.FAMILY.build(4, seed=3)
        for index, factor in ((1, 0.5), (3, 1.0), (5, 1.0)):
            torch.testing.assert_close(module[index].weight, factor * standard[index].weight)

    def test_is_the_standard_family_at_the_base(self):
        family = mup_family(self.FAMILY, base_factor=2)
        x = torch.randn(4, *SHAPE)
        assert torch.equal(family.build(2, seed=1)(x), self.FAMILY.build(2, seed=1)(x))
        assert family.init_variance(4) == self.FAMILY.init_variance(4)
        assert family.name == "mlp-2x8w-relu-mup"

    def test_one_step_moves_the_outputs_alike_at_every_width(self):
        """What µP is for; standard parameterization at one rate moves wider networks more."""

        def moved(family, width, seed):
            module = family.build(width, seed)
            x = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))
            before = module(x).detach()
            y = torch.zeros(8, dtype=torch.int64)  # one class: examples pull the same way
            torch.nn.functional.cross_entropy(module(x), y).backward()
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter -= 0.01 * parameter.grad
            return float((module(x).detach() - before).square().mean().sqrt())

        def ratio(family):
            wide, base = ([moved(family, w, s) for s in range(8)] for w in (64, 16))
            return np.mean(wide) / np.mean(base)

        assert 0.8 < ratio(mup_family(self.FAMILY, base_factor=4)) < 1.25
        assert ratio(self.FAMILY) > 2.5

    def test_needs_a_standard_family(self):
        with pytest.raises(InputError, match="in standard parameterization, got 'ntk'"):
            mup_family(families.mlp(SHAPE, 3, parameterization="ntk"))

    def test_refuses_widened_norms(self):
        family = mup_family(families.cnn(SHAPE, 3, depth=2, normalization="batch"))
        with pytest.raises(InputError, match=r"'1\.weight' cannot have \(it wants 4 times"):
            family.build(4)


class TestFactors:
    def test_by_hand(self):
        """Widened threefold; the readout's fan-in, and so its weights' and bias' scale, √3."""
        factors = mup_factors(plain_mlp(12), plain_mlp(4))
        rows = {n: (f.multiplier, f.init_scale, f.learning_rate) for n, f in factors.items()}
        assert rows == {
            "1.weight": (1.0, 1.0, 3.0),
            "1.bias": (1.0, 1.0, 3.0),
            "3.weight": (1.0, 1.0, 1.0),
            "3.bias": (1.0, 3**0.5, 3.0),
            "5.weight": (1 / 3, 3**0.5, 3.0),
            "5.bias": (1.0, 3**0.5, 1.0),
        }

    def test_an_embedding_is_no_readout(self):
        """It widens along its second axis only, as a readout does."""
        factors = mup_factors(nn.Embedding(10, 8), nn.Embedding(10, 2))
        assert factors["weight"].multiplier == 1.0
        assert factors["weight"].learning_rate == 4.0

    def test_base_may_be_shapes(self):
        shapes = {name: tuple(p.shape) for name, p in plain_mlp(4).named_parameters()}
        assert mup_factors(plain_mlp(12), shapes) == mup_factors(plain_mlp(12), plain_mlp(4))

    @pytest.mark.parametrize(
        ("module", "base", "match"),
        [
            (nn.Linear(2, 2), nn.Linear(2, 2, bias=False), "base network has no parameter 'bias'"),
            (nn.Linear(2, 2, bias=False), nn.Linear(2, 2), "module has no parameter 'bias'"),
            (nn.Linear(2, 2), {"weight": (2,), "bias": (2,)}, "as many axes"),
            (nn.Conv2d(4, 4, 3), nn.Conv2d(2, 2, 1), "along their first two axes"),
            (nn.Conv2d(2, 4, 5), nn.Conv2d(2, 2, 3), "along their first two axes"),
        ],
    )
    def test_not_the_same_network(self, module, base, match):
        with pytest.raises(InputError, match=match):
            mup_parameter_groups(module, base, learning_rate=0.1)


class TestErrors:
    @pytest.mark.parametrize(
        "setting", [{"learning_rate": 0.0}, {"momentum": 1.0}, {"weight_decay": -1.0}]
    )
    def test_ranges(self, setting):
        with pytest.raises(InputError, match=f"{next(iter(setting))} must lie in"):
            mup_parameter_groups(
                nn.Linear(2, 4), nn.Linear(2, 2), **{"learning_rate": 0.1} | setting
            )

    def test_mup_starts_from_the_standard_form(self):
        module, base = network("mlp", "ntk", 2), network("mlp", "ntk", 1)
        with pytest.raises(InputError, match=r"layer '1' has 0\.1666.*in standard"):
            mup_module(module, base)
        mup_module(convert(module, "standard", learning_rate=0.1).module, base)

    def test_tied_weights(self):
        def build(width):
            module = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
            module[1].weight = module[0].weight
            return module

        with pytest.raises(InputError, match=r"'1\.weight' is another layer's as well; untie"):
            mup_module(build(4), build(2))

    def test_the_module_is_not_changed(self):
        module = plain_mlp(12)
        before = copy.deepcopy(module.state_dict())
        mup_module(module, plain_mlp(4))
        one_rate_mup(module, plain_mlp(4))
        assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
