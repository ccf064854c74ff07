"""The key of a run: fixed by value, moved by what decides the result and by nothing else."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.runs.key import ARITHMETIC, RUN_FIELDS, Group, Run, recipe_fields, recipe_of
from widthwise.sgd.recipe import Recipe

GROUP = Group(
    family={"kind": "mlp", "parameterization": "ntk", "base_width": 8},
    data="0" * 64,
    recipe=recipe_fields(Recipe(weight_decay=0.1)),
    sampling="epochs",
    evaluations=20,
)
RUN = Run(widening_factor=2, learning_rate=0.1, batch_size=8, momentum=0.9, steps=100, seed=3)


class TestGolden:
    """Written down by hand, so that no change of the code can move it unseen."""

    def test_the_key(self):
        assert GROUP.key(RUN) == "b95853719fd1e658c111674329081f40"

    def test_as_docs_runs_md_says(self):
        group = (
            '{"arithmetic":3,"data":"' + "0" * 64 + '","evaluations":20,'
            '"family":{"base_width":8,"kind":"mlp","parameterization":"ntk"},'
            '"recipe":{"weight_decay":0.1},"sampling":"epochs"}'
        )
        run = (
            '{"batch_size":8,"group":"' + hashlib.sha256(group.encode()).hexdigest() + '",'
            '"learning_rate":0.1,"momentum":0.9,"seed":3,"steps":100,"widening_factor":2.0}'
        )
        assert hashlib.sha256(run.encode()).hexdigest()[:32] == GROUP.key(RUN)

    def test_the_version_of_the_arithmetic(self):
        assert ARITHMETIC == 3


CHANGED = {
    "widening_factor": 4.0,
    "learning_rate": 0.1000000001,
    "batch_size": 9,
    "momentum": 0.0,
    "steps": 101,
    "seed": 4,
}


@pytest.mark.parametrize("name", RUN_FIELDS)
def test_every_field_of_a_run_moves_it(name):
    assert GROUP.key(dataclasses.replace(RUN, **{name: CHANGED[name]})) != GROUP.key(RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"family": {"kind": "mlp", "parameterization": "standard", "base_width": 8}},
        {"data": "1" * 64},
        {"recipe": recipe_fields(Recipe(weight_decay=0.2))},
        {"sampling": "replacement"},
        {"evaluations": 21},
        {"arithmetic": ARITHMETIC + 1},
    ],
)
def test_every_field_of_a_group_moves_it(change):
    fields = {f.name: getattr(GROUP, f.name) for f in dataclasses.fields(GROUP) if f.init}
    assert Group(**{**fields, **change}).key(RUN) != GROUP.key(RUN)


def test_whole_numbers_are_numbers():
    whole = dataclasses.replace(RUN, widening_factor=2, momentum=0)
    real = dataclasses.replace(RUN, widening_factor=2.0, momentum=0.0)
    assert GROUP.key(whole) == GROUP.key(real)


@given(seeds=st.sets(st.integers(0, 2**63 - 1), min_size=2, max_size=50))
def test_keys_are_told_apart(seeds):
    keys = {GROUP.key(dataclasses.replace(RUN, seed=seed)) for seed in seeds}
    assert len(keys) == len(seeds)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(schedule="step", decay_at=(0.5, 0.75), warmup=0.1),
        Recipe(loss="mean-squared-error", augmentation="crop", ghost_batch_size=4),
    ],
)
def test_recipes_come_back(recipe):
    plain = json.loads(json.dumps(recipe_fields(recipe)))
    assert recipe_of(plain) == recipe
