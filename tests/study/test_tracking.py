"""What trackers are told of a study: each run once, whatever the tracker does."""

import math
import shutil
import threading
import time

import pytest
from tiny_studies import clouds, copied_study, fields, in_this_process

from widthwise.errors import InputError, StudyError
from widthwise.study import Study
from widthwise.study.record import read_record
from widthwise.study.tracking import Tracking, tracked, tracked_run, tracked_study
from widthwise.trackers import Findings, TrackedStudy

STUDY = TrackedStudy(id="s-00000000", title="Clouds")


class Place:
    """What a tracker keeps, however often it is opened; a run that is told twice is there twice."""

    def __init__(self):
        self.studies, self.runs, self.ends, self.opened, self.closed = [], [], [], 0, 0

    def keys(self):
        return [run.key for run in self.runs]

    def tracker(self, **changes):
        return Recorder(self, **changes)


class Recorder:
    """A tracker that keeps what it is told.

    Args:
        before_run: called with each run before it is kept.
    """

    name = "recorder"

    def __init__(self, place, before_run=lambda run: None):
        self._place, self._before_run = place, before_run

    def start(self, study):
        self._place.opened += 1
        self._place.studies.append(study)
        return self._place.keys()

    def run(self, run):
        self._before_run(run)
        self._place.runs.append(run)

    def end(self, findings):
        self._place.ends.append(findings)

    def close(self):
        self._place.closed += 1


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def study(kept, tmp_path, monkeypatch):
    """A copy of one that was trained once; the largest rate diverges."""
    in_this_process(monkeypatch)
    spec = fields(title="Clouds", grid={"learning_rate": [0.05, 0.1, 1e9]})
    return copied_study(kept, tmp_path, spec, clouds(num_validation=8))


@pytest.fixture
def place():
    return Place()


class TestWhatIsTold:
    def test_settings_scores_and_curves_are_those_of_the_results(self, study, place):
        assert study.track(place.tracker()) == 12
        rows = {row["run_id"]: row for row in study.results(curves=True).iter_rows(named=True)}
        assert sorted(place.keys()) == sorted(rows)
        for run in place.runs:
            row = rows[run.key]
            for name in ("widening_factor", "learning_rate", "batch_size", "momentum", "seed"):
                assert run.settings[name] == row[name]
            assert run.settings["normalized_noise_scale"] == row["normalized_noise_scale"]
            assert None not in run.settings.values()
            assert run.tags["status"] == row["status"]
            assert f"seed {row['seed']}" in run.name
            if row["status"] == "ok":
                assert run.scores["late_test_accuracy"] == row["test_accuracy"]
                told = list(zip(row["curve_step"], row["curve_test_accuracy"], strict=True))
                assert run.curves["test_accuracy"] == told
                assert len(run.curves["validation_loss"]) == len(told)

    def test_what_diverged_has_no_infinite_numbers(self, study, place):
        study.track(place.tracker())
        diverged = [run for run in place.runs if run.tags["status"] == "diverged"]
        assert len(diverged) == 4
        for run in diverged:
            assert "late_test_accuracy" not in run.scores
            assert run.scores["diverged_at_step"] >= 0
            values = [value for points in run.curves.values() for _, value in points]
            assert all(map(math.isfinite, [*values, *run.scores.values()]))

    def test_what_a_study_says(self, study, place):
        study.track(place.tracker())
        (said,) = place.ends
        summary = study.summary()
        assert said.sentence == (summary.law_problem or summary.law.sentence())
        assert said.num_runs == 12
        for width, optimum in summary.optima.items():
            assert said.values[f"optimum_w{width:g}"] == optimum.noise_scale
        assert all(map(math.isfinite, said.values.values()))

    def test_nothing_is_said_of_half_a_study(self, study, place):
        study.withdraw("widening_factor=2.0")
        assert study.track(place.tracker()) == 6
        assert place.ends == []

    def test_without_a_run(self, tmp_path, place):
        assert Study.create(tmp_path / "s", fields(), data=clouds()).track(place.tracker()) == 0
        assert (place.opened, place.closed, place.ends) == (1, 1, [])


class TestTheStudysName:
    def test_stays_when_it_is_extended_or_moved(self, study, tmp_path):
        before = tracked_study(study.directory, read_record(study.directory))
        assert before.title == "Clouds"
        extended = fields(title="More clouds", grid={"learning_rate": [0.05, 0.1, 1e9, 0.2]})
        Study.create(study.directory, extended, data=clouds(num_validation=8))
        (tmp_path / "elsewhere").mkdir()
        shutil.move(study.directory, tmp_path / "elsewhere")
        moved = tmp_path / "elsewhere" / "study"
        assert tracked_study(moved, read_record(moved)).id == before.id

    def test_is_anothers_if_its_networks_or_its_folder_are(self, tmp_path):
        def name(folder, **others):
            Study.create(tmp_path / folder, fields(**others), data=clouds())
            return tracked_study(tmp_path / folder, read_record(tmp_path / folder)).id

        assert len({name("a"), name("b"), name("c/a", family={"base_width": 8})}) == 3


class TestOnce:
    def test_again_logs_nothing(self, study, place):
        assert study.track(place.tracker()) == 12
        assert study.track(place.tracker()) == 0
        assert len(place.runs) == 12

    @pytest.mark.slow
    def test_an_extended_study_logs_what_is_new(self, study, place):
        study.track(place.tracker())
        spec = fields(title="Clouds", grid={"learning_rate": [0.05, 0.1, 0.2, 1e9]})
        larger = Study.create(study.directory, spec, data=clouds(num_validation=8))
        assert larger.run(1, progress=False, track=[place.tracker()])
        assert len(place.runs) == len(set(place.keys())) == 16
        assert [said.num_runs for said in place.ends] == [12, 16]

    def test_what_others_trained_is_logged_too(self, study, place):
        study.withdraw("widening_factor=2.0")
        study.run(1, progress=False, track=[place.tracker()])
        assert len(place.runs) == len(set(place.keys())) == 12

    def test_a_tracker_that_counts_its_runs_wrongly_would_be_noticed(self, study, place):
        forgetful = place.tracker()
        forgetful.start = lambda asked: ()
        study.track(place.tracker())
        assert study.track(forgetful) == 12
        assert len(place.runs) == 24


def rows_of(study):
    return study.results(curves=True)


def tracking_of(study, tracker):
    def unseen(known):
        table = rows_of(study)
        return table.filter(~table["run_id"].is_in(list(known)))

    return Tracking(STUDY, unseen, tracker)


class TestLive:
    def test_runs_are_logged_before_the_study_ends(self, study, place):
        seen = threading.Event()
        tracking = tracking_of(study, place.tracker(before_run=lambda run: seen.set()))
        with tracked([tracking], pytest.fail, seconds_between_looks=0.01) as said:
            assert seen.wait(30.0)
            said.append(Findings(sentence="It grows.", num_runs=12))
        assert len(place.runs) == 12
        assert [end.sentence for end in place.ends] == ["It grows."]
        assert place.closed == 1

    def test_a_study_that_fails_logs_what_has_landed(self, study, place):
        with (
            pytest.raises(StudyError, match="2 runs failed"),
            tracked([tracking_of(study, place.tracker())], pytest.fail),
        ):
            raise StudyError("2 runs failed")
        assert (len(place.runs), place.ends, place.closed) == (12, [], 1)

    def test_ctrl_c_ends_with_the_run_in_hand_and_nothing_is_there_twice(self, study, place):
        third, go_on = threading.Event(), threading.Event()

        def before_run(run):
            if len(place.runs) == 2:
                third.set()
                assert go_on.wait(30.0)

        tracking = tracking_of(study, place.tracker(before_run=before_run))

        def train_and_interrupt():
            with tracked([tracking], pytest.fail, seconds_between_looks=0.01):
                assert third.wait(30.0)
                threading.Timer(0.05, go_on.set).start()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_and_interrupt()
        assert (len(place.runs), place.ends, place.closed) == (3, [], 1)
        assert study.track(place.tracker()) == 9
        assert len(set(place.keys())) == 12


class TestTrackersThatFail:
    def failing(self, place, after):
        def before_run(run):
            if len(place.runs) == after:
                raise OSError(28, "No space left on device")

        return place.tracker(before_run=before_run)

    @pytest.mark.slow
    def test_cost_a_running_study_one_warning(self, study, place, capsys):
        study.withdraw("widening_factor=2.0")
        other = Place()
        trackers = [self.failing(place, after=3), other.tracker()]
        assert study.run(1, progress=False, track=trackers)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("recorder: OSError: [Errno 28] No space left on device; the study")
        assert "`widthwise track`" in line
        assert len(study.results()) == 12
        assert (len(place.runs), place.ends, place.closed) == (3, [], 1)
        assert (len(other.runs), len(other.ends)) == (12, 1)
        assert study.track(place.tracker()) == 9

    def test_do_so_whatever_they_raise_and_wherever(self, study, place):
        warnings = []

        class Broken(Recorder):
            def start(self, asked):
                raise ZeroDivisionError("three\nlines\nof it")

            def close(self):
                raise ValueError

        with tracked([tracking_of(study, Broken(place))], warnings.append):
            pass
        (line,) = warnings
        assert line.startswith("recorder: ZeroDivisionError: three lines of it;")

    def test_are_not_waited_for_if_they_hang(self, study, place):
        warnings, let_go = [], threading.Event()
        tracking = tracking_of(study, place.tracker(before_run=lambda run: let_go.wait(30.0)))
        with tracked([tracking], warnings.append, patience=0.05):
            pass
        assert warnings[0].startswith("recorder: has not answered for 0.05 s; the study goes on")
        let_go.set()

    def test_are_told_no_end_once_they_were_given_up(self, study):
        warnings, let_go, closed = [], threading.Event(), threading.Event()

        class Closing(Recorder):
            def close(self):
                closed.set()

        place = Place()
        hanging = Closing(place, before_run=lambda run: let_go.wait(30.0))
        with tracked([tracking_of(study, hanging)], warnings.append, patience=0.05) as said:
            said.append(Findings(sentence="It grows.", num_runs=12))
        assert len(warnings) == 1
        let_go.set()
        assert closed.wait(30.0)
        assert (len(place.runs), place.ends) == (1, [])

    @pytest.mark.slow
    def test_may_take_their_time_as_long_as_they_go_on(self, study, place):
        """All runs together take longer than patience lasts for one."""
        slow = place.tracker(before_run=lambda run: time.sleep(0.15))
        with tracked([tracking_of(study, slow)], pytest.fail, patience=1.0):
            pass
        assert len(place.runs) == 12

    def test_are_an_error_after_the_fact(self, study, place):
        with pytest.raises(StudyError, match=r"recorder: OSError.*; 3 runs logged before"):
            study.track(self.failing(place, after=3))
        assert place.closed == 1
        assert study.track(place.tracker()) == 9


class TestWhatIsAskedFor:
    def test_a_tracker_that_is_none(self, study):
        with pytest.raises(InputError, match=r"to must be the name of a tracker.*got int"):
            study.track(3)

    def test_a_name_that_is_none(self, study):
        with pytest.raises(InputError, match="track must be one of tensorboard, mlflow, wandb"):
            study.run(1, progress=False, track=["tensorbord"])

    @pytest.mark.parametrize("names", [["tensorboard=a"] * 2, ["mlflow=a", "mlflow=a/mlflow.db"]])
    def test_one_twice(self, study, names, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
        with pytest.raises(InputError, match=r"track must name each place once, got .* twice"):
            study.run(1, progress=False, track=names)

    @pytest.mark.parametrize(("to", "at"), [("tensorboard=a", "b"), ("tensorboard=", None)])
    def test_one_place(self, study, to, at):
        with pytest.raises(InputError, match="to must name a tracker and one place"):
            study.track(to, at=at)

    def test_nobody_logs_after_detach(self, study, place):
        with pytest.raises(InputError, match="nobody would log what lands after detach"):
            study.run_on("slurm", 2, detach=True, track=[place.tracker()])


def test_the_rows_of_a_run_are_enough(study):
    """Whatever a run of another version lacks is left out."""
    row = rows_of(study).row(0, named=True) | {"engine": None, "noise_scale": None}
    run = tracked_run(row)
    assert "engine" not in run.tags
    assert "noise_scale" not in run.settings
