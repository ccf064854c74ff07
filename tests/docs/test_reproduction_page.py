"""The page of the repeated reproduction is made from what is committed, and pages quote it."""

import copy
import re
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "validation" / "reproduction.json").exists(), reason="no reproduction is committed"
)


@pytest.fixture(scope="module")
def reproduction():
    sys.path.append(str(ROOT))
    from validation import reproduction

    return reproduction


@pytest.fixture(scope="module")
def repetitions(reproduction):
    return reproduction.read()


def test_the_page_is_what_the_table_says(reproduction, repetitions):
    text = (ROOT / "validation" / "reproduction.md").read_text(encoding="utf-8")
    assert text == reproduction.page(repetitions)


def test_every_run_is_in_the_table(reproduction, repetitions):
    runs = pl.read_csv(ROOT / "validation" / "reproduction.csv", infer_schema_length=None)
    for repetition, until in zip(repetitions, (reproduction.FIRST_SEEDS[1], 2**62), strict=True):
        own = runs.filter(pl.col("seed").is_between(repetition["first_seed"], until - 1))
        counts = dict(own.group_by("study").len().iter_rows())
        for found in repetition["findings"]:
            # Claims that need probes count those, too.
            if found["claim"] in ("law", "collapse", "resistance"):
                assert counts[found["family"]] == found["runs"]


def test_verdicts_are_counted(reproduction, repetitions):
    counts = reproduction.tally(repetitions)
    verdicts = [[found["verdict"] for found in r["findings"]] for r in repetitions]
    assert counts["trials"] == len(verdicts[0]) == 20
    for r, own in zip(repetitions, verdicts, strict=True):
        assert counts[f"seeds {r['first_seed']}"] == 20 - own.count("inconclusive")
    turned = copy.deepcopy(repetitions)
    first = next(f for f in turned[0]["findings"] if f["verdict"] != "inconclusive")
    first["verdict"] = {"confirmed": "contradicted", "contradicted": "confirmed"}[first["verdict"]]
    assert reproduction.tally(turned) != counts


@pytest.mark.parametrize("page", ["docs/reproduce.md", "validation/README.md"])
def test_other_pages_quote_it(reproduction, repetitions, page):
    counts = reproduction.tally(repetitions)
    said = re.search(
        r"(\d+) and (\d+) of the twenty (?:are|were) decided.{0,60}?(\d+) in both and alike",
        (ROOT / page).read_text(encoding="utf-8"),
    )
    decided = [counts[f"seeds {r['first_seed']}"] for r in repetitions]
    assert [int(n) for n in said.groups()] == [*decided, counts["alike"]]
