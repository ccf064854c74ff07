"""The page: everything is on it, nothing is loaded from elsewhere, no number is made up."""

import base64
import dataclasses
import hashlib
import html
import math
import re
from pathlib import Path

import polars as pl
import pytest
from markupsafe import Markup
from report_samples import WIDTHS, content, results_table, table_cells

from widthwise.errors import InputError
from widthwise.report import NextSteps, ReportContent, write_report
from widthwise.report import page as page_module
from widthwise.report.page import (
    render_page,
    report_figures,
    report_sections,
    write_figures,
)
from widthwise.report.training import PAPER_SETTING, training_description, training_recipe
from widthwise.report.values import setting_values, with_error
from widthwise.report.wording import Training, practice_sentence, remarks
from widthwise.runs.tables import optimum_rows, setting_rows
from widthwise.runs.trust import still_moving
from widthwise.sgd.recipe import Recipe
from widthwise.text import exact, number, percent

FIGURES = {
    "accuracy-vs-noise-scale",
    "optimum-vs-width",
    "best-accuracy-vs-width",
    "batch-size-vs-width",
    "accuracy-map",
    "accuracy-vs-settings",
    "accuracy-during-training",
    "noise-resistance",
}
CASES = {
    "normal": {},
    "bounds below": {"batch_sizes": (4, 8, 16, 32, 64), "exponent": -1.0, "widths": (1, 2, 4, 8)},
    "one width": {"widths": (4.0,)},
    "one seed": {"seeds": 1, "widths": (1.0, 2.0)},
    "validation": {"validation": True, "widths": (1.0, 2.0, 4.0)},
    "all diverged": {"everything_diverges": True, "widths": (1.0, 2.0)},
}


@pytest.fixture(scope="module")
def sample() -> ReportContent:
    return content(results_table())


@pytest.fixture(scope="module")
def small() -> ReportContent:
    """Every run diverged: a page with one figure."""
    return content(results_table(everything_diverges=True, widths=(1.0,), batch_sizes=(1, 2)))


@pytest.fixture(scope="module")
def page(sample, tmp_path_factory) -> Path:
    return write_report(sample, tmp_path_factory.mktemp("study"))


def page_text(made: ReportContent) -> str:
    """The page without its drawings, which take most of the time."""
    figures, sections = report_figures(made), report_sections(made)
    names = [item.name for item in (*figures, *(s.figure for s in sections if s.figure))]
    return render_page(made, figures, dict.fromkeys(names, Markup("")), sections)


def visible(text: str) -> str:
    without_style = re.sub(r"<(style|script|svg)\b.*?</\1>", "", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", without_style))


def loaded_from_elsewhere(text: str) -> list[str]:
    """Anything in a page that a browser would fetch from a network."""
    return re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|@font-face|<script[^>]|<link\b", text)


@pytest.mark.slow
def test_files_are_the_page_and_each_figure_twice(page):
    assert page.name == "report.html"
    files = {path.name for path in (page.parent / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf")}
    assert [path.name for path in page.parent.iterdir() if path.is_file()] == ["report.html"]


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert not loaded_from_elsewhere(text)
    for source in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert re.match(r"#|data:image/png;base64,|results\.parquet$|figures/$", source)


@pytest.mark.parametrize(
    "planted", ['<link rel="x">', "src='https://cdn.example.org/a.js'", "url(//fonts.example.com)"]
)
def test_the_check_for_outside_resources_can_fail(planted):
    assert loaded_from_elsewhere(planted)


def test_verdict_comes_first_and_figures_follow_in_order(page, sample):
    text = page.read_text(encoding="utf-8")
    assert text.index("<h1>") < text.index('class="verdict"') < text.index("How sure")
    places = [
        text.index(f'<figure id="{name}"')
        for name in (
            "accuracy-vs-noise-scale",
            "optimum-vs-width",
            "best-accuracy-vs-width",
            "batch-size-vs-width",
            "accuracy-map",
            "accuracy-vs-settings",
            "accuracy-during-training",
        )
    ]
    assert places == sorted(places)
    assert text.index("How sure") < places[0] < places[-1] < text.index('<table id="optima"')
    assert sample.law is not None
    assert sample.law.sentence() in visible(text)


def test_each_figure_stands_on_the_page_with_its_caption_as_its_text(page):
    text = page.read_text("utf-8")
    for name in FIGURES:
        assert f'<svg role="img" aria-labelledby="{name}-caption"' in text
        assert f'<figcaption id="{name}-caption"' in text
    names = re.findall(r' id="([^"]*)"', text)
    assert len(names) == len(set(names))  # figures do not get into each other's way
    for name in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text):
        assert set(name) & set(names)


def test_without_scripts_values_and_widths_are_there(page, sample):
    """What a page needs no script for: titles of places, drawings of all widths, no switches."""
    text = page.read_text("utf-8")
    assert '<fieldset id="widths" hidden>' in text
    assert 'class="off' not in text
    titles = {html.unescape(title) for title in re.findall("<title>(w = [^<]*)</title>", text)}
    for row in setting_rows(sample.results):
        if row.test_accuracy is not None:
            accuracy = with_error(row.test_accuracy, row.test_accuracy_sem)
            assert setting_values(row, accuracy) in titles
    for width in WIDTHS:
        assert text.count(f'<g data-w="{width:g}">') > 10


def test_the_policy_allows_the_one_script_that_is_there(page):
    text = page.read_text("utf-8")
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def words(text: str) -> int:
    """Of the page outside tables, drawings, code and the specification."""
    for tag in ("head", "style", "script", "svg", "table", "pre"):
        text = re.sub(rf"<{tag}\b.*?</{tag}>", " ", text, flags=re.DOTALL)
    return len(html.unescape(re.sub("<[^>]+>", " ", text)).split())


def test_a_study_that_knows_little_is_short():
    made = content(results_table(widths=(1.0, 2.0, 4.0, 8.0), batch_sizes=(4, 32), seeds=2))
    steps = NextSteps(steps=("At w = 1 nothing is known: add ḡ = 2.",), command="widthwise run x")
    text = page_text(dataclasses.replace(made, next_steps=steps))
    assert words(text) <= 310  # 600 before
    shown = visible(text)
    assert shown.index("No law can be stated") < shown.index("add ḡ = 2") < shown.index("How sure")
    assert shown.index("widthwise run x") < shown.index("How sure")


def test_optima_table_holds_the_numbers_put_in(page, sample):
    cells = table_cells(page.read_text("utf-8"), "optima")
    rows = optimum_rows(setting_rows(sample.results), sample.optima)
    assert [row[0] for row in cells] == [exact(width) for width in WIDTHS]
    for cell, row in zip(cells, rows, strict=True):
        optimum = row.optimum
        if any(other.optimum.doubts for other in rows):
            assert cell.pop(3) == "; ".join(optimum.doubts)
        assert cell[1].removeprefix("≥ ") == number(optimum.noise_scale)
        assert cell[1].startswith("≥") == (row.relation == "≥")
        assert cell[3] == percent(optimum.score)
        assert cell[5] == percent(optimum.sampling_error)
        assert cell[8].removeprefix("≤ ") == number(row.batch_size)
        assert cell[-1] == (optimum.reason or "no")
    assert any(row.censored for row in rows)


def test_settings_table_holds_every_setting_with_its_mean(page, sample):
    cells = table_cells(page.read_text("utf-8"), "settings")
    expected = (
        sample.results.group_by("widening_factor", "batch_size")
        .agg(
            accuracy=pl.col("test_accuracy").mean(),
            diverged=(pl.col("status") == "diverged").sum(),
        )
        .rows()
    )
    shown = {(float(row[0]), int(row[2])): (row[5], int(row[8])) for row in cells}
    assert len(cells) == len(expected)
    for width, batch_size, accuracy, diverged in expected:
        assert shown[width, batch_size] == (percent(accuracy), diverged)
    assert any(diverged for *_, diverged in expected)


@pytest.mark.slow
def test_provenance_is_shown_and_escaped(sample):
    hostile = dataclasses.replace(
        sample,
        spec_text="note = '<b>&'",
        provenance={"Data": "<script>alert(1)</script>"},
        command="widthwise report 'a<b'",
        title="R&D <i>",
    )
    text = page_text(hostile)
    assert text.count("<script") == 1  # the page's own
    assert "<script>alert" not in text
    for given in ("note = '<b>&'", "<script>alert(1)</script>", "widthwise report 'a<b'"):
        assert given in html.unescape(text)
    assert 'href="results.parquet"' in text


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_case_makes_a_page_without_nan_or_inf(case):
    # The page is under test here, not the fit to optima that are bounds at most widths.
    without_law = {"law": None} if case == "bounds below" else {}
    made = content(results_table(**CASES[case]), **without_law)
    page = page_text(made)
    text = visible(page)
    assert not re.search(r"\b(nan|inf|None|null|NaN)\b", text)
    for width in made.results["widening_factor"].unique():
        assert exact(width) in {row[0] for row in table_cells(page, "optima")}


def test_no_law_is_said_in_plain_words():
    made = content(results_table(widths=(4.0,)))
    assert made.law is None
    text = visible(page_text(made))
    assert "No law can be stated: " in text
    assert made.law_problem is not None
    assert made.law_problem.rstrip(".") in text


@pytest.mark.slow
def test_width_without_an_optimum_is_named_with_its_reason(sample):
    without = {width: value for width, value in sample.optima.items() if width != 8.0}
    made = dataclasses.replace(sample, optima=without, optimum_problems={8.0: "it was too noisy"})
    text = page_text(made)
    assert "At w = 8 no optimum could be located: it was too noisy." in visible(text)
    assert ["8", "not located: it was too noisy"] in table_cells(text, "optima")


def test_a_doubt_stands_beside_its_interval_and_nowhere_else(sample):
    width, optimum = next(iter(sample.optima.items()))
    doubts = ("another peak, near 8, may be the higher one", "the top may be a kink")
    plain = {w: dataclasses.replace(o, doubts=()) for w, o in sample.optima.items()}
    doubted = {**plain, width: dataclasses.replace(optimum, doubts=doubts)}
    for optima, said in ((plain, None), (doubted, "; ".join(doubts))):
        made = dataclasses.replace(sample, optima=optima)
        text = page_text(made)
        cells = {row[0]: row for row in table_cells(text, "optima")}
        others = [row[3] for shown, row in cells.items() if shown != exact(width)]
        if said is None:
            assert "Doubt the interval" not in visible(text)
            assert cells[exact(width)][3] == percent(optimum.score)
        else:
            assert f"Doubt the interval at w = {exact(width)}: {said}." in visible(text)
            assert cells[exact(width)][3] == said
            assert others == [""] * (len(plain) - 1)


@pytest.mark.slow
def test_validation_split_is_explained_and_test_reported_beside():
    made = content(results_table(validation=True, widths=(1.0, 2.0, 4.0)))
    text = page_text(made)
    assert "chosen on validation accuracy; test accuracy is reported separately" in visible(text)
    cells = table_cells(text, "optima")
    rows = optimum_rows(setting_rows(made.results), made.optima)
    for cell, row in zip(cells, rows, strict=True):
        if any(other.optimum.doubts for other in rows):
            assert cell.pop(3) == "; ".join(row.optimum.doubts)
        assert cell[3] == percent(row.optimum.score)
        assert cell[6] == percent(row.nearest.test_accuracy)


def test_without_a_validation_split_the_page_says_it_is_optimistic(page):
    assert "there was no validation split" in visible(page.read_text("utf-8"))


def cautions(made: ReportContent) -> str:
    settings = setting_rows(made.results)
    optima = optimum_rows(settings, made.optima)
    training = Training(
        recipe=training_recipe(made.results),
        late_fraction=made.late_fraction,
        normalization=made.normalization,
    )
    found = remarks(settings, optima, made.optimum_problems, made.law, "test", training)
    return " ".join(remark.text for remark in found if remark.caution)


def test_a_score_at_the_ceiling_is_called_saturated(sample):
    width, optimum = next(iter(sample.optima.items()))
    right = dataclasses.replace(optimum, score=1.0 - 1.0 / optimum.num_test)
    text = cautions(dataclasses.replace(sample, optima={width: right}))
    assert f"At w = {width:g} accuracy is saturated" in text
    assert "choose harder data or fewer training examples" in text
    below = dataclasses.replace(optimum, score=1.0 - 2.0 / optimum.num_test)
    assert "saturated" not in cautions(dataclasses.replace(sample, optima={width: below}))


def test_training_that_had_not_arrived_is_a_caution():
    rising = content(results_table(widths=(1.0, 4.0), still_rising=True), law=None)
    assert "Training had not arrived everywhere" in cautions(rising)
    flat = content(results_table(widths=(1.0, 4.0)), law=None)
    assert "had not arrived" not in cautions(flat)


def test_a_slope_within_its_error_is_no_drift():
    made = content(results_table(widths=(1.0, 4.0), still_rising=True), law=None)
    settings = setting_rows(made.results)
    optima = optimum_rows(settings, made.optima)
    assert still_moving(settings, optima, "test")
    noisy = [dataclasses.replace(row, plateau_slope_sem=1.0) for row in settings]
    assert not still_moving(noisy, optima, "test")


def test_an_interval_open_on_both_sides_is_called_no_bound(sample):
    width, bounded = next((w, o) for w, o in sample.optima.items() if o.censoring == "high")
    assert "nothing bounds" not in cautions(sample)
    for place in (bounded.noise_scale, 0.9 * bounded.measured[1]):
        optimum = dataclasses.replace(bounded, interval=(0.0, math.inf), noise_scale=place)
        unbounded = dataclasses.replace(sample, optima={width: optimum})
        text = cautions(unbounded)
        assert f"At w = {width:g} nothing bounds the optimum at 95 %" in text
        assert "—" not in text
        assert "only a bound is known" not in text
        assert "on one side only" not in text


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.0, math.inf), "so that any ḡ may be the best"),
        ((0.0, 0.5), "so that any ḡ below 0.5 may be the best"),
        ((0.25, 0.5), "so that any ḡ from 0.25 to 0.5 may be the best"),
    ],
)
def test_a_level_top_is_called_flat_and_nothing_else(sample, interval, said):
    width, optimum = next(iter(sample.optima.items()))
    censoring = "none" if interval[0] else "low"
    flat = dataclasses.replace(optimum, interval=interval, reason="flat", censoring=censoring)
    text = cautions(dataclasses.replace(sample, optima={width: flat}))
    assert f"At w = {width:g} the top is flat" in text
    assert said in text
    for other in ("nothing bounds", "only a bound is known", "on one side only"):
        assert other not in text
    assert "the top is flat" not in cautions(sample)


def with_options(results: pl.DataFrame, **options: object) -> pl.DataFrame:
    return results.with_columns(**{name: pl.lit(value) for name, value in options.items()})


@pytest.mark.slow
def test_a_plateau_under_a_falling_rate_is_not_called_arrival():
    flat = results_table(widths=(1.0, 4.0))
    cosine = content(with_options(flat, schedule="cosine"), law=None)
    assert "does not show that a longer run would end alike" in cautions(cosine)
    assert "Training had arrived" not in visible(page_text(cosine))
    # A warm-up is over by then.
    warmed = content(with_options(flat, warmup=0.1), law=None)
    assert "Training had arrived" in visible(page_text(warmed))


def test_change_at_late_times_is_put_down_to_the_schedule_only_if_it_acts_then():
    rising = results_table(widths=(1.0, 4.0), still_rising=True)
    early, late = (
        content(
            with_options(rising, schedule="step").with_columns(decay_at=pl.lit([part])), law=None
        )
        for part in (0.5, 0.9)
    )
    assert "partly the schedule's doing" in cautions(late)
    assert "Training had not arrived" not in cautions(late)
    assert "partly the schedule's doing" not in cautions(early)
    assert "Training had not arrived" in cautions(early)


@pytest.mark.slow
def test_with_a_schedule_learning_rates_are_called_peaks():
    plain = results_table(widths=(1.0, 4.0))
    constant = visible(page_text(content(plain, law=None)))
    assert "peak" not in constant
    scheduled = visible(page_text(content(with_options(plain, schedule="cosine"), law=None)))
    for phrase in ("peak ε = 2", "ε (the peak), m", "ε and ḡ are those of its peak"):
        assert phrase in scheduled


@pytest.mark.parametrize(
    ("normalization", "options", "said"),
    [
        ("batch", {}, {"Park", "of each batch"}),
        ("batch", {"ghost_batch_size": 2}, {"Park"}),
        ("batch", {"weight_decay": 1e-4}, {"Park", "of each batch", "σ_init is forgotten"}),
        ("none", {"weight_decay": 1e-4}, set()),
        (None, {"weight_decay": 1e-4}, set()),
    ],
)
def test_batch_norm_is_a_caution_where_it_is_known(normalization, options, said):
    results = with_options(results_table(widths=(1.0, 4.0)), **options)
    text = cautions(content(results, law=None, normalization=normalization))
    phrases = {"Park", "of each batch", "σ_init is forgotten"}
    assert {phrase for phrase in phrases if phrase in text} == said


def test_description_names_what_differs_from_the_paper():
    assert training_description(Recipe()) == PAPER_SETTING
    unusual = Recipe(
        nesterov=True,
        weight_decay=0.01,
        schedule="step",
        warmup=0.1,
        decay_at=(0.5,),
        loss="mean-squared-error",
        augmentation="crop-flip",
        ghost_batch_size=8,
        precision="bf16",
    )
    text = training_description(unusual)
    for words in (
        "Nesterov",
        "weight decay 0.01",
        "times 0.1 at 50 %",
        "warm-up over 10 %",
        "mean squared error",
        "flips and crops after padding by 4",
        "parts of 8",
        "bf16",
    ):
        assert words in text
    assert "label smoothing 0.1" in training_description(Recipe(label_smoothing=0.1))


def test_few_seeds_are_a_caution():
    assert "3 seeds a setting: few" in cautions(
        content(results_table(widths=(2.0, 4.0), seeds=3), law=None)
    )
    assert "1 seed a setting: of one" in cautions(
        content(results_table(widths=(2.0, 4.0), seeds=1), law=None)
    )
    assert "seed" not in cautions(content(results_table(widths=(2.0, 4.0), seeds=8), law=None))


def test_practice_is_given_only_where_the_parameterization_is_known(sample):
    law = dataclasses.replace(sample.law, verdict="proportional")
    assert "keep ε/(B(1 − m))" in (practice_sentence(law, ["standard"]) or "")
    assert "raise ε/(B(1 − m)) in proportion" in (practice_sentence(law, ["ntk"]) or "")
    assert practice_sentence(law, ["mine"]) is None
    assert practice_sentence(law, ["ntk", "standard"]) is None
    undecided = dataclasses.replace(sample.law, verdict="inconclusive")
    assert practice_sentence(undecided, ["ntk"]) is None


@pytest.mark.slow
def test_same_study_gives_the_same_bytes(page, sample, tmp_path, monkeypatch):
    monkeypatch.delitem(page_module._METADATA, "pdf")  # the next test has one
    again = write_report(sample, tmp_path)
    assert len(list((tmp_path / "figures").iterdir())) == len(FIGURES)
    for twin in (again, *(tmp_path / "figures").iterdir()):
        path = page.parent / twin.relative_to(tmp_path)
        assert path.read_bytes() == twin.read_bytes(), path.name


@pytest.mark.slow
def test_the_same_figure_gives_the_same_pdf(page, sample, tmp_path):
    (tmp_path / "figures").mkdir()
    write_figures(report_figures(sample)[:1], tmp_path)
    (twin,) = (tmp_path / "figures").glob("*.pdf")
    assert twin.read_bytes() == (page.parent / "figures" / twin.name).read_bytes()


@pytest.mark.slow
def test_order_of_the_runs_does_not_matter(sample):
    shuffled = dataclasses.replace(
        sample, results=sample.results.sample(fraction=1.0, shuffle=True, seed=3)
    )
    assert not shuffled.results.equals(sample.results)
    assert page_text(shuffled) == page_text(sample)


@pytest.mark.slow
def test_writing_again_replaces_and_leaves_no_temporary_files(small, tmp_path):
    write_report(small, tmp_path)
    page = write_report(dataclasses.replace(small, title="Second"), tmp_path)
    assert "Second" in page.read_text("utf-8")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_a_failed_write_leaves_the_old_page(small, tmp_path, monkeypatch):
    page = write_report(small, tmp_path)
    before = page.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(dataclasses.replace(small, title="Second"), tmp_path)
    assert page.read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_many_settings_stay_one_table_and_no_large_page(tmp_path):
    widths = tuple(2.0**power for power in range(10))
    table = results_table(widths=widths, batch_sizes=tuple(range(1, 41)), seeds=2)
    made = content(table)
    figures = {figure.name: figure for figure in report_figures(made)}
    text = render_page(made, list(figures.values()), dict.fromkeys(figures, Markup("")))
    assert len(table_cells(text, "settings")) == 400
    (tmp_path / "figures").mkdir()
    # The one with most on it; a page has eleven figures at most.
    images = write_figures([figures["accuracy-vs-noise-scale"]], tmp_path)
    (largest,) = map(len, images.values())
    assert len(text) + 11 * largest < 5_000_000


def test_bad_content_is_refused(sample):
    with pytest.raises(InputError, match="at least one run"):
        dataclasses.replace(sample, results=sample.results.head(0))
    with pytest.raises(InputError, match="exactly one"):
        dataclasses.replace(sample, law=None)
    with pytest.raises(InputError, match="exactly one"):
        dataclasses.replace(sample, law_problem="none")
    with pytest.raises(InputError, match="late_fraction"):
        dataclasses.replace(sample, late_fraction=0.0)
    with pytest.raises(InputError, match=r"\[3\.0\]"):
        dataclasses.replace(sample, optimum_problems={3.0: "never ran"})
