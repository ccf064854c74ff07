"""Grids become runs with keys, and runs become packs."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_studies import clouds, fields

from widthwise.errors import InputError
from widthwise.sgd.recipe import Recipe
from widthwise.study import StudySpec
from widthwise.study.context import make_context
from widthwise.study.schedule import Schedule, lay_out, make_packs, runs_of, widths_to_probe
from widthwise.theory.noise import normalized_noise_scale


def schedule(data=None, stable=None, family_source=None, **changes):
    context = make_context(StudySpec.parse(fields(**changes)), clouds() if data is None else data)
    return schedule_of(context, stable or {}, family_source)


def schedule_of(context, stable, family_source=None, landed=()):
    group = context.group
    if family_source is not None:
        group = replace(group, family={**group.family, "code": family_source})
    settings, unreachable = lay_out(context.spec, context.family, context.dataset.num_train, stable)
    packs = make_packs(
        context.spec,
        group,
        runs_of(settings, group),
        landed=landed,
        num_evaluated=context.num_evaluated,
        costs=context.costs(),
    )
    return Schedule(packs=packs, unreachable=tuple(sorted(unreachable)))


def runs(scheduled):
    """Every run as (w, B, steps, ε, m, seed), in the order of the packs."""
    return [
        (p.job.widening_factor, p.job.batch_size, p.job.steps, r.learning_rate, r.momentum, r.seed)
        for p in scheduled.packs
        for r in p.job.replicas
    ]


def keys(scheduled):
    return {key for pack in scheduled.packs for key in pack.keys}


class TestGrids:
    def test_the_product_of_lists(self):
        found = runs(schedule(grid={"batch_size": [4, 8], "momentum": [0, 0.9], "seeds": [3, 5]}))
        assert len(found) == len(set(found)) == 2 * 2 * 2 * 2 * 2
        assert {run[0] for run in found} == {1.0, 2.0}
        assert {run[1] for run in found} == {4, 8}
        assert {run[5] for run in found} == {3, 5}

    def test_ranges_are_geometric(self):
        rates = {
            r[3] for r in runs(schedule(grid={"learning_rate": {"from": 0.01, "to": 1, "num": 5}}))
        }
        assert sorted(rates) == pytest.approx([0.01, 10**-1.5, 0.1, 10**-0.5, 1], rel=1e-11)
        assert {0.01, 0.1, 1.0} <= rates

    def test_ranges_of_whole_numbers(self):
        batches = {
            r[1] for r in runs(schedule(grid={"batch_size": {"from": 1, "to": 64, "num": 7}}))
        }
        assert batches == {1, 2, 4, 8, 16, 32, 64}

    def test_overlapping_grids_run_nothing_twice(self):
        one = fields()["grid"]
        two = {**one, "learning_rate": [0.1, 0.2], "seeds": [1, 2]}
        found = runs(schedule(grid=[one, two]))
        assert len(found) == len(set(found))
        # 0.05: seeds 0, 1; 0.1: 0, 1, 2; 0.2: 1, 2; at two widths.
        assert len(found) == 2 * (2 + 3 + 2)

    def test_the_same_grid_twice_is_one_grid(self):
        grid = fields()["grid"]
        assert schedule(grid=[grid, grid]) == schedule(grid=grid)

    def test_batch_beyond_the_training_set(self):
        with pytest.raises(InputError, match="must not exceed the 64 training examples, got 128"):
            schedule(grid={"batch_size": [8, 128]})

    def test_batches_that_are_no_whole_ghost_batches(self):
        with pytest.raises(InputError, match=r"multiple of ghost_batch_size = 5, got 8"):
            schedule(training={"steps": 24, "ghost_batch_size": 5})

    def test_every_pack_gets_the_recipe(self):
        options = {"schedule": "step", "decay_at": [0.5], "weight_decay": 0.01, "warmup": 0.1}
        found = schedule(training={"steps": 24, **options})
        expected = Recipe(schedule="step", decay_at=(0.5,), weight_decay=0.01, warmup=0.1)
        assert {pack.job.recipe for pack in found.packs} == {expected}


class TestBudgets:
    def test_steps(self):
        assert {run[2] for run in runs(schedule(training={"steps": 77}))} == {77}

    def test_epochs(self):
        found = runs(schedule(training={"epochs": 10}, grid={"batch_size": [5, 8, 64]}))
        assert {run[1]: run[2] for run in found} == {5: 120, 8: 80, 64: 10}

    def test_physical_time_is_the_same_for_all(self):
        found = runs(schedule(training={"physical_time": 30}, grid={"momentum": [0, 0.9]}))
        for _, _, steps, rate, momentum, _ in found:
            # Whole steps, at least as long as asked.
            assert 0 <= rate * steps / (1 - momentum) - 30 < rate / (1 - momentum)
        assert {run[2] for run in found} == {600, 60, 300, 30}


def noise_grid(**changes):
    return [
        {
            "widening_factor": [1, 2, 4],
            "normalized_noise_scale": {"from": 1e-4, "to": 0.05, "num": 12},
            "seeds": 1,
            **changes,
        }
    ]


class TestNoiseScales:
    @pytest.mark.parametrize("parameterization", ["standard", "ntk"])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_every_setting_gives_the_wanted_noise_scale(self, parameterization, momentum):
        grid = noise_grid(momentum=momentum, max_stable_learning_rate=0.4, stability_margin=0.25)
        spec = fields(family={"base_width": 4, "parameterization": parameterization}, grid=grid)
        context = make_context(StudySpec.parse(spec), clouds())
        scheduled = schedule_of(context, {})
        wanted = set(StudySpec.parse(spec).grid[0].normalized_noise_scale)
        scheduled_for = set()
        for width, batch, _, rate, m, _ in runs(scheduled):
            scale = normalized_noise_scale(
                rate, batch, m, init_variance=context.family.init_variance(width)
            )
            nearest = min(wanted, key=lambda w: abs(math.log(w / scale)))
            assert scale == pytest.approx(nearest, rel=1e-12)
            assert rate <= 0.1 * (1 + 1e-12)
            assert 1 <= batch <= 16  # a quarter of the training examples
            scheduled_for.add((width, nearest))
        assert scheduled_for | set(scheduled.unreachable) == {
            (w, s) for w in (1, 2, 4) for s in wanted
        }
        assert not scheduled_for & set(scheduled.unreachable)

    @pytest.mark.slow
    @given(st.floats(1e-5, 1e3), st.floats(1e-3, 10), st.floats(0.05, 1), st.sampled_from([0, 0.9]))
    def test_any_scale_any_limit(self, scale, limit, margin, momentum):
        grid = noise_grid(
            widening_factor=2,
            normalized_noise_scale=scale,
            momentum=momentum,
            max_stable_learning_rate=limit,
            stability_margin=margin,
        )
        found = schedule(grid=grid, training={"steps": 8})
        if found.unreachable:
            # One example a step, at the largest rate allowed, is still not noisy enough.
            assert normalized_noise_scale(margin * limit, 1, momentum, init_variance=1) < scale
            return
        ((_, batch, _, rate, m, _),) = runs(found)
        assert normalized_noise_scale(rate, batch, m, init_variance=1) == pytest.approx(
            scale, rel=1e-12
        )
        assert rate <= margin * limit * (1 + 1e-8)

    def test_measured_limits_are_used_width_by_width(self):
        grid = noise_grid(widening_factor=[1, 2], normalized_noise_scale=0.1, max_batch_size=64)
        found = runs(schedule(grid=grid, stable={(1.0, 0.0): 8.0, (2.0, 0.0): 4.0}))
        assert {run[0]: run[3] for run in found} == pytest.approx({1.0: 2.0, 2.0: 1.0}, rel=0.1)

    def test_what_must_be_measured(self):
        spec = StudySpec.parse(fields(grid=noise_grid(momentum=[0.0, 0.9], widening_factor=[1, 2])))
        assert widths_to_probe(spec) == [(1.0, 0.0), (1.0, 0.9), (2.0, 0.0), (2.0, 0.9)]
        given_limit = fields(grid=noise_grid(max_stable_learning_rate=1.0))
        assert widths_to_probe(StudySpec.parse(given_limit)) == []
        assert widths_to_probe(StudySpec.parse(fields())) == []

    def test_unreachable_is_reported(self):
        grid = noise_grid(normalized_noise_scale=[0.01, 100.0], max_stable_learning_rate=0.4)
        found = schedule(grid=grid)
        assert found.unreachable == ((1.0, 100.0), (2.0, 100.0), (4.0, 100.0))
        assert found.num_runs == 3

    def test_batches_are_whole_ghost_batches(self):
        changes = {
            "grid": noise_grid(
                widening_factor=1,
                normalized_noise_scale=[1e-9, 0.005, 0.01, 0.02],
                max_stable_learning_rate=0.4,
                max_batch_size=50,
            )
        }
        training = {"steps": 24, "evaluations": 8, "ghost_batch_size": 4}
        found = schedule(**changes, training=training)
        # σ_init² is 2 at w = 1 and ε at most 0.1: ḡ = ε/(2B), so B = 0.05/ḡ, 10 → 8 and 5 → 4.
        assert sorted(run[1] for run in runs(found)) == [4, 8, 48]
        for _, batch, _, rate, _, _ in runs(found):
            assert rate <= 0.1 * (1 + 1e-12), batch
        assert found.unreachable == ((1.0, 0.02),)
        assert schedule(**changes).unreachable == ()

    def test_ghost_batches_larger_than_any_batch(self):
        grid = noise_grid(max_stable_learning_rate=0.4, max_batch_size=16)
        with pytest.raises(InputError, match=r"must not exceed .* 16 examples, got 32"):
            schedule(grid=grid, training={"steps": 24, "ghost_batch_size": 32})

    def test_full_batch_is_the_end(self):
        grid = noise_grid(
            normalized_noise_scale=1e-9, max_stable_learning_rate=0.4, max_batch_size=10**6
        )
        assert {run[1] for run in runs(schedule(grid=grid))} == {64}


class TestPacks:
    def test_split_to_fit_memory(self):
        big = {"seeds": 40, "batch_size": [8]}
        (context,) = [make_context(StudySpec.parse(fields(grid=big)), clouds())]
        each = {w: c.pack_bytes(8, momentum=False) for w, c in context.costs().items()}
        budget = 5.5 * max(each.values()) / 1e6
        found = schedule(grid=big, packing={"memory_mb": budget, "max_replicas": 1000})
        assert found.num_runs == 160
        for pack in found.packs:
            assert len(pack.job.replicas) * each[pack.job.widening_factor] <= budget * 1e6
        assert sorted(runs(found)) == sorted(runs(schedule(grid=big)))
        assert len(found.packs) > len(schedule(grid=big, packing={"max_replicas": 1000}).packs)

    def test_at_most_max_replicas_in_even_parts(self):
        sizes = [
            len(p.job.replicas) for p in schedule(grid={"seeds": 17, "learning_rate": 0.1}).packs
        ]
        assert sorted(sizes) == [8, 8, 9, 9]

    def test_one_run_too_large(self):
        with pytest.raises(InputError, match=r"needs about .* MB, got packing.memory_mb = 1e-06"):
            schedule(packing={"memory_mb": 1e-6})

    def test_every_pack_shares_its_shapes(self):
        for pack in schedule(grid={"batch_size": [4, 8], "momentum": [0, 0.9]}).packs:
            assert pack.job.batch_size in (4, 8)
            assert pack.job.evaluation_steps()[-1] == pack.job.steps

    def test_the_dearest_first(self):
        flops = [pack.flops for pack in schedule(grid={"batch_size": [4, 8, 16]}).packs]
        assert flops == sorted(flops, reverse=True)
        assert flops[0] > flops[-1]


OTHER = {
    "learning_rate": {"grid": {"learning_rate": [0.06, 0.2]}},
    "batch_size": {"grid": {"batch_size": 16}},
    "momentum": {"grid": {"momentum": 0.5}},
    "seeds": {"grid": {"seeds": [7, 8]}},
    "steps": {"training": {"steps": 25, "evaluations": 8}},
    "evaluations": {"training": {"steps": 24, "evaluations": 9}},
    "sampling": {"training": {"steps": 24, "evaluations": 8, "sampling": "replacement"}},
    **{
        f"{name} = {value}": {"training": {"steps": 24, "evaluations": 8, name: value}}
        for name, value in (
            ("weight_decay", 0.01),
            ("warmup", 0.1),
            ("schedule", "cosine"),
            ("loss", "mean-squared-error"),
            ("label_smoothing", 0.1),
            ("augmentation", "flip"),
            ("ghost_batch_size", 4),
            ("precision", "bf16"),
        )
    },
    "base_width": {"family": {"base_width": 8}},
    "depth": {"family": {"base_width": 4, "depth": 2}},
    "bias": {"family": {"base_width": 4, "bias": False}},
    "activation": {"family": {"base_width": 4, "activation": "tanh"}},
    "parameterization": {"family": {"base_width": 4, "parameterization": "ntk"}},
    "data": {"data": clouds(seed=1)},
    "source of the family": {"family_source": "edited"},
}
SAME = {
    "order of seeds": {"grid": {"seeds": [1, 0]}},
    "order of rates": {"grid": {"learning_rate": [0.1, 0.05]}},
    "repeated values": {"grid": {"learning_rate": [0.1, 0.05, 0.1]}},
    "title": {"title": "Another"},
    "analysis": {"analysis": {"seed": 5}},
    "number, not list": {"grid": {"batch_size": [8]}},
    "memory that is not needed": {"packing": {"memory_mb": 999}},
    "size of packs": {"packing": {"size": 1}},
    "engine": {"packing": {"engine": "vmap"}},
    "device": {"hardware": {"device": "cpu"}},
    "late_fraction": {"training": {"steps": 24, "evaluations": 8, "late_fraction": 0.5}},
    "the budget in epochs": {"training": {"epochs": 3, "evaluations": 8}},
    "options at their defaults": {"family": {"base_width": 4, "depth": 1, "bias": True}},
    "a recipe at its defaults": {"training": {"steps": 24, "evaluations": 8, "warmup": 0.0}},
    "limits": {"limits": {"runs": 100}},
    "store": {"store": "/elsewhere"},
}


class TestKeys:
    def test_a_schedule_is_deterministic(self):
        assert schedule() == schedule()
        assert len(keys(schedule())) == schedule().num_runs == 8

    @pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
    def test_change_with_anything_that_matters(self, changes):
        assert not keys(schedule()) & keys(schedule(**changes))

    @pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
    def test_stay_with_anything_that_does_not(self, changes):
        assert keys(schedule()) == keys(schedule(**changes))

    def test_change_with_the_arithmetic(self):
        context = make_context(StudySpec.parse(fields()), clouds())
        before = keys(schedule_of(context, {}))
        later = replace(context.group, arithmetic=10**6)
        settings, _ = lay_out(context.spec, context.family, 64, {})
        assert not before & set(runs_of(settings, later))

    def test_do_not_depend_on_the_rest_of_the_grid(self):
        assert keys(schedule(grid={"seeds": 1})) < keys(schedule())
        assert keys(schedule()) < keys(schedule(grid={"widening_factor": [1, 2, 4], "seeds": 3}))

    def test_are_those_of_the_runs_of_the_packs(self):
        for pack in schedule(grid={"momentum": [0, 0.9]}).packs:
            assert tuple(map(pack.group.key, pack.runs)) == pack.keys
            for part, key in zip(pack.alone(), pack.keys, strict=True):
                assert part.keys == (key,)
                assert tuple(map(pack.group.key, part.runs)) == part.keys


class TestLanded:
    def of(self, landed=(), **changes):
        context = make_context(StudySpec.parse(fields(**changes)), clouds())
        return schedule_of(context, {}, landed=landed)

    def test_need_no_training(self):
        whole = self.of()
        there = set(whole.packs[0].keys[:2]) | set(whole.packs[1].keys)
        (left,) = self.of(there).packs
        assert left.keys == whole.packs[0].keys[2:]

    def test_the_other_packs_are_the_same_as_ever(self):
        grid = {"seeds": 17, "learning_rate": 0.1}
        whole = self.of(grid=grid)
        assert len(whole.packs) == 4
        for pack in whole.packs:
            others = [p for p in whole.packs if p != pack]
            assert list(self.of(pack.keys, grid=grid).packs) == others

    def test_more_seeds_ask_for_those_alone(self):
        before = keys(self.of())
        more = self.of(before, grid={"seeds": 3})
        assert {run[-1] for run in runs(more)} == {2}
        assert more.num_runs == 4
