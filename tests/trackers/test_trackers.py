"""Which trackers there are, and what is said where a package is missing."""

import importlib.util
from pathlib import Path

import pytest

from widthwise.errors import InputError
from widthwise.trackers import TRACKERS, mlflow, require_tracker


@pytest.fixture
def without(monkeypatch):
    """Makes packages missing, and all others there."""

    def leave_out(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in names else object()
        )

    return leave_out


@pytest.mark.parametrize(
    ("name", "package"), [(n, package) for n, kind in TRACKERS.items() for package in kind.packages]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(without, name, package):
    without(package)
    with pytest.raises(InputError, match=rf"to={name} needs the package {package}.*pip") as said:
        require_tracker(name, "to")
    assert str(said.value).endswith("pip install 'widthwise[trackers]'")
    assert said.value.fields == ("to",)


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("databricks", "databricks"),
        ("file:///data", "file:///data"),
        ("/data/at:1", "sqlite:////data/at:1/mlflow.db"),
        ("/data/runs.db", "sqlite:////data/runs.db"),
        (None, "sqlite:////study/mlflow.db"),
    ],
)
def test_a_path_for_mlflow_is_told_from_an_address(place, uri, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow.open_tracker(place, Path("/study")).name == f"mlflow at {uri}"


@pytest.mark.parametrize(("place", "folder"), [("/data?/x", "/study"), (None, "/what?")])
def test_mlflow_would_take_a_question_mark_for_the_end_of_a_path(place, folder, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match=r"question mark in the path.*mlflow\.db; choose another"):
        mlflow.open_tracker(place, Path(folder))


def test_with_all_packages_there_is_nothing_to_say(without):
    without()
    assert {name: require_tracker(name) for name in TRACKERS} == TRACKERS


def test_a_name_that_is_none(without):
    without()
    with pytest.raises(InputError, match="track must be one of tensorboard, mlflow, wandb, got 'x"):
        require_tracker("xyz")
