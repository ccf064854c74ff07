"""Which trackers there are, and what is said where a package is missing."""

import importlib.util

import pytest

from widthwise.errors import InputError
from widthwise.trackers import TRACKERS, require_tracker


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


def test_with_all_packages_there_is_nothing_to_say(without):
    without()
    assert {name: require_tracker(name) for name in TRACKERS} == TRACKERS


def test_a_name_that_is_none(without):
    without()
    with pytest.raises(InputError, match="track must be one of tensorboard, mlflow, wandb, got 'x"):
        require_tracker("xyz")
