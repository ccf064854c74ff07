"""What is special about some parameters and layers survives packing: sharing, freezing, modes."""

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded
from torch import nn
from torch.nn import functional

from widthwise.engines import pack
from widthwise.sgd.recipe import Recipe

RATES, MOMENTA = [0.03, 0.01, 0.05], [0.9, 0.0, 0.5]


class SharedWeight(nn.Module):
    """One tensor under two names, and one layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.readout = nn.Linear(6, 3)

    def forward(self, x):
        h = torch.tanh(self.b(torch.tanh(self.a(x.flatten(1)))))
        return self.readout(torch.tanh(self.b(h)))


class TiedReadout(nn.Module):
    """As in language models: the embedding is the readout."""

    def __init__(self):
        super().__init__()
        self.embed, self.readout = nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)
        self.readout.weight = self.embed.weight

    def forward(self, x):
        return self.readout(self.embed(x.flatten(1).long().clamp(0, 2)).mean(1))


def frozen(*names):
    def build():
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)
        )
        for name in names:
            module.get_parameter(name).requires_grad_(False)
        return module

    return build


def mixed_modes():
    """The first batch norm uses its running statistics and keeps them, the second trains; one of
    two dropouts is asleep."""
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4),
        nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3),
    )  # fmt: skip
    module[2].running_mean.uniform_(-1, 1)
    module[2].eval()
    module[3].eval()
    return module


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)
        self.never = nn.Parameter(torch.ones(2))

    def forward(self, x):
        self.unused(x.flatten(1))  # computed, and thrown away
        return self.used(x.flatten(1))


class UntracedForward(nn.Module):
    """Around a network that torch.fx can read, a test it cannot."""

    def __init__(self, build):
        super().__init__()
        self.inner = build()

    def forward(self, x):
        for _ in range(len(x) // len(x)):
            x = self.inner(x)
        return x


CASES = {
    "shared weight": SharedWeight,
    "tied readout": TiedReadout,
    "frozen weight": frozen("1.weight"),
    "frozen bias and scale": frozen("1.bias", "2.weight"),
    "mixed modes": mixed_modes,
    "unused layer": Unused,
}


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.1], ids=["no decay", "decay"])
@pytest.mark.parametrize("engine", ["graph", "vmap"])
@pytest.mark.parametrize("case", CASES)
def test_as_one_by_one(case, engine, decay):
    build = CASES[case]
    make = seeded(build if engine == "graph" else lambda: UntracedForward(build))
    inputs, targets = batches(20, 3, (2, 3))
    recipe = Recipe(weight_decay=decay)
    error, packed = largest_error(make, RATES, MOMENTA, inputs, targets, recipe=recipe)
    assert packed.engine == engine, packed.reason
    assert error < 1e-9


def test_frozen_and_unused_parameters_do_not_move():
    for build, names in ((frozen("1.weight"), ["1.weight"]), (Unused, ["never", "unused.weight"])):
        module = seeded(build)(0)
        inputs, targets = batches(1, 1, (2, 3), dtype=torch.float32)
        example = inputs[0, 0], targets[0, 0]
        packed = pack([module], [0.1], [0.9], recipe=Recipe(weight_decay=0.1), example=example)
        before = packed.parameters(0)
        packed.step(inputs[0], targets[0], torch.empty(1))
        after = packed.parameters(0)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved
        assert not moved & set(names)


def test_a_shared_weight_moves_under_one_name():
    packed = pack([SharedWeight()], [0.1])
    assert "a.weight" in packed.parameters(0)
    assert "b.weight" not in packed.parameters(0)


def test_evaluation_mode_is_for_evaluation_only():
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    packed = pack([module], [0.1], example=(inputs[0, 0], targets[0, 0]))
    before = packed.buffers(0)
    first, again = packed.logits(inputs[0, 0]), packed.logits(inputs[0, 0])
    assert torch.equal(first, again)
    assert all(torch.equal(before[name], b) for name, b in packed.buffers(0).items())
    packed.step(inputs[0], targets[0], torch.empty(1))
    assert not torch.equal(before["1.running_mean"], packed.buffers(0)["1.running_mean"])


def test_hooks_are_not_lost():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    module[1].register_forward_hook(lambda m, args, out: out * 2)
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    packed = pack([module], [0.1], example=(inputs[0, 0], targets[0, 0]))
    assert (packed.engine, "hooks" in packed.reason) == ("vmap", True)


class OverwritesItsInput(nn.Module):
    """The shortcut sees what the rectifier did in place."""

    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.readout = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = self.enter(x.flatten(1))
        y = self.inner(functional.relu(h, inplace=True))
        return self.readout(y + h)


def test_overwriting_that_shows_is_left_to_vmap():
    inputs, targets = batches(12, 3, (2, 3))
    make = seeded(OverwritesItsInput)
    error, packed = largest_error(make, RATES, MOMENTA, inputs, targets)
    assert packed.engine == "vmap"
    assert "overwrites a value that is used again" in packed.reason
    assert error < 1e-10


class TestDropout:
    def train(self, seeds, number=0):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
        x = inputs[0].expand(len(seeds), -1, -1).contiguous()
        y = targets[0].expand(len(seeds), -1)
        modules, rates = [module] * len(seeds), [0.1] * len(seeds)
        packed = pack(modules, rates, seeds=seeds, example=(inputs[0, 0], targets[0, 0]))
        losses = torch.empty(len(seeds))
        packed.step(x, y, losses, number=number)
        return losses.tolist()

    def test_a_replica_keeps_its_masks_whatever_its_company(self):
        assert self.train([7])[0] == pytest.approx(self.train([3, 7, 9])[1], rel=1e-6)

    def test_masks_differ_between_seeds_and_steps(self):
        a, b = self.train([1, 2])
        assert a != b
        assert self.train([1], number=1)[0] != a
