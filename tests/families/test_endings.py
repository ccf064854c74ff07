"""Files and functions of the user's that end the program, parse its command line, or are no
functions that can be looked at."""

import argparse
import os
import sys

import pytest
import torch
from tiny_studies import clouds, fields
from torch import nn

from widthwise import cli
from widthwise.errors import InputError
from widthwise.execution.base import Failed
from widthwise.execution.worker import perform
from widthwise.families import user_family
from widthwise.families.base import check_logits
from widthwise.study import StudySpec

BUILD = """
import os
import sys
from torch import nn


def build(w):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * w), nn.ReLU(), nn.Linear(4 * w, 3))


def ends(w):
    sys.exit("enough")


def leaves(w):
    os._exit(0)


def outcome(w):
    raise GeneratorExit("skipped")


def interrupted(w):
    raise KeyboardInterrupt


class Ends(nn.Linear):
    def forward(self, x):
        sys.exit()


def forward_ends(w):
    return Ends(6, 3)


class Leaves(nn.Linear):
    def forward(self, x):
        os._exit(0)


def forward_leaves(w):
    return Leaves(6, 3)
"""
PARSER = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument({})
args = parser.parse_args()
"""


def write(folder, more=""):
    (folder / "nets.py").write_text(BUILD + more)
    return f"{folder / 'nets.py'}:build"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("sys.exit()\n", "SystemExit: "),
        ("def main(): return 0\nsys.exit(main())\n", "SystemExit: 0"),
        ("raise SystemExit('usage: nets')\n", "SystemExit: usage: nets"),
        ("os._exit(0)\n", "SystemExit: 0"),
        (PARSER.format("'--epochs', type=int"), "SystemExit: .*: unrecognized arguments: run"),
        (PARSER.format("'--epochs', required=True"), "required: --epochs"),
        (PARSER.format("'words', nargs='*', choices=['a']"), "invalid choice: 'run'"),
    ],
)
def test_a_file_that_ends_the_program(more, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["widthwise", "run", "spec.toml", "-q"])
    with pytest.raises(InputError, match=rf"could not be imported: .*{said}.*__name__ == "):
        user_family(write(tmp_path, more))
    assert capsys.readouterr() == ("", "")


def test_parsers_are_as_before(tmp_path, capsys):
    user_family(write(tmp_path))
    with pytest.raises(SystemExit):
        argparse.ArgumentParser().parse_args(["--what"])
    assert "usage" in capsys.readouterr().err


def test_a_parser_that_is_content_is_let_be(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--epochs", "4"])
    family = user_family(write(tmp_path, PARSER.format("'--epochs', type=int")))
    assert isinstance(family.build(1), nn.Module)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("ends", "SystemExit: enough"),
        ("leaves", "SystemExit: 0"),
        ("outcome", "GeneratorExit: skipped"),
    ],
)
def test_a_function_that_ends_the_program(function, said, tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match=rf"must return a module, but .* {said}"):
        user_family(f"{tmp_path / 'nets.py'}:{function}").build(1)


def test_what_is_no_exception_of_an_import_is_said(tmp_path):
    """pytest's own skipping is of this kind."""
    with pytest.raises(InputError, match="could not be imported: GeneratorExit: skipped"):
        user_family(write(tmp_path, 'raise GeneratorExit("skipped")\n'))


SPEECHLESS = """
class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Silent(nn.Linear):
    def forward(self, x):
        raise Speechless


def silent(w):
    return Silent(6, 3)


def raises(w):
    raise Speechless


"""


def test_an_error_that_cannot_be_printed(tmp_path):
    said = r"Speechless: \(its message cannot be read\)"
    write(tmp_path, SPEECHLESS)
    with pytest.raises(InputError, match=said):
        user_family(f"{tmp_path / 'nets.py'}:raises").build(1)
    network = user_family(f"{tmp_path / 'nets.py'}:silent")
    with pytest.raises(InputError, match=f"its forward raised {said}"):
        check_logits(network, network.build(1), torch.zeros(2, 6), 3)
    with pytest.raises(InputError, match=f"could not be imported: {said}"):
        user_family(write(tmp_path, f"{SPEECHLESS}raise Speechless\n"))


def test_an_interruption_stays_one(tmp_path):
    write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        user_family(f"{tmp_path / 'nets.py'}:interrupted").build(1)
    with pytest.raises(KeyboardInterrupt):
        user_family(write(tmp_path, "raise KeyboardInterrupt\n"))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork beside threads
def test_processes_that_a_file_forks_end_at_once(tmp_path):
    more = "child = os.fork()\nif child == 0: os._exit(7)\nstatus = os.waitpid(child, 0)[1]\n"
    before = os._exit
    family = user_family(write(tmp_path, more))
    assert os.waitstatus_to_exitcode(family.function.__globals__["status"]) == 7
    assert os._exit is before


@pytest.mark.parametrize(("function", "said"), [("forward_ends", ""), ("forward_leaves", " 0")])
def test_a_network_that_ends_the_program(function, said, tmp_path, monkeypatch, capsys):
    """Wherever it does so: the command line does not end as if all was done."""
    write(tmp_path)
    clouds().save(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(
        f'data = {{name = "npz", path = "{tmp_path}/d.npz"}}\ntraining = {{steps = 8}}\n'
        "grid = {widening_factor = 1, learning_rate = 0.1, batch_size = 8}\n"
        f'family = {{kind = "nets.py:{function}"}}\n'
    )
    monkeypatch.setattr(sys, "argv", ["widthwise", "run", "s.toml", "-q"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"widthwise: networks and data must not end the program, got SystemExit:{said}\n"
    )


def test_a_worker_outlives_what_ends_the_program():
    class Task:
        key = "k"

        def call(self, emit):
            sys.exit(3)

    words = "networks and data must not end the program, got SystemExit: 3"
    assert perform(Task(), None) == Failed("k", words, "bad input")


@pytest.mark.parametrize("reference", ["builtins:int", "builtins:type", "builtins:print"])
def test_what_cannot_be_looked_at(reference):
    with pytest.raises(InputError, match=r"parameters can be read|must return|must take"):
        user_family(reference).network(1.0)


@pytest.mark.parametrize("seed", [2**64, 10**320, -(2**64)])
def test_seeds_that_no_generator_takes(seed, tmp_path):
    with pytest.raises(InputError, match=r"seed must be below 2\^64") as raised:
        user_family(write(tmp_path)).build(1, seed)
    assert raised.value.fields == ("seed",)


def test_the_largest_seeds_are_taken(tmp_path):
    family = user_family(write(tmp_path))
    assert not torch.equal(family.build(1, 2**64 - 1)[1].weight, family.build(1, 0)[1].weight)


def test_a_width_that_fits_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"needs about .* MB, more than this machine has"):
        user_family(write(tmp_path)).build(1e12)


def test_seeds_of_a_study_fit_into_its_table():
    with pytest.raises(InputError, match=r"grid\.0\.seeds\.0"):
        StudySpec.parse(fields(grid={"seeds": [2**63]}))
