"""Recorded steps, with a recorder on the CPU in place of CUDA's: equal to steps made one by one."""

import re

import pytest
import torch
from engines.tape import TapeRecorder
from torch import nn

from widthwise.engines import chain_pack, pack, pooling
from widthwise.engines.captured import CapturedPack, captured
from widthwise.sgd.recipe import Recipe

SHAPE, CLASSES, REPLICAS = (2, 4, 4), 3, 3


def dense(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(32, 12), nn.GELU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def convolutional(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, CLASSES),
    )  # fmt: skip


class Branching(nn.Module):
    """No torch.fx graph: forward asks for a shape."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm = nn.Linear(32, CLASSES), nn.BatchNorm1d(CLASSES)

    def forward(self, x):
        return self.norm(self.dense(x.flatten(1))) if x.shape[0] > 0 else x


def branching(seed):
    torch.manual_seed(seed)
    return Branching()


def with_layer(*layers):
    def build(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *layers, nn.Flatten(), nn.Linear(64, 3))

    return build


def batches(num_steps, batch_size=6, replicas=REPLICAS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = (num_steps, replicas, batch_size)
    inputs = torch.randn(*size, *SHAPE, generator=generator)
    return inputs, torch.randint(CLASSES, size, generator=generator)


def packed(build, recipe=None, momenta=(0.0, 0.5, 0.9)):
    inputs, targets = batches(1)
    modules = [build(seed) for seed in range(REPLICAS)]
    example = (inputs[0, 0], targets[0, 0])
    engine = "chain" if build is dense else "auto"  # as on a device
    return pack(modules, [0.1, 0.2, 0.05], momenta, recipe=recipe, example=example, engine=engine)


def train(pack_, inputs, targets, first=0):
    """Losses (steps, R), with a learning rate that changes; as a number and as a tensor."""
    losses = torch.empty(inputs.shape[:2])
    for k in range(len(inputs)):
        factor = 1.0 / (1.0 + first + k)
        rate_factor = (
            torch.tensor(factor) if k % 2 or not isinstance(pack_, CapturedPack) else factor
        )
        pack_.step(inputs[k], targets[k], losses[k], number=first + k, rate_factor=rate_factor)
    return losses


def same(ours, theirs):
    """Bit for bit."""
    assert set(ours.state()) == set(theirs.state())
    for name, tensor in theirs.state().items():
        assert torch.equal(ours.state()[name], tensor), name


CASES = {
    "chain": (dense, None, (0.0, 0.5, 0.9)),
    "chain, plain SGD": (dense, None, (0.0, 0.0, 0.0)),
    "chain, options": (
        dense,
        Recipe(weight_decay=0.01, nesterov=True, label_smoothing=0.1),
        (0.0, 0.5, 0.9),
    ),
    "chain, bf16": (dense, Recipe(precision="bf16"), (0.5, 0.5, 0.5)),
    "graph": (convolutional, None, (0.0, 0.5, 0.9)),
    "graph, bf16": (convolutional, Recipe(precision="bf16"), (0.0, 0.5, 0.9)),
    "graph, options": (
        convolutional,
        Recipe(weight_decay=0.01, nesterov=True, loss="mean-squared-error"),
        (0.0, 0.5, 0.9),
    ),
    "vmap": (branching, None, (0.0, 0.0, 0.0)),
}


@pytest.fixture(params=CASES)
def pair(request, monkeypatch):
    """The same pack twice: its steps recorded, and made one by one, with CUDA's operations."""
    monkeypatch.setattr(chain_pack, "needs_copies", lambda device: True)
    monkeypatch.setattr(pooling, "passes_of", lambda dtype: None)
    build, recipe, momenta = CASES[request.param]
    direct = packed(build, recipe, momenta)
    recorder = TapeRecorder()
    ours = CapturedPack(packed(build, recipe, momenta), recorder)
    assert direct.engine == ours.engine == request.param.split(",")[0]
    return ours, direct, recorder


def test_recorded_steps_are_the_steps(pair):
    ours, direct, recorder = pair
    data = batches(8)
    assert torch.equal(train(ours, *data), train(direct, *data))
    same(ours, direct)
    assert recorder.recordings == 1
    assert ours.reason == f"{direct.reason}; steps are replayed as a graph"
    assert torch.equal(ours.logits(data[0][0, 0]), direct.logits(data[0][0, 0]))
    for replica in range(REPLICAS):
        for kind in ("parameters", "buffers"):
            mine, theirs = getattr(ours, kind)(replica), getattr(direct, kind)(replica)
            assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_another_batch_size_is_recorded_beside_the_first(pair):
    ours, direct, recorder = pair
    for k, batch_size in enumerate((6, 4, 6, 4)):
        data = batches(2, batch_size, seed=k)
        assert torch.equal(train(ours, *data), train(direct, *data))
    same(ours, direct)
    assert recorder.recordings == 2


@pytest.mark.parametrize("kept", [[0, 2], [0, 1, 2]], ids=["fewer", "all, in new memory"])
def test_keeping_replicas_records_anew(pair, kept):
    ours, direct, recorder = pair
    for each in (ours, direct):
        train(each, *batches(3))
        each.keep(kept)
    assert ours.num_replicas == len(kept)
    data = batches(3, replicas=len(kept), seed=1)
    assert torch.equal(train(ours, *data), train(direct, *data))
    same(ours, direct)
    assert recorder.recordings == 2


def test_what_is_restored_is_what_is_replayed(pair):
    ours, direct, recorder = pair
    first, second = batches(3), batches(4, seed=1)
    train(ours, *first)
    state = {name: tensor.clone() for name, tensor in ours.state().items()}
    train(ours, *second)
    ours.restore(state)
    train(direct, *first)
    assert torch.equal(train(ours, *second), train(direct, *second))
    same(ours, direct)
    assert recorder.recordings == 1


def test_what_is_decided_on_the_cpu_would_be_noticed():
    """The comparison can fail: a step that reads the rate on the CPU is replayed with the first."""
    ours, direct = packed(dense), packed(dense)
    inner_step = ours.step

    def frozen(*args, rate_factor, **options):
        inner_step(*args, rate_factor=rate_factor.numpy().item(), **options)

    ours.step = frozen
    data = batches(3)
    losses = train(CapturedPack(ours, TapeRecorder()), *data)
    assert not torch.equal(losses, train(direct, *data))


class OwnDropout(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([nn.Dropout(0.5)], "masks of dropout are drawn on the CPU"),
        ([OwnDropout()], "masks of dropout are drawn on the CPU"),
        ([nn.BatchNorm2d(4, momentum=None)], r"layer '1' .* reads its count of batches"),
    ],
    ids=["dropout layer", "dropout function", "averaging batch norm"],
)
def test_steps_that_need_the_cpu_are_made_one_by_one(layers, why):
    build, recorder = with_layer(*layers), TapeRecorder()
    ours, direct = CapturedPack(packed(build), recorder), packed(build)
    for k, batch_size in enumerate((6, 4)):
        data = batches(3, batch_size, seed=k)
        assert torch.equal(train(ours, *data, first=3 * k), train(direct, *data, first=3 * k))
    same(ours, direct)
    assert recorder.recordings == 0
    assert ours.host_work is not None
    assert re.fullmatch(f".*; steps are not replayed as a graph: {why}", ours.reason)


def test_dropout_that_does_nothing_is_no_obstacle():
    recorder = TapeRecorder()
    ours = CapturedPack(packed(with_layer(nn.Dropout(0.0))), recorder)
    train(ours, *batches(2))
    assert recorder.recordings == 1
    assert ours.host_work is None


def test_a_recording_that_fails_leaves_steps_as_they_were():
    ours, direct = packed(dense), packed(dense)
    inner_step = ours.step

    def peek(*args, **options):
        inner_step(*args, **options)
        args[2][0].item()

    ours.step = peek
    ours = CapturedPack(ours, TapeRecorder())
    data = batches(3)
    assert torch.equal(train(ours, *data), train(direct, *data))
    same(ours, direct)
    assert ours.reason.endswith("recording failed (the CPU may not look at a value)")


def test_packs_on_the_cpu_are_left_alone():
    inner = packed(dense)
    assert captured(inner, torch.device("cpu")) is inner
    assert isinstance(captured(inner, torch.device("cuda", 0)), CapturedPack)
