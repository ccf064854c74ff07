"""Every command line on the pages is one: its command, its options and their values are read."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from pages import PAGES, ROOT, blocks, command_lines, inline_code, named

from widthwise import cli
from widthwise.adviser import Setting
from widthwise.adviser.commands import probe_command
from widthwise.cli import app
from widthwise.errors import FitError

COMMANDS = typer.main.get_command(app).commands
# Pages tell what was, too.
CURRENT = tuple(page for page in PAGES if page.name != "CHANGELOG.md")


def problem(line: str) -> str | None:
    """What is wrong with a line that begins with ``widthwise``; None if nothing is.

    Of a line with an ellipsis only the options are looked at, by name.
    """
    _, *words = shlex.split(line)
    if words and words[0].startswith("-"):
        known = {"--help", "--version", "--install-completion", "--show-completion"}
        return None if words[0] in known else f"no option {words[0]}"
    if not words or words[0] not in COMMANDS:
        return f"no command {words[:1]}"
    command = COMMANDS[words[0]]
    if "…" in words:
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        unknown = [w for w in words if w.startswith("--") and w not in known]
        return f"no options {unknown}" if unknown else None
    try:
        command.make_context(words[0], words[1:])
    except Exception as error:  # whichever library typer parses with
        return f"{type(error).__name__}: {error}"
    return None


def bare(line: str) -> bool:
    """A command's name alone, as prose speaks of it."""
    return len(line.split()) == 2


@pytest.mark.parametrize("page", CURRENT, ids=named)
def test_command_lines_are_understood(page):
    lines = [line for line in command_lines(page.read_text(encoding="utf-8")) if not bare(line)]
    assert {line: said for line in lines if (said := problem(line))} == {}


@pytest.mark.parametrize("page", CURRENT, ids=named)
def test_commands_that_prose_speaks_of_exist(page):
    lines = [line for line in command_lines(page.read_text(encoding="utf-8")) if bare(line)]
    names = {line.split()[1] for line in lines}
    assert {n for n in names if n not in COMMANDS and problem(f"widthwise {n}")} == set()


def test_there_are_command_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len([line for line in command_lines(text) if not bare(line)]) >= 6


@pytest.mark.parametrize(
    "line",
    [
        "widthwise wident --factor 4",
        "widthwise widen --learning-rat 1 --batch-size 8",
        "widthwise widen --learning-rate fast --batch-size 8",
        "widthwise widen --batch-size 8",
        "widthwise probe … --batchsize 8",
        "widthwise --versio",
    ],
)
def test_planted_wrong_lines_are_found(line):
    assert problem(line) is not None
    assert line in command_lines(f"```sh\n{line}\n```") + command_lines(f"`{line}`")


SETTLE = re.compile(r"^Settle it: (widthwise .* SPEC\.toml .*)$", re.M)
LEAN = """
[family]
base_width = 4
[data]
num_train = 256
[training]
epochs = 4
"""


def settling_lines():
    """What plans on the pages say would settle them, and what one prints for a probe."""
    shown = [line for page in CURRENT for line in SETTLE.findall(page.read_text("utf-8"))]
    tuned = Setting(learning_rate=0.1, batch_size=32, momentum=0.9)
    return sorted({*shown, probe_command(None, tuned, 4.0)})


def test_plans_on_the_pages_say_what_settles_them():
    assert len(settling_lines()) >= 6


@pytest.mark.parametrize("line", settling_lines())
def test_what_settles_a_plan_begins_with_a_specification_without_a_grid(
    line, tmp_path, monkeypatch, capsys
):
    """As far as the first run; none is trained."""

    def begins(*arguments, **options):
        raise FitError("here it would measure")

    monkeypatch.setattr("widthwise.study.calibration.Study.create", begins)
    monkeypatch.setattr("widthwise.study.stable_rates.max_stable_learning_rate", begins)
    monkeypatch.setattr("signal.signal", lambda *handler: None)
    monkeypatch.chdir(tmp_path)
    Path("SPEC.toml").write_text(LEAN)
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    *before, said = capsys.readouterr().err.splitlines()
    assert (ended.value.code, said) == (1, "widthwise: here it would measure")
    assert all(line.startswith("Before it trains: ") for line in before)


MODULE = re.compile(r"python -m (benchmarks\.\w+|validation\.\w+)")
SCRIPT = re.compile(r"python (\w+/\w+\.py)")
TARGET = re.compile(r"^make (\w+)", re.M)


@pytest.mark.parametrize("page", CURRENT, ids=named)
def test_scripts_and_targets_exist(page):
    text = page.read_text(encoding="utf-8")
    shell = [block.text for block in blocks(text) if block.language in ("sh", "")]
    code = "\n".join([*shell, *inline_code(text)])
    for module in MODULE.findall(text):
        assert Path(ROOT, *module.split(".")).with_suffix(".py").exists(), module
    for script in SCRIPT.findall(text):
        assert (ROOT / script).exists(), script
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in TARGET.findall(code):
        assert re.search(rf"^{target}:", makefile, re.M), target
