"""Calibration: the grid round the tuned setting, and the measured law's way into the plan."""

import json
import sys

import numpy as np
import polars as pl
import pytest
from tiny_studies import clouds, in_this_process

import widthwise as ww
from widthwise import cli
from widthwise.adviser import AdviceRefusedError, Setting
from widthwise.errors import InputError
from widthwise.study import Study, StudySpec
from widthwise.study.calibration import calibrate, calibration_fields

TUNED = Setting(learning_rate=0.05, batch_size=4, momentum=0.5)
OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x.flatten(1))))


def build(widening_factor):
    return Own(4 * widening_factor)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Where the runs of all these studies land: what one has trained, the next finds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def spec(tmp_path, store):
    """Networks of the user's own, of which the package knows nothing, on data from a file."""
    (tmp_path / "own.py").write_text(OWN)
    clouds().save(tmp_path / "d.npz")
    fields = {
        "family": {"kind": "own.py:build"},
        "data": {"name": "npz", "path": str(tmp_path / "d.npz"), "preprocessing": "none"},
        "training": {"epochs": 2, "evaluations": 8},
        "packing": {"size": 8},
        "store": str(store),
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(fields))
    return path


class TestGrid:
    def test_reaches_past_the_tuned_scale_and_w_times_it(self, spec):
        # σ_init² is 1/w, so at w = 1: ḡ = 0.05/(4·0.5) = 0.025, and the grid is 0.00625 to 0.1.
        # B = 1 at the tuned ε = 0.05 has ḡ = 0.05·w/0.5: 0.1 at w = 1, all of the grid; and
        # at w = 2 0.2, again all of it (0.025/4 to 4·2·0.025).
        fields = calibration_fields(spec, TUNED, widths=[2, 1])
        grids = StudySpec.parse(fields).grid
        assert [grid.widening_factor for grid in grids] == [(1.0,), (2.0,)]
        for grid, high in zip(grids, (0.1, 0.2), strict=True):
            scales = grid.normalized_noise_scale
            assert scales[0] == pytest.approx(0.00625)
            assert scales[-1] == pytest.approx(high)
            # Half octaves: 4 octaves at w = 1, 5 at w = 2.
            assert np.allclose(np.diff(np.log2(scales)), 0.5)
            assert grid.momentum == (0.5,)
            assert grid.seeds == (0, 1, 2, 3, 4)
            # A quarter of which is used.
            assert grid.max_stable_learning_rate == pytest.approx(0.2)

    def test_smaller_batches_reach_the_square_of_w(self, spec):
        # ḡ = 0.05/(32·0.5) = 0.003125 is tuned; 16 and 64 times it is the end at w = 2 and 4.
        # B = 1 has 0.1·w at the tuned ε, which is more.
        tuned = Setting(learning_rate=0.05, batch_size=32, momentum=0.5)
        grids = StudySpec.parse(calibration_fields(spec, tuned, widths=[2, 4])).grid
        assert [grid.normalized_noise_scale[-1] for grid in grids] == pytest.approx([0.05, 0.2])
        assert [len(grid.normalized_noise_scale) for grid in grids] == [13, 17]

    def test_beyond_a_batch_of_1_the_learning_rate_makes_the_noise(self, spec):
        # ḡ = 0.05/(2·0.5) = 0.05 is tuned, 0.0125 to 0.2 the grid at w = 1; B = 1 has 0.1 at the
        # tuned ε. Above it lie 0.1·√2 and 0.2, with ε = ḡ·0.5.
        tuned = Setting(learning_rate=0.05, batch_size=2, momentum=0.5)
        by_batch, by_rate = StudySpec.parse(calibration_fields(spec, tuned, widths=[1, 2])).grid[:2]
        assert by_batch.normalized_noise_scale[-1] == pytest.approx(0.1)
        assert by_rate.batch_size == (1,)
        assert by_rate.learning_rate == pytest.approx([0.05 * 2**0.5, 0.1])

    def test_narrower_networks_keep_the_upper_end(self, spec):
        # At w = 1/2 σ_init² is 2: B = 1 has ḡ = 0.05/(0.5·2) = 0.05 at the tuned ε.
        grids = StudySpec.parse(calibration_fields(spec, TUNED, widths=[0.5, 1])).grid
        assert [g.widening_factor for g in grids] == [(0.5,), (0.5,), (1.0,)]
        assert grids[0].normalized_noise_scale[-1] == pytest.approx(0.05)
        assert grids[1].learning_rate == pytest.approx([0.05 * 2**0.5, 0.1])
        assert grids[2].normalized_noise_scale[-1] == pytest.approx(0.1)

    def test_equal_physical_time(self, spec):
        # 2 epochs of 64 examples in batches of 4: 32 steps, τ = 0.05·32/0.5 = 3.2.
        training = StudySpec.parse(calibration_fields(spec, TUNED)).training
        assert training.physical_time == pytest.approx(3.2)
        assert (training.epochs, training.steps) == (None, None)

    @pytest.mark.parametrize(
        ("changes", "kept"),
        [
            (["training.physical_time=7", "training.epochs={}"], ("physical_time", 7.0)),
            (["training.schedule=cosine"], ("epochs", 2.0)),
        ],
    )
    def test_budgets_that_stay(self, spec, changes, kept):
        if "physical_time" in changes[0]:  # an override cannot take a key away
            fields = json.loads(spec.read_text())
            fields["training"] = {"physical_time": 7}
            spec.write_text(json.dumps(fields))
            changes = []
        fields = calibration_fields(spec, TUNED, overrides=changes)
        training = StudySpec.parse(fields).training
        assert getattr(training, kept[0]) == kept[1]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"widths": [2]}, "at least 2 different positive widening factors"),
            ({"widths": [2, 2]}, "at least 2 different"),
            ({"widths": [0, 1]}, "positive"),
            ({"seeds": 1}, "seeds must be at least 2, got 1"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, spec, given, message):
        with pytest.raises(InputError, match=message):
            calibration_fields(spec, TUNED, **given)

    def test_a_grid_of_the_users_own_is_refused(self, spec):
        fields = json.loads(spec.read_text()) | {"grid": {"widening_factor": [1, 2]}}
        with pytest.raises(InputError, match="leave \\[grid\\] out"):
            calibration_fields(fields, TUNED)

    @pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"batch_size": 0}, {"momentum": 1}])
    def test_the_tuned_setting_is_checked(self, spec, wrong):
        with pytest.raises(InputError, match=next(iter(wrong))):
            calibration_fields(spec, Setting(**{"learning_rate": 0.1, "batch_size": 4, **wrong}))

    def test_a_batch_larger_than_the_data_is_refused(self, spec):
        with pytest.raises(InputError, match="batch_size must not exceed num_train=64, got 65"):
            calibration_fields(spec, Setting(learning_rate=0.05, batch_size=65))


def test_the_old_name_of_the_tuned_setting_warns():
    with pytest.warns(DeprecationWarning, match=r"is widthwise\.adviser\.Setting"):
        old = ww.TunedSetting
    assert old(learning_rate=0.05, batch_size=4, momentum=0.5) == TUNED


def plant(monkeypatch, exponent, level=0.025, cliff=float("inf")):
    """Real runs, but with accuracies that peak at level·w^exponent, and end at cliff·w^exponent."""
    found = Study.results

    def planted(self, **options):
        table = found(self, **options)
        scale, width = (table[c].to_numpy() for c in ("normalized_noise_scale", "widening_factor"))
        noise = np.random.default_rng(1).normal(0.0, 0.002, len(table))
        curve = 0.8 - 0.01 * np.log2(scale / (level * width**exponent)) ** 2
        trains = scale < cliff * width**exponent
        accuracy = pl.Series("test_accuracy", np.where(trains, curve + noise, np.nan))
        status = pl.Series("status", np.where(trains, "ok", "diverged"))
        at_rest = pl.lit(0.0).alias("plateau_slope")
        return table.with_columns(accuracy.fill_nan(None), status, at_rest)

    monkeypatch.setattr(Study, "results", planted)


def _of_optima(found):
    """Notes but that its runs are short, as here they are."""
    return [note for note in found.notes if "physical time" not in note]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": "nothing"}, "keep must be one of"),
        ({"keep": "momentum"}, "needs the largest stable learning rate"),
        ({"widening_factor": 0}, "widening_factor must be positive"),
        ({"stability": -1.0}, "max_stable_learning_rate must be positive"),
    ],
)
def test_a_wrong_question_trains_nothing(spec, tmp_path, wrong, message):
    asked = {"widening_factor": 4, **wrong}
    with pytest.raises(InputError, match=message):
        calibrate(tmp_path / "c", spec, TUNED, seeds=3, progress=False, **asked)
    assert not (tmp_path / "c").exists()


def test_what_no_law_would_allow_is_refused_before_it_trains(spec, tmp_path):
    """Steps say how many epochs only with the number of training examples: 64/4 are one."""
    overrides = ["training={steps = 16, evaluations = 8}"]
    with pytest.raises(AdviceRefusedError, match="Training lasts 1 epochs"):
        calibrate(
            tmp_path / "c", spec, TUNED, widening_factor=4, seeds=3, overrides=overrides
        )  # fmt: skip
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("batch_size", "told"), [(6, 0), (7, 1)])
def test_what_no_measurement_settles_is_said_before_it_trains(
    spec, tmp_path, monkeypatch, capsys, batch_size, told
):
    class BegunError(Exception):
        pass

    def begin(self, *args, **options):
        raise BegunError

    monkeypatch.setattr(Study, "run", begin)
    tuned = Setting(learning_rate=0.05, batch_size=batch_size)
    with pytest.raises(BegunError):
        calibrate(tmp_path / "c", spec, tuned, widening_factor=4, seeds=3)
    said = capsys.readouterr().err
    assert said.count("Before it trains: A batch of 7 is more than a tenth of the 64") == told


@pytest.mark.slow
def test_what_is_left_out_of_training_is_as_the_study_has_it(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    found = calibrate(
        tmp_path / "c",
        spec,
        TUNED,
        widening_factor=4,
        seeds=2,
        widths=[1, 2],
        overrides=["training.weight_decay=0.001"],
        progress=False,
        training=ww.Training(epochs=90),
    )
    assert (found.plan.epochs, found.plan.weight_decay) == (90, 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_a_planted_law_reaches_the_plan(spec, tmp_path, monkeypatch, exponent):
    in_this_process(monkeypatch)
    plant(monkeypatch, exponent)
    found = calibrate(
        tmp_path / "c", spec, TUNED, widening_factor=16, seeds=3, progress=False, keep="batch_size"
    )
    low, high = found.law.interval
    assert low <= exponent <= high
    assert high - low < 0.6
    # Keep B: ε ∝ w^(s−1), because σ_init² ∝ 1/w.
    assert found.plan.learning_rate == pytest.approx(0.05 * 16 ** (found.law.exponent - 1))
    assert found.plan.batch_size == 4
    # Measured at widths up to 4, planned for 16: beyond 4 flat, or straight on.
    growth = found.law.growth(16.0)[1]
    assert 4**low <= growth[0] <= growth[1] <= 16**high
    assert growth[0] < 16**low
    assert found.plan.learning_rate_interval == pytest.approx(tuple(0.05 / 16 * g for g in growth))
    assert found.plan.evidence == "extrapolated"
    assert _of_optima(found) == []


@pytest.mark.slow
def test_within_the_measured_widths_the_study_is_the_evidence(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    plant(monkeypatch, 1.0)
    found = calibrate(tmp_path / "c", spec, TUNED, widening_factor=4, seeds=5, progress=False)
    assert found.plan.findings == ()
    assert found.plan.evidence == "measured by your study"


@pytest.mark.slow
def test_runs_that_do_not_see_all_examples_are_named(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    # 64 examples in batches of 16: 2 epochs are 8 steps, at batch size 1 an eighth of an epoch.
    tuned = Setting(learning_rate=0.05, batch_size=16)
    found = calibrate(tmp_path / "c", spec, tuned, widening_factor=4, seeds=3, progress=False)
    (note,) = (note for note in found.notes if "physical time" in note)
    assert "at batch size 1 see 0.12 of the examples once" in note
    long = ["training={epochs = 20, evaluations = 8}"]
    found = calibrate(
        tmp_path / "d", spec, tuned, widening_factor=4, seeds=3, overrides=long, progress=False
    )
    assert not [note for note in found.notes if "physical time" in note]


@pytest.mark.slow
def test_a_tuned_setting_that_is_not_the_best_is_named(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    plant(monkeypatch, 1.0, level=0.0125)
    found = calibrate(tmp_path / "c", spec, TUNED, widening_factor=4, seeds=3, progress=False)
    (note,) = _of_optima(found)
    assert "above the best one that this study finds" in note


@pytest.mark.slow
def test_without_a_bounded_law_the_plan_is_the_papers_and_says_so(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    plant(monkeypatch, 1.0, level=10.0)  # ever better with more noise, up to the end of the grid
    found = calibrate(tmp_path / "c", spec, TUNED, widening_factor=4, seeds=3, progress=False)
    assert found.law is None
    assert found.plan.settle.endswith(f" --seeds 6 --output {tmp_path / 'c'}")
    assert "gives no law to plan by" in found.notes[0]
    assert "at widening factor 1 is only bounded" in found.notes[1]
    # Standard, by the paper's rule: nothing changes.
    assert (found.plan.learning_rate, found.plan.batch_size) == (0.05, 4)
    assert found.plan.exponent == 1.0


@pytest.mark.slow
def test_no_plan_aims_at_the_edge_of_divergence(spec, tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    plant(monkeypatch, 1.0, level=0.05, cliff=0.04)
    found = calibrate(tmp_path / "c", spec, TUNED, widening_factor=4, seeds=3, progress=False)
    assert found.study.law().num_cut_off > 0
    assert found.law is None
    assert "bounded from above by divergence" in found.notes[0]


@pytest.mark.slow
def test_command(spec, tmp_path, monkeypatch, capsys):
    in_this_process(monkeypatch)
    plant(monkeypatch, 1.0)
    command = (
        f"widthwise calibrate {spec} --learning-rate 0.05 --batch-size 4 --momentum 0.5 "
        f"--factor 16 --widths 1,2,4 --seeds 3 --output {tmp_path / 'c'} -q"
    )
    for extra in ([], ["--explain"], ["--json"]):
        monkeypatch.setattr(sys, "argv", [*command.split(), *extra])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        said = capsys.readouterr().out
        if "--json" in extra:
            answer = json.loads(said)
            plan = answer["plan"]
            # As the tuned setting trains, which the study repeats in physical time.
            assert plan["epochs"] == pytest.approx(2.0)
            assert "doubts of the study" in [finding["condition"] for finding in plan["findings"]]
            grown = 16 ** (answer["exponent"] - 1.0)  # standard: w^(s−1)
            assert plan["noise_ratio"] == pytest.approx(grown)
            # By a smaller batch, or a smaller rate: never by a larger one.
            assert 1 <= plan["batch_size"] <= 4
            assert plan["learning_rate"] <= 0.05
            assert answer["interval"][0] < answer["exponent"] < answer["interval"][1]
        else:
            assert "The law behind it: " in said
            assert str(tmp_path / "c" / "report.html") in said
            assert ("Why these numbers" in said) == bool(extra)
            assert "plan.explain()" not in said  # the answer names this command's options
