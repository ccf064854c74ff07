"""`widthwise reproduce` from end to end on studies of a few steps."""

import json
import re
import signal
import sys
import tomllib

import pytest
from planted_rates import rates
from tiny_studies import in_this_process

from widthwise import cli
from widthwise.errors import InputError
from widthwise.reproduce import judge_all, preset, specifications, trials
from widthwise.study import Study, StudySpec

SMALL = [
    "family.base_width=4",
    "data.num_train=128",
    "data.num_test=40",
    "training.evaluations=8",
    "packing.size=16",
]
COLLAPSE = [*SMALL, "training.physical_time=32"]  # 2 to 16 steps become 8 to 16
LAW = [*SMALL, "training.physical_time=64", "search.max_runs=28", "search.runs_at_once=8"]
PLANTED = {rate.widening_factor: rate for rate in rates(0.0)}


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        "widthwise.study.stable_rates.probe_width",
        lambda spec, dataset, width, options: PLANTED[width],
    )
    yield in_this_process(monkeypatch)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command in this process; (exit code, standard output, standard error)."""

    def run(*arguments, settings=()):
        options = [x for setting in settings for x in ("--set", setting)]
        words = ["widthwise", "reproduce", *map(str, arguments), *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


class TestShowing:
    def test_list(self, call):
        code, out, err = call("--list")
        assert (code, err) == (0, "")
        for name in ("law:mlp-1-ntk", "collapse:mlp-1-ntk-collapse", "resistance:wide-resnet-ntk"):
            assert name in out
        assert "mlp-2" not in out
        assert "mlp-2" in call("--list", "--size", "hours")[1]

    def test_list_as_json(self, call):
        content = json.loads(call("--list", "--json", "law")[1])
        assert {row["name"].split(":")[0] for row in content["trials"]} == {"law"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["colapse"], "did you mean 'collapse'"),
            (["--size", "days"], "unknown size 'days'"),
            (["law:cnn-ntk", "--data", "mnist1d"], "needs images"),
            (["collapse", "--set", "training.stps=4"], "stps"),
            (["collapse", "--set", "family=cnn"], "'family' is a table of every study"),
        ],
    )
    def test_bad_input(self, call, arguments, message, tmp_path):
        code, out, err = call(*arguments, "-o", tmp_path / "r", "-q")
        assert (code, out) == (2, "")
        assert re.search(message, err)
        assert not (tmp_path / "r").exists()

    def test_paper_says_what_it_costs_and_waits_until_it_is_accepted(self, call, tmp_path):
        options = ("--size", "paper", "-o", tmp_path / "r", "--gflops", "500")
        code, out, err = call("collapse:mlp-1-ntk-collapse", *options)
        assert (code, out) == (2, "")
        assert "at most 900 runs" in err
        assert "hours at 500 GFLOP/s" in err
        assert "only with --accept-cost" in err
        assert not (tmp_path / "r").exists()

    def test_write_specs(self, call, tmp_path):
        code, out, _ = call("--write-specs", tmp_path / "s", "--size", "hours", "--data", "mnist1d")
        assert code == 0
        paths = sorted((tmp_path / "s").glob("*.toml"))
        assert len(paths) == 12  # multilayer perceptrons only: signals are no images
        assert all(str(path) in out for path in paths)
        for path in paths:
            assert StudySpec.parse(tomllib.loads(path.read_text())).data.name == "mnist1d"

    def test_write_specs_of_a_claim(self, call, tmp_path):
        arguments = ("law:cnn-ntk", "--write-specs", tmp_path, "--json")
        paths = json.loads(call(*arguments)[1])["specifications"]
        assert paths == [str(tmp_path / "cnn-ntk.toml")]
        fields = preset("cnn", size="minutes", parameterization="ntk")
        assert StudySpec.parse(paths[0]) == StudySpec.parse(fields)


class TestRunning:
    @pytest.mark.slow
    def test_verdicts_page_and_going_on(self, call, tmp_path, trained):
        place = tmp_path / "r"
        arguments = ("law:mlp-1-ntk", "stable-rate:mlp-1-ntk", "batch-size:mlp-1-ntk",
                     "resistance:mlp-1-ntk", "-o", place, "-q")  # fmt: skip
        code, out, err = call(*arguments, settings=LAW)
        assert (code, err) == (0, "")
        for words in ("confirmed", "inconclusive", "What would decide", "reproduction.html"):
            assert words in out
        first = len(trained)
        # One study serves three claims, and is not trained again.
        assert first == Study.open(place / "mlp-1-ntk").schedule.num_runs == 28
        assert len(list((place / "store" / "landed").iterdir())) == 28
        code, out, _ = call(*arguments, "--json", settings=LAW)
        assert len(trained) == first
        content = json.loads(out)
        found = {row["name"]: row for row in content["findings"]}
        assert list(found) == [
            "law:mlp-1-ntk",
            "stable-rate:mlp-1-ntk",
            "batch-size:mlp-1-ntk",
            "resistance:mlp-1-ntk",
        ]
        assert found["stable-rate:mlp-1-ntk"]["verdict"] == "confirmed"
        assert found["law:mlp-1-ntk"]["runs"] == 28
        assert found["batch-size:mlp-1-ntk"]["runs"] == 28 + 80
        assert content["runs"] == 28 + 80
        for row in found.values():
            assert row["verdict"] in ("confirmed", "contradicted", "inconclusive")
            assert (row["would_decide"] is None) == (row["verdict"] != "inconclusive")
        page = (place / "reproduction.html").read_text()
        assert 'href="mlp-1-ntk/report.html"' in page
        assert page.count("data:image/svg+xml") >= 3
        assert "max-width: 46rem" in page  # the style of a study's report
        assert "{%" not in page
        assert "Not found in what could be read of the paper" in page
        assert not re.search(r"(src|href)=\"http(?!s://arxiv)", page)

    @pytest.mark.slow
    def test_collapse_as_trained(self, call, tmp_path):
        place = tmp_path / "r"
        arguments = ("collapse:mlp-1-ntk-collapse", "-o", place, "-q", "--json")
        code, out, _ = call(*arguments, settings=[*COLLAPSE, "search.max_runs=3"])
        assert code == 0
        (row,) = json.loads(out)["findings"]
        assert row["runs"] == 120
        assert "settings of equal ḡ" in row["quantity"]

    @pytest.mark.slow
    def test_interrupted_it_goes_on(self, call, tmp_path, trained, monkeypatch):
        place = tmp_path / "r"
        names = ("law:mlp-1-ntk", "collapse:mlp-1-ntk-collapse")
        arguments = (*names, "-o", place)
        run = Study.run

        def killed(self, *args, **options):
            if "collapse" not in self.directory.name:
                return run(self, *args, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Study, "run", killed)
            code, _, err = call(*arguments, settings=LAW)
        assert code == 130
        assert "[2/2]" in err
        assert "the same command goes on" in err
        before = list(trained)
        assert before
        code, out, err = call(*arguments, settings=LAW)
        assert code == 0
        assert "all 28 runs are there" in err
        assert trained[: len(before)] == before
        assert len(trained) == len(set(trained))
        assert len(Study.open(place / "mlp-1-ntk-collapse").results()) == 120
        assert "mlp-1-ntk-collapse" in out

    @pytest.mark.slow
    def test_other_seeds(self, call, tmp_path, trained, monkeypatch):
        probed = []
        monkeypatch.setattr(
            "widthwise.study.stable_rates.probe_width",
            lambda spec, data, width, options: probed.append(options) or PLANTED[width],
        )
        names = ("law:mlp-1-ntk", "stable-rate:mlp-1-ntk", "collapse:mlp-1-ntk-collapse")
        arguments = (*names, "-o", tmp_path / "r", "-q", "--first-seed", "700")
        assert call(*arguments, settings=LAW)[0] == 0
        assert {options.first_seed for options in probed} == {700}
        searched = Study.open(tmp_path / "r" / "mlp-1-ntk").results()["seed"]
        compared = Study.open(tmp_path / "r" / "mlp-1-ntk-collapse").results()["seed"]
        assert searched.min() == compared.min() == 700
        assert compared.max() == 703
        page = (tmp_path / "r" / "reproduction.html").read_text()
        for what_was_run in ("first_seed = 700", "base_width = 4", "seeds = [700, 701, 702, 703]"):
            assert what_was_run in page
        code, _, err = call(*names, "-o", tmp_path / "r", "-q", settings=LAW)
        assert code == 2
        assert "belongs to another specification" in err

    @pytest.mark.slow
    def test_another_specification_in_the_same_place(self, call, tmp_path, trained):
        arguments = ("collapse:mlp-1-ntk-collapse", "-o", tmp_path / "r", "-q")
        call(*arguments, settings=COLLAPSE)
        assert len(trained) == 120
        assert call(*arguments, settings=[*COLLAPSE, "analysis.seed=3"])[0] == 0
        assert len(trained) == 120
        other = [*COLLAPSE, "family.base_width=5"]
        code, _, err = call(*arguments, settings=other)
        assert code == 2
        assert "none of the 120 runs of the study" in err
        assert "give --yes to go on" in err
        assert call(*arguments, "--yes", settings=other)[0] == 0
        assert len(trained) == len(set(trained)) == 240


def test_judging_measures_nothing(tmp_path):
    wanted = trials(["stable-rate:mlp-1-ntk"], "minutes")
    specs = specifications(wanted, size="minutes", overrides=SMALL)
    with pytest.raises(InputError, match=r"mlp-1-ntk\.json is not there; probe the family first"):
        judge_all(wanted, specs, tmp_path)
    assert list(tmp_path.iterdir()) == []
