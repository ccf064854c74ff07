"""Training what a study lacks: executors, checkpoints, runs that others hold, packs that fail."""

import random
from dataclasses import dataclass

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
    landed_files,
    truncate,
)

from widthwise.errors import InputError, StudyError
from widthwise.execution import EXECUTORS, Noted, Progressed
from widthwise.runs.leases import Leases
from widthwise.runs.store import Store
from widthwise.study import Study, pack_call
from widthwise.study.pack_call import PackCall
from widthwise.study.turns import in_own_order, next_pause
from widthwise.training import PackTrainer


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained, in this process."""
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


def call_of(study, pack=None):
    return PackCall(study.directory, study.directory / "store", pack or study.schedule.packs[0])


def quiet(event):
    pass


class TestCheckpoints:
    def interrupted(self, directory, monkeypatch):
        monkeypatch.setattr("widthwise.study.pack_call._SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        study = Study.create(directory, fields(), data=clouds())
        Store(directory / "store").prepare()
        go_on = stop_at(monkeypatch, 12)
        call = call_of(study)
        with pytest.raises(StoppedError):
            call(quiet)
        go_on()
        (checkpoint,) = (directory / "store" / "checkpoints").glob("*.checkpoint")
        assert checkpoint.stem == call.pack.name
        return study, checkpoint

    def steps_trained(self, study, said=None):
        seen = []
        call_of(study)(seen.append)
        if said is not None:
            said += [event.message for event in seen if isinstance(event, Noted)]
        return [event.steps for event in seen if isinstance(event, Progressed)]

    def ends_like_a_straight_one(self, study, directory):
        study.run(1, progress=False)
        assert_frame_equal(
            comparable(study.results()),
            comparable(finished_study(directory).results()),
            check_exact=True,
        )

    @pytest.mark.slow
    def test_goes_on_where_it_was(self, tmp_path, monkeypatch):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        assert min(self.steps_trained(study)) > 12
        assert not checkpoint.exists()
        self.ends_like_a_straight_one(study, tmp_path / "straight")

    @pytest.mark.slow
    @pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
    def test_a_damaged_one_is_not_used_and_said(self, tmp_path, monkeypatch, damage):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        damage(checkpoint)
        said = []
        assert min(self.steps_trained(study, said)) == 3  # from the beginning
        (line,) = said
        assert line.startswith(f"checkpoint {checkpoint.stem} is not used: ")
        self.ends_like_a_straight_one(study, tmp_path / "straight")

    @pytest.mark.slow
    def test_that_of_other_runs_is_not_used(self, tmp_path, monkeypatch):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        _, other = study.schedule.packs
        checkpoint.rename(checkpoint.with_stem(other.name))
        said = []
        call_of(study, other)(said.append)
        assert "it holds other runs" in said[0].message
        self.ends_like_a_straight_one(study, tmp_path / "straight")

    @pytest.mark.slow
    def test_one_whose_runs_have_landed_is_swept(self, tmp_path, monkeypatch):
        study, checkpoint = self.interrupted(tmp_path / "s", monkeypatch)
        kept = checkpoint.read_bytes()
        study.run(1, progress=False)
        checkpoint.write_bytes(kept)
        study.run(1, progress=False)
        assert not checkpoint.exists()


class TestClaims:
    def test_runs_are_held_by_one(self, tmp_path, monkeypatch):
        ours, theirs = Store(tmp_path), Store(tmp_path)
        ours.prepare()
        with ours.leases.hold(["a", "b"]) as mine:
            assert mine
            monkeypatch.setattr("widthwise.runs.leases._beating", {})  # as another process
            with theirs.leases.hold(["b", "c"]) as got:
                assert not got
            assert set(theirs.leases.held()) == {"a", "b"}  # "c" was given back
        with theirs.leases.hold(["b"]) as got:
            assert got

    @pytest.mark.slow
    def test_a_busy_pack_is_left_and_a_landed_one_not_repeated(self, tmp_path, monkeypatch):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        store, call = Store(tmp_path / "s" / "store"), call_of(study)
        store.prepare()
        with store.leases.hold(call.pack.keys[:1]):
            monkeypatch.setattr("widthwise.runs.leases._beating", {})  # as another process
            assert call(quiet).outcome == "busy"
            assert study.status().runs_in_flight == 1
        assert call(quiet).outcome == "landed"
        assert call(quiet).outcome == "already landed"
        assert study.status().runs_in_flight == 0

    def test_a_failure_while_holding_gives_them_back(self, tmp_path):
        store = Store(tmp_path)
        store.prepare()
        with pytest.raises(PermissionError), store.leases.hold(["a"]):
            raise PermissionError(13, "something of the user's")
        assert store.leases.held() == {}


class TestOrder:
    @dataclass(frozen=True)
    class Work:
        flops: float
        keys: tuple[str, ...]

    def test_unclaimed_first_then_long_ones_and_a_like_size_in_an_order_of_its_own(self):
        packs = [self.Work(flops, (f"{flops}a", f"{flops}b")) for flops in range(1, 33)]
        orders = [in_own_order(packs, {"32b", "9a"}, random.Random(seed)) for seed in range(20)]
        for order in orders:
            assert {pack.flops for pack in order[-2:]} == {32, 9}
            assert [pack.flops.bit_length() for pack in order[:-2]] == sorted(
                (pack.flops.bit_length() for pack in packs if pack.flops not in (32, 9)),
                reverse=True,
            )
        assert len({order[0].flops for order in orders}) > 5
        assert in_own_order(packs, set(), random.Random(3)) == in_own_order(
            packs, set(), random.Random(3)
        )

    @pytest.mark.slow
    def test_what_is_known_to_have_landed_or_to_be_crowded_is_not_asked_for(
        self, tmp_path, monkeypatch
    ):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        Store(study.directory / "store").prepare()
        call = call_of(study)
        monkeypatch.setattr(Leases, "is_crowded", lambda leases: True)
        assert call(quiet).outcome == "busy"
        monkeypatch.undo()
        assert call(quiet).outcome == "landed"
        Store(study.directory / "store").keys()
        monkeypatch.setattr(Leases, "hold", None)
        assert call(quiet).outcome == "already landed"


def pauses(num_claimed, number):
    found = [next_pause(0.0, num_claimed)]
    while len(found) < number:
        found.append(next_pause(found[-1], num_claimed))
    return found


@pytest.mark.parametrize(
    ("num_claimed", "expected"),
    [
        (0, [1, 2, 4, 8, 8, 8]),
        (8000, [1, 2, 4, 8, 8, 8]),
        (20_000, [1, 2, 4, 8, 16, 20, 20]),  # a look at 20 000 claims is 20 requests
        (10**6, [1, 2, 4, 8, 16, 30, 30]),  # a silent holder is seen twice within its minute
    ],
)
def test_who_has_nothing_to_do_looks_less_often_where_a_look_costs_more(num_claimed, expected):
    assert pauses(num_claimed, len(expected)) == expected


class TestAnotherQuestionMeanwhile:
    @pytest.mark.slow
    def test_runs_never_land_under_it(self, tmp_path):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        call = call_of(study)
        Store(study.directory / "store").prepare()
        Study.create(study.directory, fields(training={"steps": 30, "evaluations": 9}))
        with pytest.raises(InputError, match="was given another specification while it ran"):
            call(quiet)
        assert landed_files(study.directory) == []


class TestFailures:
    """What cannot be trained is tried again, then run by run; all others land."""

    def failing(self, monkeypatch, fails):
        tried = []

        def train(store, context, pack, *others):
            tried.append(pack.keys)
            if fails(pack, len(tried)):
                raise ZeroDivisionError("oops")
            return real(store, context, pack, *others)

        real = pack_call._train
        monkeypatch.setattr(pack_call, "_train", train)
        return tried

    @pytest.mark.slow
    def test_one_that_fails_now_and_then(self, tmp_path, monkeypatch):
        tried = self.failing(monkeypatch, lambda pack, count: count <= 2)
        study = finished_study(tmp_path / "s")
        assert len(study.results()) == 8
        assert len(tried) == 4

    @pytest.mark.slow
    def test_one_run_that_always_fails_is_named_and_left_out(self, tmp_path, monkeypatch):
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        bad = study.schedule.packs[0].keys[1]
        tried = self.failing(monkeypatch, lambda pack, count: bad in pack.keys)
        with pytest.raises(
            StudyError, match=r"1 run failed 3 times .*w = .*seed.*ZeroDivisionError: oops"
        ):
            study.run(1, progress=False)
        assert len(study.results()) == 7
        assert bad not in set(study.results()["run_id"])
        # Twice in the pack again, then alone; the other pack, and its three companions, once each.
        assert len(tried) == 3 + 4 + 1
        monkeypatch.undo()
        in_this_process(monkeypatch)
        study.run(1, progress=False)
        assert len(study.results()) == 8

    def test_where_nothing_works_it_ends_soon(self, tmp_path, monkeypatch):
        tried = self.failing(monkeypatch, lambda pack, count: True)
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        with pytest.raises(StudyError, match="3 runs failed"):
            study.run(1, progress=False)
        assert len(tried) <= 2 * 3 + 8

    def test_bad_input_is_not_tried_again(self, tmp_path, monkeypatch):
        def refuse(*arguments):
            raise InputError("wrong family")

        monkeypatch.setattr(pack_call, "_train", refuse)
        study = Study.create(tmp_path / "s", fields(), data=clouds())
        with pytest.raises(InputError, match="wrong family"):
            study.run(1, progress=False)


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
