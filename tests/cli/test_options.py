"""One spelling of an option; the old one works for a release, and says so."""

import json

import pytest

from widthwise import cli, inspection

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


def test_the_default_confidence_is_as_the_help_says():
    commands = cli.typer.main.get_command(cli.app).commands
    (option,) = (p for p in commands["inspect"].params if p.name == "confidence")
    assert option.help.endswith(f"default {inspection.CONFIDENCE:g}.")
