"""Another question for the same folder, or the same store: only what is missing is trained."""

import json

import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, fields, finished_study, in_this_process, landed_files

from widthwise.errors import InputError
from widthwise.runs.schema import MEASURED
from widthwise.study import Study

# What follows from late_fraction, and from the wording of the question.
LATE = [*MEASURED, "plateau_slope"]
TRAINING = {"steps": 24, "evaluations": 8}
NOISE_GRID = {"widening_factor": [1, 2], "normalized_noise_scale": [0.005, 0.01], "seeds": 2}
NETWORKS = """
from torch import nn

UNITS = 4


def build(width):
    hidden = UNITS * width
    return nn.Sequential(nn.Flatten(), nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 3))
"""


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained, in this process."""
    return in_this_process(monkeypatch)


def changed(study, spec, **options):
    """The study with another question, run."""
    study = Study.create(study.directory, spec, **options)
    study.run(1, progress=False)
    return study


def assert_kept(before, after, but=()):
    """The rows of one table are in the other, to the bit."""
    but = ["spec_hash", *but]
    now = after.join(before.select("run_id"), on="run_id", how="semi")
    order = ["run_id"]
    assert_frame_equal(now.drop(but).sort(order), before.drop(but).sort(order), check_exact=True)


# How the question changes → how many runs that trains, of a grid of 2 widths × 2 ε × 2 seeds.
EXTENSIONS = {
    "more seeds": (fields(grid={"seeds": 5}), 12),
    "another title": (fields(title="Another"), 0),
    "one more width": (fields(grid={"widening_factor": [1, 2, 4]}), 4),
    "a width less": (fields(grid={"widening_factor": [1]}), 0),
    "one more rate": (fields(grid={"learning_rate": [0.05, 0.1, 0.2]}), 4),
    "other packs": (fields(packing={"size": 1}), 0),
    "another engine for what is missing": (
        fields(packing={"size": 16, "engine": "vmap"}, grid={"seeds": 3}),
        4,
    ),
    "the device stated": (fields(hardware={"device": "cpu"}), 0),
    "another late_fraction": (fields(training={**TRAINING, "late_fraction": 0.5}), 0),
    "the same length in epochs": (fields(training={"epochs": 3, "evaluations": 8}), 0),
    "the same options, said": (fields(family={"base_width": 4, "depth": 1}), 0),
    "another bootstrap": (fields(analysis={"seed": 3}), 0),
}


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "count"), EXTENSIONS.values(), ids=EXTENSIONS)
def test_only_what_is_missing_is_trained(tmp_path, trained, spec, count):
    study = finished_study(tmp_path / "s")
    before = study.results(curves=True)
    files = {path.name: path.stat().st_ino for path in landed_files(study.directory)}
    trained.clear()
    study = changed(study, spec)
    assert len(trained) == count
    after = study.results(curves=True)
    late = LATE if study.spec.training.late_fraction != 0.25 else []
    if study.spec.grid[0].widening_factor == (1.0,):
        assert (len(after), study.status().kept) == (4, 4)
        before = before.filter(before["widening_factor"] == 1)
    else:
        assert (len(after), study.status().kept) == (8 + count, 0)
    assert_kept(before, after, late)
    assert set(after["spec_hash"]) == {study.spec.hash}
    now = {path.name: path.stat().st_ino for path in landed_files(study.directory)}
    assert files.items() <= now.items()


@pytest.mark.slow
def test_a_late_fraction_is_looked_through_anew(tmp_path):
    study = finished_study(tmp_path / "s")
    before = study.results(curves=True)
    changed(study, fields(training={**TRAINING, "late_fraction": 1.0}))
    after = Study.open(study.directory).results(curves=True)
    for then, now in zip(before.iter_rows(named=True), after.iter_rows(named=True), strict=True):
        curve = now["curve_train_loss"]
        assert then["train_loss"] == pytest.approx(sum(curve[-2:]) / 2)
        assert now["train_loss"] == pytest.approx(sum(curve[1:]) / 8)


# In this order, each after the other.
NOISE_EXTENSIONS = {
    "more seeds": (fields(grid=[{**NOISE_GRID, "seeds": 3}]), 4),
    "another title": (fields(grid=[NOISE_GRID], title="Another"), 0),
    "one more width, whose rate is not known": (
        fields(grid=[{**NOISE_GRID, "widening_factor": [1, 2, 3]}]),
        4,
    ),
    "other packs": (fields(grid=[NOISE_GRID], packing={"size": 1}), 0),
    "less memory": (fields(grid=[NOISE_GRID], packing={"size": 16, "memory_mb": 0.1}), 0),
    "the device stated": (fields(grid=[NOISE_GRID], hardware={"device": "cpu"}), 0),
    "another late_fraction": (
        fields(grid=[NOISE_GRID], training={**TRAINING, "late_fraction": 0.5}),
        0,
    ),
}


@pytest.mark.slow
def test_so_it_is_where_the_largest_stable_rate_is_measured(tmp_path, trained):
    study = finished_study(tmp_path / "s", fields(grid=[NOISE_GRID]))
    before = study.results(curves=True)
    assert len(before) == 8
    asked = len(trained)
    for name, (spec, count) in NOISE_EXTENSIONS.items():
        study = changed(study, spec)
        assert len(trained) - asked == count, name
        asked = len(trained)
        assert_kept(
            before, study.results(curves=True), LATE if name == "another late_fraction" else ()
        )


class TestOneStore:
    @pytest.mark.slow
    def test_what_two_studies_share_is_trained_once(self, tmp_path, trained):
        store = tmp_path / "store"
        first = Study.create(tmp_path / "a", fields(), data=clouds(), store=store)
        first.run(1, progress=False)
        assert len(trained) == 8
        # 0.1 is in both, with two of the three seeds.
        grid = {"learning_rate": [0.1, 0.2], "seeds": 3}
        second = Study.create(tmp_path / "b", fields(grid=grid), data=clouds(), store=store)
        assert second.status().runs_landed == 4
        second.run(1, progress=False)
        assert len(trained) == len(set(trained)) == 8 + 8
        assert not (tmp_path / "a" / "store").exists()
        assert (len(first.results(curves=True)), len(second.results(curves=True))) == (8, 12)
        assert (first.status().kept, second.status().kept) == (8, 4)
        shared = first.results(curves=True).filter(
            first.results(curves=True)["learning_rate"] == 0.1
        )
        assert_kept(shared, second.results(curves=True))

    @pytest.mark.slow
    def test_may_be_named_in_the_specification(self, tmp_path, trained):
        clouds().save(tmp_path / "d.npz")
        data = {"name": "npz", "path": "d.npz", "preprocessing": "none"}
        (tmp_path / "spec.json").write_text(json.dumps(fields(data=data, store="runs")))
        for name in ("a", "b"):
            Study.create(tmp_path / name, tmp_path / "spec.json").run(1, progress=False)
        assert len(trained) == 8
        assert len(list((tmp_path / "runs" / "landed").iterdir())) == 8
        assert Study.open(tmp_path / "b").spec.store == str(tmp_path / "runs")

    @pytest.mark.slow
    def test_a_study_that_leaves_its_own_is_asked(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        with pytest.raises(InputError, match=r"none of the 8 runs .*store: its own became .*yes"):
            Study.create(study.directory, fields(), store=tmp_path / "store")
        finished_study(tmp_path / "t", fields(store=str(tmp_path / "store")))
        trained.clear()
        changed(study, fields(), store=tmp_path / "store")
        assert trained == []

    @pytest.mark.slow
    def test_what_one_withdraws_the_other_misses(self, tmp_path):
        first, second = (
            Study.create(tmp_path / name, fields(), data=clouds(), store=tmp_path / "store")
            for name in ("a", "b")
        )
        first.run(1, progress=False)
        assert first.withdraw("learning_rate=0.1") == 4
        assert len(second.results(curves=True)) == 4


class TestUnrelated:
    OTHER = fields(training={"steps": 30, "evaluations": 8})

    @pytest.mark.slow
    def test_is_refused_and_nothing_changes(self, tmp_path):
        study = finished_study(tmp_path / "s")
        before = study.results(curves=True), (study.directory / "study.json").read_bytes()
        with pytest.raises(
            InputError,
            match=r"none of the 8 runs of .* would be used: training.steps: 24 became 30.*give yes",
        ) as refused:
            Study.create(study.directory, self.OTHER)
        assert refused.value.fields == ("yes",)
        again = Study.open(study.directory)
        assert again.results(curves=True).equals(before[0])
        assert (study.directory / "study.json").read_bytes() == before[1]

    @pytest.mark.slow
    def test_with_yes_it_goes_on_and_keeps_the_old_runs(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        before = study.results(curves=True)
        trained.clear()
        study = changed(study, self.OTHER, yes=True)
        assert len(trained) == 8
        assert set(study.results(curves=True)["steps"]) == {30}
        assert study.status().kept == 8
        trained.clear()
        study = changed(study, fields(), yes=True)
        assert trained == []
        assert study.results(curves=True).equals(before)

    @pytest.mark.slow
    def test_before_it_runs_nothing_of_the_earlier_question_is_shown(self, tmp_path):
        study = finished_study(tmp_path / "s")
        for other in (
            Study.create(study.directory, self.OTHER, yes=True),
            Study.open(study.directory),
        ):
            assert other.results(curves=True).is_empty()
            assert (other.status().runs_planned, other.status().runs_landed) == (8, 0)
            assert other.status().kept == 8

    @pytest.mark.slow
    def test_what_is_no_longer_asked_for_is_said_at_once_and_once(self, tmp_path, capsys):
        study = finished_study(tmp_path / "s")
        capsys.readouterr()
        fewer = Study.create(study.directory, fields(grid={"seeds": 1, "widening_factor": [1]}))
        said = capsys.readouterr().err
        assert said.startswith("the study changes (grid[0].seeds: [0, 1] became [0]; ")
        assert said.endswith(": 2 runs of it are there, 0 to train, 6 others are kept and no "
                             "longer asked for\n")  # fmt: skip
        fewer.run(1, progress=True)
        assert "no longer asked for" not in capsys.readouterr().err
        assert len(fewer.results()) == 2
        again = Study.create(study.directory, fields())
        assert capsys.readouterr().err == ""
        assert len(again.results()) == 8

    def test_where_nothing_has_landed_nothing_is_asked(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        assert Study.create(study.directory, self.OTHER).spec.training.steps == 30

    def test_an_equal_question_writes_nothing(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        files = {p: p.stat().st_mtime_ns for p in study.directory.rglob("*") if p.is_file()}
        Study.create(study.directory, fields(), data=clouds())
        assert files == {p: p.stat().st_mtime_ns for p in study.directory.rglob("*") if p.is_file()}


class TestSearch:
    GRID = {  # noqa: RUF012 - a table
        "widening_factor": [1],
        "normalized_noise_scale": {"from": 0.0025, "to": 0.08, "num": 6},
        "max_stable_learning_rate": 0.4,
    }

    def spec(self, widths):
        return fields(
            grid=[{**self.GRID, "widening_factor": widths}],
            training={"physical_time": 2.0, "evaluations": 8},
            search={"precision": 1.0, "max_runs": 24, "max_seeds": 4, "runs_at_once": 8},
        )

    @pytest.mark.slow
    def test_one_more_width(self, tmp_path, trained):
        study = finished_study(tmp_path / "s", self.spec([1]))
        before = study.results(curves=True)
        assert set(before["widening_factor"]) == {1.0}
        first = len(trained)
        study = changed(study, self.spec([1, 2]))
        after = study.results(curves=True)
        assert len(trained) == len(set(trained))
        assert set(after["widening_factor"]) == {1.0, 2.0}
        used = set(after["run_id"]) & set(before["run_id"])
        assert used
        assert len(trained) - first == len(after) - len(used)
        assert_kept(before.filter(before["run_id"].is_in(list(used))), after)
        assert study.status().kept == len(before) - len(used)


class TestFamilyOfOnesOwn:
    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "nets.py").write_text(NETWORKS)
        return tmp_path / "nets.py"

    @pytest.mark.slow
    def test_a_remark_changes_nothing(self, tmp_path, path, trained):
        spec = fields(family=f"{path}:build")
        study = finished_study(tmp_path / "s", spec)
        path.write_text(f'"""What these are."""\n\n# A remark.\n{NETWORKS}\n')
        trained.clear()
        Study.open(study.directory).run(1, progress=False)
        changed(study, spec)
        assert trained == []

    @pytest.mark.slow
    def test_neither_does_another_place(self, tmp_path, path, trained):
        study = finished_study(tmp_path / "s", fields(family=f"{path}:build"))
        (tmp_path / "moved").mkdir()
        path.rename(tmp_path / "moved" / "nets.py")
        trained.clear()
        study = changed(study, fields(family=f"{tmp_path / 'moved' / 'nets.py'}:build"))
        assert trained == []
        assert len(study.results(curves=True)) == 8

    @pytest.mark.slow
    def test_another_number_asks(self, tmp_path, path, trained):
        spec = fields(family=f"{path}:build")
        study = finished_study(tmp_path / "s", spec)
        path.write_text(NETWORKS.replace("UNITS = 4", "UNITS = 5"))
        with pytest.raises(InputError, match=r"nets\.py changed since the study"):
            Study.open(study.directory).run(1, progress=False)
        with pytest.raises(InputError, match=r"nets\.py changed.*give yes"):
            changed(study, spec)
        assert len(Study.open(study.directory).results(curves=True)) == 8
        trained.clear()
        study = changed(study, spec, yes=True)
        assert len(trained) == 8
        assert study.status().kept == 8
        path.write_text(NETWORKS)
        trained.clear()
        changed(study, spec, yes=True)
        assert trained == []


@pytest.mark.slow
def test_keys_that_are_set_for_a_study_that_keeps_its_data(tmp_path, trained):
    study = finished_study(tmp_path / "s")
    before = study.results(curves=True)
    trained.clear()
    study = changed(study, Study.open(study.directory).spec, overrides=["grid.seeds=3"])
    assert len(trained) == 4
    assert_kept(before, study.results(curves=True))
    # And the specification that names no data still means these.
    study = changed(study, fields(grid={"seeds": 4}))
    assert len(trained) == 8
