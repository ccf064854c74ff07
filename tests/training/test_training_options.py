"""Every option of a recipe, in packs, against one ordinary loop with PyTorch's own optimizer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_studies import INPUT_SHAPE, NUM_CLASSES, clouds
from torch import nn
from torch.nn import functional

from widthwise.engines.draws import Draws
from widthwise.engines.proof import prove
from widthwise.engines.vmapped import OwnDropout
from widthwise.errors import InputError
from widthwise.families import UserFamily, mlp
from widthwise.sgd.augmentation import draw_transforms
from widthwise.sgd.batches import batch_indices
from widthwise.sgd.learning_rate import rate_factors
from widthwise.sgd.recipe import Recipe
from widthwise.training import PackJob, PackTrainer, Replica, train_pack
from widthwise.training.networks import check_batch_size

# 20 steps of float64: rounding alone.
TOLERANCE = 1e-9
REPLICAS = (
    Replica(learning_rate=0.1, momentum=0.0, seed=0),
    Replica(learning_rate=0.05, momentum=0.9, seed=0),
    Replica(learning_rate=0.3, momentum=0.5, seed=1),
)


class Rolled(nn.Module):
    """An operation without a packed form."""

    def forward(self, x):
        return x + 0.5 * torch.roll(x, 1, dims=1)


def network(*middle):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), *middle, nn.ReLU(), nn.Linear(8, NUM_CLASSES)
    ).double()


def images(width):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, NUM_CLASSES),
    ).double()


NETWORKS = {
    "chain": lambda width: network(),
    "graph": lambda width: network(nn.BatchNorm1d(8)),
    "vmap": lambda width: network(Rolled()),
}
OPTIONS = {
    "none": {},
    "nesterov": {"nesterov": True},
    "weight decay": {"weight_decay": 0.05},
    "nesterov and weight decay": {"nesterov": True, "weight_decay": 0.05},
    "cosine": {"schedule": "cosine", "warmup": 0.1},
    "step": {"schedule": "step", "decay_at": (0.5, 0.8), "decay_factor": 0.3},
    "squares": {"loss": "mean-squared-error"},
    "label smoothing": {"label_smoothing": 0.2},
    "flip": {"augmentation": "flip"},
    "crop": {"augmentation": "crop", "crop_padding": 1},
    "everything": {
        "nesterov": True,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.2,
        "label_smoothing": 0.1,
        "augmentation": "crop-flip",
        "crop_padding": 1,
    },
}


def family(build):
    return UserFamily(reference="tests:build", function=build)


def job(recipe, **changes):
    basic = {"widening_factor": 1.0, "batch_size": 8, "steps": 20, "evaluations": 5}
    return PackJob(replicas=REPLICAS, recipe=recipe, **{**basic, **changes})


def transformed(batch, seed, step, recipe):
    """One image after the other."""
    drawn, pad = draw_transforms(seed, step, 1, len(batch), recipe)[0], 0
    if recipe.crops:
        pad = recipe.crop_padding
    height, width = batch.shape[-2:]
    results = []
    for image, (down, right), flip in zip(batch, drawn.offsets, drawn.flips, strict=True):
        cut = functional.pad(image, (pad,) * 4)[:, down : down + height, right : right + width]
        results.append(cut.flip(-1) if flip else cut)
    return torch.stack(results)


def loss_of(logits, labels, recipe, smoothing):
    if recipe.loss == "mean-squared-error":
        return functional.mse_loss(logits, functional.one_hot(labels, NUM_CLASSES).double())
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def train_alone(build, data, replica, pack_job):
    """Curves of one run: loss and accuracy on the training and the test set."""
    recipe = pack_job.recipe
    module = family(build).build(pack_job.widening_factor, replica.seed)
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=replica.learning_rate,
        momentum=replica.momentum,
        nesterov=recipe.nesterov and replica.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    factors = rate_factors(recipe, 0, pack_job.steps, pack_job.steps)
    inputs = torch.from_numpy(data.train_inputs).double()
    labels = torch.from_numpy(data.train_labels)
    points = [measure(module, data, recipe)]
    for step in range(pack_job.steps):
        rows = batch_indices(
            replica.seed, step, 1, batch_size=pack_job.batch_size, num_train=data.num_train
        )[0]
        batch = inputs[rows]
        if recipe.augmentation != "none":
            batch = transformed(batch, replica.seed, step, recipe)
        # All but batch norm treats every example by itself, so that a pass for each part of the
        # batch is ghost batch norm.
        parts = batch.split(recipe.ghost_batch_size or len(batch))
        with OwnDropout(Draws([replica.seed], step), torch.tensor(0)):
            logits = torch.cat([module(part) for part in parts])
        optimizer.param_groups[0]["lr"] = replica.learning_rate * factors[step]
        optimizer.zero_grad()
        loss_of(logits, labels[rows], recipe, recipe.label_smoothing).backward()
        optimizer.step()
        if (step + 1) % (pack_job.steps // pack_job.evaluations) == 0:
            points.append(measure(module, data, recipe))
    return {name: np.array([point[name] for point in points]) for name in points[0]}


def measure(module, data, recipe):
    found = {}
    module.eval()
    for part in ("train", "test"):
        labels = torch.from_numpy(getattr(data, f"{part}_labels"))
        with torch.no_grad():
            logits = module(torch.from_numpy(getattr(data, f"{part}_inputs")).double())
        found[f"{part}_loss"] = loss_of(logits, labels, recipe, 0.0).item()
        found[f"{part}_accuracy"] = (logits.argmax(1) == labels).double().mean().item()
    module.train()
    return found


def largest_error(results, build, data, pack_job):
    worst = 0.0
    for result in results:
        alone = train_alone(build, data, result.replica, pack_job)
        assert set(alone) == set(result.curves)
        for name, curve in alone.items():
            worst = max(worst, float(np.abs(result.curves[name] - curve).max()))
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("engine", NETWORKS)
def test_packed_is_one_by_one(engine, options):
    data, pack_job = clouds(), job(Recipe(**options))
    results = train_pack(family(NETWORKS[engine]), data, pack_job)
    assert {r.engine for r in results} == {engine}
    assert largest_error(results, NETWORKS[engine], data, pack_job) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("options", [o for o in OPTIONS.values() if o])
def test_the_comparison_notices_each_option(options):
    data = clouds()
    results = train_pack(family(NETWORKS["chain"]), data, job(Recipe(**options)))
    assert largest_error(results, NETWORKS["chain"], data, job(Recipe())) > 1e-3


DROPOUTS = {
    "graph": lambda width: network(nn.Dropout(0.3)),
    "vmap": lambda width: network(Rolled(), nn.Dropout(0.3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", DROPOUTS)
def test_dropout_has_a_stream_a_seed_that_counts_steps(engine):
    data, pack_job = clouds(), job(Recipe())
    results = train_pack(family(DROPOUTS[engine]), data, pack_job)
    assert {r.engine for r in results} == {engine}
    assert largest_error(results, DROPOUTS[engine], data, pack_job) < TOLERANCE


class TestGhostBatchNorm:
    @pytest.mark.slow
    @pytest.mark.parametrize("build", [NETWORKS["graph"], images])
    @pytest.mark.parametrize(("batch_size", "ghost"), [(8, 4), (32, 4), (8, 8), (64, 16)])
    def test_packed_is_one_by_one(self, build, batch_size, ghost):
        data = clouds()
        pack_job = job(Recipe(ghost_batch_size=ghost), batch_size=batch_size)
        results = train_pack(family(build), data, pack_job)
        assert largest_error(results, build, data, pack_job) < TOLERANCE

    @pytest.mark.slow
    def test_the_comparison_notices_statistics_over_the_batch(self):
        data, build = clouds(), NETWORKS["graph"]
        results = train_pack(family(build), data, job(Recipe(ghost_batch_size=4)))
        assert largest_error(results, build, data, job(Recipe())) > 1e-3

    def test_whole_parts_only(self):
        pack_job = job(Recipe(ghost_batch_size=8), batch_size=12)
        with pytest.raises(InputError, match=r"a multiple of ghost_batch_size = 8, got 12"):
            PackTrainer(family(NETWORKS["graph"]), clouds(), pack_job)

    def test_without_batch_norm(self):
        with pytest.raises(InputError, match=r"ghost_batch_size = 4 needs batch norm.* have none"):
            PackTrainer(family(NETWORKS["chain"]), clouds(), job(Recipe(ghost_batch_size=4)))


class TestBatchNorm:
    @pytest.mark.slow
    def test_images_one_at_a_time(self):
        data, pack_job = clouds(), job(Recipe(), batch_size=1)
        results = train_pack(family(images), data, pack_job)
        assert largest_error(results, images, data, pack_job) < TOLERANCE

    def test_one_value_has_no_statistics(self):
        with pytest.raises(InputError, match=r"two values a channel.*batch_size = 1 .*use larger"):
            PackTrainer(family(NETWORKS["graph"]), clouds(), job(Recipe(), batch_size=1))

    def test_none_are_needed_where_they_are_frozen(self):
        module = NETWORKS["graph"](1).eval()
        check_batch_size(module, torch.zeros(1, 2, 3, dtype=torch.float64), Recipe())

    def test_trying_a_network_does_not_move_its_statistics(self, monkeypatch):
        monkeypatch.setattr("widthwise.engines.build.prove", prove)  # tried before or not
        trainer = PackTrainer(family(NETWORKS["graph"]), clouds(), job(Recipe()))
        for i in range(len(REPLICAS)):
            buffers = trainer._pack.buffers(i)
            assert buffers["2.num_batches_tracked"] == 0
            assert not buffers["2.running_mean"].any()


def test_augmentation_is_of_training_only():
    """At initialization the evaluated losses are those without it."""
    recipe = Recipe(augmentation="crop-flip", crop_padding=1)
    plain, augmented = (
        train_pack(family(NETWORKS["chain"]), clouds(), job(r)) for r in (Recipe(), recipe)
    )
    for name in ("train_loss", "test_loss"):
        first, other = plain[0].curves[name], augmented[0].curves[name]
        assert first[0] == other[0]
        assert abs(first[-1] - other[-1]) > 1e-3


def test_augmentation_needs_images():
    data = clouds()
    flat = replace(
        data,
        train_inputs=data.train_inputs.reshape(len(data.train_inputs), -1),
        test_inputs=data.test_inputs.reshape(len(data.test_inputs), -1),
    )
    with pytest.raises(InputError, match=r"got examples of shape \(6,\)"):
        PackTrainer(family(NETWORKS["chain"]), flat, job(Recipe(augmentation="flip")))


def test_more_runs_change_no_ones_transforms():
    recipe = Recipe(augmentation="crop-flip", crop_padding=1)
    alone = train_pack(
        family(NETWORKS["chain"]), clouds(), replace(job(recipe), replicas=REPLICAS[2:])
    )
    together = train_pack(family(NETWORKS["chain"]), clouds(), job(recipe))
    np.testing.assert_allclose(
        together[2].curves["test_loss"], alone[0].curves["test_loss"], atol=TOLERANCE
    )


RESUMED = {
    "dense": (mlp(INPUT_SHAPE, NUM_CLASSES, base_width=4), {}),
    "batch norm": (family(NETWORKS["graph"]), {"ghost_batch_size": 4}),
    "dropout": (family(DROPOUTS["graph"]), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("network_family", "more"), RESUMED.values(), ids=RESUMED)
def test_resumed_is_bit_for_bit_the_same(network_family, more):
    pack_job = job(Recipe(**OPTIONS["everything"], **more))
    straight, interrupted, resumed = (
        PackTrainer(network_family, clouds(), pack_job) for _ in range(3)
    )
    for _ in range(2):
        interrupted.advance()
    resumed.restore(interrupted.state())
    for trainer in (straight, resumed):
        while not trainer.done:
            trainer.advance()
    for a, b in zip(straight.results(), resumed.results(), strict=True):
        for name, curve in a.curves.items():
            assert np.array_equal(curve, b.curves[name])
