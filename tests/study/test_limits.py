"""Absurd sizes are refused by arithmetic, and stated limits can be raised."""

import time
import tracemalloc

import pytest
import torch
from tiny_studies import clouds, fields
from torch import nn

from widthwise.errors import InputError
from widthwise.families.size import TensorsBelow
from widthwise.study import Study, StudySpec
from widthwise.study.cost import module_cost
from widthwise.study.limits import (
    LimitsSpec,
    refuse_many_flops,
    refuse_many_runs,
    refuse_many_steps,
)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid.seeds=20231127", r"limits.runs = 1000000 .* \[20231127\], .* raise the limit"),
        ("grid.seeds=1000000000", r"limits.runs = 1000000 runs, got 1000000000"),
        ("grid.learning_rate={from=0.1, to=1, num=1000000000}", "grid.learning_rate must not ask"),
        ("grid.widening_factor={from=1, to=9, num=9000000}", "grid.widening_factor must not ask"),
        ("family.depth=1000000", "family.depth: input should be less than or equal to 10000"),
        ("limits.runs=1", "grid.seeds must not ask for more than limits.runs = 1 runs, got 2"),
        (
            "limits.runs=10000000000000",
            "limits.runs: input should be less than or equal to 1000000",
        ),
        ("limits.runs=0", "limits.runs: input should be greater than or equal to 1"),
    ],
)
def test_refused_before_anything_is_made(override, message):
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(InputError, match=message):
        StudySpec.parse(fields(), [override])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.steps=1000000000000"], r"limits.steps = 100000000000 steps .* got 8e\+12"),
        (["training.steps=1000000000000", "grid.seeds=[0]"], "limits.steps"),
        (["limits.steps=10"], "at most limits.steps = 10 steps together, got 192"),
        (["limits.flops=1e6"], r"limits.flops = 1e\+06 operations together, got 1.2e\+06; train"),
        ([f"grid.batch_size={10**320}"], r"limits.flops = 1e\+19 operations together, got .*e\+30"),
        (["limits.runs=7"], "at most limits.runs = 7 runs, got 8; ask for fewer"),
        (["grid.widening_factor=1000000000"], "needs about 96000 MB, got packing.memory_mb"),
        (["family.base_width=1000000000000"], "raise it, or build narrower networks"),
        (["grid.widening_factor=1e308"], "grid.widening_factor must lie in"),
    ],
)
def test_refused_when_a_study_begins(overrides, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Study.create(tmp_path / "s", fields(), data=clouds(), overrides=overrides)
    assert not (tmp_path / "s").exists()


def test_epochs_and_physical_time_are_counted_too():
    def steps(training, **grid):
        spec = StudySpec.parse(fields(grid=grid, training=training))
        refuse_many_steps(spec.grid, spec.training, 64, LimitsSpec(steps=1))

    with pytest.raises(InputError, match=r"got 128;"):
        steps({"epochs": 2})  # 8 runs of 2 × 64/8 steps
    with pytest.raises(InputError, match=r"got 240;"):
        steps({"physical_time": 2.0})  # 4 runs of 40 steps, 4 of 20
    noise = {"learning_rate": None, "batch_size": None, "normalized_noise_scale": [1.0]}
    with pytest.raises(InputError, match=r"got 32;"):
        steps({"epochs": 2}, **noise)  # 4 runs of at least 2 × 64/16 steps
    with pytest.raises(InputError, match=r"got 1.6e\+03;"):
        steps({"physical_time": 1e5}, **noise)  # ε is at most 0.25 × 1000


def test_operations_are_those_of_training_and_evaluation():
    """6 – 4w – 3 units: 36w products forward, 2 · 36w + 12w backward, but for the inputs'."""
    spec = StudySpec.parse(fields())
    costs = {
        float(w): module_cost(
            nn.Sequential(nn.Linear(6, 4 * w), nn.ReLU(), nn.Linear(4 * w, 3)),
            torch.zeros(2, 6),
            torch.zeros(2, dtype=torch.int64),
        )
        for w in (1, 2)
    }
    trained, evaluated = 24 * 8, 9 * 104  # examples of a run
    expected = sum(4 * (trained * 168 * w + evaluated * 72 * w) for w in (1, 2))

    def refuse(limit):
        limits = LimitsSpec(flops=limit)
        refuse_many_flops(spec.grid, spec.training, 64, 104, costs, limits)

    refuse(expected)
    with pytest.raises(InputError, match=r"got 1.2e\+06; train less"):
        refuse(expected - 1)


def test_many_runs_name_the_seeds_that_may_be_one():
    spec = StudySpec.parse(fields(grid={"seeds": 2000}))
    with pytest.raises(InputError, match=r"got 8000; for one seed write \[2000\], ask"):
        refuse_many_runs(spec.grid, LimitsSpec(runs=7000))
    refuse_many_runs(spec.grid, LimitsSpec(runs=8000))


def test_a_limit_that_is_raised_lets_a_study_begin_and_be_opened(tmp_path):
    low = ["limits.runs=7"]
    with pytest.raises(InputError):
        Study.create(tmp_path, fields(), data=clouds(), overrides=low)
    study = Study.create(tmp_path, fields(), data=clouds(), overrides=["limits.runs=8"])
    assert study.schedule.num_runs == 8
    assert Study.open(tmp_path).spec.hash == study.spec.hash
    assert Study.create(tmp_path, fields(), data=clouds()).spec.hash == study.spec.hash


def test_a_study_is_not_known_by_its_limits():
    raised = StudySpec.parse(fields(), ["limits.runs=5000000", "limits.steps=9"])
    assert raised.hash == StudySpec.parse(fields()).hash
    assert "limits" not in raised.fields()
    assert StudySpec.parse(raised).limits.runs == 5_000_000


def test_seeds_in_a_list_are_no_number_of_seeds():
    assert StudySpec.parse(fields(grid={"seeds": [20231127]})).grid[0].seeds == (20231127,)


class TestTensors:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: nn.Linear(10**5, 10**5),
            lambda: torch.zeros(10**10),
            lambda: torch.randn((10**5, 10**5)),
            lambda: torch.empty(size=(10**5, 10**5)),
            lambda: torch.full((10**5, 10**5), 1.0),
            lambda: torch.eye(10**5),
            lambda: nn.Conv2d(10**5, 10**5, 3),
            lambda: nn.Embedding(10**320, 2),
        ],
    )
    def test_large_ones_are_refused(self, make):
        with TensorsBelow(1e9, "is too much"), pytest.raises(InputError, match="is too much"):
            make()

    def test_others_and_those_without_memory_are_not(self):
        with TensorsBelow(1e6, "is too much"):
            assert nn.Linear(4, 4)(torch.ones(1, 4)).shape == (1, 4)
            assert torch.zeros(250_000, dtype=torch.float32).shape == (250_000,)
            assert torch.empty(10**6, dtype=torch.bool).shape == (10**6,)
            assert torch.empty(10**9, device="meta").shape == (10**9,)
            assert torch.fx.symbolic_trace(nn.Linear(4, 4))(torch.ones(1, 4)).shape == (1, 4)

    def test_weights_are_the_same(self):
        torch.manual_seed(0)
        expected = nn.Linear(4, 4).weight
        torch.manual_seed(0)
        with TensorsBelow(1e6, "is too much"):
            assert torch.equal(nn.Linear(4, 4).weight, expected)
