"""What a forward keeps, draws or hooks on is followed, or refused by name; buffers of every type
work, and no module is changed."""

import array
import contextvars
import copy
import ctypes
import functools
import io
import itertools
import os
import random
import secrets
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from types import ModuleType

import numpy as np
import pytest
import torch
from engines.training_alone import (
    PLAIN,
    batches,
    dense_engine,
    largest_error,
    seeded,
    train_alone,
    train_packed,
)
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from widthwise.engines import pack
from widthwise.engines.function_rules import FUNCTION_RULES
from widthwise.engines.layer_rules import LAYER_RULES
from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe

RATES, MOMENTA = [0.03, 0.01, 0.05], [0.9, 0.0, 0.5]
STEPS = 0
COUNTED = contextvars.ContextVar("COUNTED", default=0)
NUMBER = torch.zeros(1)
SETTINGS = ModuleType("settings_of_a_user")
SETTINGS.step = 0


class Base(nn.Module):
    """A small residual network; ``act`` is what a case does in the middle."""

    def __init__(self):
        super().__init__()
        self.a, self.h, self.b = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.begin()

    def begin(self):
        pass

    def act(self, x):
        return x

    def forward(self, x):
        x = torch.tanh(self.a(x.flatten(1)))
        return self.b(self.act(x) + torch.tanh(self.h(x)))


def network(begin=None, act=None):
    """A subclass of Base, and one of its modules."""
    body = {"begin": begin, "act": act}
    return type("Net", (Base,), {name: f for name, f in body.items() if f is not None})


def packed(build, replicas=2, dtype=torch.float32):
    inputs, targets = batches(1, 1, (6,), dtype=dtype, batch_size=8)
    modules = [seeded(build)(seed) for seed in range(replicas)]
    return pack(modules, [0.1] * replicas, example=(inputs[0, 0], targets[0, 0])), modules


def follows(build, steps=12, shape=(6,), draw=None):
    """The error against torch.optim.SGD module by module in float64, and the engine."""
    inputs, targets = batches(steps, 3, shape)
    if draw is not None:
        inputs = draw(inputs)
    error, ours = largest_error(seeded(build), RATES, MOMENTA, inputs, targets)
    return error, ours.engine


# --- Python state -----------------------------------------------------------------------------


class Schedule:
    def __init__(self):
        self.steps = 0


def counts(self, x):
    if self.training:
        self.t += 1
    return x * self.t**0.0


def anneals(self, x):
    self.temperature *= 0.9
    return x / max(self.temperature, 0.5)


def appends(self, x):
    self.history.append(len(x))
    return x if len(self.history) < 100 else -x


def advances(self, x):
    return x if next(self.count) < 200 else 0 * x


def tells_an_object(self, x):
    self.schedule.steps += 1
    return x


def counts_globally(self, x):
    global STEPS
    STEPS += 1
    return x if STEPS < 10_000 else -x


def counts_on_its_class(self, x):
    type(self).calls += 1
    return x


def counting_hook():
    module = network()()
    calls = []

    def hook(layer, args, output):
        calls.append(1)
        return output if len(calls) < 1000 else -output

    module.h.register_forward_hook(hook)
    return module


def averages(self, x):
    """A running average that is no buffer: a plain tensor."""
    mean = x.detach().mean(0)
    self.mean = mean if self.mean is None else 0.9 * self.mean + 0.1 * mean
    return x - self.mean


def anneals_late(self, x):
    """Read in evaluation only."""
    if self.training:
        self.scale = x.detach().abs().mean()
        return x
    return x if self.scale is None else x / self.scale


def starts_from_data(self, x):
    """Sets its parameter from the first batch, as ActNorm does."""
    if not self.ready:
        self.h.bias.data.copy_(x.detach().mean(0))
        self.ready = True
    return x


def starts(value):
    return lambda self: setattr(self, "held", value())


def late(count):
    """What no run of a proof comes to."""
    return 1.0 if count < 200 else 2.0


def counts_in(self, x):
    self.held[0] += self.training
    return x * late(self.held[0])


def counts_in_number(self, x):
    self.held.value += self.training
    return x * late(self.held.value)


def adds_up(self, x):
    self.held = self.held + int(self.training)
    return x * late(self.held)


def takes_next(self, x):
    return x * late(next(self.held)) if self.training else x


def writes(self, x):
    self.held.write(b"." if self.training else b"")
    return x * late(self.held.tell())


def counts_in_context(self, x):
    COUNTED.set(COUNTED.get() + self.training)
    return x * late(COUNTED.get())


def counts_on_a_parameter(self, x):
    weight = self.a.weight
    weight.calls = getattr(weight, "calls", 0) + self.training
    return x * late(weight.calls)


def counts_on_a_function(self, x):
    counts_on_a_function.calls += self.training
    return x * late(counts_on_a_function.calls)


counts_on_a_function.calls = 0


def counts_in_a_module(self, x):
    SETTINGS.step += self.training
    return x * late(SETTINGS.step)


def adds_to_a_tensor(self, x):
    """Nothing comes of it before the tensor has grown."""
    self.held.add_(float(self.training))
    return x * (1 + torch.relu(self.held - 200))


def adds_to_a_listed_tensor(self, x):
    self.held[0].add_(float(self.training))
    return x * (1 + torch.relu(self.held[0] - 200))


def adds_to_a_global_tensor(self, x):
    NUMBER.add_(float(self.training))
    return x * (1 + torch.relu(NUMBER - 200))


@functools.lru_cache(maxsize=8)
def remembered(kind):
    """What is kept under a kind; forward may count in it."""
    return [0]


@functools.cache
def positions(size):
    return torch.arange(size, dtype=torch.float32)


def counts_in_what_is_remembered(self, x):
    steps = remembered("steps")
    steps[0] += self.training
    return x * late(steps[0])


def counts_in_the_environment(self, x):
    steps = int(os.environ.get("WIDTHWISE_TEST_STEPS", "0")) + self.training
    os.environ["WIDTHWISE_TEST_STEPS"] = str(steps)
    return x * late(steps)


def looks_up(self, x):
    """Takes them in turn, so that the last one asked for differs."""
    remembered("a")
    remembered("b")
    return x + positions(6) + len(remembered("a"))


STATES = {
    "counter": (lambda self: setattr(self, "t", 0), counts, "attribute 't'"),
    "annealed": (lambda self: setattr(self, "temperature", 1.0), anneals, "'temperature'"),
    "list": (lambda self: setattr(self, "history", []), appends, "'history'"),
    "deque": (lambda self: setattr(self, "history", deque()), appends, "'history'"),
    "iterator": (lambda self: setattr(self, "count", itertools.count()), advances, "'count'"),
    "object": (lambda self: setattr(self, "schedule", Schedule()), tells_an_object, "'schedule'"),
    "global": (None, counts_globally, "global 'STEPS'"),
    "plain tensor": (lambda self: setattr(self, "mean", None), averages, "attribute 'mean'"),
    "read later": (lambda self: setattr(self, "scale", None), anneals_late, "attribute 'scale'"),
    "parameter": (lambda self: setattr(self, "ready", False), starts_from_data, "'ready'"),
    "bytearray": (starts(lambda: bytearray(1)), counts_in, "attribute 'held'"),
    "array": (starts(lambda: array.array("i", [0])), counts_in, "attribute 'held'"),
    "C's number": (starts(ctypes.c_int), counts_in_number, "attribute 'held'"),
    "decimal": (starts(lambda: Decimal(0)), adds_up, "attribute 'held'"),
    "range": (starts(lambda: iter(range(1000))), takes_next, "attribute 'held'"),
    "map": (starts(lambda: map(abs, range(1000))), takes_next, "attribute 'held'"),
    "cycle": (starts(lambda: itertools.cycle([1, 1, 1])), takes_next, "attribute 'held'"),
    "stream": (starts(io.BytesIO), writes, "attribute 'held'"),
    "context": (None, counts_in_context, "global 'COUNTED'"),
    "on a parameter": (None, counts_on_a_parameter, "attribute 'calls' of 'a.weight'"),
    "on a function": (None, counts_on_a_function, "'calls' of 'counts_on_a_function'"),
    "in a module": (None, counts_in_a_module, r"global 'SETTINGS\.step'"),
    "tensor": (starts(lambda: torch.zeros(1)), adds_to_a_tensor, "attribute 'held'"),
    "listed": (starts(lambda: [torch.zeros(1)]), adds_to_a_listed_tensor, "attribute 'held'"),
    "remembered": (None, counts_in_what_is_remembered, "global 'remembered'"),
    "environment": (None, counts_in_the_environment, "variable 'WIDTHWISE_TEST_STEPS'"),
    "global tensor": (None, adds_to_a_global_tensor, "global 'NUMBER'"),
}


@pytest.mark.parametrize("case", STATES)
def test_state_that_is_no_buffer_is_refused_by_name(case, monkeypatch):
    monkeypatch.setenv("WIDTHWISE_TEST_STEPS", "0")
    begin, act, name = STATES[case]
    with pytest.raises(InputError, match=name):
        packed(network(begin, act))


def test_state_of_an_inner_layer_a_class_and_a_hook():
    inner = network(lambda self: setattr(self, "t", 0), counts)

    def outer():
        return nn.Sequential(nn.Linear(6, 6), inner())

    with pytest.raises(InputError, match=r"attribute '1\.t' changes"):
        packed(outer)
    on_class = network(None, counts_on_its_class)
    on_class.calls = 0
    with pytest.raises(InputError, match=r"class attribute 'Net\.calls'"):
        packed(on_class)
    with pytest.raises(InputError, match="variable 'calls' of 'counting_hook"):
        packed(counting_hook)


def test_a_chain_that_counts_is_refused():
    class Chain(nn.Sequential):
        t = 0

        def forward(self, x):
            self.t += self.training
            return super().forward(x)

    with pytest.raises(InputError, match="attribute 't'"):
        packed(lambda: Chain(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)))


def keeps_activations(self, x):
    self.activation = x
    self.several = [x, {x.detach() + 1}]
    self.shape = x.shape
    return x


def caches(self, x):
    if self.cache is None:
        self.cache = torch.arange(6, dtype=x.dtype)
    return x + self.cache


@pytest.mark.parametrize(
    ("begin", "act"),
    [
        (None, keeps_activations),
        (lambda self: setattr(self, "cache", None), caches),
        (None, looks_up),
    ],
    ids=["activations", "cache", "functools.cache"],
)
def test_what_is_kept_and_makes_no_difference_is_packed(begin, act):
    error, _ = follows(network(begin, act))
    assert error < 1e-10


# --- random numbers ----------------------------------------------------------------------------


def drops(draw):
    def act(self, x):
        return x if self.training and draw() < 0.1 else x + torch.relu(self.a(x))

    return act


DRAWS = {
    "random": (random.random, "Python's random numbers"),
    "numpy": (np.random.rand, "NumPy's random numbers"),
    "torch": (lambda: torch.rand(1).item(), "PyTorch's random numbers"),
    "own generator": (random.Random(0).random, "variable 'draw'"),
    "own numpy": (np.random.default_rng(0).random, "'Generator.random'"),
    "secrets": (lambda: secrets.randbelow(100) / 100, "the operating system"),
    "no seed": (lambda: random.Random().random(), "a generator without a seed"),
    "numpy without one": (lambda: np.random.default_rng().random(), "without a seed"),
}


@pytest.mark.parametrize("case", DRAWS)
def test_random_branches_are_refused_whatever_they_draw(case):
    draw, name = DRAWS[case]
    for seed in range(4):
        random.seed(seed)
        state = random.getstate()
        with pytest.raises(InputError, match=name):
            packed(network(None, drops(draw)))
        assert random.getstate() == state


def test_what_is_drawn_once_is_no_draw():
    """As a name for a temporary file."""

    def begin(self):
        self.name = None

    def act(self, x):
        self.name = self.name or secrets.token_hex()
        return x

    error, _ = follows(network(begin, act))
    assert error < 1e-10


def test_a_random_branch_in_evaluation_alone():
    def act(self, x):
        return x if self.training or random.random() < 0.9 else -x

    with pytest.raises(InputError, match="in evaluation forward draws from Python's"):
        packed(network(None, act))


def test_the_layer_that_draws_is_named():
    class Noise(nn.Module):
        def forward(self, x):
            return x + 0.1 * torch.randn_like(x) if self.training else x

    with pytest.raises(InputError, match=r"layer '1' \(Noise\) draws from PyTorch's"):
        packed(lambda: nn.Sequential(nn.Linear(6, 3), Noise()))


# --- hooks on gradients --------------------------------------------------------------------------


def hooked(register):
    def build():
        module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        register(module)
        return module

    return build


def thawed(module):
    module[0].weight.register_hook(lambda g: g)
    module[0].weight.requires_grad_(False)
    module[0].weight.requires_grad_(True)


HOOKS = {
    "plain": lambda m: m[0].weight.register_hook(lambda g: g.clamp(-1, 1)),
    "late": lambda m: m[0].weight.register_post_accumulate_grad_hook(lambda p: None),
    "shared": lambda m: (setattr(m[2], "bias", None), m[0].weight.register_hook(lambda g: g)),
    "thawed": thawed,
    "several": lambda m: torch.autograd.graph.register_multi_grad_hook(
        (m[0].weight, m[2].weight), lambda gradients: None
    ),
}


@pytest.mark.parametrize("case", HOOKS)
@pytest.mark.parametrize("with_example", [True, False])
def test_hooks_on_parameters_are_refused(case, with_example):
    module = hooked(HOOKS[case])()
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    example = (inputs[0, 0], targets[0, 0]) if with_example else None
    with pytest.raises(InputError, match=r"parameter '0.weight' has a hook on its gradient"):
        pack([module], [0.1], example=example)


def test_hooks_on_activations_are_refused():
    def act(self, x):
        x.register_hook(lambda g: g.clamp(-1e3, 1e3))  # does nothing on most examples
        return x

    with pytest.raises(InputError, match="hooks on a gradient"):
        packed(network(None, act))


def test_backward_hooks_of_a_layer_are_followed_or_refused():
    def build():
        module = network()()
        module.h.register_full_backward_pre_hook(lambda layer, gradients: (2 * gradients[0],))
        return module

    try:
        error, _ = follows(build)
    except InputError:
        return
    assert error < 1e-10


def test_what_is_attached_to_a_parameter_is_not_lost():
    def begin(self):
        self.h.weight.scale = 3.0

    def act(self, x):
        return x * getattr(self.h.weight, "scale", 1.0)

    with pytest.raises(InputError, match="must agree with the module's own"):
        packed(network(begin, act))


# --- contexts that tracing drops ----------------------------------------------------------------


def half_products(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = self.a(x)
    return y.float()


def all_in_half(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (x * self.h(x)).float()


def decorated(self, x):
    return torch.autocast("cpu", dtype=torch.float16)(self.a)(x).float()


@pytest.mark.parametrize("act", [half_products, all_in_half, decorated])
def test_autocast_is_refused(act):
    with pytest.raises(InputError, match=r"forward runs under torch\.autocast"):
        packed(network(None, act))


def test_autocast_switched_off_is_nothing():
    def act(self, x):
        with torch.autocast("cpu", enabled=False):
            return self.a(x)

    error, engine = follows(network(None, act))
    assert (engine, error < 1e-10) == ("graph", True)


def test_no_grad_is_followed():
    def act(self, x):
        with torch.no_grad():
            return torch.tanh(self.h(x))

    error, engine = follows(network(None, act))
    assert (engine, error < 1e-10) == ("graph", True)


def test_no_grad_in_a_chain_is_followed():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            with torch.no_grad():
                x = self.a(x)
            return self.b(torch.relu(x))

    error, engine = follows(Chain)
    assert (engine, error < 1e-10) == ("graph", True)


def test_hooks_on_saved_tensors_are_not_lost():
    def act(self, x):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.round(), lambda t: t):
            return torch.exp(self.h(x))

    try:
        error, _ = follows(network(None, act))
    except InputError:
        return
    assert error < 1e-10


# --- buffers ----------------------------------------------------------------------------------


def counts_in_place(self, x):
    if self.training:
        self.n += 1
    return x * torch.exp(-0.1 * self.n)


def counts_anew(self, x):
    if self.training:
        self.n = self.n + 1
    return x * torch.exp(-0.1 * self.n)


def averages_anew(self, x):
    if self.training:
        self.n = 0.9 * self.n + 0.1 * x.detach().mean()
    return x - self.n


@pytest.mark.parametrize("act", [counts_in_place, counts_anew, averages_anew])
@pytest.mark.parametrize("chain", [False, True])
def test_buffers_that_forward_changes_are_followed(act, chain):
    def build():
        module = network(lambda self: self.register_buffer("n", torch.tensor(0.0)), act)()
        return nn.Sequential(module, nn.Linear(3, 3)) if chain else module

    error, engine = follows(build)
    assert (engine, error < 1e-10) == ("vmap", True)
    ours, modules = packed(build)
    name = "0.n" if chain else "n"
    assert [float(ours.buffers(i)[name]) for i in range(2)] == [0.0, 0.0]
    assert [float(module.get_buffer(name)) for module in modules] == [0.0, 0.0]


def test_a_branch_on_a_buffer_that_changes_is_refused():
    def act(self, x):
        if self.training:
            self.n += 1
        return x if self.n < 200 else -x

    with pytest.raises(InputError, match="vmap"):
        packed(network(lambda self: self.register_buffer("n", torch.tensor(0)), act))


def test_buffers_that_evaluation_changes_are_refused():
    def act(self, x):
        self.n += 1
        return x

    with pytest.raises(InputError, match="changes the buffer 'n' in evaluation mode too"):
        packed(network(lambda self: self.register_buffer("n", torch.tensor(0)), act))


def test_a_counter_that_a_chain_would_lose_is_kept():
    class Chain(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
            self.register_buffer("n", torch.tensor(0))

        def forward(self, x):
            if self.training:
                self.n += 1
            return super().forward(x)

    error, engine = follows(Chain)
    assert (engine, error < 1e-10) == ("vmap", True)


def test_a_buffer_that_nobody_uses_leaves_a_chain_a_chain():
    def build():
        module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        module.register_buffer("extra", torch.arange(3))
        return module

    error, engine = follows(build)
    assert (engine, error < 1e-10) == ("chain", True)


def table_of_positions(self, x):
    if self.table is None:
        self.register_buffer("table", torch.arange(6.0) * self.slope, persistent=False)
    return x + self.table


def first_batch(self, x):
    if self.table is None:
        self.table = x.detach().std(0)
    return x / self.table


def first_weights(self, x):
    if self.table is None:
        self.table = self.h.weight.detach().mean(0)
    return x + self.table


def only_in_training(self, x):
    if self.training and self.table is None:
        self.table = x.detach().mean(0)
    return x if self.training or self.table is None else x - self.table


def without_table(self):
    self.register_buffer("slope", torch.tensor(0.1))
    self.register_buffer("table", None)


def test_a_buffer_that_forward_makes_of_constants_is_made_again():
    build = network(without_table, table_of_positions)
    error, engine = follows(build)
    assert (engine, error < 1e-10) == ("vmap", True)
    ours, modules = packed(build)
    ours.logits(torch.ones(2, 6))
    assert set(ours.buffers(0)) == {"slope"}
    assert modules[0].table is None


@pytest.mark.parametrize("act", [first_batch, first_weights, only_in_training])
def test_a_buffer_that_forward_makes_of_what_it_meets_first_is_refused(act):
    with pytest.raises(InputError, match="'table'"):
        packed(network(without_table, act))


BUFFERS = {
    "boolean": torch.tensor([True, False]),
    "infinite": torch.tensor([1.0, float("-inf"), float("inf")]),
    "nan": torch.tensor([float("nan"), 1.0]),
    "empty": torch.empty(0, 3),
    "half": torch.tensor([0.5, 2.0], dtype=torch.float16),
    "bfloat16": torch.tensor([0.5, 2.0], dtype=torch.bfloat16),
    "complex": torch.tensor([1j, 2.0]),
    "integer": torch.tensor([2**40, -1]),
}


@pytest.mark.parametrize("case", BUFFERS)
@pytest.mark.parametrize("used", [False, True])
def test_buffers_of_every_type(case, used):
    def begin(self):
        self.register_buffer("extra", BUFFERS[case].clone())

    def act(self, x):
        return x * self.extra.isnan().logical_not().any().to(x.dtype) if used else x

    ours, _ = packed(network(begin, act))
    assert torch.equal(ours.buffers(1)["extra"].nan_to_num(), BUFFERS[case].nan_to_num())


class Causal(nn.Module):
    """A causal transformer over rows, its mask a boolean buffer."""

    def __init__(self):
        super().__init__()
        self.e, self.qkv, self.o = nn.Linear(3, 4), nn.Linear(4, 12), nn.Linear(4, 3)
        self.register_buffer("mask", torch.ones(5, 5).tril().bool())

    def forward(self, x):
        q, k, v = self.qkv(self.e(x)).chunk(3, -1)
        w = (q @ k.transpose(1, 2)).masked_fill(~self.mask, float("-inf")).softmax(-1)
        return self.o((w @ v).mean(1))


class Attends(Causal):
    def forward(self, x):
        q, k, v = self.qkv(self.e(x)).chunk(3, -1)
        return self.o(
            functional.scaled_dot_product_attention(
                query=q, key=k, value=v, attn_mask=self.mask
            ).mean(1)
        )


class Encodes(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.o = nn.Linear(3, 4), nn.Linear(4, 3)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(5))

    def forward(self, x):
        return self.o(self.layer(self.e(x), src_mask=self.mask, is_causal=True).mean(1))


@pytest.mark.parametrize("build", [Causal, Attends])
def test_a_causal_transformer_with_a_mask(build):
    error, engine = follows(build, shape=(5, 3))
    assert (engine, error < 1e-10) == ("vmap", True)


def test_an_encoder_layer_with_a_mask_is_followed_or_refused():
    try:
        error, _ = follows(Encodes, shape=(5, 3), draw=lambda x: x)
    except InputError as error:
        assert "torch.func.vmap" in str(error)  # noqa: PT017
    else:
        assert error < 1e-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_modules_get_a_sentence(dtype):
    with pytest.raises(InputError, match=r"must be float32 or float64, but '0.weight' is .*bf16"):
        packed(lambda: nn.Sequential(nn.Linear(6, 3)).to(dtype), dtype=dtype)


def test_complex_parameters_get_a_sentence():
    def begin(self):
        self.z = nn.Parameter(torch.ones(6, dtype=torch.complex64))

    with pytest.raises(InputError, match=r"must be real, but 'z' is torch\.complex64"):
        packed(network(begin, lambda self, x: (x * self.z).real))


FROZEN = {
    "boolean": torch.tensor([True, False, True, True, False, True]),
    "integer": torch.tensor([2, 3, 0, 1, -2, 5]),
    "half": torch.linspace(-1, 1, 6, dtype=torch.float16),
    "bfloat16": torch.linspace(-1, 1, 6, dtype=torch.bfloat16),
    "float64": torch.linspace(-1, 1, 6, dtype=torch.float64),
    "complex": torch.linspace(-1, 1, 6) * torch.tensor(1 + 1j),
}


UNSTACKED = {
    "sparse": lambda: torch.eye(6).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(6), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(6, device="meta"),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", UNSTACKED)
def test_buffers_that_cannot_be_stacked_get_a_sentence(kind):
    def begin(self):
        self.register_buffer("table", UNSTACKED[kind]())

    with pytest.raises(InputError, match=f"'table' is .*{kind}"):
        packed(network(begin))


@pytest.mark.parametrize(
    "register",
    [
        "register_module_forward_hook",
        "register_module_forward_pre_hook",
        "register_module_full_backward_hook",
    ],
)
def test_hooks_on_every_module_are_refused(register):
    handle = getattr(nn.modules.module, register)(lambda *args: None)
    try:
        with pytest.raises(InputError, match="hook on every module"):
            packed(network())
    finally:
        handle.remove()


@pytest.mark.parametrize("case", FROZEN)
@pytest.mark.parametrize("first", [True, False])
def test_frozen_parameters_of_every_type(case, first):
    def begin(self):
        layers = self.a, self.h, self.b
        if first:
            del self.a, self.h, self.b
        self.k = nn.Parameter(FROZEN[case].clone(), requires_grad=False)
        self.a, self.h, self.b = layers

    def act(self, x):
        return x * (self.k.real if self.k.is_complex() else self.k).to(x.dtype)

    ours, modules = packed(network(begin, act))
    assert ours.engine == "vmap", ours.reason
    assert torch.equal(ours.parameters(1)["k"], modules[1].k)


def test_a_frozen_integer_parameter_that_comes_first_does_not_set_the_type_of_the_rates():
    class Net(Base):
        def __init__(self):
            super().__init__()
            table = self.a, self.h, self.b
            del self.a, self.h, self.b
            self.k = nn.Parameter(torch.tensor([2, 3]), requires_grad=False)
            self.a, self.h, self.b = table

    error, _ = follows(Net)
    assert error < 1e-10


# --- keyword arguments ---------------------------------------------------------------------------


KEYWORDS = {
    "attention": lambda s, x: functional.scaled_dot_product_attention(
        query=x.view(-1, 1, 2, 3), key=x.view(-1, 1, 2, 3), value=x.view(-1, 1, 2, 3)
    ).flatten(1),
    "cat": lambda s, x: torch.cat(tensors=[x[:, :2], x[:, 2:]], dim=1),
    "softmax": lambda s, x: functional.softmax(input=x, dim=1),
    "linear": lambda s, x: functional.linear(input=x, weight=s.h.weight, bias=s.h.bias),
    "add": lambda s, x: torch.add(input=x, other=s.h.bias),
    "relu": lambda s, x: functional.relu(input=x, inplace=False),
    "layer norm": lambda s, x: functional.layer_norm(input=x, normalized_shape=(6,)),
    "mean": lambda s, x: torch.mean(input=x, dim=1, keepdim=True),
    "layer": lambda s, x: s.h(input=x),
    "multiply": lambda s, x: torch.mul(x, other=s.h.bias),
}


@pytest.mark.parametrize("case", KEYWORDS)
def test_keyword_arguments(case):
    error, engine = follows(network(None, KEYWORDS[case]))
    assert engine in ("graph", "vmap")
    assert error < 1e-10


def test_whatever_a_packed_form_raises_the_next_way_is_tried(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a fault of a packed form")

    monkeypatch.setitem(LAYER_RULES, nn.Linear, broken)
    ours, _ = packed(network())
    assert (ours.engine, ours.reason) == ("vmap", "ZeroDivisionError: a fault of a packed form")
    monkeypatch.setitem(FUNCTION_RULES, torch.tanh, broken)
    assert packed(network())[0].engine == "vmap"


# --- embeddings ----------------------------------------------------------------------------------


class Embeds(nn.Module):
    def __init__(self, padding, kind="layer", tied=False):
        super().__init__()
        self.e, self.r = nn.Embedding(5, 6, padding_idx=padding), nn.Linear(6, 3)
        self.o = nn.Linear(6, 5, bias=False)
        self.kind, self.padding, self.tied = kind, padding, tied
        if tied:
            self.o.weight = self.e.weight

    def forward(self, x):
        x = x.long()
        if self.kind == "function":
            found = functional.embedding(x, self.e.weight, padding_idx=self.padding)
        else:
            found = self.e(x)
        found = torch.cumsum(found, 1)[:, -1] if self.kind == "vmap" else found.mean(1)
        return self.r(found) + (self.o(found)[:, :3] if self.tied else 0)


@pytest.mark.parametrize("padding", [None, 0, 2, -1])
@pytest.mark.parametrize("kind", ["layer", "function", "vmap"])
@pytest.mark.parametrize("tied", [False, True])
def test_padding_indices_are_followed(padding, kind, tied):
    def tokens(inputs):
        generator = torch.Generator().manual_seed(2)
        drawn = torch.randint(5, inputs.shape, generator=generator).double()
        # The padding index does not occur among the examples of the proof.
        drawn[0, 0] = torch.where(drawn[0, 0] == (padding or 0) % 5, 1.0, drawn[0, 0])
        return drawn

    error, engine = follows(lambda: Embeds(padding, kind, tied), shape=(4,), draw=tokens)
    assert error < 1e-10
    assert engine == ("graph" if kind == "layer" else "vmap")


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap's, of max_norm
@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_embeddings_that_only_vmap_runs(options):
    def build():
        module = Embeds(None)
        module.e = nn.Embedding(5, 6, **options)
        return module

    def tokens(inputs):
        generator = torch.Generator().manual_seed(2)
        return torch.randint(5, inputs.shape, generator=generator).double()

    inputs, targets = batches(12, 3, (4,))
    inputs = tokens(inputs)
    modules, ours, losses = train_packed(seeded(build), RATES, MOMENTA, inputs, targets)
    assert ours.engine == "vmap"
    for i, module in enumerate(modules):
        alone = train_alone(module, RATES[i], MOMENTA[i], inputs[:, i], targets[:, i])
        assert torch.allclose(losses[:, i], alone, rtol=0, atol=1e-10)
        for name, parameter in module.named_parameters():
            assert torch.allclose(ours.parameters(i)[name], parameter, rtol=0, atol=1e-10)


def test_what_fails_in_the_last_way_is_a_sentence():
    def build():
        module = Embeds(None)
        module.e = nn.Embedding(5, 6, sparse=True)
        return module

    inputs, targets = torch.tensor([[0.0, 1, 2, 3]]), torch.tensor([0])
    with pytest.raises(InputError, match=r"torch\.func\.vmap can run and differentiate, but"):
        pack([build()], [0.1], example=(inputs, targets))


def test_a_checkpointed_layer_stays_in_a_chain():
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.b(checkpoint(lambda t: torch.relu(self.a(t)), x, use_reentrant=False))

    assert packed(Chain)[0].engine == dense_engine()


# --- the proof -----------------------------------------------------------------------------------


def test_a_readout_that_starts_at_zero_hides_no_wrong_gradient(monkeypatch):
    """At initialization no gradient reaches what comes before it."""

    def build():
        module = network()()
        nn.init.zeros_(module.b.weight)
        return module

    rule = FUNCTION_RULES[torch.tanh]

    def wrong(run, x):
        y = rule(run, x)
        return y + (y - y.detach())  # the gradient twice

    monkeypatch.setitem(FUNCTION_RULES, torch.tanh, wrong)
    ours, _ = packed(build)
    assert ours.engine == "vmap"
    assert "the gradient of" in ours.reason


def test_replicas_that_differ_are_compared():
    """A number that differs between modules is taken from the first alone: two of one seed, which
    come first in a grid, would not tell."""

    def build(scale):
        torch.manual_seed(0)
        module = network(None, lambda self, x: x * self.scale)()
        module.scale = scale
        return module

    first = build(1.0)
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    example = inputs[0, 0], targets[0, 0]
    assert pack([first, first, build(1.0)], [0.1] * 3, example=example).engine == "graph"
    with pytest.raises(InputError, match="must agree with the module's own"):
        pack([first, first, build(2.0)], [0.1] * 3, example=example)


@pytest.mark.parametrize("act", [keeps_activations, counts_in_place, counts_anew])
def test_modules_and_data_are_left_as_they_were(act):
    def begin(self):
        self.register_buffer("n", torch.tensor(0.0))

    module = seeded(network(begin, act))(0)
    before, names = copy.deepcopy(module.state_dict()), set(vars(module))
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    example, own = (inputs[0, 0], targets[0, 0]), inputs.clone()
    pack([module, module], [0.1, 0.1], example=example)
    assert set(vars(module)) == names
    assert torch.equal(inputs, own)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_global_random_numbers_are_left_where_they_were():
    torch.manual_seed(5)
    module = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    inputs, targets = batches(1, 1, (6,), dtype=torch.float32)
    state = torch.get_rng_state()
    pack([module], [0.1], example=(inputs[0, 0], targets[0, 0]))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_module_that_cannot_be_copied_gets_a_sentence():
    def begin(self):
        self.computed = self.h.weight * 2.0

    with pytest.raises(InputError, match=r"copy\.deepcopy can copy"):
        packed(network(begin))


def test_coarse_types_within_forward_are_followed():
    def act(self, x):
        return functional.linear(x.bfloat16(), self.h.weight.bfloat16()).to(x.dtype)

    ours, modules = packed(network(None, act))
    inputs, targets = batches(3, 2, (6,), dtype=torch.float32)
    for x, y in zip(inputs, targets, strict=True):
        ours.step(x, y, torch.empty(2))
    for i, module in enumerate(modules):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for x, y in zip(inputs[:, i], targets[:, i], strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(module(x), y).backward()
            optimizer.step()
        for name, parameter in module.named_parameters():
            assert torch.allclose(ours.parameters(i)[name], parameter, atol=5e-3)


def test_options_of_the_update_do_not_reach_the_proof():
    recipe = Recipe(weight_decay=0.1, nesterov=True)
    inputs, targets = batches(12, 3, (6,))
    error, _ = largest_error(seeded(network()), RATES, MOMENTA, inputs, targets, recipe=recipe)
    assert error < 1e-10
    assert recipe != PLAIN


def test_a_network_that_does_not_run_by_itself_is_told_so():
    def act(self, x):
        return x @ torch.ones(6, 6)  # of one type, whatever the network is

    with pytest.raises(InputError, match=r"run on the examples by itself, .*RuntimeError: .*dtype"):
        packed(lambda: network(act=act)().double(), dtype=torch.float64)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


OUTPUTS = {
    "dataclass": (lambda y: Output(y, y), "got Output with 'logits' and 'hidden'; pack a module"),
    "dictionary": (lambda y: {"logits": y}, "got dict with 'logits'; pack a module"),
    "tuple": (lambda y: (y, y), "got tuple of 2; pack a module"),
    "nothing": (lambda y: None, "got NoneType; pack a module"),
    "a sequence an example": (lambda y: y.unsqueeze(1), r"\(8, classes\), got shape \(8, 1, 3\)"),
    "a number an example": (lambda y: y[:, 0], r"\(8, classes\), got shape \(8,\)"),
    "complex": (lambda y: y * 1j, r"a real number .* type torch\.complex64"),
    "too few": (lambda y: y[:, :2], "the targets reach 2 and it returns 2"),
    "without gradient": (lambda y: y.detach(), "by itself, but in training mode .* grad"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_that_are_no_logits_get_a_sentence(case):
    change, sentence = OUTPUTS[case]

    class Changed(Base):
        def forward(self, x):
            return change(super().forward(x))

    with pytest.raises(InputError, match=sentence):
        packed(Changed)


def test_parameters_without_a_shape_get_a_sentence():
    with pytest.raises(InputError, match=r"'0\.weight' has no shape yet; call the module once"):
        packed(lambda: nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.Linear(6, 3)))


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x.sub_(0.5).cumsum(1))


def test_a_forward_that_overwrites_its_input_is_refused():
    """Evaluation reads the data set where it lies: the next one would meet other examples."""
    inputs, targets = torch.randn(8, 6), torch.randint(3, (8,))
    kept = inputs.clone()
    with pytest.raises(InputError, match=r"leave its input as it is.*begin with x = x.clone\(\)"):
        pack([Overwriting(), Overwriting()], [0.1, 0.1], example=(inputs, targets))
    assert torch.equal(inputs, kept)


def test_one_that_copies_it_first_is_followed():
    class Copying(Overwriting):
        def forward(self, x):
            return super().forward(x.clone())

    inputs, targets = torch.randn(8, 6), torch.randint(3, (8,))
    packed = pack([Copying(), Copying()], [0.1, 0.1], example=(inputs, targets))
    assert torch.equal(packed.logits(inputs), packed.logits(inputs))


@pytest.mark.parametrize("how", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_hooks_on_a_layers_gradient_are_named(how):
    modules = [nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in range(2)]
    getattr(modules[1][0], how)(lambda layer, *gradients: None)
    example = torch.randn(8, 6), torch.randint(3, (8,))
    with pytest.raises(InputError, match=r"layer '0' has a hook on its gradient .*do in forward"):
        pack(modules, [0.1, 0.1], example=example)
