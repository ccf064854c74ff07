"""MLflow: an experiment a study, with a run of MLflow for each run, and one for what they say.

A run that was stopped in the middle is not finished: it is removed, and logged anew.
"""

import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from widthwise.errors import InputError
from widthwise.files import create_atomically, explained, whole_path
from widthwise.trackers.base import Findings, TrackedRun, TrackedStudy

_FILE, _SQLITE = "mlflow.db", "sqlite:///"
_KEY, _STUDY, _SAID = "widthwise.key", "widthwise.study", "widthwise.findings"
# Tells a tracking URI from a path, which may hold a colon.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|databricks(:|$)|(file|uc):")
# What one request may hold.
_MOST_METRICS, _MOST_PARAMS, _PAGE = 1000, 100, 1000
_FINISHED = "FINISHED"
# Name, value and step.
_Measured = tuple[str, float, int]
_Item = TypeVar("_Item")


def open_tracker(place: str | None, folder: Path) -> "MLflow":
    """
    Args:
        place: a tracking URI, or the path of a file of SQLite or of a folder for one; None is what
            ``MLFLOW_TRACKING_URI`` says, or else ``mlflow.db`` in the study's folder.
        folder: of the study.
    """
    said = place or os.environ.get("MLFLOW_TRACKING_URI")
    if said is not None and _ADDRESS.match(said):
        return MLflow(said)
    path = folder if said is None else whole_path(said)
    path = path if path.suffix == ".db" else path / _FILE
    if "?" in str(path):
        raise InputError(
            "MLflow takes what follows a question mark in the path of a database for options, got "
            f"{path}; choose another place for it"
        )
    return MLflow(f"{_SQLITE}{path}")


class MLflow:
    """See :class:`widthwise.trackers.base.Tracker`.

    Args:
        uri: of the tracking store.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._unfinished: dict[str, list[str]] = {}
        self._findings: list[Any] = []

    @property
    def name(self) -> str:
        return f"mlflow at {self._uri}"

    def start(self, study: TrackedStudy) -> Collection[str]:
        from mlflow import MlflowClient

        if self._uri.startswith(_SQLITE):
            _make_database(Path(self._uri.removeprefix(_SQLITE)))
        self._study, self._client = study, MlflowClient(tracking_uri=self._uri)
        self._experiment = self._experiment_of(study)
        whole: set[str] = set()
        for run in self._runs():
            key = run.data.tags.get(_KEY)
            if key is None:
                self._findings.append(run)
            elif run.info.status == _FINISHED:
                whole.add(key)
            else:
                self._unfinished.setdefault(key, []).append(run.info.run_id)
        return whole

    def run(self, run: TrackedRun) -> None:
        for run_id in self._unfinished.pop(run.key, ()):
            self._client.delete_run(run_id)
        last = int(run.settings["steps"])
        measured = [
            (name, value, step) for name, points in run.curves.items() for step, value in points
        ]
        measured += [(name, value, last) for name, value in run.scores.items()]
        self._log(run.name, {_KEY: run.key, **run.tags}, run.settings, measured)

    def end(self, findings: Findings) -> None:
        said = f"{findings.sentence} ({findings.num_runs})"
        if any(
            run.data.tags.get(_SAID) == said and run.info.status == _FINISHED
            for run in self._findings
        ):
            return
        measured = [(name, value, findings.num_runs) for name, value in findings.values.items()]
        tags = {_SAID: said, "mlflow.note.content": findings.sentence}
        run_id = self._log("findings", tags, {}, measured)
        for run in self._findings:
            self._client.delete_run(run.info.run_id)
        self._findings = [self._client.get_run(run_id)]

    def close(self) -> None:
        pass

    def _experiment_of(self, study: TrackedStudy) -> str:
        """The id of the study's experiment, made if it is not there."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(study.id)
        if found is None:
            with suppress(MlflowException):  # another has just made it
                tags = {_STUDY: study.id, "mlflow.note.content": study.title}
                return str(self._client.create_experiment(study.id, tags=tags))
            found = self._client.get_experiment_by_name(study.id)
        return str(found.experiment_id)

    def _runs(self) -> Iterator[Any]:
        """Those of the study that are not deleted."""
        token = None
        while True:
            found = self._client.search_runs(
                [self._experiment],
                f"tags.`{_STUDY}` = '{self._study.id}'",
                max_results=_PAGE,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def _log(
        self,
        name: str,
        tags: Mapping[str, str],
        settings: Mapping[str, Any],
        measured: Sequence[_Measured],
    ) -> str:
        """Log one run of MLflow; its id. It is finished last."""
        from mlflow.entities import Metric, Param

        tags = {_STUDY: self._study.id, **tags}
        run = self._client.create_run(self._experiment, tags=tags, run_name=name)
        run_id = str(run.info.run_id)
        params = [Param(key, str(value)) for key, value in settings.items()]
        now = time.time_ns() // 1_000_000  # MLflow counts milliseconds
        metrics = [Metric(key, value, now, step) for key, value, step in measured]
        for params_part in _in_parts(params, _MOST_PARAMS):
            self._client.log_batch(run_id, params=params_part)
        for part in _in_parts(metrics, _MOST_METRICS):
            self._client.log_batch(run_id, metrics=part)
        self._client.set_terminated(run_id)
        return run_id


def _make_database(path: Path) -> None:
    """Make a database unless it is there, whole or not at all: MLflow takes seconds for it, and
    one that is half made serves nobody."""
    from mlflow import MlflowClient

    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.db"
        MlflowClient(tracking_uri=f"{_SQLITE}{made}").search_experiments()
        copy = Path(folder) / "whole.db"
        with closing(sqlite3.connect(made)) as database:
            database.execute("VACUUM INTO ?", (str(copy),))  # also what lies in a log beside it
        create_atomically(path, copy.read_bytes())


def _in_parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """In their order, at most so many at a time.

    >>> list(_in_parts([1, 2, 3], 2))
    [[1, 2], [3]]
    """
    return (items[first : first + size] for first in range(0, len(items), size))
