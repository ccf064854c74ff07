"""One spelling of an option; the old one works for a release, and says so."""

import json
import re

import pytest

from widthwise import cli, inspection
from widthwise.cli.usual import MEANT
from widthwise.study import StudySpec
from widthwise.study.grid_spec import GridSpec

WIDEN = ("widen", "--learning-rate", "0.1", "--batch-size", "32", "--parameterization", "ntk")


@pytest.fixture
def call(capsys):
    def run(*arguments):
        try:
            cli.app([*map(str, arguments)], standalone_mode=False)
        finally:
            said = capsys.readouterr()
        return said.out, said.err

    return run


@pytest.mark.parametrize("old", [("--widening-factor", 4), ("--widening-factor=4",)])
def test_the_old_spelling_works_with_a_note(call, old):
    out, err = call(*WIDEN, *old, "--json")
    assert json.loads(out)["widening_factor"] == 4.0
    assert err == "widthwise: --widening-factor is --factor; the old spelling goes with 0.3\n"


@pytest.mark.parametrize("new", [("--factor", 4), ("-w", 4)])
def test_the_new_one_without(call, new):
    out, err = call(*WIDEN, *new, "--json")
    assert (json.loads(out)["widening_factor"], err) == (4.0, "")


@pytest.mark.parametrize("name", ["widen", "calibrate", "inspect"])
def test_the_factor_of_a_target_has_one_spelling(name):
    (command,) = (c for c in cli.app.registered_commands if c.callback.__name__ == name)
    assert command.cls is cli.Command
    options = cli.command.options(cli.typer.main.get_command(cli.app).commands[name])
    assert ("--factor",) in options.values()
    assert ("--widening-factor",) not in options.values()


def test_a_command_without_the_option_does_not_know_the_old_spelling_either(capsys):
    with pytest.raises(Exception, match="--widening-factor"):
        cli.app(["probe", "nets.py:build", "--widening-factor", "4"], standalone_mode=False)
    assert capsys.readouterr().err == ""


USUAL = [
    (("widen", "--lr", "0.1"), "--learning-rate"),
    (("widen", "--lr=0.1"), "--learning-rate"),
    (("widen", "-lr", "0.1"), "--learning-rate"),
    (("widen", "--learning_rate", "0.1"), "--learning-rate"),
    (("widen", "--bs", "32"), "--batch-size"),
    (("widen", "--width", "4"), "--factor"),
    (("widen", "--widths", "4"), "--factor"),
    (("widen", "--optim", "sgd"), "--optimizer"),
    (("calibrate", "spec.toml", "--wd", "0"), "--set training.weight_decay=…"),
    (("probe", "spec.toml", "--width", "1,2"), "--widths"),
    (("run", "spec.toml", "--lr", "0.1"), "--set grid.learning_rate=…"),
    (("run", "spec.toml", "--seeds", "3"), "--set grid.seeds=…"),
    (("run", "spec.toml", "--learning-rate", "0.1"), "--set grid.learning_rate=…"),
    (("run", "spec.toml", "--batch-size", "8"), "--set grid.batch_size=…"),
    (("run", "spec.toml", "--steps", "3"), "--set training.steps=…"),
    (("run", "spec.toml", "--epochs", "3"), "--set training.epochs=…"),
    (("run", "spec.toml", "--momentum", "0.9"), "--set grid.momentum=…"),
    (("run", "spec.toml", "--schedule", "cosine"), "--set training.schedule=…"),
    (("reproduce", "--epochs", "3"), "--set training.epochs=…"),
    (("run", "spec.toml", "-j", "2"), "--workers"),
    (("analyze", "runs.csv", "--lr", "lr"), "--x"),
    (("analyze", "runs.csv", "--metric", "acc"), "--score"),
    (("inspect", "nets:build", "--width", "2"), "--factor"),
]


@pytest.mark.parametrize(("words", "suggested"), USUAL, ids=lambda x: " ".join([*x][:4]))
def test_a_name_that_other_tools_use_is_understood_as_a_suggestion(words, suggested):
    with pytest.raises(Exception, match="No such option") as error:
        cli.app([*words], standalone_mode=False)
    assert error.value.format_message().endswith(f"(Possible options: {suggested})")


@pytest.mark.parametrize("command", ["calibrate", "probe", "reproduce"])
@pytest.mark.parametrize("name", ["--lr", "--bs"])
def test_no_key_is_suggested_that_the_command_makes_itself_or_does_not_use(command, name):
    with pytest.raises(Exception, match="No such option") as error:
        cli.app([command, "spec.toml", name, "1"], standalone_mode=False)
    assert "grid." not in error.value.format_message()


def test_what_nobody_means_is_left_to_the_parser():
    with pytest.raises(Exception, match="No such option") as error:
        cli.app(["widen", "--xyzzy", "1"], standalone_mode=False)
    assert "Possible" not in error.value.format_message()


def test_every_suggestion_is_an_option_or_a_key_somewhere():
    commands = cli.typer.main.get_command(cli.app).commands.values()
    known = {name for command in commands for names in cli.command.options(command).values()
             for name in names}  # fmt: skip
    keys = set()
    for option in (option for options, _ in MEANT for option in options):
        name, _, key = option.partition(" ")
        assert name in known, option
        keys |= {key.removesuffix("=…")} - {""}
    tables = StudySpec.model_fields
    for key in keys:
        table, name = key.split(".")
        model = GridSpec if table == "grid" else tables[table].annotation
        assert name in model.model_fields, key


def test_the_default_confidence_is_as_the_help_says():
    commands = cli.typer.main.get_command(cli.app).commands
    (option,) = (p for p in commands["inspect"].params if p.name == "confidence")
    assert option.help.endswith(f"default {inspection.CONFIDENCE:g}.")


def test_no_word_of_a_help_is_taken_for_markup():
    """Rich shows "[slurm]" as nothing, unless a backslash stands before it."""
    for name, command in cli.typer.main.get_command(cli.app).commands.items():
        for text in (command.help or "", *(getattr(p, "help", None) or "" for p in command.params)):
            assert not re.search(r"(?<!\\)\[[a-z]", text), (name, text)
