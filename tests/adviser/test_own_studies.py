"""What advice says of Widthwise's own studies is what the evidence page says."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from adviser_samples import law

from widthwise import widen
from widthwise.adviser.own_studies import (
    FILE,
    TRIALS,
    costly_trial_sentence,
    own_studies,
    own_studies_sentence,
    own_trials,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "validation" / "law_evidence.md").read_text(encoding="utf-8")


def rows_of_the_page():
    """study → (exponent, low, high), where the page states an interval."""
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip().replace("−", "-") for cell in line.strip("|").split("|")]
        numbers = len(cells) == 11 and re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cells[2])
        if numbers:
            found[cells[0]] = tuple(map(float, numbers.groups()))
    return found


def test_the_file_holds_the_studies_of_the_page_that_decide_something():
    page = rows_of_the_page()
    assert len(page) == 10
    file = {
        row["study"]: (row["exponent"], *row["interval"])
        for row in json.loads(FILE.read_text(encoding="utf-8"))["studies"]
    }
    assert file == {study: row for study, row in page.items() if row[2] - row[1] < 1.0}


@pytest.fixture
def evidence(monkeypatch):
    """The module that writes the file."""
    monkeypatch.syspath_prepend(str(ROOT / "validation"))
    import evidence

    yield evidence
    del sys.modules["evidence"]


def found(name, parameterization, exponent, interval):
    family = SimpleNamespace(parameterization=parameterization, kind="mlp")
    return SimpleNamespace(
        variant=SimpleNamespace(name=name),
        study=SimpleNamespace(spec=SimpleNamespace(family=family)),
        law=None if exponent is None else law(exponent, interval),
    )


def test_what_the_page_writes_is_what_advice_reads(evidence, monkeypatch, tmp_path):
    studies = [
        found("wide", "ntk", 0.3333, (0.2222, 0.4444)),
        found("vague", "ntk", 0.5, (0.0, 1.5)),
        found("none", "ntk", None, None),
        found("narrow", "ntk", 1.0, (0.75, 1.25)),
    ]
    path = tmp_path / "own_studies.json"
    path.write_text(evidence.own_studies(studies, "validation/law_evidence.md"))
    monkeypatch.setattr("widthwise.adviser.own_studies.FILE", path)
    own_studies.cache_clear()
    try:
        assert [study.study for study in own_studies("ntk")] == ["wide", "narrow"]
        assert own_studies("ntk")[0].interval == (0.22, 0.44)
        said = own_studies_sentence("ntk", 1.0)
        assert "(2, MLPs) found w^0.33 to w^1.00: 1 of 2 agree with w^1." in said
    finally:
        own_studies.cache_clear()


REGRET = (ROOT / "validation" / "regret_signals.md").read_text(encoding="utf-8")


def rules_of_the_page():
    """(parameterization, w) → (regret, low, high) of the paper's rule."""
    found, parameterization = {}, ""
    for line in REGRET.splitlines():
        if line.startswith("## "):
            parameterization = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[1] == "plan by the paper's rule, keep batch size":
            numbers = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", cells[6])
            found[parameterization, float(cells[0])] = tuple(map(float, numbers.groups()))
    return found


def losses_of_the_page():
    """Who → points lost, in the order of the page."""
    found = {}
    for line in REGRET.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and " (" in cells[6]:
            found.setdefault(cells[1], []).append(float(cells[6].partition(" ")[0]))
    return found


def test_the_trials_are_those_of_the_page():
    assert len(rules_of_the_page()) >= 2
    file = {
        (row["parameterization"], row["widening_factor"]): (row["regret"], *row["interval"])
        for row in json.loads(TRIALS.read_text(encoding="utf-8"))
    }
    assert file == rules_of_the_page()


def test_the_page_of_advice_has_what_the_trials_found():
    page = (ROOT / "docs" / "advice.md").read_text(encoding="utf-8")
    for trial in (*own_trials("standard"), *own_trials("ntk")):
        low, high = trial.interval
        assert f"| {trial.regret:.1f} ({low:.1f} to {high:.1f}) |" in page
    (first, *_) = own_trials("standard")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"lost {first.regret:.1f} points at w = {first.widening_factor:g} |" in readme
    lost = losses_of_the_page()
    for name, text in {
        "µP": "µP lost {:.1f} points at 4 and {:.1f} at 16 times the width",
        "linear batch scaling": "linear batch scaling {:.1f} and {:.1f}.",
        "plan by your own law, keep batch size": "lost {:.1f} and {:.1f}: its optimum",
    }.items():
        assert text.format(*lost[name][:2]) in page
    everything = lost["keep everything"][2:]
    assert "less than keeping everything ({:.1f} and {:.1f})".format(*everything) in page
    loss, gain = lost["plan by your own law, keep batch size"][2:]
    assert f"a law measured so lost {loss:.1f} and gained {-gain:.1f}." in page


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """A trial at 4 times the width that cost something, one at 16 times that cost nothing."""
    row = {"networks": "nets", "parameterization": "standard", "rival": "µP", "rival_regret": 0.25}
    rows = [
        {**row, "widening_factor": 4, "regret": 2.0, "interval": [0.6, 3.4]},
        {**row, "widening_factor": 16, "regret": 2.0, "interval": [0.4, 3.6]},
    ]
    (tmp_path / "trials.json").write_text(json.dumps(rows))
    monkeypatch.setattr("widthwise.adviser.own_studies.TRIALS", tmp_path / "trials.json")
    own_trials.cache_clear()
    yield
    own_trials.cache_clear()


def test_a_trial_that_cost_something_is_said(planted):
    said = costly_trial_sentence("standard", 16.0)
    assert "(nets) this rule lost 2.0 points (0.6 to 3.4)" in said
    assert said.endswith("at 4 times the width; µP lost 0.2.")
    assert costly_trial_sentence("default", 2.0) == said
    assert costly_trial_sentence("ntk", 16.0) is None
    assert costly_trial_sentence("standard", 0.5) is None


def test_a_plan_warns_of_it_and_says_what_settles_it(planted):
    asked = {"learning_rate": 0.1, "batch_size": 32, "parameterization": "standard"}
    plan = widen(**asked, widening_factor=4)
    assert any(text.startswith("In a trial of ours") for text in plan.doubts)
    assert "calibrate" in plan.settle
    measured = widen(**asked, widening_factor=4, law=law(1.0, (0.9, 1.1)))
    assert not any(text.startswith("In a trial of ours") for text in measured.doubts)
