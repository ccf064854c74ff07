"""What a study asks is kept with it, whole: nothing of it can be altered unseen."""

import json
import shutil

import pytest
from tiny_studies import clouds, fields, finished_study, in_this_process, landed_files

from widthwise.errors import InputError
from widthwise.runs.sealed import seal
from widthwise.study import Study


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained, in this process."""
    return in_this_process(monkeypatch)


def written(study):
    return json.loads((study.directory / "study.json").read_text())


class TestSpecificationIsKept:
    def test_study_json_holds_it(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(title="Kept"), data=clouds())
        again = Study.open(study.directory)
        assert again.spec.fields() == study.spec.fields()
        assert again.spec.hash == study.spec.hash
        assert written(study)["format"] == "widthwise-study-3"

    def test_paths_are_relative_so_that_the_folder_can_move(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        assert written(study)["store"] == "store"
        assert written(study)["spec"]["data"]["path"] == f"data/{clouds().fingerprint[:16]}.npz"
        assert str(tmp_path) not in (study.directory / "study.json").read_text()

    @pytest.mark.slow
    def test_a_study_that_was_moved_goes_on(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        landed_files(study.directory)[0].unlink()
        study.directory.rename(tmp_path / "elsewhere")
        trained.clear()
        moved = Study.open(tmp_path / "elsewhere")
        assert len(moved.results()) == 7
        moved.run(1, progress=False)
        assert len(trained) == 1
        assert len(moved.results()) == 8

    @pytest.mark.slow
    def test_no_results_without_it(self, tmp_path):
        study = finished_study(tmp_path / "s")
        (study.directory / "study.json").unlink()
        with pytest.raises(InputError, match=r"not a study: it has no study.json"):
            Study.open(study.directory)

    @pytest.mark.slow
    def test_without_it_the_specification_finds_its_runs_again(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        (study.directory / "study.json").unlink()
        trained.clear()
        finished_study(tmp_path / "s")
        assert trained == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d["spec"]["training"].update(steps=25), "does not match its checksum"),
            (lambda d: d["spec"].update(title="Nicer"), "does not match its checksum"),
            (lambda d: d.pop("spec"), "does not match its checksum"),
            (lambda d: d.update(store="/elsewhere"), "does not match its checksum"),
            (lambda d: d.pop("sha256"), "no JSON object with a checksum"),
            (lambda d: d.update(format="widthwise-study-0"), "another version"),
        ],
    )
    def test_no_results_with_another(self, tmp_path, change, message):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        content = written(study)
        change(content)
        (study.directory / "study.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            Study.open(study.directory)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10**5])
    def test_nor_with_a_damaged_one(self, tmp_path, content):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        (study.directory / "study.json").write_bytes(content)
        with pytest.raises(InputError, match=r"study\.json"):
            Study.open(study.directory)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"runs": {}}'])
    def test_nor_without_the_list_of_its_runs(self, tmp_path, content):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        (study.directory / "asked.json").write_bytes(content)
        for question in (study.results, study.status):
            with pytest.raises(InputError, match=r"asked\.json cannot be read.*write it again"):
                question()

    @pytest.mark.slow
    def test_the_list_of_its_runs_is_written_again(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        (study.directory / "asked.json").write_bytes(b"{")
        trained.clear()
        Study.open(study.directory).run(1, progress=False)
        assert trained == []
        assert len(study.results()) == 8

    @pytest.mark.slow
    def test_runs_of_another_study_are_kept_and_not_shown(self, tmp_path):
        study = finished_study(tmp_path / "a")
        other = finished_study(tmp_path / "b", fields(title="Other", training={"steps": 16}))
        stray = landed_files(other.directory)[0]
        shutil.copy(stray, study.directory / "store" / "landed")
        assert stray.stem not in set(study.results()["run_id"])
        assert study.verify() == []
        assert (study.status().runs_landed, study.status().kept) == (8, 1)

    @pytest.mark.slow
    def test_a_run_under_the_key_of_another_is_damage(self, tmp_path):
        study = finished_study(tmp_path / "a")
        first, second, *_ = landed_files(study.directory)
        first.write_bytes(second.read_bytes())
        (damage,) = study.verify()
        assert str(damage).startswith(f"{first.name}: it holds the run {second.stem}")

    @pytest.mark.slow
    def test_the_same_specification_goes_on(self, tmp_path, trained):
        study = finished_study(tmp_path / "s")
        trained.clear()
        Study.create(study.directory, fields()).run(1, progress=False)
        assert trained == []

    @pytest.mark.slow
    def test_another_study_in_the_place_of_a_removed_one(self, tmp_path):
        finished_study(tmp_path / "s")
        shutil.rmtree(tmp_path / "s")
        wider = finished_study(tmp_path / "s", fields(family={"base_width": 6}), clouds(seed=3))
        assert set(wider.results()["num_parameters"]) == {6 * 7 + 3 * 7, 12 * 7 + 3 * 13}
        assert set(wider.results()["data_fingerprint"]) == {clouds(seed=3).fingerprint}


class TestSealedAndWrong:
    """What another hand wrote, checksum and all."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d["spec"].update(nonsense=1), "unknown key 'nonsense'"),
            (lambda d: d.pop("spec"), "must hold 'spec'"),
            (lambda d: d.pop("data"), "must hold 'data'"),
            (lambda d: d.update(spec=3), "spec must be a table"),
            (lambda d: d.update(store=3), "must name its store, got 3"),
            (lambda d: d.update(store=""), "must name its store, got ''"),
            (lambda d: d.update(data=3), "damaged: data: .*got 3; restore the file"),
            (lambda d: d["data"].pop("num_test"), "damaged: data.num_test: .*got nothing"),
            (lambda d: d["data"].update(input_shape="2 by 3"), "damaged: data.input_shape: "),
            (lambda d: d.update(family=[1]), "damaged: family: "),
        ],
    )
    def test_is_named(self, tmp_path, change, message):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        content = written(study)
        del content["sha256"]
        change(content)
        (study.directory / "study.json").write_bytes(seal(content))
        with pytest.raises(InputError, match=message):
            Study.open(study.directory)
