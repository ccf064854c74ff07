"""What a study is stays what it was when it began."""

import json

import polars as pl
import pytest
from tiny_studies import clouds, fields, finished_study, in_this_process, shard_files

from widthwise.errors import InputError
from widthwise.study import Study


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Packs that were trained, in this process."""
    return in_this_process(monkeypatch)


class TestSpecificationIsKept:
    @pytest.mark.slow
    def test_shards_hold_it(self, tmp_path):
        study = finished_study(tmp_path / "s")
        for path in shard_files(study.directory):
            held = json.loads(pl.read_parquet_metadata(path)["widthwise_spec"])
            assert held == study.spec.fields()

    @pytest.mark.slow
    def test_no_results_without_it(self, tmp_path):
        study = finished_study(tmp_path / "s")
        (study.directory / "study.json").unlink()
        with pytest.raises(InputError, match=r"not a study: it has no study.json"):
            Study.open(study.directory)

    def alter(self, study, change):
        path = study.directory / "study.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d["spec"]["training"].update(steps=25), "was altered"),
            (lambda d: d["spec"].update(title="Nicer"), "was altered"),
            (lambda d: d["spec"].update(nonsense=1), "unknown key 'nonsense'"),
            (lambda d: d.pop("spec"), "must hold 'spec'"),
            (lambda d: d.pop("data"), "must hold 'data'"),
            (lambda d: d.update(format="widthwise-study-0"), "another version"),
            (lambda d: d.update(data=3), "damaged: data: .*got 3; restore the file"),
            (lambda d: d["data"].pop("num_test"), "damaged: data.num_test: .*got nothing"),
            (lambda d: d["data"].update(input_shape="2 by 3"), "damaged: data.input_shape: "),
            (lambda d: d.update(versions=["1.0"]), "damaged: versions: "),
        ],
    )
    def test_no_results_with_another(self, tmp_path, change, message):
        study = finished_study(tmp_path / "s")
        self.alter(study, change)
        with pytest.raises(InputError, match=message):
            Study.open(study.directory)

    @pytest.mark.slow
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
    def test_nor_with_a_damaged_one(self, tmp_path, content):
        study = finished_study(tmp_path / "s")
        (study.directory / "study.json").write_bytes(content)
        with pytest.raises(InputError, match=r"study\.json"):
            Study.open(study.directory)

    @pytest.mark.slow
    def test_shards_of_another_study_are_refused(self, tmp_path):
        study = finished_study(tmp_path / "a")
        other = finished_study(tmp_path / "b", fields(title="Other", training={"steps": 16}))
        stray = shard_files(other.directory)[0]
        (study.directory / "shards" / stray.name).write_bytes(stray.read_bytes())
        with pytest.raises(InputError, match="belongs to another"):
            study.results()

    @pytest.mark.slow
    def test_another_specification_in_the_same_directory(self, tmp_path):
        study = finished_study(tmp_path / "s")
        with pytest.raises(InputError, match=r"training.steps: 24 against 30"):
            Study.create(study.directory, fields(training={"steps": 30, "evaluations": 8}))

    @pytest.mark.slow
    def test_the_same_specification_goes_on(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        trained.clear()
        Study.create(study.directory, fields()).run(1, progress=False)
        assert trained == []

    @pytest.mark.slow
    def test_another_study_in_the_place_of_a_removed_one(self, tmp_path):
        import shutil

        finished_study(tmp_path / "s")
        shutil.rmtree(tmp_path / "s")
        wider = finished_study(tmp_path / "s", fields(family={"base_width": 6}), clouds(seed=3))
        assert set(wider.results()["num_parameters"]) == {6 * 7 + 3 * 7, 12 * 7 + 3 * 13}
        assert set(wider.results()["data_fingerprint"]) == {clouds(seed=3).fingerprint}
