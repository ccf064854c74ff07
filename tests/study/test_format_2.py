"""A study of Widthwise 0.1, as that version wrote it: it is read, and never gone on with."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from tiny_studies import clouds, fields, flip_a_bit

from widthwise import cli
from widthwise.errors import InputError
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.study import Study

WRITTEN = Path(__file__).parent / "format_2"


@pytest.fixture
def place(tmp_path):
    """Neither its data nor the file of its networks is here."""
    return Path(shutil.copytree(WRITTEN, tmp_path / "old"))


@pytest.fixture
def study(place):
    return Study.open(place)


def contents(place):
    return {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_its_results_are_read(study):
    table = study.results(curves=True)
    assert dict(table.schema) == RESULTS_SCHEMA
    assert len(table) == 24
    assert table["widening_factor"].is_sorted()
    assert set(table["spec_hash"]) == {
        json.loads((WRITTEN / "study.json").read_text())["spec_hash"]
    }
    assert table["versions"].null_count() == len(table)


def test_its_status_is_told(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["widthwise", "status", str(place)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == (
        f"{place}: A study of Widthwise 0.1\n"
        "runs   24 (12 diverged)\n"
        "format 2, of Widthwise 0.1: it can be read and not gone on with\n"
    )


def test_asking_changes_nothing(place, study):
    before = contents(place)
    study.status()
    study.results(curves=True)
    study.summary()
    study.verify()
    assert study.search_end() is None
    assert contents(place) == before


@pytest.mark.slow
def test_the_report_says_what_it_is(study):
    assert "2, of Widthwise 0.1" in study.report().read_text()


def test_a_damaged_shard_is_not_counted(place):
    flip_a_bit(sorted((place / "shards").iterdir())[0])
    study = Study.open(place)
    assert len(study.results(curves=True)) == 21
    assert study.status().damaged == len(study.verify()) == 1


def test_nothing_of_it_is_promised_to_be_repeated(place, monkeypatch, capsys):
    flip_a_bit(sorted((place / "shards").iterdir())[0])
    for command, code in (("status", 0), ("verify", 1)):
        monkeypatch.setattr(sys, "argv", ["widthwise", command, str(place)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
        said = capsys.readouterr().out
        assert "damaged" in said
        assert "repeated" not in said


@pytest.mark.parametrize(
    "go_on",
    [
        lambda study: study.run(1, progress=False),
        lambda study: study.schedule,
        lambda study: study.probe(progress=False),
        lambda study: study.withdraw("seed=1"),
        lambda study: study.collect_garbage(),
        lambda study: Study.create(study.directory, fields(), data=clouds(), yes=True),
    ],
    ids=["run", "schedule", "probe", "withdraw", "gc", "create"],
)
def test_it_is_not_gone_on_with(place, study, go_on):
    before = contents(place)
    with pytest.raises(InputError, match=r"of Widthwise 0\.1, which can be read and not gone on"):
        go_on(study)
    assert contents(place) == before
