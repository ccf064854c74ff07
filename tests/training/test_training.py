"""Packs in training: against ordinary loops, with runs that diverge, cut short and resumed."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tiny_studies import INPUT_SHAPE, NUM_CLASSES, clouds
from torch import nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.families import UserFamily, mlp
from widthwise.sgd.batches import batch_indices
from widthwise.training import PackJob, PackTrainer, Replica, train_pack

LATE = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def double_network(width):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 4 * width), nn.ReLU(), nn.Linear(4 * width, NUM_CLASSES)
    ).double()


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.enter, self.inner = nn.Linear(6, 4 * width), nn.Linear(4 * width, 4 * width)
        self.readout = nn.Linear(4 * width, NUM_CLASSES)

    def forward(self, x):
        h = torch.relu(self.enter(x.flatten(1)))
        return self.readout(h + torch.tanh(self.inner(h)))


class Rolled(Residual):
    """With an operation that has no packed form."""

    def forward(self, x):
        return super().forward(x) + torch.roll(super().forward(x), 1, dims=1)


DOUBLE = {
    "chain": UserFamily(reference="tests:double_network", function=double_network),
    "graph": UserFamily(reference="tests:residual", function=lambda w: Residual(w).double()),
    "vmap": UserFamily(reference="tests:rolled", function=lambda w: Rolled(w).double()),
}
SINGLE = mlp(input_shape=INPUT_SHAPE, num_classes=NUM_CLASSES, base_width=4)
MIXED = (
    Replica(learning_rate=0.1, momentum=0.0, seed=0),
    Replica(learning_rate=0.05, momentum=0.9, seed=0),
    Replica(learning_rate=0.3, momentum=0.0, seed=1),
)


def job(replicas=MIXED, **changes):
    basic = {"widening_factor": 2.0, "batch_size": 8, "steps": 60, "evaluations": 8}
    return PackJob(replicas=tuple(replicas), **{**basic, **changes})


@dataclass
class Alone:
    """One run by an ordinary loop."""

    steps: list
    curves: dict
    diverged_at: int | None = None


def measure(module, data):
    found = {}
    for part in ("train", "test", "validation"):
        inputs, labels = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_labels")
        if inputs is None:
            continue
        with torch.no_grad():
            logits = module(torch.from_numpy(inputs).double())
        labels = torch.from_numpy(labels)
        found[f"{part}_loss"] = functional.cross_entropy(logits, labels).item()
        found[f"{part}_accuracy"] = (logits.argmax(1) == labels).double().mean().item()
    return found


def train_alone(family, data, replica, job):
    module = family.build(job.widening_factor, replica.seed)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=replica.learning_rate, momentum=replica.momentum
    )
    inputs, labels = torch.from_numpy(data.train_inputs).double(), data.train_labels
    points = [measure(module, data)]
    schedule = [round(job.steps * k / job.evaluations) for k in range(job.evaluations + 1)]
    for step in range(job.steps):
        rows = batch_indices(
            replica.seed,
            step,
            1,
            batch_size=job.batch_size,
            num_train=data.num_train,
            sampling=job.sampling,
        )[0]
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(inputs[rows]), torch.from_numpy(labels[rows]))
        if not math.isfinite(loss.item()):
            return Alone(schedule[: len(points)], transposed(points), step)
        loss.backward()
        optimizer.step()
        if step + 1 in schedule:
            points.append(measure(module, data))
    return Alone(schedule, transposed(points))


def transposed(points):
    return {name: np.array([point[name] for point in points]) for name in points[0]}


def largest_error(results, family, data, pack_job):
    """Of curves and late-time means, over all runs."""
    worst = 0.0
    for result in results:
        alone = train_alone(family, data, result.replica, pack_job)
        assert result.curve_steps.tolist() == alone.steps
        assert set(result.curves) == set(alone.curves)
        for name, curve in alone.curves.items():
            worst = max(worst, float(np.abs(result.curves[name] - curve).max()))
            late = np.asarray(alone.steps) > (1 - pack_job.late_fraction) * pack_job.steps
            worst = max(worst, abs(result.late[name] - curve[late].mean()))
    return worst


class TestAgainstAnOrdinaryLoop:
    @pytest.mark.slow
    @pytest.mark.parametrize("sampling", ["epochs", "replacement"])
    @pytest.mark.parametrize("engine", DOUBLE)
    def test_curves_and_late_means(self, engine, sampling):
        data, pack_job = clouds(), job(sampling=sampling)
        results = train_pack(DOUBLE[engine], data, pack_job)
        assert [r.replica for r in results] == list(MIXED)
        assert {r.engine for r in results} == {engine}
        assert {r.status for r in results} == {"ok"}
        assert largest_error(results, DOUBLE[engine], data, pack_job) < 1e-9

    def test_the_comparison_notices_other_batches(self):
        data, pack_job = clouds(), job()
        results = train_pack(DOUBLE["chain"], data, pack_job)
        other = replace(pack_job, sampling="replacement")
        assert largest_error(results, DOUBLE["chain"], data, other) > 1e-3

    def test_full_batch(self):
        data, pack_job = clouds(), job(batch_size=64)
        results = train_pack(DOUBLE["chain"], data, pack_job)
        assert largest_error(results, DOUBLE["chain"], data, pack_job) < 1e-9

    def test_validation(self):
        data, pack_job = clouds(num_validation=24), job()
        results = train_pack(DOUBLE["chain"], data, pack_job)
        assert {"validation_loss", "validation_accuracy"} <= set(results[0].late)
        assert largest_error(results, DOUBLE["chain"], data, pack_job) < 1e-9

    def test_no_validation_columns_without_a_validation_set(self):
        assert set(train_pack(SINGLE, clouds(), job())[0].late) == set(LATE)

    def test_plateau_slope_is_the_change_over_the_late_window(self):
        result = train_pack(SINGLE, clouds(), job(evaluations=20))[0]
        late = result.curve_steps > 45
        slope, _ = np.polyfit(result.curve_steps[late], result.curves["test_accuracy"][late], 1)
        assert result.plateau_slope == pytest.approx(slope * 15, abs=1e-12)

    def test_initial_and_final_loss(self):
        result = train_pack(SINGLE, clouds(), job())[0]
        assert result.initial_train_loss == result.curves["train_loss"][0]
        assert result.final_train_loss == result.curves["train_loss"][-1]
        assert result.num_parameters == 6 * 8 + 8 + 8 * 3 + 3


class TestPacksDoNotMix:
    def batches_seen(self, monkeypatch, replicas):
        """(seed, step) → examples, as the trainer draws them."""
        seen = {}

        def noted(seed, first, steps, **options):
            drawn = batch_indices(seed, first, steps, **options)
            seen.update({(seed, first + k): tuple(rows) for k, rows in enumerate(drawn.tolist())})
            return drawn

        monkeypatch.setattr("widthwise.sgd.feeding.batch_indices", noted)
        results = train_pack(SINGLE, clouds(), job(replicas))
        return seen, results

    def test_more_runs_change_no_ones_batches(self, monkeypatch):
        few, alone = self.batches_seen(monkeypatch, MIXED[:1])
        many, together = self.batches_seen(
            monkeypatch, [*MIXED, *(replace(MIXED[0], seed=s) for s in range(2, 9))]
        )
        assert few
        assert {key: many[key] for key in few} == few
        assert len(many) > len(few)
        np.testing.assert_allclose(
            together[0].curves["test_loss"], alone[0].curves["test_loss"], rtol=1e-4
        )

    def test_other_seeds_do_change_the_run(self):
        first, second = train_pack(SINGLE, clouds(), job([MIXED[0], replace(MIXED[0], seed=5)]))
        assert not np.allclose(first.curves["test_loss"], second.curves["test_loss"], rtol=1e-4)


WILD = Replica(learning_rate=1e30, momentum=0.0, seed=2)


class TestDivergence:
    @pytest.mark.slow
    def test_the_exact_step_and_the_others_go_on(self):
        # Grows until float64 overflows: some dozens of steps.
        wild = Replica(learning_rate=1e12, momentum=0.0, seed=2)
        data, pack_job = clouds(), job([MIXED[0], wild, MIXED[2]], steps=96)
        results = train_pack(DOUBLE["vmap"], data, pack_job)
        expected = train_alone(DOUBLE["vmap"], data, wild, pack_job).diverged_at
        assert expected is not None
        assert expected > 1
        assert [r.status for r in results] == ["ok", "diverged", "ok"]
        assert [r.diverged_at_step for r in results] == [None, expected, None]
        sound = [results[0], results[2]]
        assert largest_error(sound, DOUBLE["vmap"], data, pack_job) < 1e-9
        assert all(math.isnan(value) for value in results[1].late.values())
        assert math.isnan(results[1].plateau_slope)

    def test_dropped_from_the_arithmetic(self):
        trainer = PackTrainer(SINGLE, clouds(), job([MIXED[0], WILD, MIXED[2]]))
        assert trainer._pack.num_replicas == 3
        trainer.advance()
        assert trainer._pack.num_replicas == 2
        assert trainer.num_diverged == 1

    def test_curves_end_where_the_run_did(self):
        result = train_pack(SINGLE, clouds(), job([WILD]))[0]
        assert result.curve_steps.tolist() == [0]
        assert all(len(curve) == 1 and np.isfinite(curve).all() for curve in result.curves.values())

    def test_nothing_left_ends_the_training(self):
        trainer = PackTrainer(SINGLE, clouds(), job([WILD, replace(WILD, seed=3)], steps=10**9))
        trainer.advance()
        assert trainer.done
        assert {r.status for r in trainer.results()} == {"diverged"}

    def test_ended_above_initial(self):
        # Finite to the end, but worse than it began.
        rough = Replica(learning_rate=60.0, momentum=0.0, seed=0)
        rough_result, sound = train_pack(SINGLE, clouds(), job([rough, MIXED[0]], steps=8))
        assert np.isfinite(rough_result.curves["train_loss"]).all()
        assert rough_result.final_train_loss > rough_result.initial_train_loss
        assert rough_result.status == "diverged"
        assert rough_result.diverged_at_step == 8
        assert sound.status == "ok"

    def test_non_finite_at_initialization_is_step_0(self):
        results = train_pack(sometimes_broken(), clouds(), job(seeds(4)))
        assert [r.status for r in results] == ["ok", "ok", "diverged", "ok"]
        assert results[2].diverged_at_step == 0
        assert results[2].curve_steps.tolist() == []


def seeds(count, **changes):
    return [replace(MIXED[0], seed=seed, **changes) for seed in range(count)]


def sometimes_broken():
    def build(width, seed):
        network = double_network(width)
        if seed == 2:
            with torch.no_grad():
                network[1].weight.mul_(math.inf)
        return network

    return UserFamily(reference="tests:build", function=build)


def same_results(first, second):
    for a, b in zip(first, second, strict=True):
        assert (a.replica, a.status, a.diverged_at_step) == (
            b.replica,
            b.status,
            b.diverged_at_step,
        )
        assert np.array_equal(a.curve_steps, b.curve_steps)
        for name in a.curves:
            assert np.array_equal(a.curves[name], b.curves[name])
        np.testing.assert_array_equal(list(a.late.values()), list(b.late.values()))


class TestCheckpoints:
    CASES = {  # noqa: RUF012 - a table
        "sound": (SINGLE, job()),
        "after a divergence": (SINGLE, job([MIXED[0], WILD, *MIXED[1:]])),
        "vmap after a divergence": (DOUBLE["vmap"], job([WILD, *MIXED])),
        "lost at initialization": (sometimes_broken(), job(seeds(4))),
        "all lost": (SINGLE, job([WILD, WILD])),
    }

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("case", "after"), [*[(case, 3) for case in CASES], ("sound", 1), ("after a divergence", 7)]
    )
    def test_resumed_is_bit_for_bit_the_same(self, case, after):
        family, pack_job = self.CASES[case]
        straight = PackTrainer(family, clouds(), pack_job)
        interrupted = PackTrainer(family, clouds(), pack_job)
        for _ in range(after):
            interrupted.advance()
        state = interrupted.state()
        interrupted.advance()  # what happens afterwards must not reach into the checkpoint
        resumed = PackTrainer(family, clouds(), pack_job)
        resumed.restore(state)
        while not straight.done:
            straight.advance()
        while not resumed.done:
            resumed.advance()
        same_results(straight.results(), resumed.results())

    def test_the_comparison_notices_lost_momentum(self):
        resumed, straight = (PackTrainer(SINGLE, clouds(), job()) for _ in range(2))
        straight.advance()
        state = straight.state()
        for name, tensor in state["pack"].items():
            if name.startswith("velocities"):
                tensor.zero_()
        resumed.restore(state)
        for trainer in (straight, resumed):
            while not trainer.done:
                trainer.advance()
        with pytest.raises(AssertionError):
            same_results(straight.results(), resumed.results())


@pytest.mark.parametrize("batch_size", [0, 65])
def test_batch_must_fit_the_training_set(batch_size):
    with pytest.raises(InputError, match=rf"batch_size must lie in \[1, 64\].*got {batch_size}"):
        PackTrainer(SINGLE, clouds(), job(batch_size=batch_size))


def test_progress_is_told_within_an_evaluation(monkeypatch):
    for limit in ("_MAX_STEPS_AHEAD", "_MAX_STEPS_IN_A_CALL"):
        monkeypatch.setattr(f"widthwise.training.trainer.{limit}", 20)
    trainer, told = PackTrainer(SINGLE, clouds(), job(steps=400)), []
    trainer.advance(told.append)
    whole_blocks = [16, 32, 48, 50]
    assert told == (whole_blocks if trainer.engine == "compiled" else [20, 40, 50])
