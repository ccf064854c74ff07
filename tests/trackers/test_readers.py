"""A study that was logged to each tracker is what the tracker's own reader finds there."""

import json
import math
import os
import shutil
import subprocess
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from tiny_studies import clouds, fields, in_this_process

from widthwise.errors import InputError, StudyError
from widthwise.study import Study
from widthwise.study.tracking import tracked_run
from widthwise.trackers import TrackedStudy

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # of packages that are others'
]

CURVES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@pytest.fixture(autouse=True)
def nothing_leaves(monkeypatch, tmp_path):
    """No tracker knows a server, and none would reach it."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


class TensorBoardHere:
    """Read by TensorBoard's accumulator of events."""

    name = "tensorboard"

    def __init__(self, place):
        self.place = place

    def runs(self):
        found = []
        for path in sorted(self.place.glob("*/w=*/*")):
            events = self.events(path)
            data = self.hparams(events, "session_start_info").session_start_info
            kinds = [(name, value.WhichOneof("kind")) for name, value in data.hparams.items()]
            curves = {
                tag: [(event.step, event.value) for event in events.Scalars(tag)]
                for tag in events.Tags()["scalars"]
            }
            found.append(
                SimpleNamespace(
                    key=data.group_name,
                    settings={name: getattr(data.hparams[name], kind) for name, kind in kinds},
                    curves={name: points for name, points in curves.items() if name in CURVES},
                    scores={n: points[-1][1] for n, points in curves.items() if n not in CURVES},
                )
            )
        return found

    def findings(self):
        (folder,) = self.place.glob("*")
        events = self.events(folder)
        if "findings" not in events.Tags()["tensors"]:
            return []
        values = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
        said = events.Tensors("findings")
        return [(event.tensor_proto.string_val[0].decode(), values) for event in said]

    def events(self, path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
        return accumulator.Reload()

    def hparams(self, events, tag):
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        content = events.summary_metadata[f"_hparams_/{tag}"].plugin_data.content
        return HParamsPluginData.FromString(content)


class MLflowHere:
    """Read by MLflow's client."""

    name = "mlflow"

    def __init__(self, place):
        self.place = place

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.place / 'mlflow.db'}")

    def all(self):
        client = self.client()
        (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
        return client, client.search_runs([experiment.experiment_id], max_results=1000)

    def runs(self):
        client, runs = self.all()
        found = []
        for run in (run for run in runs if "widthwise.key" in run.data.tags):
            assert run.info.status == "FINISHED"
            curves = {
                name: [
                    (metric.step, metric.value)
                    for metric in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
                if name in CURVES
            }
            scores = {n: value for n, value in run.data.metrics.items() if n not in CURVES}
            found.append(
                SimpleNamespace(
                    key=run.data.tags["widthwise.key"],
                    settings={name: number(text) for name, text in run.data.params.items()},
                    curves=curves,
                    scores=scores,
                )
            )
        return found

    def findings(self):
        _, runs = self.all()
        return [
            (run.data.tags["mlflow.note.content"], run.data.metrics)
            for run in runs
            if "widthwise.findings" in run.data.tags
        ]


class WandbHere:
    """Read by `wandb leet inspect`."""

    name = "wandb"

    def __init__(self, place):
        self.place = place

    def all(self):
        files = sorted((self.place / "wandb").glob("offline-run-*/*.wandb"))
        return [(self.inspect(file, "--summary"), file) for file in files]

    def inspect(self, file, *options):
        from wandb.util import get_core_path

        # What `wandb leet inspect` runs; its own start takes seconds.
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
        command += ["--run-file", str(file), str(file.parent.parent)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return json.loads(said) if options else [json.loads(line) for line in said.splitlines()]

    def runs(self):
        found = []
        for summary, file in self.all():
            if summary["name"] == "findings":
                continue
            assert summary["state"] == "finished"
            curves = {}
            for record in self.inspect(file):
                if record["type"] == "history":
                    item = record["history"]["item"]
                    for name in CURVES:
                        if name in item:
                            points = curves.setdefault(name, [])
                            points.append((record["history"]["step"]["num"], item[name]))
            found.append(
                SimpleNamespace(
                    key=summary["config"]["key"],
                    settings=summary["config"],
                    curves=curves,
                    scores={n: v for n, v in summary["summary"].items() if n not in CURVES},
                )
            )
        return found

    def findings(self):
        said = [summary["summary"] for summary, _ in self.all() if summary["name"] == "findings"]
        return [(summary["findings"], summary) for summary in said]


def number(text):
    with suppress(ValueError):
        return float(text)
    return text


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """What MLflow takes ten seconds to make."""
    place = tmp_path_factory.mktemp("mlflow")
    MLflowHere(place).client().search_experiments()
    return place / "mlflow.db"


@pytest.fixture(params=[TensorBoardHere, MLflowHere, WandbHere], ids=lambda kind: kind.name)
def reader(request, tmp_path):
    here = request.param(tmp_path / "place")
    if here.name == "mlflow":
        here.place.mkdir()
        shutil.copy(request.getfixturevalue("empty_database"), here.place)
    return here


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def blocked(request, tmp_path):
    """The name of a tracker, and a place that is none."""
    (tmp_path / "place").write_text("a file")
    return request.param, tmp_path / "place"


def test_what_is_read_back_is_what_the_study_found(study, reader):
    assert study.track(reader.name, at=reader.place) == 12
    rows = {row["run_id"]: row for row in study.results(curves=True).iter_rows(named=True)}
    runs = reader.runs()
    assert sorted(run.key for run in runs) == sorted(rows)
    for run in runs:
        row = rows[run.key]
        for name in ("learning_rate", "batch_size", "momentum", "widening_factor", "seed"):
            assert run.settings[name] == pytest.approx(row[name])
        for name in ("noise_scale", "normalized_noise_scale"):
            assert run.settings[name] == pytest.approx(row[name])
        assert run.settings["family"] == row["family"]
        if row["status"] == "ok":
            assert run.scores["late_test_accuracy"] == pytest.approx(row["test_accuracy"])
        else:
            assert "late_test_accuracy" not in run.scores
        for name in CURVES:
            steps, values = row["curve_step"], row[f"curve_{name}"]
            told = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
            read = run.curves.get(name, [])
            assert [step for step, _ in read] == [step for step, _ in told]
            assert [v for _, v in read] == pytest.approx([v for _, v in told], rel=1e-6)
    summary = study.summary()
    ((said, values),) = reader.findings()
    assert said == (summary.law_problem or summary.law.sentence())
    for width, optimum in summary.optima.items():
        assert values[f"optimum_w{width:g}"] == pytest.approx(optimum.noise_scale)


def test_again_changes_nothing_and_more_runs_are_added(study, reader, monkeypatch):
    in_this_process(monkeypatch)
    study.withdraw("widening_factor=2.0")
    assert study.track(reader.name, at=reader.place) == 6
    assert (len(reader.runs()), reader.findings()) == (6, [])
    assert study.run(1, progress=False, track=[f"{reader.name}={reader.place}"])
    assert study.track(reader.name, at=reader.place) == 0
    keys = [run.key for run in reader.runs()]
    assert len(keys) == len(set(keys)) == 12
    spec = fields(title="Clouds'", grid={"learning_rate": [0.05, 0.1, 0.2, 1e9]})
    larger = Study.create(study.directory, spec, data=clouds())
    larger.run(1, progress=False, track=[f"{reader.name}={reader.place}"])
    keys = [run.key for run in reader.runs()]
    assert len(keys) == len(set(keys)) == 16
    assert len(reader.findings()) == 1


def test_a_run_that_was_stopped_in_the_middle_is_logged_anew(study, reader, monkeypatch):
    from widthwise.study import tracking

    told = tracking.tracked_run

    def spoiled(row):
        """Cannot be written, after curves and settings were."""
        run = told(row)
        if row["seed"] == 1:
            object.__setattr__(run, "scores", {"late_test_accuracy": object()})
        return run

    with monkeypatch.context() as broken:
        broken.setattr(tracking, "tracked_run", spoiled)
        with pytest.raises(StudyError, match="1 run logged before"):
            study.track(reader.name, at=reader.place)
    assert study.track(reader.name, at=reader.place) == 11
    keys = [run.key for run in reader.runs()]
    assert len(keys) == len(set(keys)) == 12


def test_a_place_that_cannot_be_written(study, blocked):
    name, place = blocked
    with pytest.raises(InputError, match=r"place.* cannot be written: a file stands where"):
        study.track(name, at=place)


def test_a_place_that_cannot_be_written_does_not_stop_a_study(study, blocked, monkeypatch, capsys):
    in_this_process(monkeypatch)
    study.withdraw("widening_factor=2.0")
    assert study.run(1, progress=False, track=["=".join(map(str, blocked))])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(blocked[0])
    assert "the study goes on" in line
    assert len(study.results()) == 12


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_by_default_all_is_in_the_studys_folder(study, name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = set(study.directory.iterdir())
    assert study.track(name) == 12
    assert len(set(study.directory.iterdir()) - before) == 1
    assert list((tmp_path / "here").iterdir()) == []


class TestTensorBoard:
    def test_the_hparams_tab_has_a_row_a_run(self, study, tmp_path):
        from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
        from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
        from tensorboard.context import RequestContext
        from tensorboard.plugins.base_plugin import TBContext
        from tensorboard.plugins.hparams import api_pb2
        from tensorboard.plugins.hparams.backend_context import Context
        from tensorboard.plugins.hparams.list_session_groups import Handler

        study.track("tensorboard", at=tmp_path / "runs")
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "runs"))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(tmp_path / "runs"))
        context = Context(TBContext(data_provider=provider, logdir=str(tmp_path / "runs")))
        statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN]
        request = api_pb2.ListSessionGroupsRequest(
            start_index=0, slice_size=100, allowed_statuses=statuses, include_metrics=True
        )
        groups = Handler(RequestContext(), context, "", request).run().session_groups
        rates = sorted(group.hparams["learning_rate"].number_value for group in groups)
        assert rates == sorted(study.results()["learning_rate"].to_list())
        metrics = {value.name.tag for value in groups[0].metric_values}
        assert {"test_accuracy", "test_loss"} <= metrics

    def test_two_at_a_time_make_nothing_twice(self, study, tmp_path, monkeypatch):
        from widthwise.trackers import tensorboard

        trackers = [tensorboard.TensorBoard(tmp_path / "runs") for _ in range(2)]
        monkeypatch.setattr(time, "time", iter(range(10**9, 2 * 10**9)).__next__)
        for tracker in trackers:
            assert not tracker.start(TrackedStudy(id="s", title="s"))
        rows = study.results(curves=True).head(3).iter_rows(named=True)
        for run in map(tracked_run, rows):
            for tracker in trackers:
                tracker.run(run)
        assert len(list((tmp_path / "runs").glob("*/*/*/events*"))) == 3

    def test_what_is_said_anew_replaces_what_was_said(self, study, tmp_path):
        here = TensorBoardHere(tmp_path / "runs")
        study.track("tensorboard", at=here.place)
        (folder,) = here.place.glob("*")
        (before,) = folder.glob("events*")
        study.track("tensorboard", at=here.place)
        assert list(folder.glob("events*")) == [before]


class TestMLflow:
    def test_a_database_that_was_not_made_to_its_end_is_not_there(
        self, study, tmp_path, monkeypatch
    ):
        def stopped(client):
            raise KeyboardInterrupt

        with monkeypatch.context() as broken:
            broken.setattr("mlflow.MlflowClient.search_experiments", stopped)
            with pytest.raises(KeyboardInterrupt):
                study.track("mlflow", at=tmp_path / "place")
        assert list((tmp_path / "place").iterdir()) == []

    def test_what_the_environment_says_is_taken(self, study, tmp_path, monkeypatch, empty_database):
        here = MLflowHere(tmp_path)
        shutil.copy(empty_database, tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        assert study.track("mlflow") == 12
        assert len(here.runs()) == 12
        assert not (study.directory / "mlflow.db").exists()

    def test_a_curve_of_more_points_than_a_request_holds(self, tmp_path, empty_database):
        from widthwise.trackers import TrackedRun, TrackedStudy, open_tracker

        shutil.copy(empty_database, tmp_path)
        here, points = MLflowHere(tmp_path), [(step, step / 7) for step in range(2300)]
        tracker = open_tracker("mlflow", str(tmp_path), tmp_path)
        tracker.start(TrackedStudy(id="s", title="t"))
        settings = {"steps": 2300} | {f"setting_{i}": i for i in range(150)}
        curves = {"test_loss": points}
        run = TrackedRun(key="k", name="n", settings=settings, scores={}, curves=curves)
        tracker.run(run)
        (read,) = here.runs()
        assert read.curves["test_loss"] == points
        assert len(read.settings) == 151


class TestWandb:
    def test_what_was_sent_and_cleared_away_is_not_logged_again(self, study, tmp_path):
        study.track("wandb", at=tmp_path)
        for folder in (tmp_path / "wandb").glob("offline-run-*"):
            shutil.rmtree(folder)
        assert study.track("wandb", at=tmp_path) == 0

    def test_nothing_of_this_machine_is_logged(self, study, tmp_path):
        here = WandbHere(tmp_path)
        study.track("wandb", at=tmp_path)
        summary, file = here.all()[0]
        files = [path.name for path in (file.parent / "files").rglob("*") if path.is_file()]
        assert files == []
        assert summary["console"] == []

    def test_disabled_it_logs_nothing_and_says_so_to_nobody(self, study, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        study.track("wandb", at=tmp_path)
        monkeypatch.delenv("WANDB_MODE")
        assert study.track("wandb", at=tmp_path) == 12


@pytest.fixture
def small_disk(tmp_path):
    """Makes a folder a file system of its own with these options; again with others."""
    mounted = []

    def mount(place, options):
        place.mkdir(exist_ok=True)
        again = "remount," if place in mounted else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(place)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("file systems may not be mounted here")
        mounted.append(place)

    yield mount
    for place in set(mounted):
        subprocess.run(["umount", "-l", str(place)], check=False)


SMALL = {"tensorboard": 32_768, "mlflow": 49_152, "wandb": 163_840}


def test_a_full_disk_costs_nothing_but_time(study, reader, small_disk, request):
    room = 0
    if reader.name == "mlflow":
        database = request.getfixturevalue("empty_database")
        room = database.stat().st_size
    small_disk(reader.place, f"size={room + SMALL[reader.name]}")
    if reader.name == "mlflow":
        shutil.copy(database, reader.place)
    with pytest.raises((InputError, StudyError), match=r"full|No space"):
        study.track(reader.name, at=reader.place)
    small_disk(reader.place, "size=50m")
    logged = study.track(reader.name, at=reader.place)
    assert 0 < logged <= 12
    runs = reader.runs()
    assert len(runs) == len({run.key for run in runs}) == 12
    sound = set(study.results().filter(status="ok")["run_id"])
    assert {run.key for run in runs if "late_test_accuracy" in run.scores} == sound


def test_a_disk_that_is_read_only(study, reader, small_disk, monkeypatch, capsys):
    small_disk(reader.place, "size=1m,ro")
    with pytest.raises((InputError, StudyError), match=str(reader.place)):
        study.track(reader.name, at=reader.place)
    in_this_process(monkeypatch)
    study.withdraw("widening_factor=2.0")
    assert study.run(1, progress=False, track=[f"{reader.name}={reader.place}"])
    assert capsys.readouterr().err.count("the study goes on") == 1
