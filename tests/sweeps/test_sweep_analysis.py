"""``ww.analyze``: published losses, what it says and in which words, its page."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from markupsafe import Markup

import widthwise as ww
from widthwise.report.sweep_page import render_sweep, sweep_figures

PUBLISHED = Path(__file__).parents[2] / "examples" / "mup_demo_standard.csv"
# The best log2 learning rates of the notebook, read off its grid; the last is the grid's edge.
BEST = {256: -4.63, 512: -5.47, 1024: -5.89, 2048: -6.74, 4096: -7.58, 8192: -8.0}
# A step of that grid, in octaves.
STEP = 8 / 19


@pytest.fixture(scope="module")
def published():
    return ww.analyze(
        PUBLISHED,
        width="width",
        x="log2_learning_rate",
        log_base=2,
        score="final_train_loss",
        minimize=True,
    )


def test_published_optima(published):
    assert published.sweep.widths == tuple(BEST)
    for width, best in BEST.items():
        assert abs(np.log2(published.optima[width].noise_scale) - best) < 0.2
    for width in (256, 512, 1024, 2048, 4096):
        optimum = published.optima[width]
        low, high = np.log2(optimum.interval)
        assert optimum.censoring == "none"
        # The grid's own best may be a step from the best there is.
        assert low - STEP <= BEST[width] <= high + STEP


def test_the_edge_at_the_widest(published):
    widest = published.optima[8192]
    assert (widest.censoring, widest.reason) == ("low", "edge of the grid")
    assert widest.interval[0] == 0.0
    assert widest.noise_scale == pytest.approx(2.0**-8)


def test_the_exponent(published):
    # Through the grid's own best: what a straight line by hand gives for the five that were found.
    widths, best = zip(*list(BEST.items())[:5], strict=True)
    by_hand = np.polyfit(np.log2(widths), best, 1)[0]
    assert published.law.exponent == pytest.approx(by_hand, abs=0.1)
    low, high = published.law.interval
    assert low < by_hand < high < -0.25
    assert high - low < 0.5
    assert published.verdict == "moves"


def test_what_is_said(published):
    said = published.sentence()
    assert said.startswith("The best learning_rate falls with width: exponent −0.7")
    assert "from 6 widths, at 1 of which only a bound is known" in said
    assert said.endswith("the intervals rest on how runs scatter about a curve, not on seeds.")
    text = str(published)
    assert "noise scale" not in text
    assert "At width 8192 the optimum is known only to lie below" in text
    # The next values by the grid's own ratio.
    assert "add learning_rate = 0.00292 and 0.00218." in text
    assert "31 of 120 runs diverged" in text
    assert pytest.approx(0.00292, abs=5e-6) == 2.0**-8 / 2.0**STEP


def test_the_frame(published):
    frame = published.to_frame()
    assert frame["width"].to_list() == list(BEST)
    assert frame["best_learning_rate"][0] == published.optima[256].noise_scale
    assert frame["low"][5] is None
    assert frame["bound"].to_list() == [None] * 5 + ["low"]
    assert frame["diverged"].sum() == 31


def test_json_knows_no_infinity(published):
    content = published.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["verdict"] == "moves"
    assert content["optima"][5]["low"] is None
    assert len(content["optima"][5]["add"]) == 2


def test_the_law_predicts_in_widths(published):
    value, (low, high) = published.predict(1024.0)
    assert low < value < high
    assert low < published.optima[1024].interval[1]
    ratio = published.predict(2048.0)[0] / value
    assert ratio == pytest.approx(2.0**published.law.exponent)


@pytest.mark.slow
def test_the_page(published):
    content = published._content("widthwise analyze <it>")
    figures = sweep_figures(content)
    images = {figure.name: Markup("<svg></svg>") for figure in figures}
    page = render_sweep(content, figures, images)
    assert published.sentence().split(". ")[0].split(" (")[0] in page
    assert "widthwise analyze &lt;it&gt;" in page
    assert page.count("<tr") == 1 + 6 + 1 + 120
    assert "noise scale" not in page
    assert not re.search(r"https?://", page)
    ids = set()
    for figure in figures:
        for axes in figure.figure.axes:
            ids |= {artist.get_gid() for artist in axes.get_children()} - {None}
    for width in BEST:
        assert {
            f"w={width} {'bound' if width == 8192 else 'optimum'}",
            f"w={width} points",
        } <= ids | {line.get_gid() for axes in figures[0].figure.axes for line in axes.lines}


@pytest.mark.slow
def test_the_report_is_written_whole(tmp_path):
    columns = planted()
    columns["acc $x_1$"] = columns.pop("acc")
    found = ww.analyze(columns, width="width", x="lr", score="acc $x_1$")
    page = found.write_report(tmp_path / "page")
    assert page == tmp_path / "page" / "report.html"
    assert {path.name for path in (tmp_path / "page" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("score", "optimum-vs-width") for kind in ("svg", "pdf")
    }
    text = page.read_text(encoding="utf-8")
    assert text.count('<svg role="img"') == 2
    # As a study's page: values to point at, and widths to switch off.
    row = found.sweep.settings[0]
    assert f"<title>width = 1, lr = {row.value:g}: acc $x_1$ {row.score:.4g}" in text
    assert text.count('<input type="checkbox" value="') == len(found.sweep.widths)


def planted(exponent=0.0, widths=(1, 2, 4, 8), octaves=range(10), noise=0.001, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (w, 2.0**k, 0.8 - 0.01 * (k - 4 - exponent * np.log2(w)) ** 2 + noise * rng.normal())
        for w in widths
        for k in octaves
    ]
    return dict(zip(("width", "lr", "acc"), map(list, zip(*rows, strict=True)), strict=True))


def say(columns, **options):
    return ww.analyze(columns, width="width", x="lr", score="acc", **options)


@pytest.mark.parametrize(
    ("exponent", "beginning"),
    [
        (0.0, "The best lr does not change with width: exponent"),
        (1.0, "The best lr grows in proportion to width: exponent"),
        (0.5, "The best lr grows with width: exponent"),
        (-0.5, "The best lr falls with width: exponent −"),
    ],
)
def test_the_verdict_is_in_the_words_of_the_table(exponent, beginning):
    assert say(planted(exponent)).sentence().startswith(beginning)


def test_inverse_proportion():
    columns = planted(-1.0, octaves=range(-2, 8))
    assert "falls in inverse proportion to width" in say(columns).sentence()


def test_what_is_not_decided_is_said_so():
    columns = planted(0.0, widths=(1, 1.3), noise=0.004)
    found = say(columns)
    assert found.verdict == "undecided"
    assert found.sentence().startswith("Whether the best lr changes with width is not decided")


def test_one_width_has_an_optimum_and_no_law():
    found = say(planted(widths=(8,)))
    assert found.law is None
    assert found.optima[8].censoring == "none"
    assert "cannot be said: the table has one width, 8" in found.sentence()
    with pytest.raises(ww.FitError, match="cannot be said"):
        found.predict(16.0)


def test_where_no_two_optima_are_found_each_width_says_why():
    found = say(planted(octaves=range(5, 12)))
    said = found.sentence()
    assert found.law is None
    assert "at width 1 the optimum is known only to lie below" in said
    assert "the table ends there" in said


def test_a_width_without_settings_enough():
    columns = planted()
    kept = [
        i
        for i, (w, x) in enumerate(zip(columns["width"], columns["lr"], strict=True))
        if w < 8 or x < 3
    ]
    found = say({name: [cells[i] for i in kept] for name, cells in columns.items()})
    assert found.to_frame()["problem"][3].startswith("an optimum needs at least 3 distinct values")
    assert "At width 8 an optimum needs" in str(found)


@pytest.mark.parametrize("name", ["val_loss", "test_error", "perplexity", "nll", "Eval/MSE"])
def test_a_name_that_sounds_like_a_loss_is_asked_about(name):
    columns = planted()
    columns[name] = columns.pop("acc")
    roles = {"width": "width", "x": "lr", "score": name}
    with pytest.raises(ww.InputError, match="give minimize=True or minimize=False") as asked:
        ww.analyze(columns, **roles)
    assert name in str(asked.value)
    best = ww.analyze(columns, minimize=False, **roles).optima[1].noise_scale
    assert best == say(planted()).optima[1].noise_scale
    assert ww.analyze(columns, minimize=True, **roles).optima[1].noise_scale != best


def test_seeds_are_told_from_repetitions():
    rng = np.random.default_rng(0)
    rows = []
    for s in range(5):
        shift = 0.05 * rng.standard_normal()  # a seed's own level: no noise between settings
        for w in (1, 2):
            rows += [
                {"width": w, "lr": 2.0**k, "acc": -((k - 4) ** 2) / 100 + shift, "seed": s}
                for k in range(9)
            ]
    for row in rows:
        row["acc"] += 0.001 * rng.standard_normal()
    paired, repeated = say(rows, seed="seed"), say(rows)
    assert paired.sweep.evidence == repeated.sweep.evidence == "seeds"
    assert paired.optima[1].interval[1] < 20.0
    assert "not on seeds" not in paired.sentence()


def test_an_optuna_study_says_itself_what_is_best():
    study = type(
        "Study", (), {"trials": [], "directions": [type("D", (), {"name": "MINIMIZE"})()]}
    )()
    attrs = {"width": 1}
    study.trials = [
        type("T", (), {"state": type("S", (), {"name": "COMPLETE"}), "value": (k - 2) ** 2.0,
                       "params": {"lr": 2.0**k}, "user_attrs": attrs})()
        for k in range(6)
    ]  # fmt: skip
    roles = {"width": "width", "x": "lr", "score": "value"}
    with pytest.raises(ww.InputError, match="minimize must be True"):
        ww.analyze(study, minimize=False, **roles)
    for minimize in (None, True):
        found = ww.analyze(study, minimize=minimize, **roles)
        assert found.optima[1].noise_scale == pytest.approx(4.0, rel=0.1)


def test_the_schema_is_one_whatever_is_found():
    one, other = say(planted()).to_frame(), say(planted(octaves=range(2))).to_frame()
    assert one.schema == other.schema
    assert isinstance(one, pl.DataFrame)
