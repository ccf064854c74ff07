"""The sections on the claims: shown where the study has the data, with its numbers."""

import dataclasses
import html
import io
import re

import numpy as np
import polars as pl
import pytest
from markupsafe import Markup
from report_samples import WIDTHS, content, results_table, stable_rates

from widthwise.adviser import widen
from widthwise.errors import InputError
from widthwise.report.page import render_page, report_figures, report_sections, typeset
from widthwise.report.resistance_figure import resistance_figure
from widthwise.runs.analyses import (
    find_collapse,
    find_resistance,
    find_stability,
    setting_scores,
)
from widthwise.runs.tables import optimum_rows, setting_rows
from widthwise.text import number, percent

RATES = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def full():
    """Several learning rates at equal noise scale, and measured stability."""
    widths = (1.0, 2.0, 4.0)
    runs = results_table(widths=widths, learning_rates=RATES)
    return content(runs, stable_learning_rates=stable_rates(widths))


@pytest.fixture(scope="module")
def broken():
    return content(
        results_table(widths=(1.0, 2.0, 4.0), learning_rates=(*RATES, 4.0), broken=0.012, seeds=5)
    )


def named(made):
    return {section.table.name: section for section in report_sections(made)}


@pytest.fixture(scope="module")
def sections(full):
    return named(full)


def page_text(made):
    figures, sections = report_figures(made), report_sections(made)
    names = [item.name for item in (*figures, *(s.figure for s in sections if s.figure))]
    return render_page(made, figures, dict.fromkeys(names, Markup("")), sections)


def gids(figure, start):
    found = figure.findobj(lambda artist: (artist.get_gid() or "").startswith(start))
    return {artist.get_gid() for artist in found}


@pytest.mark.slow
def test_sections_are_there_exactly_where_the_data_are(sections):
    assert list(sections) == ["plan", "collapse", "stability", "resistance"]
    one_rate = content(results_table(widths=(1.0, 2.0)))
    assert [x.table.name for x in report_sections(one_rate)] == ["plan", "resistance"]
    one_width = content(results_table(widths=(4.0,)))
    assert report_sections(one_width) == []
    one_seed = content(results_table(widths=(1.0, 2.0), seeds=1, learning_rates=RATES))
    assert report_sections(one_seed) == []


def test_runs_become_arrays_with_diverged_and_missing_told_apart(full):
    gone = full.results.filter(
        ~((pl.col("seed") == 3) & (pl.col("batch_size") == 128) & (pl.col("learning_rate") == 0.5))
    )
    table = setting_scores(gone)
    assert table.scores.shape == table.ran.shape == (3 * 8 * 3, 8)
    assert int((~table.ran).sum()) == 3
    lost = int((gone["status"] == "diverged").sum())
    assert int(np.isnan(table.scores[table.ran]).sum()) == lost > 0
    row = int(
        np.flatnonzero(
            (table.columns["widening_factor"] == 2.0)
            & (table.columns["learning_rate"] == 1.0)
            & (table.columns["batch_size"] == 8)
        )[0]
    )
    expected = full.results.filter(
        widening_factor=2.0, learning_rate=1.0, batch_size=8, status="ok"
    ).sort("seed")["test_accuracy"]
    assert table.scores[row] == pytest.approx(expected.to_numpy())


def test_validation_accuracy_is_compared_where_it_chose():
    runs = results_table(widths=(1.0,), batch_sizes=(8,), validation=True, seeds=3)
    expected = runs.sort("seed")["validation_accuracy"].to_numpy()
    assert setting_scores(runs).scores[0] == pytest.approx(expected)


def test_collapse_section_says_what_the_test_found(full, sections):
    found = find_collapse(setting_scores(full.results))
    assert found is not None
    section = sections["collapse"]
    assert section.answers[0] == found.sentence()
    assert section.warning is None
    assert len(section.table.rows) == sum(
        len(finding.levels) for finding in (found.overall, *found.widths)
    )
    assert {row[0] for row in section.table.rows} == {"all", "1", "2", "4"}
    figure = section.figure.figure
    assert gids(figure, "rate=") == {f"rate={rate:g} points" for rate in RATES}
    assert gids(figure, "mean ") == {"mean 1", "mean 2"}
    differences = figure.findobj(
        lambda artist: (artist.get_gid() or "").endswith((" difference", " beyond"))
    )
    assert len(differences) == sum(x.difference is not None for x in found.comparisons)


@pytest.mark.slow
def test_broken_collapse_is_said_first_of_all(broken):
    text = page_text(broken)
    shown = html.unescape(re.sub(r"<[^>]+>", "", text))
    assert "The collapse is broken" in shown
    assert shown.index("settings of equal ḡ differ in accuracy") < shown.index("Figures")
    section = named(broken)["collapse"]
    assert {row[-1] for row in section.table.rows} == {"differ"}


def test_unequal_physical_time_is_a_caution(full, sections):
    assert any("physical times" in caution for caution in sections["collapse"].cautions)
    equal = dataclasses.replace(full, results=full.results.with_columns(physical_time=pl.lit(1e4)))
    section = named(equal)["collapse"]
    assert not any("physical times" in caution for caution in section.cautions)


def test_resistance_section_holds_scores_tolerance_and_training_loss(full, sections):
    found = find_resistance(setting_scores(full.results), full.optima, seed=full.analysis_seed)
    assert found is not None
    section = sections["resistance"]
    assert section.answers[0] == found.sentence()
    optima = optimum_rows(setting_rows(full.results), full.optima)
    loss = section.table.header.index("training loss")
    for cells, row, optimum in zip(section.table.rows, found.widths, optima, strict=True):
        assert cells[1:3] == (number(row.noise_scale), percent(row.score))
        assert (
            number(row.own.noise_scale) in cells[loss - 4]
        )  # before three more cells of tolerated noise
        near = optimum.nearest
        runs = full.results.filter(
            widening_factor=row.widening_factor,
            learning_rate=near.learning_rate,
            batch_size=near.batch_size,
            status="ok",
        )["final_train_loss"].to_numpy()
        error = float(runs.std(ddof=1) / np.sqrt(runs.size))
        assert cells[loss] == f"{number(float(runs.mean()))} ± {number(error, 2)}"
    drawn = gids(section.figure.figure, "")
    assert {"own optimum", "optimum", "below own best", "below narrowest's"} <= drawn


def test_stability_section_holds_rates_and_ceilings(full, sections):
    found = find_stability(full.results, full.optima, full.stable_learning_rates)
    assert found is not None
    assert found.law is not None
    assert found.ceiling is not None
    # planted: exponent 0.3 of the rate, and 1 of the optimum
    assert found.law.interval[0] < 0.3 < found.law.interval[1]
    assert found.ceiling.interval[0] < -1.3 < found.ceiling.interval[1]
    section = sections["stability"]
    assert section.answers == (found.ceiling.sentence(), found.law.sentence())
    for cells, rate, point in zip(
        section.table.rows, found.rates, found.ceiling.points, strict=True
    ):
        optimum = full.optima[rate.widening_factor]
        assert cells[1] == number(rate.value)
        assert float(cells[5].strip("≤≥ ")) == pytest.approx(
            rate.value / optimum.noise_scale, rel=0.01
        )
        assert cells[5].endswith(number(point.batch_size))


@pytest.mark.slow
def test_stability_without_optima_or_a_law_still_shows_the_rates(full):
    alone = dataclasses.replace(full, optima={}, stable_learning_rates=stable_rates((1.0,)))
    section = named(alone)["stability"]
    assert len(section.table.rows) == 1
    assert section.table.rows[0][5] == "—"
    assert any("is not known" in answer for answer in section.answers)
    bound = dataclasses.replace(
        full, stable_learning_rates=stable_rates((1.0, 2.0, 4.0), unbounded=(4.0,))
    )
    section = named(bound)["stability"]
    assert section.table.rows[2][1].startswith("≥")
    assert gids(section.figure.figure, "w=4 bound")


def test_rates_that_were_not_measured_alike_are_refused(full):
    first, second, _ = stable_rates((1.0, 2.0, 4.0))
    for rates in (
        (first, first),
        (first, dataclasses.replace(second, momentum=0.9)),
        (first, dataclasses.replace(second, batch_size=8)),
    ):
        with pytest.raises(InputError, match="one a width"):
            dataclasses.replace(full, stable_learning_rates=rates)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "broken"])
def test_sections_stand_on_the_page_without_nan_and_with_every_width(name, request):
    made = request.getfixturevalue(name)
    text = page_text(made)
    shown = html.unescape(
        re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S))
    )
    assert not re.search(r"\b(nan|inf|None|null)\b", shown)
    for section in (s for s in report_sections(made) if s.figure):
        assert f'<figure id="{section.figure.name}"' in text
        assert f'<table id="{section.table.name}-table"' in text
        assert all(len(row) == len(section.table.header) for row in section.table.rows)
        assert f'aria-labelledby="{section.figure.name}-caption"' not in text  # no drawing here
        assert f'id="{section.figure.name}-caption"' in text
        assert [row[0] for row in section.table.rows if row[0] in "124"]
        section.figure.figure.savefig(io.BytesIO(), format="svg")
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.</b>", text)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_symbols_are_typeset_and_text_is_escaped():
    assert typeset("a < B_opt ≤ ε_max, w^−q") == (
        "a &lt; B<sub>opt</sub> ≤ ε<sub>max</sub>, w<sup>−q</sup>"
    )
    assert typeset("batch_size w^2x") == "batch_size w^2x"


def test_all_widths_of_the_sample_have_resistance():
    section = named(content(results_table()))["resistance"]
    assert [row[0] for row in section.table.rows] == [f"{width:g}" for width in WIDTHS]


def test_a_bounded_optimum_is_drawn_open_and_others_are_not(full):
    found = find_resistance(setting_scores(full.results), full.optima, seed=full.analysis_seed)
    assert found is not None
    assert "optimum, a bound" not in gids(resistance_figure(found, "test"), "")
    drawn = resistance_figure(found, "test", bounds=[2.0])
    (bound,) = drawn.findobj(lambda artist: artist.get_gid() == "optimum, a bound")
    assert list(bound.get_xdata()) == [2.0]
    assert bound.get_markerfacecolor() == "white"


def planned(parameterization_exponent, exponent, interval):
    """A page whose law is stated rather than fitted, σ_init² ∝ w^parameterization_exponent."""
    table = results_table(widths=(1.0, 2.0, 4.0)).with_columns(
        init_variance=2.0 * pl.col("widening_factor") ** parameterization_exponent,
        parameterization=pl.lit("standard" if parameterization_exponent else "ntk"),
    )
    made = content(table)
    # Spread evenly, and 95 % of them within the interval.
    low, high = interval
    ranks = np.linspace(0.0, 1.0, len(made.law.samples))
    law = dataclasses.replace(
        made.law,
        exponent=exponent,
        interval=interval,
        samples=low + (high - low) * (ranks - 0.025) / 0.95,
        curve_samples=None,
    )
    return dataclasses.replace(made, law=law)


@pytest.mark.slow
def test_plan_section_in_hand_worked_numbers():
    # σ_init² ∝ 1/w and ḡ ∝ w^1.5 (1.25 to 2): ε/(B(1−m)) ∝ w^0.5 (0.25 to 1).
    section = named(planned(-1.0, 1.5, (1.25, 2.0)))["plan"]
    assert "k^0.50 (95 %: k^0.25 to k^1.00)" in section.answers[0]
    assert "from the best setting at w = 1" in section.answers[0]
    rows = {row[0]: row[1:] for row in section.table.rows}
    # The best of w = 1 is ε = 2, B = 32; by half at k = 4, and a quarter at 16.
    assert rows["4"] == ("2", "16", "0", "× 2", "1.41 to 4", "× 1", "measured by your study")
    # Beyond w = 4 ḡ goes flat or straight on, one or the other: each end leaves 5 % of its own out.
    # Exponents 1.27 and 1.98, 4^1.27 / 16 and 16^1.98 / 16.
    assert rows["16"] == ("2", "8", "0", "× 4", "0.363 to 15.1", "× 1", "extrapolated")
    # NTK: the paper's rule is a factor of w.
    rows = {row[0]: row[1:] for row in named(planned(0.0, 0.5, (0.25, 1.0)))["plan"].table.rows}
    assert rows["4"] == ("2", "16", "0", "× 2", "1.41 to 4", "× 4", "measured by your study")


def test_the_plans_are_the_advisers():
    """Row by row what widen says for the best setting of the narrowest width."""
    made = planned(0.0, 0.5, (0.25, 1.0))
    table = named(made)["plan"].table
    for row in table.rows:
        plan = widen(
            learning_rate=2.0,
            batch_size=32,
            widening_factor=float(row[0]),
            parameterization="ntk",
            law=made.law,
        )
        assert row[1:4] == (number(plan.learning_rate), str(plan.batch_size), "0")
        assert row[7] == plan.evidence


def test_its_cautions_are_the_advisers():
    made = planned(0.0, 0.5, (0.25, 1.0))
    cosine = made.results.with_columns(schedule=pl.lit("cosine"), epochs=pl.lit(0.5))
    section = named(dataclasses.replace(made, results=cosine))["plan"]
    assert section.table.rows == ()
    assert "No advice" in section.answers[0]
    assert "no regularizer" in section.cautions[0]


def test_a_plan_by_optima_at_the_edge_of_divergence_warns():
    made = planned(0.0, 0.5, (0.25, 1.0))
    assert not any("edge" in text for text in named(made)["plan"].cautions)
    made = dataclasses.replace(made, law=dataclasses.replace(made.law, num_cut_off=2))
    assert any("At 2 of 3 widths" in text for text in named(made)["plan"].cautions)


def test_no_plan_without_a_bounded_exponent():
    assert "plan" not in named(planned(0.0, 0.5, (0.25, float("inf"))))
