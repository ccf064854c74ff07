"""2×2 max-pooling with bias and rectifier in one pass: the same numbers, gradients and choices."""

import math
import sys
from importlib.util import find_spec

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise.engines import pack, pooling
from widthwise.engines.pooling import FusedPool, max_pool
from widthwise.engines.program import Program
from widthwise.sgd.recipe import Recipe

HAS_NUMBA = find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed")
WAYS = [pytest.param(True, marks=needs_numba, id="compiled"), pytest.param(False, id="PyTorch's")]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Both ways; without Numba only PyTorch's."""
    if request.param:
        assert pooling.kernels() is not None
    else:
        monkeypatch.setattr(pooling, "kernels", lambda: None)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(2, 2), (6, 4), (5, 7), (3, 2)], ids=str)
@pytest.mark.parametrize("rectify", [True, False], ids=["rectified", "plain"])
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_values_and_gradients(way, dtype, size, rectify, with_bias):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    value, bias = draw(3, 2, 5, *size), draw(2, 5) if with_bias else None
    pull = draw(3, 2, 5, size[0] // 2, size[1] // 2)
    expected = gradients(own, value, bias, rectify, pull)
    for got, wanted in zip(gradients(ours, value, bias, rectify, pull), expected, strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=20 * torch.finfo(dtype).eps)


@pytest.mark.slow
@given(
    numbers=st.lists(st.integers(-2, 2), min_size=32, max_size=32),
    biases=st.lists(st.integers(-1, 1), min_size=2, max_size=2),
    rectify=st.booleans(),
)
@pytest.mark.parametrize("compiled", WAYS)
def test_among_equals_the_first_is_chosen(compiled, numbers, biases, rectify):
    value = torch.tensor(numbers, dtype=torch.float32).view(1, 2, 1, 4, 4)
    bias = torch.tensor(biases, dtype=torch.float32).view(2, 1)
    pull = torch.arange(1.0, 9.0).view(1, 2, 1, 2, 2)
    expected = gradients(own, value, bias, rectify, pull)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(pooling, "kernels", lambda: None)
        got = gradients(ours, value, bias, rectify, pull)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_what_is_not_a_number_is_not_hidden(way):
    for position in range(4):
        value = torch.zeros(1, 1, 1, 2, 2)
        value.view(-1)[position] = math.nan
        assert max_pool(value, None, rectify=True).isnan().all()
    value = torch.tensor([math.inf, -math.inf, math.nan, 0.0]).view(1, 1, 1, 2, 2)
    assert max_pool(value, None, rectify=False).isnan().all()
    assert max_pool(torch.full((1, 1, 1, 2, 2), -math.inf), None, rectify=False) == -math.inf


def test_gradient_of_the_bias_keeps_its_digits(way):
    """A sum of 65,536 numbers, in float32 one after the other, would lose three digits more."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(64, 1, 1, 64, 64, generator=generator)
    pull = 1.0 + torch.rand(64, 1, 1, 32, 32, generator=generator)
    bias = torch.zeros(1, 1)
    exact = pull.double().sum()
    _, _, to_bias = gradients(ours, value, bias, False, pull)
    assert abs(float(to_bias) / float(exact) - 1.0) < 2e-6


def test_an_image_in_any_memory_layout(way):
    value = torch.arange(96.0).sin().view(2, 2, 2, 3, 4).transpose(3, 4)
    assert torch.equal(ours(value, None, True), own(value, None, True))
    pull = torch.ones(2, 2, 2, 1, 2).transpose(3, 4)[:, :, :, :1, :1].expand(-1, -1, -1, 2, 1)
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


@pytest.mark.parametrize("why", ["bfloat16", "threads", "DISABLE_JIT", "no numba"])
def test_where_the_kernels_do_not_serve_pytorchs_operations_do(why, monkeypatch):
    value = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(pooling._CompiledPool, "forward", never)
    if why == "bfloat16":
        value = value.bfloat16()
    elif why == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    elif why == "DISABLE_JIT":
        numba = pytest.importorskip("numba")
        monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
        monkeypatch.setattr(pooling, "kernels", pooling.kernels.__wrapped__)
    else:
        monkeypatch.setitem(sys.modules, "numba", None)
        monkeypatch.setattr(pooling, "kernels", pooling.kernels.__wrapped__)
    bias = torch.ones(2, 3)
    out = max_pool(value, bias, rectify=True)
    assert out.dtype == value.dtype
    assert torch.equal(out, own(value, bias.to(value.dtype), True))


def test_bf16_trains_with_pooling():
    make = seeded(lambda: Written(FORWARDS["convolution, rectifier, pooling"][0]))
    inputs, targets = batches(1, 1, (2, 6, 6), dtype=torch.float32)
    example = inputs[0, 0], targets[0, 0]
    packed = pack([make(0)], [0.01], recipe=Recipe(precision="bf16"), example=example)
    losses = torch.empty(1)
    packed.step(inputs[0], targets[0], losses)
    assert losses.isfinite().all()


@pytest.mark.slow
@needs_numba
def test_without_a_place_to_keep_them_they_are_compiled_all_the_same(monkeypatch):
    import numba

    from widthwise.engines import pooling_kernels

    original = numba.njit

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("no locator available")
        return original(**options)

    monkeypatch.setattr(pooling_kernels.numba, "njit", njit)
    compiled = pooling_kernels._compiled(pooling_kernels.pool.py_func)
    image, out = torch.arange(4.0).view(1, 2, 2, 1), torch.empty(1, 1, 1, 1)
    compiled(image.numpy(), torch.ones(1).numpy(), True, out.numpy(), out.byte().numpy())
    assert out.item() == 4.0
