"""``ww.compare`` compares two studies, as ``widthwise compare`` does."""

import shutil

import pytest
from tiny_studies import finished_study, in_this_process
from torch import nn

import widthwise as ww
from widthwise.study.comparing import compare_studies

GRID = {
    "widening_factor": [1, 2],
    "learning_rate": 0.1,
    "batch_size": [1, 2, 4, 8, 16, 32],
    "seeds": 4,
}


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """A study and its copy."""
    in_this_process(monkeypatch)
    fields = {"family": {"base_width": 4}, "grid": GRID}
    fields |= {"training": {"steps": 60, "evaluations": 8}, "packing": {"size": 16}}
    study = finished_study(tmp_path / "first", fields)
    shutil.copytree(study.directory, tmp_path / "second")
    return study, ww.Study.open(tmp_path / "second")


@pytest.mark.slow
def test_studies_or_their_directories(studies):
    first, second = studies
    expected = compare_studies(first, second)
    assert [shift.widening_factor for shift in expected] == [1.0, 2.0]
    for given in (studies, (first.directory, second), (str(first.directory), second.directory)):
        assert ww.compare(*given) == expected


def test_what_is_no_study(tmp_path):
    with pytest.raises(ww.InputError, match="is not a study"):
        ww.compare(tmp_path, tmp_path)
    with pytest.raises(ww.InputError, match=r"got int; two networks are compared by inspect"):
        ww.compare(1, 2)


def test_options_are_those_of_networks(tmp_path):
    with pytest.raises(TypeError, match="takes no learning_rate"):
        ww.compare(tmp_path, tmp_path, learning_rate=0.1)


def test_networks_work_for_a_release():
    networks = [nn.Sequential(nn.Linear(20, 64 * w), nn.Linear(64 * w, 10)) for w in (1, 4)]
    with pytest.warns(DeprecationWarning, match=r"inspect\(base, target\)") as caught:
        found = ww.compare(*networks, learning_rate=0.1, batch_size=8)
    assert caught[0].filename == __file__
    expected = ww.inspect(*networks, learning_rate=0.1, batch_size=8)
    assert found.to_dict() == expected.to_dict()
    assert found.base.batch_size == 8


def test_networks_may_be_named_as_they_were():
    base, target = (nn.Sequential(nn.Linear(20, 64 * w), nn.Linear(64 * w, 10)) for w in (1, 4))
    expected = ww.inspect(base, target, confidence=0.99).to_dict()
    with pytest.warns(DeprecationWarning, match=r"inspect\(base, target\)"):
        assert ww.compare(base=base, target=target, confidence=0.99).to_dict() == expected
    with pytest.raises(TypeError, match="takes no base, target"):
        ww.compare(base="first", target="second")


def test_inspect_of_one_network_and_of_two():
    base, target = nn.Linear(64, 10), nn.Linear(256, 10)
    assert isinstance(ww.inspect(base), ww.Inspection)
    assert ww.inspect(base, target).widening_factor == 4.0
