"""Initial weights of the built-in families: NumPy's numbers, fixed for ever."""

import math

import numpy as np
import pytest
import torch

from widthwise import families
from widthwise.errors import InputError
from widthwise.families import layers

FAMILIES = {
    "mlp": families.mlp((3,), 2, base_width=4),
    "cnn": families.cnn((1, 4, 4), 3, base_width=2, depth=1, parameterization="ntk"),
    "wide_resnet": families.wide_resnet((1, 8, 8), 3, base_width=2, normalization="batch"),
}
STREAM = int.from_bytes(b"weig", "big")

# Family and seed → the first weights of the first and of the last layer that is drawn.
GOLDEN = {
    ("mlp", 0): ([-0.87061441, 0.12505355, -0.64842832], [0.46972090, -0.03706867]),
    ("mlp", 1): ([-0.27186203, -0.23455249, -0.03038035], [-0.08453812, 0.22570340]),
    ("cnn", 0): ([-1.50794840, 0.21659911, -1.12311077], [-1.71931589, -0.01840468]),
    ("cnn", 1): ([-0.47087887, -0.40625682, -0.05262031], [-0.21466385, 0.77971506]),
    ("wide_resnet", 0): ([-0.50264949, 0.07219970, -0.37437028], [-0.32167315, 0.32541189]),
    ("wide_resnet", 1): ([-0.15695962, -0.13541894, -0.01754010], [-0.36979631, 0.20935224]),
}

# The layers in the order in which they are drawn: shape and variance σ0²/fan_in (NTK: σ0²).
CONVOLUTIONS = {
    "stem": (2, 1, 3), "group1.0.branch.0": (2, 2, 3), "group1.0.branch.3": (2, 2, 3),
    "group2.0.shortcut": (4, 2, 1), "group2.0.branch.0": (4, 2, 3), "group2.0.branch.3": (4, 4, 3),
    "group3.0.shortcut": (8, 4, 1), "group3.0.branch.0": (8, 4, 3), "group3.0.branch.3": (8, 8, 3),
}  # fmt: skip
DRAWN = {
    "mlp": {"1": ((4, 3), 2 / 3), "3": ((2, 4), 1 / 4)},
    "cnn": {"0": ((2, 1, 3, 3), 2.0), "4": ((3, 8), 1.0)},
    "wide_resnet": {
        **{n: ((o, i, k, k), 2 / (i * k * k)) for n, (o, i, k) in CONVOLUTIONS.items()},
        "readout": ((3, 8), 1 / 8),
    },
}


def drawn_weights(name, seed):
    """Layer → its weights, of those that are drawn."""
    network = FAMILIES[name].build(1, seed)
    return {n: p.detach() for n, p in network.named_parameters() if p.ndim > 1}


@pytest.mark.parametrize(("name", "seed"), GOLDEN)
def test_golden_numbers(name, seed):
    weights = drawn_weights(name, seed)
    first, *_, last = DRAWN[name]
    for layer, expected in zip((first, last), GOLDEN[name, seed], strict=True):
        found = weights[f"{layer}.weight"].flatten()
        assert found[: len(expected)].tolist() == pytest.approx(expected, rel=0, abs=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_every_weight_is_numpys_number(name, seed):
    weights = drawn_weights(name, seed)
    assert weights.keys() == {f"{layer}.weight" for layer in DRAWN[name]}
    generator = np.random.default_rng([STREAM, seed])
    for layer, (shape, variance) in DRAWN[name].items():
        expected = math.sqrt(variance) * generator.standard_normal(shape)
        found = weights[f"{layer}.weight"].numpy()
        assert found.dtype == np.float32
        # A rounding of float32 apart: σ is computed in another order.
        np.testing.assert_allclose(found, expected, rtol=2**-23)


@pytest.mark.parametrize("name", FAMILIES)
def test_pytorchs_generators_do_not_matter(name, monkeypatch):
    expected = drawn_weights(name, 3)

    def refuse(*args, **options):
        raise AssertionError("PyTorch was asked for normal numbers")

    monkeypatch.setattr(torch.Tensor, "normal_", refuse)
    # PyTorch's layers draw weights of their own first, which nobody uses.
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, *bounds, **more: tensor.zero_())
    torch.manual_seed(11)
    found = drawn_weights(name, 3)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], expected[n]) for n in expected)


def test_large_layers_are_drawn_in_parts_that_make_the_whole(monkeypatch):
    whole = drawn_weights("wide_resnet", 0)
    monkeypatch.setattr(layers, "_AT_A_TIME", 7)
    parts = drawn_weights("wide_resnet", 0)
    assert all(torch.equal(parts[n], whole[n]) for n in whole)


class TestSeeds:
    def first(self, seed):
        return drawn_weights("mlp", seed)["1.weight"]

    @pytest.mark.parametrize("seed", [-1, -5, -(2**63)])
    def test_negative_ones_count_from_the_end(self, seed):
        assert torch.equal(self.first(seed), self.first(seed + 2**64))

    @pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
    def test_others_are_refused(self, seed):
        with pytest.raises(InputError, match=r"below 2\^64 and at least -2\^63, got") as raised:
            self.first(seed)
        assert raised.value.fields == ("seed",)

    @pytest.mark.parametrize("seed", [1.5, "1", True, None])
    def test_they_are_whole_numbers(self, seed):
        with pytest.raises(InputError, match="seed must be a whole number, got"):
            self.first(seed)

    def test_whole_numbers_of_numpy(self):
        assert torch.equal(self.first(np.int64(3)), self.first(3))

    def test_far_ones_are_not_alike(self):
        seeds = (0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
        assert len({self.first(seed).numpy().tobytes() for seed in seeds}) == len(seeds)
