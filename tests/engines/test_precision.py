"""bfloat16 products: close to float32 training, not equal to it, and no small step is lost."""

import pytest
import torch
from torch import nn

from widthwise.engines import chain_pack, pack
from widthwise.hardware import rounds_products
from widthwise.sgd.recipe import Recipe

STEPS, REPLICAS, BATCH, CLASSES = 50, 3, 32, 4
RATES = [0.02, 0.05, 0.1]
# Products of at most 4,096 multiplications stay in float32: the batch is large enough for none.
# bfloat16 has 8 significant bits: a rounding is off by at most 2⁻⁸.
ROUNDING = 2.0**-8
BF16 = Recipe(precision="bf16")


@pytest.fixture(params=["copies", "rounded products"])
def operands(request, monkeypatch):
    """Both ways of a chain, where this CPU has both."""
    if request.param == "copies":
        monkeypatch.setattr(chain_pack, "needs_copies", lambda device: True)
    elif not rounds_products():
        pytest.skip("needs a CPU whose float32 products can round to bfloat16 (AMX)")
    return request.param


def chain(seed, activation=nn.ReLU):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 24), activation(), nn.Linear(24, 24), activation(),
        nn.Linear(24, CLASSES),
    )  # fmt: skip


class Residual(nn.Module):
    """No chain: it has a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        return self.last(x + torch.relu(self.first(x)))


def residual(seed):
    torch.manual_seed(seed)
    return Residual()


def steps(num_steps=STEPS, replicas=REPLICAS):
    """Inputs and targets of consecutive steps; the targets can be learned."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(num_steps, replicas, BATCH, 3, 4, generator=generator)
    return inputs, inputs.flatten(3)[..., :CLASSES].argmax(3)


def packed(build, recipe, momenta=(0.0, 0.0, 0.0)):
    inputs, targets = steps(1)
    modules = [build(seed) for seed in range(REPLICAS)]
    example = inputs[0, 0], targets[0, 0]
    return pack(modules, RATES, list(momenta), recipe=recipe, example=example)


def train(packed, *, inputs_targets=None):
    losses = []
    for x, y in zip(*(inputs_targets or steps()), strict=True):
        losses.append(torch.empty(packed.num_replicas))
        packed.step(x, y, losses[-1])
    return torch.stack(losses)


def flat(packed, replica):
    return torch.cat([p.reshape(-1) for p in packed.parameters(replica).values()])


def relative_distances(ours, theirs, start):
    """‖ours − theirs‖ over how far theirs has come, a replica."""
    return [
        float((flat(ours, r) - flat(theirs, r)).norm() / (flat(theirs, r) - flat(start, r)).norm())
        for r in range(REPLICAS)
    ]


def tolerance(num_layers):
    """Of the distance: in each layer the weight, the input, the output, the gradient that comes
    back and the weight's gradient are rounded, each by at most ROUNDING of itself."""
    return 5 * num_layers * ROUNDING


CASES = {
    "chain": (chain, 3, {}, (0.0, 0.0, 0.0)),
    "chain, saved inputs": (lambda seed: chain(seed, nn.GELU), 3, {}, (0.0, 0.0, 0.0)),
    "chain, one momentum": (chain, 3, {}, (0.5, 0.5, 0.5)),
    "chain, momenta and decay": (
        chain, 3, {"weight_decay": 0.01, "nesterov": True}, (0.0, 0.5, 0.8)
    ),
    "chain, squared error": (chain, 3, {"loss": "mean-squared-error"}, (0.0, 0.0, 0.0)),
    "graph": (residual, 2, {}, (0.0, 0.5, 0.0)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_training_is_close_to_float32_and_not_equal(case, operands):
    build, num_layers, options, momenta = CASES[case]
    start = packed(build, Recipe(**options), momenta)
    exact = packed(build, Recipe(**options), momenta)
    ours = packed(build, Recipe(**options, precision="bf16"), momenta)
    assert ours.engine == case.split(",")[0]
    losses, exact_losses = train(ours), train(exact)
    distances = relative_distances(ours, exact, start)
    assert max(distances) < tolerance(num_layers)
    # Far more than float32's rounding: the option does something.
    assert min(distances) > 100 * torch.finfo(torch.float32).eps
    assert losses.dtype == torch.float32
    assert torch.allclose(losses, exact_losses, rtol=tolerance(num_layers))


def test_the_comparison_can_fail():
    # Five bits fewer in the weights alone: 3 significant bits.
    start, exact, coarse = (packed(chain, Recipe()) for _ in range(3))
    train(exact)
    for x, y in zip(*steps(), strict=True):
        state = {name: t.clone() for name, t in coarse.state().items()}
        coarse.restore({name: rounded(t, bits=3) for name, t in state.items()})
        before = {name: t.clone() for name, t in coarse.state().items()}
        coarse.step(x, y, torch.empty(REPLICAS))
        moved = coarse.state()
        coarse.restore({name: state[name] + moved[name] - before[name] for name in state})
    assert max(relative_distances(coarse, exact, start)) > tolerance(3)


def rounded(tensor, bits):
    mantissa, exponent = torch.frexp(tensor)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


@pytest.mark.parametrize("build", [chain, residual])
def test_weights_and_velocities_are_float32(build, operands):
    ours = packed(build, BF16, (0.5, 0.5, 0.5))
    train(ours)
    assert {t.dtype for t in ours.state().values()} == {torch.float32}
    # And they hold more than bfloat16 could.
    for replica in range(REPLICAS):
        for parameter in ours.parameters(replica).values():
            assert not torch.equal(parameter, parameter.bfloat16().float())


def one_weight():
    """The gradient of its only weights, near 1, is small and always the same sign."""
    module = nn.Sequential(nn.Linear(1, 2, bias=False))
    nn.init.constant_(module[0].weight, 1.0)
    return module


def test_a_step_below_the_resolution_of_bf16_is_not_lost(operands):
    inputs = torch.ones(1, 4, 1)
    targets = torch.zeros(1, 4, dtype=torch.int64)
    # Logits are equal at first: the gradient is ∓½, and a step 2⁻¹² of the weight.
    ours = pack([one_weight()], [2.0**-11], recipe=BF16)
    lossy = pack([one_weight()], [2.0**-11], recipe=BF16)
    for _ in range(64):
        ours.step(inputs, targets, torch.empty(1))
        lossy.step(inputs, targets, torch.empty(1))
        lossy.restore({name: t.bfloat16().float() for name, t in lossy.state().items()})
    moved = ours.parameters(0)["0.weight"] - 1.0
    expected = 64 * 2.0**-12
    # The gradient itself shrinks by up to the 1.6 % that the weights have moved.
    assert moved.view(-1).tolist() == pytest.approx([expected, -expected], rel=0.05)
    # With weights in bfloat16 nothing would have happened at all.
    assert torch.equal(lossy.parameters(0)["0.weight"], torch.ones(2, 1))


@pytest.mark.parametrize("build", [chain, residual])
def test_evaluation_is_float32(build, operands):
    ours = packed(build, BF16)
    train(ours)
    inputs = steps(1)[0][0, 0]
    logits = ours.logits(inputs)
    assert logits.dtype == torch.float32
    for replica in range(REPLICAS):
        module = build(0)
        module.load_state_dict(ours.parameters(replica))
        with torch.no_grad():
            own = module(inputs)
        assert torch.allclose(logits[replica], own, atol=1e-5)
        assert not torch.allclose(logits[replica], own.bfloat16().float(), atol=1e-5)


def test_going_on_from_a_state_is_bit_for_bit(operands):
    whole, first, second = (packed(chain, BF16, (0.5, 0.5, 0.5)) for _ in range(3))
    inputs, targets = steps()
    train(whole)
    train(first, inputs_targets=(inputs[:20], targets[:20]))
    second.restore(first.state())
    train(second, inputs_targets=(inputs[20:], targets[20:]))
    for replica in range(REPLICAS):
        assert torch.equal(flat(second, replica), flat(whole, replica))


def test_dropped_replicas_change_nothing_for_the_others(operands):
    whole, fewer = (packed(chain, BF16, (0.5, 0.5, 0.5)) for _ in range(2))
    inputs, targets = steps()
    train(whole)
    train(fewer, inputs_targets=(inputs[:20], targets[:20]))
    fewer.keep([0, 2])
    train(fewer, inputs_targets=(inputs[20:, [0, 2]], targets[20:, [0, 2]]))
    for new, old in enumerate([0, 2]):
        assert torch.allclose(flat(fewer, new), flat(whole, old), rtol=0, atol=1e-6)
