"""``widthwise analyze``: text, JSON, a page, exit codes."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from widthwise.cli import app
from widthwise.errors import InputError

TABLE = Path(__file__).parents[2] / "examples" / "mup_demo_standard.csv"
GIVEN = (
    "analyze", TABLE, "--width", "width", "--x", "log2_learning_rate", "--log-base", 2,
    "--score", "final_train_loss", "--minimize",
)  # fmt: skip


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_text():
    done = run(*GIVEN)
    assert done.exit_code == 0
    assert done.stdout.startswith("The best learning_rate falls with width: exponent −0.7")
    assert "Report" not in done.stdout


@pytest.mark.slow
def test_json_and_a_page(tmp_path):
    done = run(*GIVEN, "--json", "-o", tmp_path / "page")
    content = json.loads(done.stdout)
    assert content["verdict"] == "moves"
    assert Path(content["report"]).is_file()


def test_rows_are_chosen():
    done = run(*GIVEN, "--where", "width=256", "--json")
    assert [row["width"] for row in json.loads(done.stdout)["optima"]] == [256]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--where", "width"), "--where must be COLUMN=VALUE"),
        (("--where", "epochs=7"), "--where must leave rows over"),
        (("--seed", "seeds"), "seed must be a column of .* got 'seeds'; it has width, log2"),
    ],
)
def test_bad_input(words, said):
    done = run(*GIVEN, *words)
    assert isinstance(done.exception, InputError)
    assert re.search(said, str(done.exception))


def test_of_a_loss_what_is_best_must_be_said():
    done = run(*GIVEN[:-1])
    assert (done.exit_code, done.stdout) == (1, "")  # main() makes it 2
    assert str(done.exception) == (
        "whether the smallest final_train_loss is the best or the largest must be said: give "
        "--minimize or --maximize"
    )
    assert run(*GIVEN[:-1], "--maximize").exit_code == 0
