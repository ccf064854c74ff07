"""``widthwise probe``: what it prints, and how it ends."""

import json
import re
import signal
import sys

import pytest
from tiny_studies import clouds, in_this_process

from widthwise import cli
from widthwise.cli.probe import _on
from widthwise.errors import FitError
from widthwise.study import Study


@pytest.fixture(autouse=True)
def signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command in this process; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["widthwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def spec(tmp_path):
    """A specification on a small .npz, as a file."""
    clouds().save(tmp_path / "d.npz")
    content = {
        "grid": {"widening_factor": [1, 2], "learning_rate": 0.1, "batch_size": 4, "seeds": 2},
        "family": {"base_width": 4},
        "training": {"steps": 24, "evaluations": 8},
        "hardware": {"device": "cpu"},
        "data": {"name": "npz", "path": str(tmp_path / "d.npz"), "preprocessing": "none"},
    }
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(content))
    return path


QUICK = ("--seeds", 2, "--steps", 20, "--tolerance", 0.5)


@pytest.mark.slow
def test_a_line_a_width_and_the_law(call, spec):
    code, out, err = call("probe", spec, *QUICK)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 6
    rate = float(re.search(r"momentum 0: (\S+) \(", lines[2])[1])  # of the last width
    quarter = float(re.search(r"a quarter of it, ε = (\S+) ", lines[4])[1])
    assert quarter == pytest.approx(rate / 4, rel=0.01)
    given = re.search(r"--max-stable-learning-rate (\S+) --max-stable-at 2 ", lines[5])
    assert float(given[1]) == pytest.approx(rate, rel=0.01)
    assert lines[0] == "Data: npz, 64 training examples"
    assert lines[1].startswith(
        "Largest stable learning rate at widening factor 1, batch size 64, momentum 0: "
    )
    assert "at widening factor 2" in lines[2]
    assert lines[3].startswith("The largest stable learning rate goes as w^−q with q = ")
    assert "w = 1: 6 runs at 3 learning rates, " in err


def test_json_holds_everything(call, spec):
    code, out, err = call(
        "probe", spec, *QUICK, "--widths", "1 4", "--momentum", 0.5, "--batch-size", 8,
        "--no-curvature", "--json", "-q",
    )  # fmt: skip
    content = json.loads(out)
    assert (code, err) == (0, "")
    assert content["data"] == {"name": "npz", "num_train": 64}
    assert [row["widening_factor"] for row in content["widths"]] == [1.0, 4.0]
    assert {row["momentum"] for row in content["widths"]} == {0.5}
    assert {row["batch_size"] for row in content["widths"]} == {8}
    assert content["widths"][0]["curvature_bound"] is None
    assert content["law"]["interval"][0] <= content["law"]["exponent"]
    assert content["sentence"].startswith("The largest stable learning rate goes as")


NETWORK = """
from torch import nn


def build(widening_factor):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * widening_factor), nn.ReLU(),
                         nn.Linear(4 * widening_factor, 3))
"""


def test_a_function_of_ones_own_with_the_data_of_a_specification(call, spec, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    own = f"{tmp_path / 'net.py'}:build"
    code, out, _ = call("probe", own, "--spec", spec, "--widths", 2, *QUICK, "-q")
    assert code == 0
    assert "at widening factor 2" in out
    assert "One width says nothing of how it changes with width." in out


@pytest.mark.slow
def test_a_function_of_ones_own_with_data_by_name(call, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK.replace("6,", "784,").replace(" 3)", " 10)"))
    own = f"{tmp_path / 'net.py'}:build"
    code, out, _ = call(
        "probe", own, "--data", "fashion-mnist-mini", "--set", "data.num_train=64",
        "--set", "hardware.device=cpu", "--widths", 1, *QUICK, "-q",
    )  # fmt: skip
    assert (code, "at widening factor 1" in out) == (0, True)


def test_data_that_nobody_named_are_named(call, tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    own = f"{tmp_path / 'net.py'}:build"
    code, out, err = call("probe", own, "--set", "data.num_train=64", "--widths", 1, *QUICK, "-q")
    assert (code, out) == (2, "")
    assert "must accept inputs of the data set 'fashion-mnist-mini' of shape" in err


def test_the_first_line_says_that_they_are_the_default():
    said = _on("fashion-mnist-mini", 4000, is_default=True)
    assert said == (
        "Data: fashion-mnist-mini, 4,000 training examples; none were named: give --data, or "
        "[data] in the specification\n"
    )


class TestStudy:
    @pytest.fixture
    def study(self, spec, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        study = Study.create(tmp_path / "s", spec)
        study.run(1, progress=False)
        return study

    @pytest.mark.slow
    def test_its_rates_are_kept_and_shown(self, call, study):
        code, out, err = call("probe", study.directory, *QUICK)
        assert code == 0
        data, first, second, *_ = out.splitlines()
        assert data == "Data: npz, 64 training examples"
        assert "at widening factor 1" in first
        assert "at widening factor 2" in second
        assert "w = 1: 6 runs at 3 learning rates, " in err
        again = call("probe", study.directory, *QUICK)
        assert again == (0, out, "")
        page = study.report().read_text()
        assert "How large can the best batch be?" in page

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("option", "value"), [("--spec", "o.toml"), ("--data", "mnist"), ("--set", "a=1")]
    )
    def test_what_is_fixed_is_refused(self, call, study, option, value):
        code, out, err = call("probe", study.directory, option, value)
        assert (code, out) == (2, "")
        assert f"leave out {option}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nets",), "the networks to probe are"),
        (("SPEC", "--widths", "1,two"), "--widths must be positive widening factors"),
        (("SPEC", "--widths", "0"), "--widths must be positive widening factors"),
        (("SPEC", "--spec", "other.toml"), "is a specification already"),
        (("SPEC", "--momentum", "1"), "momentum must lie in"),
        (("SPEC", "--set", "grid.momentum=[0.0, 0.9]"), "choose one: give --momentum"),
        (("SPEC", "--batch-size", "1000"), "batch_size must lie in"),
    ],
)
def test_bad_input_is_2(call, spec, arguments, message):
    given = [spec if word == "SPEC" else word for word in arguments]
    code, out, err = call("probe", *given, "-q")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.fixture
def measured(monkeypatch):
    """Nothing is trained: what the probe was asked for, a call a width."""
    asked = []

    def instead(family, dataset, **options):
        asked.append({"data": dataset.name, "family": family, **options})
        raise FitError("not measured here")

    monkeypatch.setattr("widthwise.study.stable_rates.max_stable_learning_rate", instead)
    return asked


def without(spec, **changes):
    """The specification with other tables; None leaves one out."""
    fields = {**json.loads(spec.read_text()), **changes}
    path = spec.with_name("lean.json")
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": None},
        {"grid": None, "training": None},
        {"grid": {"momentum": 0.5}},
        {"training": {"weight_decay": 0.01}},
        {"grid": None, "search": {"precision": 1.0}},
        {"grid": {"normalized_noise_scale": [0.1, 1.0]}},
        {"grid": [{"widening_factor": 1}, {"momentum": 0.0}]},
    ],
)
def test_a_specification_needs_what_is_used_only(call, spec, measured, changes):
    code, _, err = call("probe", without(spec, **changes), "-q")
    assert (code, err) == (1, "widthwise: not measured here\n")
    (asked,) = measured
    assert asked["widening_factor"] == 1.0
    grid = changes.get("grid") or {}
    assert asked["momentum"] == (grid.get("momentum", 0.0) if isinstance(grid, dict) else 0.0)


def test_the_momentum_that_is_asked_for_is_that_of_a_missing_grid(call, spec, measured):
    lean = without(spec, grid=None, training={"nesterov": True})
    call("probe", lean, "--momentum", 0.5, "-q")
    assert [(row["momentum"], row["recipe"].nesterov) for row in measured] == [(0.5, True)]
    assert "nesterov needs momentum" in call("probe", lean, "-q")[2]


def test_what_is_wrong_with_a_lean_specification_is_said(call, spec, measured):
    lean = without(spec, grid=None, trianing={"steps": 8})
    code, out, err = call("probe", lean, "-q")
    assert (code, out, measured) == (2, "", [])
    assert "unknown key 'trianing'" in err


def test_interrupted_is_130(call, spec, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("widthwise.study.stable_rates.max_stable_learning_rate", interrupted)
    code, out, _ = call("probe", spec, "-q")
    assert (code, out) == (130, "")
