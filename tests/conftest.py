"""What every test runs under."""

import signal

import pytest
import torch
from hypothesis import settings

# As workers do; two threads on two busy cores are many times slower than one.
torch.set_num_threads(1)

# A shell starts what is in the background with Ctrl-C ignored, and so are its children: tests that
# press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No time limits: a busy machine is not a wrong answer.
settings.register_profile("widthwise", deadline=None)
settings.load_profile("widthwise")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The study of the tests on clusters, trained on this machine alone."""
    from cluster_place import Place

    place = Place(tmp_path_factory.mktemp("undisturbed"))
    code, _, err = place.call("run", place.spec, "-o", place.study, "--workers", 1, "-q")
    assert code == 0, err
    return place
