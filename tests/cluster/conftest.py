"""What the tests on clusters share."""

import pytest
from cluster_place import Place


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The results of the study, trained undisturbed on this machine."""
    place = Place(tmp_path_factory.mktemp("reference"))
    code, _, err = place.call("run", place.spec, "-o", place.study, "--workers", 1, "-q")
    assert code == 0, err
    return place.results()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)
