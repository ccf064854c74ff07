"""Packed training equals ``torch.optim.SGD`` on each module by itself."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise import families
from widthwise.errors import InputError
from widthwise.packing import pack

# Stable with momentum 0.9: where training is chaotic, rounding grows whoever computes it.
LEARNING_RATES = [0.03, 0.01, 0.1, 0.002]
MOMENTA = {
    "none": [0.0, 0.0, 0.0, 0.0],
    "common": [0.9, 0.9, 0.9, 0.9],
    "mixed": [0.9, 0.0, 0.5, 0.99],
}


class HandWritten(nn.Module):
    def __init__(self):
        super().__init__()
        self.readout = nn.Linear(9, 3)
        self.hidden = nn.Linear(6, 9)

    def forward(self, x):
        return self.readout(torch.relu(self.hidden(torch.flatten(x, 1))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.readout = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x):
        h = self.enter(x.flatten(1)).relu()
        return self.readout(h + torch.tanh(self.inner(h)))


def mlp(**options):
    family = families.mlp(input_shape=(2, 3), num_classes=3, base_width=8, depth=2, **options)
    return lambda seed: family.build(2, seed)


def seeded(build):
    def make(seed):
        torch.manual_seed(seed)
        return build()

    return make


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
    "residual": (seeded(Residual), "vmap"),
    "layer norm": (
        seeded(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
        ),
        "vmap",
    ),
}


def batches(steps, replicas, dtype, batch_size=5):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(
        (steps, replicas, batch_size, 2, 3), generator=generator, dtype=torch.float64
    )
    targets = torch.randint(3, (steps, replicas, batch_size), generator=generator)
    return inputs.to(dtype), targets


def train_alone(module, learning_rate, momentum, inputs, targets):
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum)
    losses = []
    for x, y in zip(inputs, targets, strict=True):
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def largest_errors(make, momenta, dtype, steps):
    """Largest error of losses and of weights relative to the largest weight, over all replicas."""
    modules = [make(seed).to(dtype) for seed in range(len(LEARNING_RATES))]
    packed = pack(modules, LEARNING_RATES, momenta)
    inputs, targets = batches(steps, len(modules), dtype)
    losses = torch.empty(steps, len(modules), dtype=dtype)
    for step in range(steps):
        packed.step(inputs[step], targets[step], losses[step])
    loss_error = weight_error = 0.0
    for i, module in enumerate(modules):
        alone = train_alone(module, LEARNING_RATES[i], momenta[i], inputs[:, i], targets[:, i])
        loss_error = max(loss_error, float((losses[:, i] - alone).abs().max()))
        ours = packed.parameters(i)
        for name, parameter in module.named_parameters():
            scale = max(1.0, float(parameter.detach().abs().max()))
            weight_error = max(
                weight_error, float((ours[name] - parameter.detach()).abs().max()) / scale
            )
        logits = packed.logits(inputs[0, 0])[i]
        torch.testing.assert_close(logits, module(inputs[0, 0]), rtol=1e-3, atol=1e-4)
    return packed.engine, loss_error, weight_error


@pytest.mark.parametrize("momenta", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float64_to_1e_10_after_100_steps(architecture, momenta):
    make, expected_engine = ARCHITECTURES[architecture]
    engine, loss_error, weight_error = largest_errors(make, momenta, torch.float64, 100)
    assert engine == expected_engine
    assert max(loss_error, weight_error) < 1e-10


@pytest.mark.parametrize("momenta", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("architecture", ["standard", "ntk", "residual"])
def test_float32_to_1e_4_after_20_steps(architecture, momenta):
    make, _ = ARCHITECTURES[architecture]
    _, loss_error, weight_error = largest_errors(make, momenta, torch.float32, 20)
    assert max(loss_error, weight_error) < 1e-4


def test_the_comparison_notices_a_wrong_learning_rate(monkeypatch):
    make, _ = ARCHITECTURES["standard"]
    monkeypatch.setattr(
        "widthwise.packing.ChainPack._step_scale",
        lambda self, batch_size: self._learning_rates / -batch_size * (1 + 1e-6),
    )
    _, loss_error, weight_error = largest_errors(make, MOMENTA["none"], torch.float64, 100)
    assert max(loss_error, weight_error) > 1e-10


@pytest.mark.parametrize("architecture", ["ntk", "residual"])
def test_dropped_replicas_leave_the_others_alone(architecture):
    make, _ = ARCHITECTURES[architecture]
    modules = [make(seed).double() for seed in range(4)]
    inputs, targets = batches(20, 4, torch.float64)
    whole = pack(modules, LEARNING_RATES, MOMENTA["mixed"])
    thinned = pack(modules, LEARNING_RATES, MOMENTA["mixed"])
    losses = torch.empty(4, dtype=torch.float64)
    for step in range(20):
        whole.step(inputs[step], targets[step], losses)
        if step == 10:
            thinned.keep([1, 3])
        rows = [1, 3] if step >= 10 else [0, 1, 2, 3]
        thinned.step(inputs[step][rows], targets[step][rows], losses[: len(rows)])
    assert thinned.num_replicas == 2
    for name, value in thinned.parameters(1).items():
        torch.testing.assert_close(value, whole.parameters(3)[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("architecture", ["ntk", "residual"])
def test_a_restored_pack_goes_on_bit_for_bit(architecture):
    make, _ = ARCHITECTURES[architecture]
    inputs, targets = batches(6, 4, torch.float32)
    losses = torch.empty(4)

    def fresh():
        return pack([make(seed) for seed in range(4)], LEARNING_RATES, MOMENTA["mixed"])

    straight, interrupted = fresh(), fresh()
    for step in range(6):
        straight.step(inputs[step], targets[step], losses)
        interrupted.step(inputs[step], targets[step], losses)
        if step == 2:
            state = {name: tensor.clone() for name, tensor in interrupted.state().items()}
            interrupted = fresh()
            interrupted.restore(state)
    for name, value in interrupted.parameters(2).items():
        assert torch.equal(value, straight.parameters(2)[name])


def test_the_modules_are_not_changed():
    module = ARCHITECTURES["ntk"][0](0)
    before = copy.deepcopy(module.state_dict())
    packed = pack([module], [0.1])
    inputs, targets = batches(1, 1, torch.float32)
    packed.step(inputs[0], targets[0], torch.empty(1))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class TestProof:
    def example(self):
        inputs, targets = batches(1, 1, torch.float32, batch_size=16)
        return inputs[0, 0], targets[0, 0]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_right_packs_pass(self, architecture):
        make, engine = ARCHITECTURES[architecture]
        packed = pack([make(0), make(1), make(2)], [0.1] * 3, example=self.example())
        assert packed.engine == engine
        assert packed.num_replicas == 3

    def test_a_wrong_derivative_is_caught(self, monkeypatch):
        monkeypatch.setattr(
            "widthwise.packing.activations._aten.threshold_backward.grad_input",
            lambda gradient, output, threshold, grad_input: gradient,
        )
        with pytest.raises(InputError, match=r"the gradient of '1.weight'"):
            pack([ARCHITECTURES["standard"][0](0)], [0.1], example=self.example())

    def test_a_wrong_forward_is_caught(self, monkeypatch):
        monkeypatch.setattr("widthwise.packing.chain_pack._product", lambda d, x, out: out.zero_())
        with pytest.raises(InputError, match="the logits"):
            pack([ARCHITECTURES["standard"][0](0)], [0.1], example=self.example())

    def test_outputs_that_are_no_numbers_are_refused(self):
        module = ARCHITECTURES["standard"][0](0)
        nn.init.constant_(module[1].weight, float("inf"))
        with pytest.raises(InputError, match="must be finite"):
            pack([module], [0.1], example=self.example())


class TestRefusals:
    def test_dropout_is_named(self):
        module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Dropout(0.5), nn.Linear(3, 3))
        with pytest.raises(InputError, match=r"'2' \(Dropout\)"):
            pack([module], [0.1])

    def test_running_statistics_are_named(self):
        module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.BatchNorm1d(3))
        with pytest.raises(InputError, match=r"'2' \(BatchNorm1d\)"):
            pack([module], [0.1])

    def test_shapes_must_agree(self):
        with pytest.raises(InputError, match=r"module 1 differs in '1.weight'"):
            pack(
                [nn.Sequential(nn.Flatten(), nn.Linear(6, n)) for n in (3, 4)],
                [0.1, 0.1],
            )

    @pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
    def test_learning_rates_must_be_positive(self, rate):
        with pytest.raises(InputError, match="learning rates must be positive"):
            pack([nn.Linear(6, 3)], [rate])

    @pytest.mark.parametrize("momentum", [-0.1, 1.0])
    def test_momentum_range(self, momentum):
        with pytest.raises(InputError, match=r"momentum must lie in \[0, 1\)"):
            pack([nn.Linear(6, 3)], [0.1], [momentum])


class TestEngineChoice:
    def test_frozen_parameters_stay(self):
        module = ARCHITECTURES["hand-written"][0](0)
        module.hidden.weight.requires_grad_(False)
        packed = pack([module], [0.1])
        assert packed.engine == "vmap"
        assert "frozen" in packed.reason
        inputs, targets = batches(1, 1, torch.float32)
        packed.step(inputs[0], targets[0], torch.empty(1))
        after = packed.parameters(0)
        assert torch.equal(after["hidden.weight"], module.hidden.weight)
        assert not torch.equal(after["readout.weight"], module.readout.weight)

    def test_a_layer_used_twice_is_not_a_chain(self):
        layer = nn.Linear(6, 6)
        module = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)
        assert pack([module], [0.1]).engine == "vmap"

    def test_hooks_are_not_lost(self):
        module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
        module[1].register_forward_hook(lambda m, args, out: out * 2)
        assert "hooks" in pack([module], [0.1]).reason
