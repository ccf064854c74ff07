"""Packed convolutions are convolutions, by whichever algorithm."""

import subprocess
import sys
from unittest import mock

import pytest
import torch
from engines.training_alone import batches, largest_error, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise.engines import winograd
from widthwise.engines.convolution import convolution
from widthwise.study.cost import module_cost

SIDES, FEW = st.integers(1, 11), st.integers(1, 4)


def drawn(seed, batch, replicas, inputs, outputs, height, width, dtype=torch.float64):
    """Images, kernels and biases of every replica."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (batch, replicas, inputs, height, width),
        (replicas, outputs, inputs, 3, 3),
        (replicas, outputs),
    ]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def one_by_one(value, weight, bias):
    """PyTorch's convolution, a replica at a time."""
    biases = [None] * len(weight) if bias is None else bias
    each = zip(value.unbind(1), weight, biases, strict=True)
    return torch.stack([functional.conv2d(*replica, padding=1) for replica in each], 1)


@given(SIDES, SIDES, FEW, FEW, FEW, FEW, st.booleans(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_conv2d(
    height, width, batch, replicas, inputs, outputs, has_bias, seed
):
    value, weight, bias = drawn(seed, batch, replicas, inputs, outputs, height, width)
    given = [value, weight, *([bias] if has_bias else [])]
    bias = bias if has_bias else None
    ours, theirs = winograd.convolution3x3(value, weight, bias), one_by_one(value, weight, bias)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    pull = torch.randn_like(theirs)
    for mine, yours in zip(
        torch.autograd.grad(ours, given, pull),
        torch.autograd.grad(theirs, given, pull),
        strict=True,
    ):
        torch.testing.assert_close(mine, yours, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_gradients_that_nobody_wants_are_left_out(wanted):
    tensors = drawn(0, 2, 2, 3, 4, 5, 6)
    for i, tensor in enumerate(tensors):
        tensor.requires_grad_(i == wanted)
    ours, theirs = winograd.convolution3x3(*tensors), one_by_one(*tensors)
    (mine,) = torch.autograd.grad(ours.square().sum(), tensors[wanted])
    (yours,) = torch.autograd.grad(theirs.square().sum(), tensors[wanted])
    torch.testing.assert_close(mine, yours, rtol=0, atol=1e-10)


@torch.no_grad()
def test_float32_loses_a_few_units_more_than_a_direct_convolution():
    value, weight, bias = drawn(0, 8, 1, 64, 64, 16, 16, torch.float32)
    value = value.relu()
    exact = one_by_one(value.double(), weight.double(), bias.double())

    def error(out):
        return float((out - exact).norm() / exact.norm())

    assert error(one_by_one(value, weight, bias)) < 4e-7
    assert error(winograd.convolution3x3(value, weight, bias)) < 1.5e-6


def test_differentiating_twice_raises():
    value, weight, bias = drawn(0, 1, 1, 2, 2, 4, 4)
    out = winograd.convolution3x3(value, weight, bias).square().sum()
    (gradient,) = torch.autograd.grad(out, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def took_winograd(value, weight, groups=1, **options):
    with mock.patch.object(winograd, "convolution3x3", wraps=winograd.convolution3x3) as called:
        convolution(value, weight, None, functional.conv2d, groups, **options)
    return called.called


def test_which_convolutions_take_it():
    value, weight, _ = drawn(0, 8, 1, 80, 80, 8, 8, torch.float32)
    ones = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    assert took_winograd(value, weight, **ones)
    assert took_winograd(value, weight, padding=1)
    assert took_winograd(value, weight, padding="same")
    assert not took_winograd(value, weight)
    assert not took_winograd(value, weight, **{**ones, "stride": (2, 2)})
    assert not took_winograd(value, weight, **{**ones, "dilation": (2, 2)})
    assert not took_winograd(value, weight[:, :, :40], groups=2, padding=1)
    assert not took_winograd(value, weight[..., :1, :1], padding=1)
    assert not took_winograd(value[:, :, :16], weight[:, :, :16], padding=1)
    assert not took_winograd(value[:1], weight, padding=1)
    assert not took_winograd(value[..., :5, :5], weight, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert not took_winograd(value, weight, padding=1)


@pytest.mark.slow
def test_a_pack_that_takes_it_trains_as_modules_alone():
    make = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 80, 1), nn.ReLU(), nn.Conv2d(80, 80, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(80 * 36, 3),
        )
    )  # fmt: skip
    inputs, targets = batches(5, 2, (2, 12, 12))
    with mock.patch.object(winograd, "convolution3x3", wraps=winograd.convolution3x3) as called:
        error, packed = largest_error(make, [0.01, 0.003], [0.9, 0.0], inputs, targets)
    assert packed.engine == "graph", packed.reason
    assert called.called
    assert error < 1e-9


def test_what_is_kept_counts_as_memory():
    wide = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 128, 3, padding="same"),
        nn.Conv2d(128, 128, 3), nn.Flatten(), nn.Linear(128 * 36, 3),
    )  # fmt: skip
    cost = module_cost(wide, torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    assert cost.num_tiles == 4 * 36 * 64  # of the second layer alone
    assert cost.num_kernels == 36 * 64 * 128
    floats = (cost.pack_bytes(10, momentum=False) - cost.pack_bytes(9, momentum=False)) // 4
    assert floats == cost.num_inputs + 3 * cost.num_activations + cost.num_tiles


def test_gradients_of_biases_of_direct_convolutions():
    value, weight, bias = drawn(0, 3, 2, 3, 4, 5, 6)
    ours = convolution(value, weight, bias, functional.conv2d, 1, padding=1)
    theirs = one_by_one(value, weight, bias)
    (mine,) = torch.autograd.grad(ours.square().sum(), bias)
    (yours,) = torch.autograd.grad(theirs.square().sum(), bias)
    torch.testing.assert_close(mine, yours, rtol=0, atol=1e-10)


POINTS = {  # options of a convolution of single pixels → its stride as PyTorch's operation sees it
    "stride": ({"stride": 2}, 1),
    "a stride an axis": ({"stride": (1, 3), "padding": "valid"}, 1),
    "one for both": ({"stride": [2], "padding": (0, 0)}, 1),
    "padding": ({"stride": 2, "padding": (0, 1)}, 2),
    "no stride": ({}, 1),
}


@pytest.mark.parametrize("name", POINTS)
def test_strided_points_are_points_of_fewer_pixels(name):
    options, wanted = POINTS[name]
    strides = []

    def convolve(*args, stride=1, **rest):
        strides.append(stride)
        return functional.conv2d(*args, stride=stride, **rest)

    value, weight, bias = drawn(0, 3, 2, 4, 5, 6, 7)
    weight = weight[..., :1, :1].detach().requires_grad_()
    ours = convolution(value, weight, bias, convolve, 1, **options)
    each = zip(value.unbind(1), weight, bias, strict=True)
    theirs = torch.stack([functional.conv2d(*replica, **options) for replica in each], 1)
    assert strides == [wanted]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    pull = torch.randn_like(theirs)
    for mine, yours in zip(
        torch.autograd.grad(ours, (value, weight, bias), pull),
        torch.autograd.grad(theirs, (value, weight, bias), pull),
        strict=True,
    ):
        torch.testing.assert_close(mine, yours, rtol=0, atol=1e-10)


NARROW = """
import sys

import torch
from torch import nn
from widthwise import pack

torch.set_num_threads(1)
module = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2), nn.Flatten(), nn.Linear(8 * 16 * 16, 10))
example = torch.randn(8, 4, 32, 32), torch.arange(8)
packed = pack([module], [0.01], example=example)
assert packed.engine == "graph", packed.reason
for _ in range(20):
    packed.step(example[0].unsqueeze(0), example[1].unsqueeze(0), torch.empty(1))
assert "sympy" not in sys.modules, "SymPy was loaded, which takes half a second"
"""


@pytest.mark.slow
def test_a_narrow_strided_shortcut_writes_where_it_may():
    """In a process of its own: oneDNN's own writes beyond the end kill it, sooner or later.

    Nor does training load SymPy.
    """
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
