"""The specifications in examples/: each plans, and a reduced one runs to its report."""

import html
from pathlib import Path

import pytest
from quick_studies import undrawn, untimed  # noqa: F401 - fixtures
from tiny_studies import in_this_process

from widthwise.errors import InputError
from widthwise.study import Study

EXAMPLES = Path(__file__).parents[2] / "examples"
CONVOLUTIONAL = ("cnn", "cnn_batch_norm", "wide_resnet", "wide_resnet_batch_norm")
# Nothing is measured: that takes longer than the runs.
FIXED_SIZE = "packing.size=4"
REDUCED = (
    FIXED_SIZE,
    "data.num_train=32",
    "data.num_test=20",
    "grid.widening_factor=[0.5, 1]",
    "grid.batch_size=[4, 8]",
    "grid.seeds=2",
    "training.steps=8",
    "training.evaluations=8",
)


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == {
        *CONVOLUTIONAL,
        "mlp_ntk",
        "mlp_ntk_adaptive",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "mlp_ntk"])
def test_plans_every_setting_of_its_grid(name, tmp_path):
    study = Study.create(tmp_path, EXAMPLES / f"{name}.toml", overrides=[FIXED_SIZE])
    (grid,) = study.spec.grid
    settings = len(grid.batch_size or grid.normalized_noise_scale or ())
    expected = len(grid.widening_factor) * settings * len(grid.seeds)
    assert study.schedule.num_runs == expected
    assert not study.schedule.unreachable


@pytest.mark.slow
def test_a_search_has_no_plan_before_its_first_round_and_can_reach_all_it_may(tmp_path):
    example = EXAMPLES / "mlp_ntk_adaptive.toml"
    study = Study.create(tmp_path, example, overrides=[FIXED_SIZE])
    assert study.schedule.packs == ()
    assert not study.schedule.unreachable


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_runs_to_a_report_that_says_what_was_run(name, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    study = Study.create(tmp_path, EXAMPLES / f"{name}.toml", overrides=REDUCED)
    study.run(1, progress=False)
    assert study.results().height == study.schedule.num_runs == 8
    page = html.unescape(study.report().read_text("utf-8"))
    assert study.spec.title in page
    assert f"{study.spec.family.kind}: standard parameterization" in page
    normalized = name.endswith("batch_norm")
    assert (", batch norm" in page) == normalized
    assert (", no normalization" in page) == (not normalized)
    paper = "the paper's setting: constant learning rate, SGD, cross-entropy"
    assert (paper in page) == (name != "cnn_batch_norm")
    assert ("batch norm over parts of 4 examples" in page) == (name == "cnn_batch_norm")
    assert ("the best noise does not grow with width as the rule says" in page) == normalized


@pytest.mark.slow
def test_a_batch_that_ghost_batch_norm_cannot_cut_is_refused(tmp_path):
    overrides = [FIXED_SIZE, "grid.batch_size=[4, 6]"]
    with pytest.raises(InputError, match=r"multiple of .*ghost_batch_size.*4"):
        _ = Study.create(tmp_path, EXAMPLES / "cnn_batch_norm.toml", overrides=overrides).schedule
