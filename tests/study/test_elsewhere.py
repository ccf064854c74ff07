"""A study that workers elsewhere train: started, watched, done when the store says so."""

import crew_here
import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable, fields, finished_study, in_this_process

from widthwise.errors import InputError, StudyError
from widthwise.execution.crew import STARTERS, Starter
from widthwise.study import Study, elsewhere, scheduling
from widthwise.study.elsewhere import ClusterSpec
from widthwise.study.study import Pull


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained; workers on "ray" are here."""
    monkeypatch.setattr(elsewhere, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(elsewhere, "_SECONDS_OF_PATIENCE", 0.0)
    monkeypatch.setitem(STARTERS, "ray", Starter("crew_here", "polars", outlives=False))
    monkeypatch.setitem(STARTERS, "slurm", Starter("crew_here", "polars", outlives=True))
    monkeypatch.setattr(crew_here, "started", [])
    return in_this_process(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path / "s", fields(), data=clouds())


@pytest.mark.slow
class TestDone:
    def test_the_same_runs(self, study, tmp_path, trained, capsys):
        assert study.run_on("ray", 3, cluster={"ray": {"cores": 2}})
        (crew,) = crew_here.started
        assert (crew.size, crew.options.cores, crew.work.processes) == (3, 2, 2)
        assert crew.folder == study.directory / "ray"
        assert crew.stopped
        assert len(trained) == 8
        said = capsys.readouterr().err
        assert "Here: 3 workers are started\n" in said
        assert said.endswith("8/8 runs have landed, 0 in flight, 0 waiting\n")
        alone = finished_study(tmp_path / "alone")
        assert_frame_equal(comparable(study.results()), comparable(alone.results()))

    def test_nobody_is_started_for_nothing(self, study, trained, capsys):
        study.run(1, progress=False)
        assert study.run_on("ray", 3)
        assert crew_here.started == []
        assert capsys.readouterr().err == "all 8 runs are there\n"

    def test_a_search_goes_on_round_after_round(self, tmp_path):
        grid = {
            "widening_factor": [1, 2],
            "normalized_noise_scale": {"from": 0.001, "to": 0.1, "num": 7},
            "max_stable_learning_rate": 1.0,
        }
        search = {"precision": 1.0, "max_runs": 40, "max_seeds": 4, "runs_at_once": 8}
        training = {"physical_time": 2.0, "evaluations": 8}
        spec = {**fields(training=training), "grid": grid, "search": search}
        study = Study.create(tmp_path / "s", spec, data=clouds())
        study.run_on("ray", 1, progress=False)
        assert study.search_end() is not None
        now = study.status()
        assert now.runs_landed == now.runs_planned > 0

    def test_rates_are_measured_by_the_workers(self, tmp_path, monkeypatch):
        grid = {"widening_factor": [1, 2], "normalized_noise_scale": [0.1, 0.2], "seeds": 2}
        study = Study.create(tmp_path / "s", {**fields(), "grid": grid}, data=clouds())
        by = []
        measure = scheduling.stable_learning_rate

        def measured(*arguments, **options):
            by.append(bool(crew_here.started))
            return measure(*arguments, **options)

        monkeypatch.setattr(scheduling, "stable_learning_rate", measured)
        study.run_on("ray", 1, progress=False)
        assert by == [True, True]
        assert study.status().runs_landed == len(study.results()) > 0

    def test_what_a_slow_worker_wrote_last_does_not_stay(self, study):
        """The list of runs, which queries read, is that of the end."""
        study.run(1, progress=False)
        (study.directory / "asked.json").unlink()
        study.run_on("ray", 1, progress=False)
        assert len(study.results()) == 8


class TestNotDone:
    def test_all_workers_ended(self, study, monkeypatch, capsys):
        monkeypatch.setattr(Pull, "__call__", lambda self: "its disk is full")
        with pytest.raises(StudyError, match=r"2 workers ended and runs are missing \(its disk"):
            study.run_on("slurm", 2)
        assert capsys.readouterr().err.count("a worker has ended: its disk is full\n") == 2
        assert crew_here.started[0].stopped

    def test_what_is_wrong_there_is_an_answer(self, study):
        record = study.directory / "study.json"
        record.write_text(record.read_text().replace("Width study", "Altered"))
        assert "study.json" in Pull(study.directory, 1)()

    def test_interrupted(self, study, monkeypatch):
        def interrupt(self):
            raise KeyboardInterrupt

        monkeypatch.setattr(crew_here.CrewHere, "answers", interrupt)
        with pytest.raises(KeyboardInterrupt):
            study.run_on("slurm", 2, progress=False)
        assert crew_here.started[0].stopped

    def test_detached(self, study, trained):
        assert not study.run_on("slurm", 2, detach=True, progress=False)
        assert not crew_here.started[0].stopped
        assert trained == []
        with pytest.raises(InputError, match="workers on ray end with whoever started them"):
            study.run_on("ray", 2, detach=True)

    def test_no_workers(self, study):
        with pytest.raises(InputError, match="workers must be at least 1, got 0"):
            study.run_on("ray", 0)

    def test_a_package_is_missing(self, study, monkeypatch):
        monkeypatch.setitem(STARTERS, "ray", Starter("crew_here", "absent_package", outlives=False))
        with pytest.raises(InputError, match=r"absent_package, .* pip install 'widthwise\[ray\]'"):
            study.run_on("ray", 2)
        with pytest.raises(InputError, match="on must be one of 'slurm', 'ray', got 'pbs'"):
            study.run_on("pbs", 2)


class TestClusterFile:
    def test_defaults_and_an_address(self):
        assert ClusterSpec.parse(None) == ClusterSpec()
        found = ClusterSpec.parse({"ray": {"cores": 4}}, address="a:1")
        assert (found.ray.cores, found.ray.address) == (4, "a:1")
        assert found.slurm == ClusterSpec().slurm

    def test_from_a_file(self, tmp_path):
        path = tmp_path / "cluster.toml"
        path.write_text('[slurm]\ntime = "90m"\n[slurm.extra]\nqos = "low"\n')
        found = ClusterSpec.parse(path).slurm
        assert (found.time, found.extra) == ("90m", {"qos": "low"})

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"slurm": {"core": 4}}, "unknown key 'slurm.core' in the cluster file; .*'cores'"),
            ({"slurm": {"time": "4"}}, "slurm.time: time must be a number of seconds"),
            ({"slurm": {"gpus": 2}}, "slurm.gpus: input should be less than or equal to 1"),
            ({"ray": {"cores": 0}}, "ray.cores: input should be greater than or equal to 1"),
            ({"pbs": {}}, "unknown key 'pbs' in the cluster file; known keys: slurm, ray"),
        ],
    )
    def test_what_is_wrong(self, table, message):
        with pytest.raises(InputError, match=message):
            ClusterSpec.parse(table)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(InputError, match=r"the cluster file .* cannot be read: No such file"):
            ClusterSpec.parse(tmp_path / "absent.toml")
