"""Kernels of infinitely wide networks, against networks that are wide."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev

from widthwise.errors import InputError
from widthwise.families import mlp
from widthwise.theory.kernels import initial_variance, mlp_kernels


def inputs(count, size, seed=0):
    return np.random.default_rng(seed).standard_normal((count, size)) * [1.0, 2.0, 0.5, 1.0, 3.0]


def tangent_of(module, x):
    """(n, n) of the first class, from the module's own derivatives."""
    parameters = dict(module.named_parameters())
    rows = jacrev(lambda p: functional_call(module, p, (x,))[:, 0])(parameters)
    flat = torch.cat([part.flatten(1) for part in rows.values()], 1)
    return (flat @ flat.T).detach().numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "bias"), [(1, True), (2, False), (3, True)])
def test_a_wide_network_has_them(depth, bias):
    x = inputs(4, 5)
    width, draws = 1024, 8
    family = mlp((5,), 60, base_width=width, depth=depth, parameterization="ntk", bias=bias)
    tangents, outputs = [], []
    for seed in range(draws):
        module = family.build(1, seed=seed).double()
        tangents.append(tangent_of(module, torch.from_numpy(x)))
        outputs.append(module(torch.from_numpy(x)).detach().numpy())
    found = mlp_kernels(x, x, depth=depth, bias=bias)
    scale = np.sqrt(np.outer(*[np.diag(found.tangent)] * 2))
    np.testing.assert_allclose(np.mean(tangents, 0) / scale, found.tangent / scale, atol=0.06)
    together = np.concatenate(outputs, 1)  # classes are independent draws
    observed = together @ together.T / together.shape[1]
    scale = np.sqrt(np.outer(*[np.diag(found.initial)] * 2))
    np.testing.assert_allclose(observed / scale, found.initial / scale, atol=0.25)


def test_one_hidden_layer_by_hand():
    """At right angles a rectifier gives |a||b|/(2π), its slope 1/4; on itself |a|²/2 and 1/2."""
    a, b = np.array([[3.0, 0.0]]), np.array([[3.0, 0.0], [0.0, 2.0]])
    found = mlp_kernels(a, b, bias=True)
    np.testing.assert_allclose(found.initial, [[4.5, 2 * 3 * 2 / 2 / (2 * np.pi)]])
    np.testing.assert_allclose(
        found.tangent, [[4.5 + 1 + 0.5 * (4.5 + 1), 6 / (2 * np.pi) + 1 + 0.25]]
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_properties(depth):
    a, b = inputs(6, 5), inputs(3, 5, seed=1)
    square, across = mlp_kernels(a, a, depth=depth), mlp_kernels(a, b, depth=depth)
    np.testing.assert_allclose(np.diag(square.initial), initial_variance(a))
    for own in (square.initial, square.tangent):
        np.testing.assert_allclose(own, own.T)
        assert np.linalg.eigvalsh(own).min() > 0
    for name in ("initial", "tangent"):
        back = getattr(mlp_kernels(b, a, depth=depth), name)
        np.testing.assert_allclose(getattr(across, name), back.T)
    doubled = mlp_kernels(2 * a, b, depth=depth, bias=False)
    plain = mlp_kernels(a, b, depth=depth, bias=False)
    np.testing.assert_allclose(doubled.tangent, 2 * plain.tangent)


def test_an_input_of_zeros():
    found = mlp_kernels(np.zeros((1, 3)), np.ones((2, 3)), bias=False)
    assert np.isfinite(found.initial).all()
    np.testing.assert_array_equal(found.initial, [[0.0, 0.0]])


def test_what_has_none():
    with pytest.raises(InputError, match="depth must be at least 1, got 0"):
        mlp_kernels(np.eye(2), np.eye(2), depth=0)
    with pytest.raises(InputError, match="one size, got 2 and 3"):
        mlp_kernels(np.eye(2), np.eye(3))
