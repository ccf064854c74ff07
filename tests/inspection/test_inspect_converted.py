"""What `convert` makes, `inspect` reads: multipliers, schemes, parameterization."""

import pytest
import torch
from torch import nn

import widthwise as ww
from widthwise.families.layers import BiasScaledConv2d, BiasScaledLinear
from widthwise.inspection import compare, inspect
from widthwise.theory.parameterization import FORMS

BASE, WIDE = 32, 128


def default(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * width, 10),
    )


def dense(width):
    layers = nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(width, 10))


def he(width):
    module = dense(width)
    for layer in module[::2]:
        nn.init.kaiming_normal_(layer.weight)
    return module


def ntk(width):
    return ww.families.mlp((20,), 10, base_width=width, depth=2, parameterization="ntk").build(1)


# What draws the network → what it is, and what it is where multipliers do not say otherwise.
DRAWN = {
    "default": (default, "default", "default"),
    "dense": (dense, "default", "default"),
    "he": (he, "standard", "standard"),
    "ntk": (ntk, "ntk", "standard"),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def converted(build, form):
    wide = build(WIDE)
    return wide, ww.convert(wide, form, learning_rate=0.1, base=build(BASE)).module


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("drawn", DRAWN)
def test_the_parameterization_is_the_forms_or_what_it_was(drawn, form):
    build, before, otherwise = DRAWN[drawn]
    wide, module = converted(build, form)
    assert inspect(wide).parameterization == before
    assert inspect(module).parameterization == ("ntk" if form == "ntk" else otherwise)


@pytest.mark.parametrize("form", FORMS)
def test_no_weight_is_unknown(form):
    for build, _, _ in DRAWN.values():
        _, module = converted(build, form)
        assert all(row.recognition.status != "unknown" for row in inspect(module).rows)


@pytest.mark.parametrize("build", [default, dense])
def test_multipliers_of_weights_and_biases(build):
    _, module = converted(build, "mup-one-rate")
    first = module[0]
    assert isinstance(first, BiasScaledConv2d | BiasScaledLinear)
    found = inspect(module, learning_rate=0.1)
    assert found["0.weight"].multiplier == first.multiplier == 2.0
    assert found["0.bias"].multiplier == first.bias_multiplier == 2.0
    assert found["0.bias"].effective_learning_rate == pytest.approx(0.4)
    assert found["0.weight"].matches == ("scaled pytorch_default",)
    assert found["0.weight"].expected_std == pytest.approx(found["0.weight"].std, rel=0.1)
    readout = [row for row in found.rows if row.role == "weight"][-1]
    assert readout.multiplier == pytest.approx(0.5)
    assert "default for c·W" in str(found)


def test_another_multiplier_than_the_values_have_is_no_parameterization():
    _, module = converted(dense, "mup-one-rate")
    module[0].multiplier *= 1.3
    found = inspect(module)
    assert found["0.weight"].recognition.status == "unknown"
    assert found.parameterization is None


def test_hidden_ntk_layers_alone_are_none():
    family = ww.families.mlp((20,), 10, base_width=64, depth=2, parameterization="ntk")
    module = family.build(1)
    module[-1] = nn.Linear(64, 10)
    assert inspect(module).parameterization is None


def test_ntk_form_of_one_input():
    module = nn.Sequential(nn.Linear(1, 200), nn.ReLU(), nn.Linear(200, 30))
    assert inspect(ww.convert(module, "ntk", learning_rate=0.1).module).parameterization == "ntk"


@pytest.mark.parametrize("form", ["standard", "ntk"])
def test_two_converted_widths(form):
    pair = [ww.convert(dense(width), form, learning_rate=0.1).module for width in (BASE, WIDE)]
    assert compare(*pair).parameterization == ("ntk" if form == "ntk" else "default")


def test_schemes_are_listed_in_the_frame():
    _, module = converted(dense, "mup-one-rate")
    frame = inspect(module).to_frame()
    assert frame["std of scaled pytorch_default"][0] == pytest.approx(0.5 / 60**0.5)
