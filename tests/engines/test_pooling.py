"""2×2 max-pooling with bias and rectifier in one pass: the same numbers, gradients and choices."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from engines.training_alone import batches, dense_engine, largest_error, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise.engines import pack, pooling
from widthwise.engines.compiled import library
from widthwise.engines.pooling import FusedPool, max_pool
from widthwise.engines.program import Program
from widthwise.sgd.recipe import Recipe

needs_library = pytest.mark.skipif(
    dense_engine() != "compiled", reason="the compiled library is not built"
)
WAYS = [pytest.param(True, marks=needs_library, id="compiled"), pytest.param(False, id="PyTorch's")]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Both ways; without the library only PyTorch's."""
    if not request.param:
        monkeypatch.setattr(pooling, "passes_of", lambda dtype: None)
    return request.param


def own(value, bias, rectify):
    """The same by PyTorch's operations, a replica at a time."""
    outs = []
    for r in range(value.shape[1]):
        x = value[:, r] if bias is None else value[:, r] + bias[r].view(-1, 1, 1)
        out = functional.max_pool2d(x, 2)
        outs.append(functional.relu(out) if rectify else out)
    return torch.stack(outs, 1)


def gradients(function, value, bias, rectify, pull):
    leaves = [t.clone().requires_grad_() for t in (value, bias) if t is not None]
    out = function(leaves[0], leaves[1] if len(leaves) > 1 else None, rectify)
    return [out.detach(), *torch.autograd.grad(out, leaves, pull)]


def ours(value, bias, rectify):
    return max_pool(value, bias, rectify=rectify)


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def error(dtype, channels, size, rectify, with_bias):
    """Largest difference of values and gradients from PyTorch's, in roundings of numbers near 1."""
    value = draw(3, 2, channels, *size, dtype=dtype)
    bias = draw(2, channels, dtype=dtype, seed=1) if with_bias else None
    pull = draw(3, 2, channels, size[0] // 2, size[1] // 2, dtype=dtype, seed=2)
    expected = gradients(own, value, bias, rectify, pull)
    got = gradients(ours, value, bias, rectify, pull)
    largest = max(float((a - b).abs().max()) for a, b in zip(got, expected, strict=True))
    return largest / torch.finfo(dtype).eps


# Of two replicas: whole vectors of channels, one and a part, and in double two and a part.
@pytest.mark.parametrize("channels", [4, 5, 8, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(2, 2), (6, 4), (5, 7), (3, 2)], ids=str)
@pytest.mark.parametrize("rectify", [True, False], ids=["rectified", "plain"])
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_values_and_gradients(way, channels, dtype, size, rectify, with_bias):
    assert (pooling._passes(torch.empty(1, 2 * channels, 2, 2, dtype=dtype)) is not None) == way
    assert error(dtype, channels, size, rectify, with_bias) <= 20


@needs_library
@pytest.mark.parametrize("fault", ["no bias", "no rectifier", "the first pixel"])
def test_a_wrong_pass_is_noticed(fault, monkeypatch):
    right = pooling.passes_of(torch.float32)

    def forward(sizes, image, bias, rectify, out, chosen):
        bias = None if fault == "no bias" else bias
        right.forward(sizes, image, bias, rectify and fault != "no rectifier", out, chosen)

    def backward(sizes, gradient, chosen, to_image, to_bias):
        zeros = torch.zeros(sizes.batch * sizes.height * sizes.width * sizes.channels).byte()
        chosen = zeros.data_ptr() if fault == "the first pixel" else chosen
        right.backward(sizes, gradient, chosen, to_image, to_bias)

    wrong = replace(right, forward=forward, backward=backward)
    monkeypatch.setattr(pooling, "passes_of", lambda dtype: wrong)
    assert error(torch.float32, 4, (6, 4), True, True) > 1e4


@pytest.mark.slow
@given(
    numbers=st.lists(st.integers(-2, 2), min_size=32, max_size=32),
    biases=st.lists(st.integers(-1, 1), min_size=8, max_size=8),
    rectify=st.booleans(),
)
@pytest.mark.parametrize("compiled", WAYS)
def test_among_equals_the_first_is_chosen(compiled, numbers, biases, rectify):
    value = torch.tensor(numbers, dtype=torch.float32).view(1, 2, 4, 2, 2)
    bias = torch.tensor(biases, dtype=torch.float32).view(2, 4)
    pull = torch.arange(1.0, 9.0).view(1, 2, 4, 1, 1)
    expected = gradients(own, value, bias, rectify, pull)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(pooling, "passes_of", lambda dtype: None)
        got = gradients(ours, value, bias, rectify, pull)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rectify", [True, False], ids=["rectified", "plain"])
def test_what_is_not_a_number_is_not_hidden(way, rectify, dtype):
    """Every window of NaN, infinities, a negative and a positive number: a channel each."""
    numbers = (math.nan, math.inf, -math.inf, -1.0, 2.0)
    windows = torch.tensor(list(itertools.product(numbers, repeat=4)), dtype=dtype)
    value, bias = windows.view(1, 1, -1, 2, 2), torch.zeros(1, len(windows), dtype=dtype)
    pull = torch.arange(1.0, 1.0 + len(windows), dtype=dtype).view(1, 1, -1, 1, 1)
    expected = gradients(own, value, bias, rectify, pull)
    got = gradients(ours, value, bias, rectify, pull)
    for ours_, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(got[0].isnan().flatten(), windows.isnan().any(1))


def test_gradient_of_the_bias_keeps_its_digits(way):
    """A sum of 65,536 numbers, in float32 one after the other, would lose three digits more."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(64, 1, 8, 64, 64, generator=generator)
    pull = 1.0 + torch.rand(64, 1, 8, 32, 32, generator=generator)
    exact = pull.double().sum((0, 3, 4))
    _, _, to_bias = gradients(ours, value, torch.zeros(1, 8), False, pull)
    assert (to_bias / exact - 1.0).abs().max() < 2e-6


def test_an_image_in_any_memory_layout(way):
    value = torch.arange(192.0).sin().view(2, 2, 4, 3, 4).transpose(3, 4)
    assert torch.equal(ours(value, None, True), own(value, None, True))
    pull = torch.ones(2, 2, 4, 1, 1).expand(-1, -1, -1, 2, 1)
    got = gradients(ours, value, None, True, pull)
    assert all(
        torch.equal(a, b) for a, b in zip(got, gradients(own, value, None, True, pull), strict=True)
    )


CONV = {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "padding": 1}


class Written(nn.Module):
    def __init__(self, forward, features=36):
        super().__init__()
        self.conv, self.readout = nn.Conv2d(**CONV), nn.Linear(features, 3)
        self.other = nn.Conv2d(**CONV)
        self.function = forward

    def forward(self, x):
        return self.readout(self.function(self, x).flatten(1))


def pooled(x):
    return functional.max_pool2d(x, 2)


# Forward → what is fused there: bias, rectifier.
FORWARDS = {
    "convolution, rectifier, pooling": (
        lambda n, x: pooled(n.conv(x).relu()), [("conv.bias", True)]
    ),
    "convolution, pooling, rectifier": (
        lambda n, x: pooled(n.conv(x)).relu(), [("conv.bias", True)]
    ),
    "options by name": (
        lambda n, x: functional.max_pool2d(n.conv(x), kernel_size=[2, 2], stride=(2, 2), padding=0),
        [("conv.bias", False)],
    ),
    "no rectifier": (lambda n, x: torch.tanh(pooled(n.conv(x))), [("conv.bias", False)]),
    "the convolution is seen elsewhere": (
        lambda n, x: pooled(c := n.conv(x)) + c[:, :, ::2, ::2], [(None, False)]
    ),
    "the convolution is called again": (
        lambda n, x: pooled(n.conv(x)) + pooled(n.conv(2 * x)), [(None, False), (None, False)]
    ),
    "pooling is seen elsewhere": (
        lambda n, x: (p := pooled(n.conv(x))).relu() + p, [("conv.bias", False)]
    ),
    "two convolutions": (
        lambda n, x: pooled(n.conv(x)).relu() - pooled(torch.relu(n.other(x))),
        [("conv.bias", True), ("other.bias", True)],
    ),
    "after a sum": (lambda n, x: pooled(n.conv(x) + n.other(x)).relu(), [(None, True)]),
    "windows that overlap": (
        lambda n, x: functional.max_pool2d(n.conv(x), 2, stride=1)[:, :, :3, :3].relu(), []
    ),
    "padding": (lambda n, x: functional.max_pool2d(n.conv(x), 2, 2, 1)[:, :, 1:, 1:].relu(), []),
    "dilation": (
        lambda n, x: functional.max_pool2d(n.conv(x), 2, 1, 0, 3).relu(), []
    ),
    "rounded up": (lambda n, x: functional.max_pool2d(n.conv(x), 2, ceil_mode=True), []),
    "larger windows": (lambda n, x: functional.max_pool2d(n.conv(x), 3, 2, 1).relu(), []),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARDS)
def test_what_is_fused_and_that_it_learns_the_same(name, way):
    forward, wanted = FORWARDS[name]
    make = seeded(lambda: Written(forward))
    applied = [i.apply for i in Program(make(0)).instructions]
    fused = [(a.bias, a.rectify) for a in applied if isinstance(a, FusedPool)]
    assert fused == wanted
    error, packed = largest_error(make, [0.03, 0.01], [0.9, 0.0], *batches(12, 2, (2, 6, 6)))
    assert packed.engine == "graph", packed.reason
    assert error < 1e-10


def test_a_shared_bias_keeps_its_one_name(way):
    def tied():
        module = Written(lambda n, x: pooled(n.conv(x)).relu() + pooled(n.other(x)).relu())
        module.other.bias = module.conv.bias
        return module

    make = seeded(tied)
    fused = [i.apply for i in Program(make(0)).instructions if isinstance(i.apply, FusedPool)]
    assert [f.bias for f in fused] == ["conv.bias", "conv.bias"]
    error, _ = largest_error(make, [0.03, 0.01], [0.9, 0.0], *batches(12, 2, (2, 6, 6)))
    assert error < 1e-10


def test_an_image_without_a_batch_axis_is_refused_by_name():
    module = nn.Sequential(nn.Unflatten(1, (2, 8)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    inputs, targets = torch.randn(4, 16), torch.zeros(4, dtype=torch.int64)
    packed = pack([module], [0.1], example=(inputs, targets))
    assert packed.engine == "vmap"
    assert "2d pooling of a value with 3 axes" in packed.reason


def never(*_):
    pytest.fail("compiled")


WHY = ["bfloat16", "threads", "few channels", "the environment says so", "no library"]


@pytest.mark.parametrize("why", WHY)
def test_where_the_library_does_not_serve_pytorchs_operations_do(why, monkeypatch, tmp_path):
    channels = 3 if why == "few channels" else 4
    value, bias = draw(2, 2, channels, 4, 4), torch.ones(2, channels)
    monkeypatch.setattr(pooling._CompiledPool, "forward", never)
    if why == "bfloat16":
        value = value.bfloat16()
    elif why == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    elif why == "the environment says so":
        monkeypatch.setenv(library.VARIABLE, "none")
    elif why == "no library":
        monkeypatch.setattr(library, "_library", library._library.__wrapped__)
        monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
        monkeypatch.setattr(pooling, "_found", pooling._found.__wrapped__)
    out = max_pool(value, bias, rectify=True)
    assert out.dtype == value.dtype
    assert torch.equal(out, own(value, bias.to(value.dtype), True))


@needs_library
def test_elsewhere_the_library_does(monkeypatch):
    monkeypatch.setattr(pooling._CompiledPool, "forward", never)
    with pytest.raises(pytest.fail.Exception, match="compiled"):
        max_pool(draw(2, 2, 4, 4, 4), torch.ones(2, 4), rectify=True)


def test_bf16_trains_with_pooling():
    make = seeded(lambda: Written(FORWARDS["convolution, rectifier, pooling"][0]))
    inputs, targets = batches(1, 1, (2, 6, 6), dtype=torch.float32)
    example = inputs[0, 0], targets[0, 0]
    packed = pack([make(0)], [0.01], recipe=Recipe(precision="bf16"), example=example)
    losses = torch.empty(1)
    packed.step(inputs[0], targets[0], losses)
    assert losses.isfinite().all()
