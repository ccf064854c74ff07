"""Forwards that use a layer's parameters themselves are refused by name; all others convert."""

import copy

import pytest
import torch
from conversion.networks import difference
from torch import nn
from torch.nn import functional

from widthwise.conversion import convert, mup_module, one_rate_mup
from widthwise.conversion.functional import refuse_functional_use
from widthwise.errors import InputError


class Pair(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.a, self.b = nn.Linear(6, width), nn.Linear(width, 3)
        self.norm = nn.LayerNorm(6)
        self.layers = nn.ModuleList([self.a, self.b])

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Functional(Pair):
    def forward(me, x):  # noqa: N805 - the name is anyone's
        hidden = torch.relu(functional.linear(x, me.a.weight, me.a.bias))
        return functional.linear(hidden, me.b.weight, me.b.bias)


class Transposed(Pair):
    def forward(self, x):
        return self.b(torch.relu(self.a(x))) + (self.a(x) @ self.a.weight)[:, :3]


class Normed(Pair):
    def forward(self, x):
        return super().forward(x) / (1 + self.a.weight.norm())


class InAMethod(Pair):
    def penalty(self):
        return self.b.weight.square().mean()

    def forward(self, x):
        return super().forward(x) + self.penalty()


class OnlyInTraining(Pair):
    def forward(self, x):
        out = super().forward(x)
        return out + self.a.weight.mean() if self.training else out


class InALoop(Pair):
    def forward(self, x):
        return super().forward(x) + sum(layer.weight.mean() for layer in self.layers)


class InALoopWithABranch(Pair):
    def forward(self, x):
        total = sum(layer.weight.mean() for layer in self.layers)
        return super().forward(x) + (total if x.sum() > 0 else 0)


class ByParameters(Pair):
    def forward(self, x):
        return super().forward(x) * sum(p.square().sum() for p in self.a.parameters())


class ByDictionary(Pair):
    def forward(self, x):
        return functional.linear(torch.relu(self.a(x)), self.b._parameters["weight"])


class ByHelper(Pair):
    def forward(self, x):
        return apply(self.b, torch.relu(self.a(x)))


def apply(layer, x):
    return functional.linear(x, layer.weight, layer.bias)


class Inside(nn.Module):
    """The user's module among layers of PyTorch."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), Functional())

    def forward(self, x):
        return self.body(x)


REFUSED = {
    Functional: "'[ab].weight'",
    Transposed: "'a.weight'",
    Normed: "'a.weight'",
    InAMethod: "'b.weight'",
    OnlyInTraining: "'a.weight'",
    InALoop: "'[ab].weight'",
    InALoopWithABranch: "'layer.weight' of InALoopWithABranch",
    ByParameters: "'a.weight'",
    ByDictionary: "'b.weight'",
    ByHelper: "'b.weight'",
    Inside: "'body.1.[ab].weight'",
}


class AsksOnly(Pair):
    def forward(self, x):
        x = x.to(self.a.weight.dtype).to(self.b.weight).type_as(self.a.weight)
        x = x + torch.zeros_like(self.a.weight)[:1] * next(self.parameters()).ndim
        if self.a.bias is not None:
            x = x.reshape(-1, self.a.weight.shape[1])
        return super().forward(x)


class OtherWeights(Pair):
    def forward(self, x):
        return super().forward(functional.layer_norm(x, (6,), self.norm.weight, self.norm.bias))


class Branches(Pair):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Shows(Pair):
    def regularizer(self):
        return self.a.weight.norm()


SOUND = [Pair, AsksOnly, OtherWeights, Branches, Shows]


@pytest.mark.parametrize(("kind", "name"), REFUSED.items())
def test_functional_use_is_refused_by_name(kind, name):
    module = kind()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(InputError, match=f"the forward uses {name} itself.*call the layer"):
        convert(module, "ntk", learning_rate=0.1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize("kind", SOUND)
def test_what_calls_its_layers_converts_to_equal_outputs(kind):
    module, x = kind(), torch.randn(7, 6)
    converted = convert(module, "ntk", learning_rate=0.1).module
    assert difference(converted(x), module(x)) < 1e-5


@pytest.mark.parametrize("build", [mup_module, one_rate_mup])
def test_mup(build):
    with pytest.raises(InputError, match=r"the forward uses 'b\.weight' itself"):
        build(Functional(64), Functional(16))
    build(Pair(64), Pair(16))


def test_what_keeps_its_multiplier_may_be_used():
    convert(Functional(), "standard", learning_rate=0.1)
    mup_module(Transposed(64), Transposed(16))


def test_the_callers_generator_is_left_alone():
    module, state = Pair(), torch.get_rng_state()
    refuse_functional_use(module, {"a.weight"})
    assert torch.equal(torch.get_rng_state(), state)


def test_a_class_of_code_that_was_executed_without_a_name_is_read_like_any_other():
    """As notebooks' helpers and plug-ins execute files: its methods belong to no module."""
    names = {"Pair": Pair, "functional": functional}
    exec(
        "class Written(Pair):\n"
        "    def forward(self, x):\n"
        "        return functional.linear(x, self.a.weight)\n"
        "class Called(Pair):\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x).relu())\n",
        names,
    )
    with pytest.raises(InputError, match=r"'a\.weight' itself"):
        convert(names["Written"](), "ntk", learning_rate=0.1)
    torch.manual_seed(0)
    module, x = names["Called"](), torch.randn(5, 6)
    assert difference(module(x), convert(module, "ntk", learning_rate=0.1).module(x)) < 1e-6
