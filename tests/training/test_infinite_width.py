"""SGD at infinite width, against SGD on wide networks."""

import numpy as np
import pytest
import torch
from tiny_studies import clouds
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.families import mlp
from widthwise.sgd.batches import batch_indices
from widthwise.sgd.recipe import Recipe
from widthwise.theory.kernels import mlp_kernels
from widthwise.training import PackJob, Replica
from widthwise.training.infinite_width import (
    Descent,
    InitialOutputs,
    _require_limit,
    train_infinitely_wide,
)

DATA = clouds()
SHAPE = DATA.train_inputs.shape[1:]


def family(width=8, **changes):
    options = {"base_width": width, "parameterization": "ntk"} | changes
    return mlp(SHAPE, DATA.num_classes, **options)


def job(**changes):
    replicas = tuple(
        Replica(learning_rate=0.5, momentum=m, seed=s) for m, s in ((0.0, 0), (0.5, 1))
    )
    basic = {"widening_factor": 1, "batch_size": 4, "steps": 60, "replicas": replicas}
    return PackJob(**{**basic, **changes})


def error_at(width, momentum, depth):
    """Of all outputs after 40 steps, against the limit from the network's own beginning."""
    module = family(width, depth=depth).build(1, seed=0).double()
    train, test = (torch.from_numpy(x).double() for x in (DATA.train_inputs, DATA.test_inputs))
    rows = batch_indices(3, 0, 40, batch_size=4, num_train=DATA.num_train)
    begun = [module(x).detach().numpy() for x in (train, test)]
    own = mlp_kernels(train, train, depth=depth).tangent
    limit = Descent(own, DATA.train_labels, *begun, momentum=momentum)
    limit.descend(rows, [0.3] * 40)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3, momentum=momentum)
    labels = torch.from_numpy(DATA.train_labels)
    for batch in rows:
        optimizer.zero_grad()
        functional.cross_entropy(module(train[batch]), labels[batch]).backward()
        optimizer.step()
    across = mlp_kernels(test, train, depth=depth).tangent
    outputs = (limit.outputs, limit.elsewhere(across))
    ended = [module(x).detach().numpy() for x in (train, test)]
    moved = max(np.abs(e - b).max() for e, b in zip(ended, begun, strict=True))
    return max(np.abs(e - o).max() for e, o in zip(ended, outputs, strict=True)) / moved


@pytest.mark.slow
@pytest.mark.parametrize(("momentum", "depth"), [(0.0, 1), (0.8, 1), (0.0, 2)])
def test_networks_approach_it_as_they_widen(momentum, depth):
    errors = [error_at(width, momentum, depth) for width in (64, 2048)]
    assert errors[1] < 0.08
    assert errors[1] < errors[0] / 2.5


def test_runs_learn_and_know_their_seeds_only():
    found = train_infinitely_wide(family(), DATA, job())
    assert [r.status for r in found] == ["ok", "ok"]
    assert all(r.late["train_loss"] < 0.7 * r.initial_train_loss for r in found)
    (alone,) = train_infinitely_wide(family(64), DATA, job(replicas=job().replicas[1:]))
    for name, curve in alone.curves.items():
        np.testing.assert_array_equal(curve, found[1].curves[name])
    assert not np.array_equal(found[0].curves["test_loss"], found[1].curves["test_loss"])


def test_initial_outputs_have_the_covariance_of_fresh_networks():
    initial = InitialOutputs.of(DATA)
    drawn = [initial.drawn(seed) for seed in range(400)]
    train = np.concatenate([one for one, _ in drawn], 1).astype(float)
    test = np.concatenate([one for _, one in drawn], 1).astype(float)
    expected = mlp_kernels(DATA.test_inputs, DATA.train_inputs).initial
    observed = test @ train.T / train.shape[1]
    scale = np.sqrt(np.outer(np.square(test).mean(1), np.square(train).mean(1)))
    assert np.abs((observed - expected) / scale).max() < 5 / np.sqrt(train.shape[1])
    own = mlp_kernels(DATA.test_inputs, DATA.test_inputs).initial
    np.testing.assert_allclose(np.square(test).mean(1), np.diag(own), rtol=0.25)


def test_too_large_a_rate_diverges():
    replicas = (Replica(learning_rate=1e38, momentum=0.0, seed=0),)
    (found,) = train_infinitely_wide(family(), DATA, job(replicas=replicas))
    assert found.status == "diverged"
    assert np.isnan(found.late["test_accuracy"])


@pytest.mark.parametrize(
    ("network", "recipe", "message"),
    [
        (family(parameterization="standard"), Recipe(), "parameterization must be ntk"),
        (family(activation="tanh"), Recipe(), "activation must be relu"),
        (family(), Recipe(loss="mean-squared-error"), "loss must be cross-entropy"),
        (family(), Recipe(weight_decay=0.1), "weight_decay must be 0"),
        (family(), Recipe(label_smoothing=0.1), "label_smoothing must be 0"),
        (family(), Recipe(nesterov=True), "nesterov must be False"),
    ],
)
def test_what_has_no_limit_here(network, recipe, message):
    _require_limit(family(), DATA, job())
    with pytest.raises(InputError, match=message):
        train_infinitely_wide(network, DATA, job(recipe=recipe))
