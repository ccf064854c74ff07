"""Studies in a directory: results, resuming, damage, leftovers, data in memory."""

import dataclasses
import os
import time

import polars as pl
import pytest
from alone import trained_alone
from polars.testing import assert_frame_equal
from tiny_studies import (
    clouds,
    compacted_files,
    comparable,
    empty,
    fields,
    finished_study,
    flip_a_bit,
    in_this_process,
    landed_files,
    truncate,
)

from widthwise.errors import FitError, InputError
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.sgd.recipe import Recipe
from widthwise.study import Study
from widthwise.study.context import on_this_machine
from widthwise.study.spec import PackingSpec
from widthwise.theory.noise import normalized_noise_scale


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained, in this process."""
    return in_this_process(monkeypatch)


def again(study):
    """The study as another session sees it."""
    return Study.open(study.directory)


class TestResults:
    CONTRACT = {  # noqa: RUF012 - a table
        **dict.fromkeys(("run_id", "family", "parameterization", "status", "engine"), pl.String),
        **dict.fromkeys(("pack", "spec_hash", "data_fingerprint"), pl.String),
        **dict.fromkeys(("device", "processor", "instruction_set", "versions"), pl.String),
        **dict.fromkeys(("batch_size", "seed", "steps", "num_parameters"), pl.Int64),
        "diverged_at_step": pl.Int64,
        "nesterov": pl.Boolean,
        **dict.fromkeys(("schedule", "loss", "augmentation", "precision"), pl.String),
        **dict.fromkeys(("crop_padding", "ghost_batch_size"), pl.Int64),
        "decay_at": pl.List(pl.Float64),
        **dict.fromkeys(
            [
                "weight_decay",
                "warmup",
                "decay_factor",
                "label_smoothing",
                "widening_factor",
                "learning_rate",
                "momentum",
                "noise_scale",
                "init_variance",
                "normalized_noise_scale",
                "epochs",
                "physical_time",
                "test_accuracy",
                "test_loss",
                "train_loss",
                "train_accuracy",
                "validation_accuracy",
                "validation_loss",
                "plateau_slope",
                "initial_train_loss",
                "final_train_loss",
                "seconds",
            ],
            pl.Float64,
        ),
        "curve_step": pl.List(pl.Int64),
        **dict.fromkeys(
            [
                "curve_test_accuracy",
                "curve_test_loss",
                "curve_train_loss",
                "curve_train_accuracy",
                "curve_validation_accuracy",
                "curve_validation_loss",
            ],
            pl.List(pl.Float64),
        ),
    }

    @pytest.mark.slow
    def test_the_schema(self, tmp_path):
        table = finished_study(tmp_path / "s").results(curves=True)
        assert dict(table.schema) == self.CONTRACT
        assert dict(RESULTS_SCHEMA) == self.CONTRACT

    @pytest.mark.slow
    def test_one_row_a_run_with_everything_beside_it(self, tmp_path):
        grid = {"momentum": [0, 0.9], "learning_rate": [0.05, 1e30]}
        study = finished_study(tmp_path / "s", fields(grid=grid), clouds(num_validation=20))
        table = study.results(curves=True)
        settings = ["widening_factor", "learning_rate", "momentum", "seed"]
        assert len(table) == len(table.unique(settings)) == study.schedule.num_runs == 16
        assert table["run_id"].n_unique() == 16
        for row in table.iter_rows(named=True):
            assert row["normalized_noise_scale"] == pytest.approx(
                normalized_noise_scale(
                    row["learning_rate"],
                    row["batch_size"],
                    row["momentum"],
                    init_variance=2 / row["widening_factor"],
                ),
                rel=1e-12,
            )
            assert row["epochs"] == 24 * 8 / 64
            assert row["physical_time"] == pytest.approx(
                row["learning_rate"] * 24 / (1 - row["momentum"])
            )
            wild = row["learning_rate"] > 1
            assert row["status"] == ("diverged" if wild else "ok")
            for name in ("test_accuracy", "test_loss", "train_loss", "validation_accuracy"):
                assert (row[name] is None) == wild
            if not wild:
                steps = row["curve_step"]
                late = [a for s, a in zip(steps, row["curve_test_accuracy"], strict=True) if s > 18]
                assert row["test_accuracy"] == pytest.approx(sum(late) / len(late), abs=1e-12)
                assert row["diverged_at_step"] is None

    @pytest.mark.slow
    def test_options_of_training_are_recorded(self, tmp_path):
        options = {
            "nesterov": True,
            "weight_decay": 0.01,
            "schedule": "step",
            "warmup": 0.25,
            "decay_at": [0.5, 0.75],
            "decay_factor": 0.5,
            "loss": "cross-entropy",
            "label_smoothing": 0.1,
            "augmentation": "crop",
            "crop_padding": 1,
            "ghost_batch_size": None,
            "precision": "float32",
        }
        training = {"steps": 24, "evaluations": 8, **options}
        spec = fields(grid={"momentum": [0, 0.9]}, training=training)
        table = finished_study(tmp_path / "s", spec).results(curves=True)
        recipe_fields = {field.name for field in dataclasses.fields(Recipe)}
        assert set(options) == recipe_fields <= set(RESULTS_SCHEMA)
        for row in table.iter_rows(named=True):
            assert {name: row[name] for name in options} == options
            # Six steps of warm-up, six at ε, six at ε/2, six at ε/4.
            factors = (1 + 2 + 3 + 4 + 5 + 6) / 6 + 6 + 3 + 1.5
            assert row["physical_time"] == pytest.approx(
                row["learning_rate"] * factors / (1 - row["momentum"]), rel=1e-12
            )

    @pytest.mark.slow
    def test_the_papers_setting_is_recorded_too(self, tmp_path):
        table = finished_study(tmp_path / "s").results(curves=True)
        for name, value in dataclasses.asdict(Recipe()).items():
            recorded = table[name].to_list()
            assert recorded == [list(value) if isinstance(value, tuple) else value] * len(table)

    @pytest.mark.slow
    def test_where_each_run_was_trained(self, tmp_path):
        study = finished_study(tmp_path / "s")
        table = study.results(curves=True)
        assert set(table["pack"]) == {pack.name for pack in study.schedule.packs}
        assert set(table["device"]) == {"cpu"}
        (versions,) = table["versions"].unique()
        assert "widthwise " in versions
        assert table["processor"].null_count() == table["instruction_set"].null_count() == 0

    @pytest.mark.slow
    def test_without_validation_its_columns_are_null(self, tmp_path):
        table = finished_study(tmp_path / "s").results(curves=True)
        for name in ("validation_accuracy", "validation_loss", "curve_validation_accuracy"):
            assert table[name].null_count() == len(table)

    @pytest.mark.slow
    def test_a_fixed_order(self, tmp_path):
        first, second = (
            finished_study(tmp_path / name).results(curves=True) for name in ("a", "b")
        )
        assert_frame_equal(comparable(first), comparable(second), check_exact=True)
        assert first["widening_factor"].is_sorted()

    def test_before_anything_has_landed(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        assert study.results(curves=True).is_empty()
        assert dict(study.results(curves=True).schema) == self.CONTRACT
        with pytest.raises(FitError, match="run the study first"):
            study.report()
        assert study.status().runs_landed == 0
        assert study.status().runs_planned == 8


class TestDataInMemory:
    @pytest.mark.slow
    def test_resumes_from_disk_alone(self, tmp_path, trained):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        assert [path.stem for path in (tmp_path / "s" / "data").iterdir()] == [
            clouds().fingerprint[:16]
        ]
        other_session = Study.open(tmp_path / "s")
        other_session.run(1, progress=False)
        assert len(trained) == study.schedule.num_runs
        direct = finished_study(tmp_path / "direct")
        assert_frame_equal(
            comparable(other_session.results(curves=True)),
            comparable(direct.results(curves=True)),
            check_exact=True,
        )

    @pytest.mark.slow
    def test_other_data_are_another_question(self, tmp_path, trained):
        first = finished_study(tmp_path / "s").results(curves=True)
        with pytest.raises(InputError, match=r"none of the 8 runs .*the data are others.*give yes"):
            Study.create(tmp_path / "s", fields(), data=clouds(seed=9))
        assert again(Study.create(tmp_path / "s", fields(), data=clouds())).status().kept == 0
        study = Study.create(tmp_path / "s", fields(), data=clouds(seed=9), yes=True)
        study.run(1, progress=False)
        assert set(study.results(curves=True)["data_fingerprint"]) == {clouds(seed=9).fingerprint}
        assert study.status().kept == 8
        trained.clear()
        study = Study.create(tmp_path / "s", fields(), data=clouds(), yes=True)
        study.run(1, progress=False)
        assert trained == []
        assert_frame_equal(study.results(curves=True), first, check_exact=True)

    @pytest.mark.slow
    def test_a_specification_without_data_means_its_own(self, tmp_path, trained):
        finished_study(tmp_path / "s")
        trained.clear()
        study = Study.create(tmp_path / "s", fields(grid={"seeds": 3}))
        study.run(1, progress=False)
        assert len(trained) == 4
        assert set(study.results(curves=True)["data_fingerprint"]) == {clouds().fingerprint}

    def test_data_that_changed_on_disk(self, tmp_path):
        clouds().save(tmp_path / "d.npz")
        spec = fields(data={"name": "npz", "path": str(tmp_path / "d.npz")})
        Study.create(tmp_path / "s", spec)
        clouds(seed=4).save(tmp_path / "d.npz")
        with pytest.raises(InputError, match="must be those that the study"):
            Study.open(tmp_path / "s").run(1, progress=False)

    def test_weights_that_are_drawn_otherwise(self, tmp_path, monkeypatch):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        monkeypatch.setattr("widthwise.study.context.ARITHMETIC", 10**6)
        with pytest.raises(InputError, match=r"version 3 of the arithmetic, .* version 1000000"):
            study.run(1, progress=False)


class TestDamage:
    @trained_alone
    @pytest.mark.slow
    @pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
    def test_found_set_aside_and_run_again(self, tmp_path, damage, trained, capsys):
        study = finished_study(tmp_path / "s")
        whole = study.results(curves=True)
        trained.clear()
        victim, *others = landed_files(study.directory)
        untouched = {path.name: path.stat().st_ino for path in others}
        damage(victim)
        Study.open(study.directory).run(1)
        said = capsys.readouterr().err
        assert f"{victim.name}: " in said
        assert "set aside; what it held is repeated" in said
        assert trained == [victim.stem]
        assert (study.directory / "store" / "set-aside" / victim.name).exists()
        now = {path.name: path.stat().st_ino for path in landed_files(study.directory)}
        assert untouched.items() <= now.items()
        assert len(now) == len(untouched) + 1
        assert_frame_equal(
            comparable(study.results(curves=True)), comparable(whole), check_exact=True
        )
        assert study.status().damaged == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
    def test_so_are_the_runs_of_a_shard(self, tmp_path, damage, trained):
        study = finished_study(tmp_path / "s")
        whole = study.results(curves=True)
        assert study.collect_garbage()[1] == 8
        assert landed_files(study.directory) == []
        assert_frame_equal(study.results(curves=True), whole, check_exact=True)
        (victim,) = compacted_files(study.directory)
        damage(victim)
        assert study.results(curves=True).is_empty()
        trained.clear()
        Study.open(study.directory).run(1, progress=False)
        assert len(trained) == 8
        assert_frame_equal(
            comparable(study.results(curves=True)), comparable(whole), check_exact=True
        )

    @pytest.mark.slow
    def test_results_never_show_a_damaged_run(self, tmp_path):
        study = finished_study(tmp_path / "s")
        victim = landed_files(study.directory)[0]
        flip_a_bit(victim)
        assert victim.stem not in set(again(study).results(curves=True)["run_id"])
        assert len(study.results(curves=True)) == study.status().runs_landed == 7
        assert study.status().damaged == 1
        assert victim.exists()  # who asks changes nothing

    @pytest.mark.slow
    def test_sound_runs_stay(self, tmp_path):
        study = finished_study(tmp_path / "s")
        assert study.verify() == []
        assert study.status().damaged == 0

    @pytest.mark.slow
    def test_another_process_was_faster(self, tmp_path, monkeypatch):
        study = finished_study(tmp_path / "s")
        flip_a_bit(landed_files(study.directory)[0])
        monkeypatch.setattr(
            "pathlib.Path.rename", lambda *a: (_ for _ in ()).throw(FileNotFoundError)
        )
        assert study.verify() == []

    @pytest.mark.slow
    def test_leftover_temporary_files_do_no_harm(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        old = time.time() - 10**6
        for folder in ("store/landed", "store/checkpoints", "store/claims", "."):
            (study.directory / folder).mkdir(parents=True, exist_ok=True)
            for name, age in ((".tmp-old", old), (".tmp-young", time.time())):
                path = study.directory / folder / name
                path.write_bytes(b"half a file")
                os.utime(path, (age, age))
        study.run(1, progress=False)
        assert len(study.results(curves=True)) == 8
        left = {path.name for path in study.directory.rglob(".tmp-*")}
        assert left == {".tmp-young"}  # another process may be writing it


class TestWithdrawn:
    @trained_alone
    @pytest.mark.slow
    @pytest.mark.parametrize("compacted", [False, True])
    def test_is_trained_again_and_no_damage(self, tmp_path, trained, compacted):
        study = finished_study(tmp_path / "s")
        whole = study.results(curves=True)
        if compacted:
            study.collect_garbage()
        trained.clear()
        assert study.withdraw("seed=1") == 4
        assert set(study.results(curves=True)["seed"]) == {0}
        assert study.verify() == []
        study.run(1, progress=False)
        assert len(trained) == 4
        assert_frame_equal(
            comparable(study.results(curves=True)), comparable(whole), check_exact=True
        )
        assert study.status().damaged == 0

    @pytest.mark.slow
    def test_beside_a_damaged_shard(self, tmp_path):
        study = finished_study(tmp_path / "s")
        study.collect_garbage()
        flip_a_bit(compacted_files(study.directory)[0])
        assert study.withdraw("seed=1") == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("where", ["seed", "speed=3", "curve_step=1"])
    def test_what_names_no_runs(self, tmp_path, where):
        with pytest.raises(InputError, match="retrain_where must be a column"):
            finished_study(tmp_path / "s").withdraw(where)


class TestExport:
    @pytest.mark.slow
    def test_can_be_given_away(self, tmp_path):
        study = finished_study(tmp_path / "s")
        page = study.export(tmp_path / "away")
        assert page == tmp_path / "away" / "report.html"
        kept = pl.read_parquet(tmp_path / "away" / "results.parquet")
        assert_frame_equal(kept, study.results(curves=True), check_exact=True)
        for path in (tmp_path / "away").rglob("*"):
            if path.is_file():
                assert str(tmp_path).encode() not in path.read_bytes(), path
        with pytest.raises(InputError, match="must have a folder of its own"):
            study.export(study.directory)


class TestFindings:
    GRID = {  # noqa: RUF012 - a table
        "batch_size": [1, 2, 4, 8, 16, 32],
        "learning_rate": 0.3,
        "seeds": 3,
    }

    @pytest.mark.slow
    def test_optima_law_and_report(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(grid=self.GRID, training={"epochs": 10}))
        summary = study.summary()
        assert set(summary.optima) | set(summary.problems) == {1.0, 2.0}
        assert set(study.optima()) == set(summary.optima)
        if summary.law is None:
            with pytest.raises(FitError):
                study.law()
        else:
            assert summary.law.init_variance == 2.0  # a rectifier's gain, at widening factor 1
            assert any("3 seeds only" in text for text in summary.law.doubts)
        page = study.report()
        assert page == study.directory / "report.html"
        text = page.read_text()
        assert study.spec.hash in text
        kept = pl.read_parquet(study.directory / "results.parquet")
        assert_frame_equal(kept, study.results(curves=True), check_exact=True)

    @pytest.mark.slow
    def test_one_width_has_no_law(self, tmp_path):
        study = finished_study(tmp_path / "s", fields(grid={**self.GRID, "widening_factor": 1}))
        with pytest.raises(FitError, match="2 widths"):
            study.law()
        assert study.report().exists()

    @pytest.mark.slow
    def test_everything_diverged_is_still_reported(self, tmp_path):
        grid = {"learning_rate": [1e30, 1e31]}
        study = finished_study(tmp_path / "s", fields(grid=grid))
        assert study.status().runs_diverged == 8
        assert study.optima() == {}
        assert study.report().exists()

    @pytest.mark.slow
    def test_validation_accuracy_selects(self, tmp_path):
        spec = fields(grid=self.GRID, training={"epochs": 10})
        study = finished_study(tmp_path / "s", spec, clouds(num_validation=30))
        means = (
            study.results(curves=True)
            .group_by("widening_factor", "normalized_noise_scale")
            .agg(pl.col("validation_accuracy").mean())
        )
        for width, optimum in study.optima().items():
            # The standard error of a share of 30, not of 40, by Wilson's interval.
            share = means.filter(pl.col("widening_factor") == width)["validation_accuracy"].max()
            assert optimum.sampling_error == pytest.approx(
                (share * (1 - share) / 30 + 1 / 3600) ** 0.5 / (1 + 1 / 30)
            )


@pytest.mark.slow
def test_noise_scale_grids_measure_stability_once(tmp_path, monkeypatch):
    asked = []

    def measured(family, dataset, width, momentum, *, cost, recipe):
        asked.append((width, momentum))
        return 0.8 / width

    monkeypatch.setattr("widthwise.study.scheduling.stable_learning_rate", measured)
    grid = [{"widening_factor": [1, 2], "normalized_noise_scale": [0.01, 0.02], "seeds": 1}]
    study = finished_study(tmp_path / "s", fields(grid=grid))
    assert asked == [(1.0, 0.0), (2.0, 0.0)]
    assert again(study).schedule == study.schedule
    assert len(asked) == 2
    assert set(study.results(curves=True)["normalized_noise_scale"].round(9)) == {0.01, 0.02}


@pytest.mark.slow
def test_the_old_name_of_the_schedule_warns(tmp_path):
    study = finished_study(tmp_path / "s")
    with pytest.warns(DeprecationWarning, match=r"called Study\.schedule"):
        old = study.plan
    assert old == study.schedule


class TestCard:
    def test_packs_fill_it_and_the_question_stays_open(self, tmp_path, monkeypatch):
        # A card is only pretended: the study may go on where there is none.
        study = Study.create(tmp_path / "s", fields(packing={"memory_mb": 7.0}), data=clouds())
        with monkeypatch.context() as patch:
            patch.setattr("widthwise.study.context.card_memory", lambda device: 80 * 10**9)
            packing = on_this_machine(again(study).spec).packing
        assert (packing.max_replicas, packing.memory_mb) == (512, 7.0)
        written = again(study).spec
        assert "max_replicas" not in written.packing.model_fields_set
        assert written.hardware.device == "auto"
        assert on_this_machine(written).packing.max_replicas == PackingSpec().max_replicas

    def test_the_cpu_has_none(self):
        assert PackingSpec().max_replicas < 512
