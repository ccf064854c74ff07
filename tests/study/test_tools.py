"""What a study hands to other tools: pandas, CSV, notebooks, Matplotlib."""

import csv
import html.parser

import numpy as np
import polars as pl
import pytest
from tiny_studies import clouds, fields, finished_study, in_this_process

import widthwise as ww
from widthwise.errors import FitError
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        in_this_process(monkeypatch)
        grid = {"learning_rate": [0.01, 0.05, 0.1, 1e9]}
        training = {"steps": 24, "evaluations": 8, "schedule": "step", "decay_at": [0.5, 0.75]}
        asked = fields(grid=grid, training=training)
        return finished_study(tmp_path_factory.mktemp("tools") / "s", asked)


class TestResults:
    def test_are_written_as_csv_and_read_back(self, study, tmp_path):
        study.results().write_csv(tmp_path / "runs.csv")
        with (tmp_path / "runs.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["run_id"] for row in rows] == study.results()["run_id"].to_list()
        assert [float(r["learning_rate"]) for r in rows] == study.results()[
            "learning_rate"
        ].to_list()
        assert {row["decay_at"] for row in rows} == {"0.5, 0.75"}

    def test_hold_no_lists(self, study):
        assert not any(isinstance(kind, pl.List) for kind in study.results().dtypes)
        assert any(isinstance(kind, pl.List) for kind in study.results(curves=True).dtypes)

    def test_go_to_pandas(self, study):
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        table = study.results().to_pandas()
        assert list(table["seed"]) == study.results()["seed"].to_list()

    def test_have_every_old_column_if_asked(self, study):
        whole = study.results(curves=True)
        assert whole.schema == pl.Schema(RESULTS_SCHEMA)
        assert set(study.results().columns) == {
            name for name in RESULTS_SCHEMA if not name.startswith("curve_")
        }


class TestCurves:
    def test_are_a_row_an_evaluation(self, study):
        whole, curves = study.results(curves=True), study.curves()
        assert len(curves) == whole["curve_step"].list.len().sum()
        for row in whole.iter_rows(named=True):
            own = curves.filter(pl.col("run_id") == row["run_id"])
            assert own["step"].to_list() == row["curve_step"]
            assert own["test_loss"].to_list() == row["curve_test_loss"]
            assert own["validation_loss"].null_count() == len(own)
            assert set(own["learning_rate"]) <= {row["learning_rate"]}

    def test_of_validation_examples_are_there(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        other = finished_study(tmp_path / "s", data=clouds(num_validation=8))
        assert other.curves()["validation_accuracy"].null_count() == 0

    def test_are_written_as_csv(self, study, tmp_path):
        study.curves().write_csv(tmp_path / "curves.csv")
        assert len(pl.read_csv(tmp_path / "curves.csv")) == len(study.curves())

    def test_of_no_runs(self, tmp_path):
        empty = Study.create(tmp_path / "s", fields(), data=clouds())
        assert empty.curves().is_empty()
        assert empty.best().is_empty()
        assert "step" in empty.curves().columns


class TestPlot:
    def test_draws_what_was_measured(self, study):
        axes = study.plot()
        (points,) = (line for line in axes.lines if line.get_gid() == "w=2 points")
        rows = study.results().filter(pl.col("status") == "ok", pl.col("widening_factor") == 2)
        means = rows.group_by("normalized_noise_scale").agg(pl.col("test_accuracy").mean())
        means = means.sort("normalized_noise_scale")
        assert np.allclose(points.get_xdata(), means["normalized_noise_scale"])
        assert np.allclose(points.get_ydata(), 100 * means["test_accuracy"])
        assert axes.get_xlabel().startswith("normalized noise scale")
        assert {text.get_text() for text in axes.get_legend().get_texts()} == {"w=1", "w=2"}

    def test_on_axes_of_ones_own(self, study):
        from matplotlib.figure import Figure

        axes = Figure().add_subplot()
        assert study.plot(axes) is axes
        assert axes.lines

    def test_without_runs(self, tmp_path):
        with pytest.raises(FitError, match="no run"):
            Study.create(tmp_path / "s", fields(), data=clouds()).plot()


class Text(html.parser.HTMLParser):
    """What a reader sees, and whether tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.said = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def shown(value):
    return Text(value._repr_html_()).said


class TestNotebooks:
    def test_a_plan(self):
        plan = ww.widen(learning_rate=1, batch_size=64, widening_factor=4, parameterization="ntk")
        said = shown(plan)
        assert "4 times as wide" in said[0]
        assert f"64 → {plan.batch_size}" in said

    def test_a_study(self, study):
        said = shown(study)
        assert said[0] == study.spec.title
        assert "16 of 16" in said
        assert str(study.directory) in said

    def test_an_optimum_and_a_law(self):
        noise_scale, rng, optima = np.geomspace(0.01, 1, 9), np.random.default_rng(0), []
        for width in (1, 2, 4):
            scores = 0.9 - 0.01 * (np.log(noise_scale / (0.05 * width))) ** 2
            scores = scores[:, None] + 0.002 * rng.standard_normal((9, 5))
            optima.append(ww.locate_optimum(noise_scale, scores))
        law = ww.fit_law((1, 2, 4), optima)
        assert law.verdict in shown(law)
        assert any(f"{law.exponent:.2f}"[:3] in text for text in shown(law))
        assert "5" in shown(optima[0])

    def test_a_title_cannot_be_markup(self, tmp_path):
        asked = fields(title="<script>alert(1)</script>")
        empty = Study.create(tmp_path / "s", asked, data=clouds())
        assert "<script>" not in empty._repr_html_()
        assert shown(empty)[0] == "<script>alert(1)</script>"
