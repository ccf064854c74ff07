"""Training what a study lacks: executors, checkpoints, packs that others hold."""

import pytest
from polars.testing import assert_frame_equal
from tiny_studies import (
    InlineExecutor,
    clouds,
    comparable,
    empty,
    fields,
    finished_study,
    flip_a_bit,
    in_this_process,
    truncate,
)

from widthwise.errors import InputError, StudyError
from widthwise.execution import EXECUTORS, Progressed
from widthwise.runs.store import Store
from widthwise.study import Study
from widthwise.study.running import PackCall
from widthwise.training import PackTrainer


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Packs that were trained, in this process."""
    return in_this_process(monkeypatch)


class StoppedError(Exception):
    pass


def stop_at(monkeypatch, step):
    """Training is cut off, as by a crash, once it reaches this step."""
    advance = PackTrainer.advance

    def cut_short(self, on_progress=None):
        if self.step >= step:
            raise StoppedError
        advance(self, on_progress)

    monkeypatch.setattr(PackTrainer, "advance", cut_short)
    return lambda: monkeypatch.setattr(PackTrainer, "advance", advance)


class TestCheckpoints:
    def interrupted(self, directory, monkeypatch):
        monkeypatch.setattr("widthwise.study.running._SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        study = Study.create(directory, fields(), data=clouds())
        go_on = stop_at(monkeypatch, 12)
        with pytest.raises(StudyError, match="StoppedError"):
            study.run(1, progress=False)
        go_on()
        (checkpoint,) = (directory / "checkpoints").glob("*.checkpoint")
        return study, checkpoint

    def steps_trained(self, study):
        seen = []
        pack = study.schedule.packs[0]
        PackCall(study.directory, pack)(seen.append)
        return [event.steps for event in seen if isinstance(event, Progressed)]

    @pytest.mark.slow
    def test_goes_on_where_it_was(self, tmp_path, monkeypatch):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        assert min(self.steps_trained(study)) > 12
        assert not checkpoint.exists()
        study.run(1, progress=False)
        straight = finished_study(tmp_path / "straight")
        assert_frame_equal(
            comparable(study.results()), comparable(straight.results()), check_exact=True
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
    def test_a_damaged_one_is_ignored(self, tmp_path, monkeypatch, damage):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        damage(checkpoint)
        assert min(self.steps_trained(study)) == 3  # from the beginning
        study.run(1, progress=False)
        straight = finished_study(tmp_path / "straight")
        assert_frame_equal(
            comparable(study.results()), comparable(straight.results()), check_exact=True
        )


class TestClaims:
    def test_a_pack_is_held_by_one(self, tmp_path):
        store = Store(tmp_path)
        store.prepare()
        with store.claim("pack") as mine, Store(tmp_path).claim("pack") as theirs:
            assert mine
            assert not theirs
        with store.claim("pack") as mine:
            assert mine

    def test_a_busy_pack_is_left_and_a_landed_one_not_repeated(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        call = PackCall(study.directory, study.schedule.packs[0])
        with Store(study.directory).claim(call.pack.key):
            assert call(lambda event: None).outcome == "busy"
        assert call(lambda event: None).outcome == "landed"
        assert call(lambda event: None).outcome == "already landed"

    def test_a_failure_while_holding_is_not_blamed_on_the_lock(self, tmp_path):
        store = Store(tmp_path)
        store.prepare()
        with pytest.raises(PermissionError), store.claim("pack"):
            raise PermissionError(13, "something of the user's")


class TestExecutor:
    @pytest.mark.slow
    def test_ones_own_trains_the_packs(self, tmp_path, monkeypatch):
        monkeypatch.delitem(EXECUTORS, "local")
        study, workers = Study.create(tmp_path / "s", fields(), data=clouds()), []

        def own(number):
            workers.append(number)
            return InlineExecutor(number)

        study.run(2, progress=False, executor=own)
        assert workers == [2]
        assert study.status().runs_landed == 8

    def test_an_unknown_name_is_refused(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        with pytest.raises(InputError, match="executor must be one of local, got 'loacl'"):
            study.run(1, progress=False, executor="loacl")


def test_workers_must_be_one_at_least(tmp_path, monkeypatch):
    monkeypatch.undo()
    study = Study.create(tmp_path / "s", fields(), data=clouds())
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        study.run(0, progress=False)
