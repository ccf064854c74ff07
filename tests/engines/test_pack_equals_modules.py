"""Packed training equals ``torch.optim.SGD`` on each module by itself."""

import copy

import pytest
import torch
from engines.training_alone import (
    HandWritten,
    Residual,
    batches,
    dense_engine,
    largest_error,
    seeded,
    train_packed,
)
from torch import nn

from widthwise import families
from widthwise.engines import pack
from widthwise.engines.chain import read_chain
from widthwise.engines.chain_pack import ChainPack
from widthwise.engines.proof import DisagreementError, prove
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

# Stable with momentum 0.9: where training is chaotic, rounding grows whoever computes it.
LEARNING_RATES = [0.03, 0.01, 0.1, 0.002]
MOMENTA = {
    "none": [0.0, 0.0, 0.0, 0.0],
    "common": [0.9, 0.9, 0.9, 0.9],
    "mixed": [0.9, 0.0, 0.5, 0.99],
}
VECTOR, IMAGE = (2, 3), (1, 8, 8)


def mlp(**options):
    family = families.mlp(input_shape=(2, 3), num_classes=3, base_width=8, depth=2, **options)
    return lambda seed: family.build(2, seed)


def convolutional(kind, normalization, parameterization):
    """Depth and images as small as they go."""
    depth = {"cnn": 2, "wide_resnet": 10}[kind]
    family = getattr(families, kind)(
        input_shape=IMAGE,
        num_classes=3,
        base_width=2,
        depth=depth,
        normalization=normalization,
        parameterization=parameterization,
    )
    return lambda seed: family.build(2, seed)


ARCHITECTURES = {
    "standard": (mlp(parameterization="standard"), "chain"),
    "ntk": (mlp(parameterization="ntk"), "chain"),
    "no bias": (mlp(bias=False), "chain"),
    "tanh": (mlp(activation="tanh"), "chain"),
    "gelu": (mlp(activation="gelu"), "chain"),
    "silu": (mlp(activation="silu"), "chain"),
    "hand-written": (seeded(HandWritten), "chain"),
    "linear": (seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 3))), "chain"),
    "sigmoid": (
        seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3))),
        "chain",
    ),
    "residual": (seeded(Residual), "graph"),
    "layer norm": (
        seeded(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
        ),
        "graph",
    ),
}


FAMILIES = {
    f"{kind}, {normalization}, {parameterization}": convolutional(
        kind, normalization, parameterization
    )
    for kind in ("cnn", "wide_resnet")
    for normalization in ("none", "batch")
    for parameterization in ("standard", "ntk")
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "momenta"),
    [
        *[(name, "mixed") for name in ARCHITECTURES],
        # What all of an engine share: the update.
        *[(name, momenta) for name in ("ntk", "residual") for momenta in ("none", "common")],
    ],
)
def test_float64_to_1e_10_after_100_steps(architecture, momenta):
    make, engine = ARCHITECTURES[architecture]
    inputs, targets = batches(100, 4, VECTOR)
    error, packed = largest_error(make, LEARNING_RATES, MOMENTA[momenta], inputs, targets)
    assert packed.engine == engine
    assert error < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "momenta"),
    [*[(name, "mixed") for name in FAMILIES], ("cnn, batch, standard", "none")],
)
def test_families_to_1e_9_after_50_steps(family, momenta):
    count = 2 if "resnet" in family else 4
    inputs, targets = batches(50, count, IMAGE)
    rates = [rate / 4 for rate in LEARNING_RATES[:count]]
    error, packed = largest_error(
        FAMILIES[family], rates, MOMENTA[momenta][:count], inputs, targets
    )
    assert packed.engine == "graph", packed.reason
    assert error < 1e-9


@pytest.mark.parametrize("momenta", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("architecture", ["standard", "ntk", "residual"])
def test_float32_to_1e_4_after_20_steps(architecture, momenta):
    make, _ = ARCHITECTURES[architecture]
    inputs, targets = batches(20, 4, VECTOR, dtype=torch.float32)
    error, _ = largest_error(make, LEARNING_RATES, momenta, inputs, targets)
    assert error < 1e-4


@pytest.mark.parametrize("architecture", ["standard", "residual"])
def test_the_comparison_notices_a_wrong_learning_rate(architecture):
    make, _ = ARCHITECTURES[architecture]
    inputs, targets = batches(100, 4, VECTOR)
    factors = [1.0] * 100
    _, _, losses = train_packed(make, LEARNING_RATES, MOMENTA["none"], inputs, targets)
    factors[50] = 1 + 1e-6
    _, _, wrong = train_packed(
        make, LEARNING_RATES, MOMENTA["none"], inputs, targets, factors=factors
    )
    assert float((losses - wrong).abs().max()) > 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ntk", "residual", "cnn, batch, ntk"])
def test_dropped_replicas_leave_the_others_alone(network):
    make = FAMILIES.get(network) or ARCHITECTURES[network][0]
    modules = [make(seed).double() for seed in range(4)]
    inputs, targets = batches(20, 4, IMAGE if network in FAMILIES else VECTOR)
    example = inputs[0, 0], targets[0, 0]
    whole = pack(modules, LEARNING_RATES, MOMENTA["mixed"], example=example)
    thinned = pack(modules, LEARNING_RATES, MOMENTA["mixed"], example=example)
    losses = torch.empty(4, dtype=torch.float64)
    for step in range(20):
        whole.step(inputs[step], targets[step], losses)
        if step == 10:
            thinned.keep([1, 3])
        rows = [1, 3] if step >= 10 else [0, 1, 2, 3]
        thinned.step(inputs[step][rows], targets[step][rows], losses[: len(rows)])
    assert thinned.num_replicas == 2
    for name, value in (thinned.parameters(1) | thinned.buffers(1)).items():
        other = (whole.parameters(3) | whole.buffers(3))[name]
        torch.testing.assert_close(value, other, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ntk", "residual", "cnn, batch, ntk"])
def test_a_restored_pack_goes_on_bit_for_bit(network):
    make = FAMILIES.get(network) or ARCHITECTURES[network][0]
    shape = IMAGE if network in FAMILIES else VECTOR
    inputs, targets = batches(6, 4, shape, dtype=torch.float32)
    losses = torch.empty(4)

    def fresh():
        modules = [make(seed) for seed in range(4)]
        example = inputs[0, 0], targets[0, 0]
        return pack(modules, LEARNING_RATES, MOMENTA["mixed"], example=example)

    straight, interrupted = fresh(), fresh()
    for step in range(6):
        straight.step(inputs[step], targets[step], losses)
        interrupted.step(inputs[step], targets[step], losses)
        if step == 2:
            state = {name: tensor.clone() for name, tensor in interrupted.state().items()}
            interrupted = fresh()
            interrupted.restore(state)
    for name, value in (interrupted.parameters(2) | interrupted.buffers(2)).items():
        assert torch.equal(value, (straight.parameters(2) | straight.buffers(2))[name])


@pytest.mark.parametrize("network", ["ntk", "cnn, batch, standard"])
def test_the_modules_are_not_changed(network):
    module = (FAMILIES.get(network) or ARCHITECTURES[network][0])(0)
    before = copy.deepcopy(module.state_dict())
    shape = IMAGE if network in FAMILIES else VECTOR
    inputs, targets = batches(1, 1, shape, dtype=torch.float32)
    packed = pack([module], [0.1], example=(inputs[0, 0], targets[0, 0]))
    packed.step(inputs[0], targets[0], torch.empty(1))
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class TestProof:
    def example(self):
        inputs, targets = batches(1, 1, VECTOR, dtype=torch.float32, batch_size=16)
        return inputs[0, 0], targets[0, 0]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_right_packs_pass(self, architecture):
        make, engine = ARCHITECTURES[architecture]
        packed = pack([make(0), make(1), make(2)], [0.1] * 3, example=self.example())
        assert packed.engine == (dense_engine() if engine == "chain" else engine)
        assert packed.num_replicas == 3

    def test_a_wrong_derivative_is_caught(self, monkeypatch):
        monkeypatch.setattr(
            "widthwise.engines.activations._aten.threshold_backward.grad_input",
            lambda gradient, output, threshold, grad_input: gradient,
        )
        packed = pack([ARCHITECTURES["standard"][0](0)], [0.1], example=self.example())
        assert packed.engine != "chain"
        with pytest.raises(DisagreementError, match=r"the gradient of '1.weight'"):
            self.prove_chain()

    def test_a_wrong_forward_is_caught(self, monkeypatch):
        monkeypatch.setattr("widthwise.engines.chain_pack._product", lambda d, x, out: out.zero_())
        packed = pack([ARCHITECTURES["standard"][0](0)], [0.1], example=self.example())
        assert packed.engine != "chain"
        with pytest.raises(DisagreementError, match="the logits"):
            self.prove_chain()

    def prove_chain(self):
        def build(modules, recipe):
            rates = torch.ones(len(modules), dtype=torch.float64)
            return ChainPack(read_chain(modules[0]), modules, rates, 0 * rates, recipe)

        prove(build, [ARCHITECTURES["standard"][0](0)], *self.example(), Recipe(), [0])

    def test_outputs_that_are_no_numbers_are_refused(self):
        module = ARCHITECTURES["standard"][0](0)
        nn.init.constant_(module[1].weight, float("inf"))
        with pytest.raises(InputError, match="must be finite"):
            pack([module], [0.1], example=self.example())

    def test_a_packed_form_that_is_wrong_gives_way_to_vmap(self, monkeypatch):
        from widthwise.engines import program

        rule = program.LAYER_RULES[nn.Linear]

        def wrong(layer, names):
            right = rule(layer, names)
            return lambda run, value: right(run, value) * 1.01

        monkeypatch.setitem(program.LAYER_RULES, nn.Linear, wrong)
        packed = pack([Residual()], [0.1], example=self.example())
        assert packed.engine == "vmap"
        assert "the logits differ" in packed.reason

    @pytest.mark.parametrize("what", ["running_mean", "running_var", "num_batches_tracked"])
    def test_wrong_running_statistics_are_caught(self, monkeypatch, what):
        from widthwise.engines import autograd_pack

        make = seeded(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        )
        step = autograd_pack.AutogradPack.step

        def wrong(self, *args, **kwargs):
            step(self, *args, **kwargs)
            self._stacked.buffers[f"2.{what}"].add_(1)

        monkeypatch.setattr(autograd_pack.AutogradPack, "step", wrong)
        with pytest.raises(InputError, match=f"the buffer '2.{what}'"):
            pack([make(0)], [0.1], example=self.example())


class TestRefusals:
    def test_shapes_must_agree(self):
        with pytest.raises(InputError, match=r"module 1 differs in '1.weight'"):
            pack(
                [nn.Sequential(nn.Flatten(), nn.Linear(6, n)) for n in (3, 4)],
                [0.1, 0.1],
            )

    def test_what_is_trained_must_agree(self):
        modules = [nn.Linear(6, 3), nn.Linear(6, 3)]
        modules[1].bias.requires_grad_(False)
        with pytest.raises(InputError, match=r"module 1 differs in 'bias': .*frozen"):
            pack(modules, [0.1, 0.1])

    @pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
    def test_learning_rates_must_be_positive(self, rate):
        with pytest.raises(InputError, match="learning rates must be positive"):
            pack([nn.Linear(6, 3)], [rate])

    @pytest.mark.parametrize("momentum", [-0.1, 1.0])
    def test_momentum_range(self, momentum):
        with pytest.raises(InputError, match=r"momentum must lie in \[0, 1\)"):
            pack([nn.Linear(6, 3)], [0.1], [momentum])

    def test_something_must_be_trained(self):
        with pytest.raises(InputError, match="no parameters to train"):
            pack([nn.Linear(6, 3).requires_grad_(False)], [0.1])

    def test_one_seed_a_module(self):
        with pytest.raises(InputError, match="2 seeds"):
            pack([nn.Linear(6, 3)], [0.1], seeds=[1, 2])
