"""``widthwise widen``: exit codes, text, JSON, networks and studies named on the command line."""

import json
import re
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from adviser_samples import law

from widthwise import cli
from widthwise.study import Study

TUNED = ("--learning-rate", 0.1, "--batch-size", 32)
NTK = (*TUNED, "--factor", 4, "--parameterization", "ntk")

NETWORKS = """
from torch import nn


def build(w):
    return nn.Sequential(nn.Linear(20, 64 * w), nn.ReLU(), nn.Linear(64 * w, 64 * w), nn.ReLU(),
                         nn.Linear(64 * w, 10))


def small():
    return build(1)


def large():
    return build(4)


def signals(widening_factor):
    return nn.Sequential(
        nn.Linear(40, 64 * widening_factor), nn.ReLU(), nn.Linear(64 * widening_factor, 10)
    )
"""


@pytest.fixture(autouse=True)
def _sigterm():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command in this process; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["widthwise", "widen", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def networks(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NETWORKS)
    return path


@pytest.fixture
def study(monkeypatch):
    """A finished study, wherever one is opened."""
    family = SimpleNamespace(parameterization="standard", normalization=None)
    training = SimpleNamespace(schedule="cosine", weight_decay=0.001)
    measured = replace(law(), init_variance=2.0)
    opened = SimpleNamespace(
        spec=SimpleNamespace(family=family, training=training), law=lambda: measured
    )
    monkeypatch.setattr(Study, "open", classmethod(lambda cls, directory: opened))


def test_text(call):
    code, out, err = call(*NTK)
    assert (code, err) == (0, "")
    assert out.startswith("SGD for a network 4 times as wide (NTK parameterization)")


def test_at_most_fifteen_lines_unless_reasons_are_asked_for(call):
    _, short, _ = call(*NTK)
    assert len(short.splitlines()) <= 15
    assert short.endswith("--explain; everything: --json.\n")
    _, long, _ = call(*NTK, "--explain")
    for section in ("Why these numbers", "Other choices with the same noise", "arXiv:1905.03776"):
        assert section in long
        assert section not in short


def test_what_it_asks_for_is_an_option_of_this_command(call):
    _, out, _ = call(*NTK, "--normalization", "batch", "--explain")
    said = " ".join(out.split())
    assert "say --no-convolutional" in said
    assert "say --residual" in said
    assert "convolutional=" not in said


@pytest.mark.parametrize("parameterization", ["standard", "ntk", "default", "mup"])
def test_words_stay_words_and_every_field_is_an_option(call, parameterization):
    arguments = (*TUNED, "--factor", 4, "--parameterization", parameterization)
    _, out, _ = call(*arguments, "--explain")
    said = " ".join(out.split())
    assert "keep everything: optimizes" in said
    assert "--keep everything" not in said
    for option in ("--epochs", "--normalization", "--num-train", "--max-stable-learning-rate"):
        assert re.search(rf"(say|give) {option}\b", said)
    assert re.findall(r"(?:say|give) [a-z]+_[a-z_]+", said) == []


def test_words_that_fields_are_called_by_stay_words(call):
    _, out, _ = call(*NTK, "--explain")
    said = " ".join(out.split())
    assert "* keep everything: optimizes nothing" in said
    assert "many epochs, until test accuracy no longer changes: say --epochs; " in said
    assert "no normalization layer: say --normalization; " in said


def test_json(call):
    code, out, err = call(*NTK, "--json", "--keep", "learning_rate", "--momentum", 0.9)
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert (content["learning_rate"], content["batch_size"]) == (pytest.approx(0.1), 8)
    assert content["momentum"] == 0.9
    assert content["evidence"] == "supported by the paper"


def test_options_arrive(call):
    options = {
        "--normalization": "batch",
        "--max-stable-learning-rate": 0.8,
        "--stability-exponent": 0.5,
        "--num-train": 1024,
        "--epochs": 50,
        "--schedule": "cosine",
        "--weight-decay": 0.001,
        "--max-batch-size": 4,
    }
    flat = [word for pair in options.items() for word in pair]
    code, out, _ = call(*NTK, *flat, "--convolutional", "--residual", "--json")
    assert code == 0
    content = json.loads(out)
    assert content["batch_size"] == 4
    assert content["ceiling"]["max_stable_learning_rate"] == pytest.approx(0.4)
    assert (content["num_train"], content["epochs"]) == (1024, 50.0)
    assert {f["condition"] for f in content["findings"]} >= {
        "batch norm in a ResNet",
        "schedule",
        "weight decay with normalization",
    }


def test_a_refusal_ends_with_1_and_says_what_to_measure(call):
    code, out, err = call(*NTK, "--epochs", 1)
    assert (code, out) == (1, "")
    assert err.startswith("No advice")
    assert "no regularizer" in err
    assert "  widthwise probe SPEC.toml --widths 1,4 --batch-size 32" in err.splitlines()


def test_a_refusal_in_json(call):
    code, out, err = call(*NTK, "--optimizer", "adam", "--json")
    assert (code, err) == (1, "")
    content = json.loads(out)
    assert content["refused"] is True
    assert content["findings"][0]["condition"] == "optimizer"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*TUNED, "--factor", 4), "How do the initial weights scale"),
        ((*TUNED, "--parameterization", "ntk"), "--factor"),
        ((*NTK, "--keep", "nothing"), "keep must be one of"),
        ((*NTK, "--target", "nets:build"), "--base, which is missing"),
        ((*NTK, "--law", "/nowhere"), "nowhere"),
        ((*NTK, "--gradient-noise", "mnist1d"), "Give --base"),
    ],
)
def test_wrong_input_ends_with_2_in_one_line(call, arguments, message):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("widthwise: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_missing_option_ends_with_2(call):
    code, _, err = call("--learning-rate", 0.1)
    assert code == 2
    assert "--batch-size" in err


class TestNetworks:
    def test_one_function_at_two_widths(self, call, networks):
        code, out, err = call(*TUNED, "--base", f"{networks}:build", "--factor", 4, "--json")
        assert (code, err) == (0, "")
        content = json.loads(out)
        assert (content["widening_factor"], content["parameterization"]) == (4.0, "default")
        assert content["not_widened"]
        assert f"{networks}:build" in content["ceiling"]["measure"]

    @pytest.mark.slow
    def test_the_gradient_noise_scale_under_its_own_name(self, call, networks):
        arguments = ("--base", f"{networks}:signals", "--factor", 4, "--gradient-noise", "mnist1d")
        code, out, err = call(*TUNED, *arguments, "--explain")
        assert (code, err) == (0, "")
        assert "Gradient noise scale tr(Σ)/|G|² (McCandlish et al. 2018)" in out
        content = json.loads(call(*TUNED, *arguments, "--json")[1])
        low, high = content["gradient_noise_interval"]
        assert 1.0 < low < content["gradient_noise_scale"] < high

    def test_two_functions(self, call, networks):
        arguments = ("--base", f"{networks}:small", "--target", f"{networks}:large", "--json")
        code, out, err = call(*TUNED, *arguments)
        assert (code, err) == (0, "")
        content = json.loads(out)
        assert content["widening_factor"] == 4.0
        # Neither function builds both.
        assert content["ceiling"]["measure"].startswith("widthwise probe SPEC.toml")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--base", "{}:build"), "Which is the target"),
            (("--base", "{}:small", "--factor", 4), "must take a widening factor"),
            (("--base", "{}:small", "--target", "{}:build"), "How wide is"),
            (("--base", "{}:none", "--factor", 4), "has no 'none'"),
            (("--base", "{}:small", "--target", "{}:large", "--factor", 2), "contradicts"),
        ],
    )
    def test_what_cannot_be_built_is_asked(self, call, networks, arguments, message):
        code, out, err = call(*TUNED, *(str(word).format(networks) for word in arguments))
        assert (code, out) == (2, "")
        assert message in err


@pytest.mark.usefixtures("study")
class TestStudy:
    def test_its_law_and_parameterization_are_used(self, call):
        code, out, err = call(*TUNED, "--factor", 16, "--law", "my-study", "--json")
        assert (code, err) == (0, "")
        content = json.loads(out)
        assert content["evidence"] == "measured by your study"
        assert content["parameterization"] == "standard"
        assert content["exponent_interval"] == [0.25, 0.75]
        assert content["base_normalized_noise_scale"] == pytest.approx(0.1 / 32 / 2.0)
        assert content["learning_rate_interval"] == pytest.approx([0.0125, 0.05])

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--parameterization", "ntk"), ("--schedule", "constant"), ("--weight-decay", 0)],
    )
    def test_what_it_did_not_train_is_not_its(self, call, option, value):
        code, _, err = call(*TUNED, "--factor", 16, "--law", "my-study", option, value)
        assert code == 2
        assert f"{option} {value}" in err
        assert "contradicts the study" in err

    def test_how_it_trained_is_taken_over(self, call):
        _, out, _ = call(*TUNED, "--factor", 16, "--law", "my-study", "--json")
        content = json.loads(out)
        assert (content["schedule"], content["weight_decay"]) == ("cosine", 0.001)

    @pytest.mark.parametrize("given", [("--parameterization", "default"), ("--schedule", "cosine")])
    def test_agreement_is_no_contradiction(self, call, given):
        assert call(*TUNED, "--factor", 16, "--law", "my-study", *given)[0] == 0
