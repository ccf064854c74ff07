"""docs/law.md says what the committed tables of its studies hold."""

import re

import polars as pl
import pytest
from pages import ROOT, prose

VALIDATION = ROOT / "validation"
PAGE = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")
SOURCES = ("far_widths", "full_size", "law_evidence", "convolutional_evidence")
_ESTIMATE = r"−?\d+\.\d+ \(−?\d+\.\d+ to −?\d+\.\d+\)"
_RANGE = r"\d[\d.]* \(\d[\d.]*–\d[\d.]*\)"
_DECIMAL = r"(?<![\d.,])\d+\.\d+(?![\d.])"


def source(name):
    return (VALIDATION / f"{name}.md").read_text(encoding="utf-8")


def present():
    return [name for name in SOURCES if (VALIDATION / f"{name}.md").exists()]


def unknown(text, pattern):
    """What the text says in this form and no page of results does."""
    known = "\n".join(source(name) for name in present())
    return sorted(
        {
            found
            for found in re.findall(pattern, text)
            if not re.search(rf"(?<![\d.]){re.escape(found)}(?![\d.]*\d)", known)
        }
    )


def counts(name):
    """Runs of a table, and runs by parameterization where it has several."""
    runs = pl.read_csv(VALIDATION / f"{name}.csv", infer_schema_length=None)
    found = {runs.height}
    if "parameterization" in runs.columns:
        found |= set(runs["parameterization"].value_counts()["count"])
    return {f"{count:,}" for count in found}


@pytest.mark.parametrize("pattern", [_ESTIMATE, _RANGE, _DECIMAL])
def test_every_figure_is_one_of_the_results(pattern):
    assert unknown(prose(PAGE), pattern) == []


def test_a_figure_that_nobody_measured_is_found():
    assert unknown("p = 0.27 (0.25 to 0.99)", _ESTIMATE) == ["0.27 (0.25 to 0.99)"]
    assert unknown("best 1.1 (1–1.9)", _RANGE) == ["1.1 (1–1.9)"]
    assert unknown("falls to 77.77 and 1.8 %", _DECIMAL) == ["77.77"]


def test_outcomes_are_those_of_the_rules():
    outcomes = re.findall(r"^\*\*(.+?): (\w+)\.\*\*$", source("far_widths"), flags=re.M)
    assert len(outcomes) in (3, 4)
    assert re.findall(r"^\| (.+?) \| \*\*(\w+)\*\* \|", PAGE, flags=re.M) == outcomes


def test_numbers_of_runs():
    said = re.findall(r"([\d,]+) runs", PAGE)
    known = set().union(*(counts(n) for n in present() if (VALIDATION / f"{n}.csv").exists()))
    assert said
    assert set(said) <= known


@pytest.mark.parametrize(("units", "parameterization"), [(64, "ntk"), (1024, "ntk")])
def test_tolerated_noise_is_where_the_means_have_fallen_two_points(units, parameterization):
    runs = pl.read_csv(VALIDATION / "far_widths.csv", infer_schema_length=None).filter(
        (pl.col("parameterization") == parameterization) & (pl.col("widening_factor") == units / 4)
    )
    means = (
        runs.group_by(rate=pl.col("learning_rate") / pl.col("batch_size"))
        .agg(pl.col("test_accuracy").mean())
        .sort("rate")
        .drop_nulls()
    )
    best = means["test_accuracy"].arg_max()
    beyond = means[best:].filter(pl.col("test_accuracy") < means["test_accuracy"].max() - 0.02)
    within = means.filter(pl.col("rate") < beyond["rate"][0])
    table = source("far_widths").split("## NTK")[1]
    row = re.search(rf"^\| {units:,} \|.*?\|.*?\| ([\d.]+) \(", table, flags=re.M)
    assert within["rate"][-1] < float(row[1]) < beyond["rate"][0]
