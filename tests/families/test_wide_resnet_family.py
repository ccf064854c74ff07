"""Wide residual networks: shapes, counts, initial variance, and training without batch norm."""

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
from torch.nn import functional

from widthwise import families
from widthwise.errors import InputError
from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.families.wide_resnet import PreActivationBlock
from widthwise.theory.parameterization import standard_weight_learning_rate


def family(**options):
    defaults = {"input_shape": (3, 8, 8), "num_classes": 5, "base_width": 4}
    return families.wide_resnet(**{**defaults, **options})


def blocks(network):
    return [m for m in network.modules() if isinstance(m, PreActivationBlock)]


def count_by_hand(image_channels, stem, width, num_blocks, classes, normalization):
    """Weights, then one bias or two batch-norm parameters for each channel that has them."""
    weights = 9 * image_channels * stem
    biases, normalized = stem, 0  # channels
    before = stem
    for group, channels in enumerate((width, 2 * width, 4 * width)):
        shortcut = before != channels or group > 0
        weights += 9 * before * channels + 9 * channels**2 + before * channels * shortcut
        weights += (num_blocks - 1) * 2 * 9 * channels**2
        biases += 2 * num_blocks * channels + channels * shortcut
        normalized += before + (2 * num_blocks - 1) * channels
        before = channels
    normalized += before
    others = {"none": biases, "batch": 2 * normalized}[normalization]
    return weights + others + (before + 1) * classes


class TestShapes:
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 32, 32), (2, 5, 9)])
    def test_logits(self, shape, parameterization, normalization):
        options = {"parameterization": parameterization, "normalization": normalization}
        module = family(input_shape=shape, **options).build(0.5)
        assert module(torch.zeros(3, *shape)).shape == (3, 5)

    @pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32)])
    def test_images_are_halved_twice(self, shape):
        network = family(input_shape=shape).build(1)
        features = nn.Sequential(*list(network.children())[:-3])(torch.zeros(2, *shape))
        assert features.shape == (2, 16, shape[-1] // 4, shape[-1] // 4)

    @pytest.mark.parametrize("widen_stem", [True, False])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    @pytest.mark.parametrize("depth", [10, 16])
    @pytest.mark.parametrize("width", [1, 3])
    def test_parameters_by_hand(self, width, depth, normalization, widen_stem):
        options = {"depth": depth, "normalization": normalization, "widen_stem": widen_stem}
        stem = 4 * width if widen_stem else 4
        expected = count_by_hand(3, stem, 4 * width, (depth - 4) // 6, 5, normalization)
        assert num_parameters(family(**options).build(width)) == expected

    @pytest.mark.slow
    def test_the_published_network_has_36_5_million_parameters(self):
        """Zagoruyko & Komodakis, table 4: WRN-28-10, 36.5 M."""
        published = families.wide_resnet(
            (3, 32, 32), 10, depth=28, normalization="batch", widen_stem=False
        )
        count = num_parameters(published.build(10))
        assert count == count_by_hand(3, 16, 160, 4, 10, "batch") == 36_479_194
        assert round(count / 1e6, 1) == 36.5

    @pytest.mark.parametrize("depth", [10, 16, 28])
    def test_depth_counts_convolutions(self, depth):
        """As published: the stem, 6k of the blocks, and a shortcut for each of three groups, of
        which the first is an identity if the stem widens."""
        for widen_stem, expected in ((False, depth), (True, depth - 1)):
            network = family(depth=depth, base_width=1, widen_stem=widen_stem).build(2)
            assert sum(isinstance(layer, nn.Conv2d) for layer in weighted(network)) == expected
            assert len(blocks(network)) == (depth - 4) // 2

    def test_the_architecture_is_one_at_every_width(self):
        """With the published stem it is not: a shortcut appears as soon as w > 1."""

        def kinds(width, **options):
            return [type(m) for m in family(**options).build(width).modules()]

        assert kinds(1) == kinds(2) == kinds(4)
        assert kinds(1, widen_stem=False) != kinds(2, widen_stem=False)

    def test_every_fan_in_widens_but_the_image(self):
        base, wide = (
            [fan_in(layer) for layer in weighted(family(depth=16).build(w))] for w in (1, 3)
        )
        assert wide == [base[0], *(3 * size for size in base[1:])]

    def test_downsampling(self):
        network = family(depth=16).build(2)
        strides = [block.branch[0].stride[0] for block in blocks(network)]
        assert strides == [1, 1, 2, 1, 2, 1]
        shortcuts = [block.shortcut and block.shortcut.kernel_size for block in blocks(network)]
        assert shortcuts == [None, None, (1, 1), None, (1, 1), None]

    def test_batch_norm_replaces_biases(self):
        network = family(normalization="batch").build(1)
        assert all(layer.bias is None for layer in weighted(network)[:-1])
        assert network.readout.bias is not None
        assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 7

    def test_without_bias(self):
        assert all(layer.bias is None for layer in weighted(family(bias=False).build(1)))

    def test_parameterizations_have_their_layers(self):
        kinds = {type(layer) for layer in weighted(family(parameterization="ntk").build(1))}
        assert kinds == {ScaledConv2d, ScaledLinear}
        assert {type(layer) for layer in weighted(family().build(1))} == {nn.Conv2d, nn.Linear}

    def test_names_tell_families_apart(self):
        assert family().name == "wrn-10x4w-relu"
        assert family(normalization="batch", activation="tanh").name == "wrn-10x4w-tanh-batchnorm"

    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_traceable(self, parameterization, normalization):
        options = {"parameterization": parameterization, "normalization": normalization}
        module = family(input_shape=(8, 8), **options).build(1).eval()
        with torch.no_grad():
            for block in blocks(module):
                block.branch[-1].weight.normal_()
        x = torch.randn(3, 8, 8)
        assert torch.equal(traced(module)(x), module(x))


class TestBlock:
    def block(self, shortcut):
        branch = nn.Conv2d(2, 2, 1)
        return PreActivationBlock(nn.Sequential(nn.ReLU()), nn.Sequential(branch), shortcut)

    def test_the_identity_carries_x_and_a_shortcut_the_activated_one(self):
        x = torch.randn(3, 2, 4, 4)
        plain, changing = self.block(None), self.block(nn.Conv2d(2, 2, 1))
        assert torch.equal(plain(x), x + plain.branch(x.relu()))
        assert torch.equal(changing(x), changing.shortcut(x.relu()) + changing.branch(x.relu()))


class TestInitialWeights:
    def last_layers(self, network):
        return [block.branch[-1] for block in blocks(network)]

    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_variance_of_each_layer(self, normalization, parameterization):
        options = {"normalization": normalization, "parameterization": parameterization}
        network = family(num_classes=50, **options).build(8, seed=3)
        zero = self.last_layers(network) if normalization == "none" else []
        for layer in weighted(network):
            if any(layer is other for other in zero):
                assert not layer.weight.any()
                continue
            gain = 1.0 if isinstance(layer, nn.Linear) else 2.0
            expected = gain if parameterization == "ntk" else gain / fan_in(layer)
            # Five standard errors of the variance of this many Gaussian weights.
            tolerance = 5 * math.sqrt(2 / layer.weight.numel())
            assert float(layer.weight.detach().var()) == pytest.approx(expected, rel=tolerance)

    def test_without_batch_norm_blocks_start_as_their_shortcuts(self):
        network = family(depth=16).build(1)
        for block in blocks(network):
            channels = block.branch[0].in_channels
            x = torch.randn(2, channels, 6, 6)
            shortcut = block.shortcut
            assert torch.equal(block(x), x if shortcut is None else shortcut(x.relu()))

    def test_biases_start_at_zero(self):
        assert all(not layer.bias.any() for layer in weighted(family().build(2)))

    def test_family_level_variance(self):
        assert [family().init_variance(w) for w in (1, 2, 4)] == [2.0, 1.0, 0.5]
        assert [family(parameterization="ntk").init_variance(w) for w in (1, 4)] == [2.0, 2.0]

    def test_seeds(self):
        first, same, other = (
            family(normalization="batch").build(2, seed=s).state_dict() for s in (1, 1, 2)
        )
        assert all(torch.equal(first[key], same[key]) for key in first)
        drawn = [key for key in first if first[key].ndim > 1]
        assert not any(torch.equal(first[key], other[key]) for key in drawn)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        family().build(2, seed=1)
        assert torch.equal(torch.rand(3), expected)


class TestInitialOutputs:
    """One bright corner pixel: 2×2 positions of the stem see it, and of these the two strides of 2
    keep the corner alone. There every convolution has pre-activations of variance 2/9 (stem:
    2/fan_in; shortcuts: gain 2 times relu's 1/2), branches are 0, and the average over the last
    group's P = 4 positions leaves relu(z)/P: E[logit²] = (1/9)/P².
    """

    EXPECTED = 1 / 9 / 4**2
    LARGEST_ERROR = 0.5

    def outputs(self, width, num_seeds=200, **options):
        image = torch.zeros(1, 8, 8)
        image[0, 0, 0] = 1.0
        built = family(input_shape=(8, 8), num_classes=40, base_width=16, **options)
        with torch.no_grad():
            rows = [built.build(width, seed)(image)[0] for seed in range(num_seeds)]
        return torch.stack(rows)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("width", "num_seeds", "parameterization"),
        [(0.5, 200, "standard"), (1, 200, "ntk"), (2, 100, "standard")],
    )
    def test_variance_by_hand_at_every_width(self, width, num_seeds, parameterization):
        found = self.outputs(width, num_seeds, parameterization=parameterization)
        assert mean_square_is(found, self.EXPECTED, self.LARGEST_ERROR)

    @pytest.mark.slow
    @pytest.mark.usefixtures("unscaled_rule")
    def test_the_check_notices_a_rule_without_fan_in(self):
        assert not mean_square_is(self.outputs(1), self.EXPECTED, self.LARGEST_ERROR)

    @pytest.mark.slow
    def test_the_check_notices_branches_that_are_not_zero(self, monkeypatch):
        monkeypatch.setattr(nn.init, "zeros_", lambda weight: weight)
        assert not mean_square_is(self.outputs(1), self.EXPECTED, self.LARGEST_ERROR)

    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_parameterizations_start_as_one_function(self, normalization):
        x = torch.randn(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        options = {"input_shape": (8, 8), "normalization": normalization}
        ntk, standard = (
            family(**options, parameterization=name).build(2, seed=1).double()(x)
            for name in ("ntk", "standard")
        )
        torch.testing.assert_close(ntk, standard, rtol=1e-4, atol=1e-5)  # drawn in float32


class TestInitialOutputsWithBatchNorm:
    """Whatever the features f are, E[logit²] is their mean square over channels; batch norm keeps
    that of relu's outputs at 1/2 before they are averaged over positions."""

    NUM_OUTPUTS = 2_000
    # Five standard errors of the mean square of NUM_OUTPUTS Gaussian values.
    TOLERANCE = 5 * math.sqrt(2 / NUM_OUTPUTS)

    def ratio_and_activity(self, width, parameterization="standard"):
        """E[logit²] / mean f², and the mean square after the last relu."""
        built = family(
            num_classes=self.NUM_OUTPUTS, normalization="batch", parameterization=parameterization
        )
        network = built.build(width, seed=4)
        images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        *_, readout = network.children()
        with torch.no_grad():
            activated = nn.Sequential(*list(network.children())[:-3])(images)
            features = activated.mean((2, 3))
            logits = readout(features)
        ratio = logits[0].square().mean() / features[0].square().mean()
        return float(ratio), float(activated.square().mean())

    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("width", [1, 2, 8])
    def test_outputs_at_every_width(self, width, parameterization):
        ratio, activity = self.ratio_and_activity(width, parameterization)
        assert ratio == pytest.approx(1.0, abs=self.TOLERANCE)
        # relu(z)² and relu(−z)² add up to z², whose mean is 1; a channel's sign is a coin toss,
        # so that its mean deviates by at most 1/2: five standard errors over 4·4·width channels.
        assert activity == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(16 * width))

    @pytest.mark.usefixtures("unscaled_rule")
    def test_the_check_notices_a_rule_without_fan_in(self):
        ratio, _ = self.ratio_and_activity(1)
        assert ratio != pytest.approx(1.0, abs=self.TOLERANCE)


def images_and_classes(num=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 3, 8, 8, generator=generator), torch.arange(num) % 5


class TestTraining:
    LEARNT = 0.2 * math.log(5)  # a fifth of the loss of equal odds for 5 classes

    def losses(self, network, steps, learning_rate):
        inputs, targets = images_and_classes()
        optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.9)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("parameterization", "depth", "rate"),
        [("standard", 10, 0.05), ("standard", 28, 0.05), ("ntk", 10, 1.0), ("ntk", 28, 0.4)],
    )
    def test_without_batch_norm_it_learns_a_few_images(self, parameterization, depth, rate):
        network = family(parameterization=parameterization, depth=depth).build(2, seed=0)
        losses = self.losses(network, steps=40, learning_rate=rate)
        assert losses[-1] < self.LEARNT

    @pytest.mark.slow
    def test_the_deep_one_does_not_learn_at_this_rate_without_zero_layers(self, monkeypatch):
        monkeypatch.setattr(nn.init, "zeros_", lambda weight: weight)
        losses = self.losses(family(depth=28).build(2, seed=0), steps=40, learning_rate=0.05)
        assert not losses[-1] < self.LEARNT

    def test_every_parameter_moves(self):
        network = family().build(2, seed=0)
        before = [p.detach().clone() for p in network.parameters()]
        self.losses(network, steps=3, learning_rate=0.05)
        assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))

    @pytest.mark.parametrize("normalization", ["none", "batch"])
    def test_ntk_is_standard_with_rates_a_layer(self, normalization):
        inputs, targets = images_and_classes(6)
        batches = [(inputs.double(), targets)] * 15
        built = family(parameterization="ntk", normalization=normalization)
        ntk, standard = (built.build(1, seed=2).double() for _ in range(2))
        in_standard_form(standard)
        outputs = train(ntk, rates(ntk, 0.1, lambda _: 0.1), batches)
        assert float((outputs[-1] - outputs[0]).abs().max()) > 0.1  # it did learn

        def by_the_table(size):
            return standard_weight_learning_rate("ntk", 0.1, size)

        same = train(standard, rates(standard, 0.1, by_the_table), batches)
        assert float((same - outputs).abs().max()) < 1e-10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_width": 0}, "base_width must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"depth": 4}, r"6k \+ 4 with k ≥ 1 \(10, 16, 22, 28, …\), got 4"),
        ({"depth": 12}, r"6k \+ 4 .* got 12"),
        ({"input_shape": (20,)}, r"\(height, width\) or .* got \(20,\); use an mlp"),
        ({"input_shape": (3, 4, 8)}, r"at least 5 pixels, got input_shape \(3, 4, 8\); use a cnn"),
        ({"activation": "step"}, "activation must be one of relu"),
        ({"normalization": "layer"}, "normalization must be one of none, batch, got 'layer'"),
        ({"parameterization": "mup"}, "parameterization must be one of standard, ntk"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        family(**options)


def test_the_smallest_image_trains_at_batch_size_1_with_batch_norm():
    network = family(input_shape=(5, 5), normalization="batch").build(1)
    assert network(torch.randn(1, 5, 5)).shape == (1, 5)


def test_widths_are_whole():
    with pytest.raises(InputError, match=r"whole number of units, got 4 × 1.1 = 4.4"):
        family().build(1.1)
