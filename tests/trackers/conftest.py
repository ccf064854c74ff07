"""A study to log, and what these tests leave out."""

import shutil

import pytest
from quick_studies import proved_once, undrawn, untimed  # noqa: F401 - fixtures
from tiny_studies import clouds, fields, finished_study, in_this_process

from widthwise.study import Study


@pytest.fixture(scope="session")
def logged_study(tmp_path_factory):
    """Trained once, and only read; the largest rate diverges."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        in_this_process(monkeypatch)
        spec = fields(title="Clouds'", grid={"learning_rate": [0.05, 0.1, 1e9]})
        return finished_study(tmp_path_factory.mktemp("logged") / "clouds", spec, clouds())


@pytest.fixture
def study(logged_study, tmp_path):
    """A copy, to write to."""
    shutil.copytree(logged_study.directory, tmp_path / "clouds")
    return Study.open(tmp_path / "clouds")
