"""The simulation of many workers, with few; validation/many_workers.md has a thousand."""

import sys
from pathlib import Path

import pytest

from widthwise.runs.memory import MemoryBlobs

pytestmark = pytest.mark.cluster
SMALL = {"workers": 20, "runs": 300, "runs_in_pack": 5, "run": 20.0}


@pytest.fixture(scope="module")
def many_workers():
    pytest.importorskip("greenlet", reason="greenlet is not installed")
    sys.path.append(str(Path(__file__).parents[2]))
    from validation import many_workers

    return many_workers


def test_all_runs_land_once_though_workers_are_lost(many_workers):
    outcome = many_workers.simulate(many_workers.Setting(**SMALL, between_losses=30.0), seed=2)
    assert (outcome.lost, outcome.twice, outcome.wrong) == (0, 0, 0)
    assert outcome.workers_lost >= 3
    assert len(outcome.landed_at) == SMALL["runs"]
    assert outcome.trained >= outcome.needed


def test_a_store_that_replaces_is_found_out(many_workers, monkeypatch):
    def create(blobs, name, content, *, durable=True):
        blobs.replace(name, content)
        return True

    monkeypatch.setattr(MemoryBlobs, "create", create)
    outcome = many_workers.simulate(many_workers.Setting(**SMALL), seed=2)
    assert outcome.twice > 0
    assert not outcome.is_sound
