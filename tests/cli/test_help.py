"""Help: nothing cut off, an example a command, options in groups, nothing heavy loaded."""

import json
import os
import re
import shlex
import subprocess
import sys
from typing import Annotated

import pytest
import typer

from widthwise import cli
from widthwise.cli.command import Command

GROUP = typer.main.get_command(cli.app)
COMMANDS = dict(sorted(GROUP.commands.items()))
HEAVY = {"torch", "matplotlib", "polars", "scipy", "numpy"}
# More options than this are in groups.
MANY = 6


def help_of(command, width, capsys, monkeypatch):
    """The help text of a command, or of the program, on a terminal of that width."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"], prog_name=f"widthwise {command.name or ''}".strip())
    assert ended.value.code == 0
    return capsys.readouterr().out


def visible(command):
    return [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]


def whole_words(command):
    """What must stand in the help as it is: options, metavars, values, the example."""
    for parameter in visible(command):
        if parameter.param_type_name == "option":
            yield from (*parameter.opts, *parameter.secondary_opts)
        if parameter.metavar:
            yield from parameter.metavar.split()
        if isinstance(parameter.default, str | int | float) and parameter.show_default:
            yield from () if isinstance(parameter.default, bool) else [str(parameter.default)]
        # Values that are named in the help.
        yield from re.findall(r"[\w-]+_[\w-]+|[\w-]+(?=,| or )", parameter.help or "")
    if command.epilog:
        yield command.epilog.rpartition("\n")[2]


def cut_off(command, text):
    """Words of the help that are not whole in the text, and lines that end in an ellipsis."""
    missing = [
        word
        for word in whole_words(command)
        if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)
    ]
    return missing + [line for line in text.splitlines() if "…" in line]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_cut_off(name, width, capsys, monkeypatch):
    text = help_of(COMMANDS[name], width, capsys, monkeypatch)
    assert cut_off(COMMANDS[name], text) == []
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_of_the_list_of_commands_is_cut_off(width, capsys, monkeypatch):
    text = help_of(GROUP, width, capsys, monkeypatch)
    assert cut_off(GROUP, text) == []
    assert all(name in text for name in COMMANDS)


def planted(**changes):
    """A command with an option whose name is too long for a line of 80."""
    app = typer.Typer(add_completion=False)

    @app.command(cls=Command, **changes)
    def command(
        value: Annotated[int, typer.Option("--" + "a-name-that-is-too-long-" * 3 + "for-it")] = 1,
    ) -> None:
        pass

    return typer.main.get_command(app)


def test_a_name_that_is_cut_off_is_found(capsys, monkeypatch):
    command = planted()
    assert cut_off(command, help_of(command, 80, capsys, monkeypatch))


def test_an_example_that_is_broken_is_found(capsys, monkeypatch):
    command = planted(epilog="Example:\n\nwidthwise planted " + "word " * 20)
    found = cut_off(command, help_of(command, 80, capsys, monkeypatch))
    assert any(word.startswith("widthwise planted") for word in found)


@pytest.mark.parametrize("name", COMMANDS)
def test_many_options_are_in_groups(name):
    options = [p for p in visible(COMMANDS[name]) if p.param_type_name == "option"]
    panels = {getattr(p, "rich_help_panel", None) for p in options}
    assert len(panels) > 1 or len(options) <= MANY


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_a_call_of_the_command(name):
    program, command, *words = shlex.split(COMMANDS[name].epilog.rpartition("\n")[2])
    assert (program, command) == ("widthwise", name)
    COMMANDS[name].make_context(name, words)


def test_an_example_with_a_wrong_option_is_found():
    with pytest.raises(Exception, match=r"--epochs"):
        COMMANDS["inspect"].make_context("inspect", ["nets:build", "--epochs", "3"])


def modules_after(*lines, codes=(0,)):
    """What one process prints, and has loaded once it has done all these lines."""
    program = (
        "import json, sys\n"
        "from widthwise.cli import main\n"
        "ends = []\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    sys.argv[1:] = line\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as ended:\n"
        "        ends.append(ended.code or 0)\n"
        "print('\\n' + json.dumps([ends, *sys.modules]), file=sys.stderr)"
    )
    words = json.dumps([list(map(str, line)) for line in lines])
    command = [sys.executable, "-c", program, words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ends, *modules = json.loads(done.stderr.splitlines()[-1])
    assert set(ends) <= set(codes), done.stderr
    assert len(ends) == len(lines)
    return done.stdout, set(modules)


@pytest.mark.slow
def test_help_loads_nothing_heavy():
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    text, modules = modules_after(*lines)
    assert text.count("Usage: ") == len(lines) - 1
    assert not modules & HEAVY


ADVICE = ("widen", "--learning-rate", 0.1, "--batch-size", 128, "--factor", 4)


@pytest.mark.slow
def test_what_trains_nothing_loads_neither_torch_nor_matplotlib():
    schemes = ["ntk", "default", "standard", "mup"]
    advice = [(*ADVICE, "--parameterization", scheme) for scheme in schemes]
    assert not modules_after(["datasets"], *advice)[1] & (HEAVY - {"numpy"})


@pytest.mark.slow
def test_a_table_of_runs_is_analyzed_without_torch(tmp_path):
    rows = [f"{w},{lr},{1 - (i - 2) ** 2 / 9}" for w in (1, 2) for i, lr in enumerate((1, 2, 4, 8))]
    (tmp_path / "runs.csv").write_text("width,lr,acc\n" + "\n".join(rows))
    columns = ("--width", "width", "--x", "lr", "--score", "acc")
    line = ("analyze", tmp_path / "runs.csv", *columns, "--output", tmp_path / "page")
    assert "torch" not in modules_after(line)[1]


@pytest.mark.slow
def test_a_refusal_and_bad_input_load_them_no_more():
    refused = (*ADVICE, "--parameterization", "ntk", "--optimizer", "adam")
    lines = [ADVICE, refused, ("run", "absent.toml")]
    assert not modules_after(*lines, codes=(1, 2))[1] & {"torch", "matplotlib"}


@pytest.mark.slow
def test_what_opens_a_study_loads_torch_and_no_more_that_is_slow(tmp_path):
    _, modules = modules_after(("report", tmp_path), codes=(2,))
    assert modules & HEAVY == {"torch", "polars", "numpy"}
    assert "rich.progress" not in modules


def test_the_version():
    from widthwise import __version__

    assert modules_after(["--version"])[0] == f"{__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "completed"), [("ins", "inspect"), ("inspect --fac", "--factor")]
)
def test_completion(typed, completed):
    words = f"widthwise {typed}"
    done = subprocess.run(
        [sys.executable, "-c", "from widthwise.cli import main; main()"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_WIDTHWISE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
    )
    assert done.stdout.split() == [completed]
