"""Runs the blocks of a page in order, in one folder, as a reader would.

Python runs by itself, as a script of its own; a line of shell is a command of Widthwise, or
`python` with a file that the page wrote. A block of text right after it is what it prints, where
"…" stands for anything. A block that cannot be run says why in the line above it.
"""

import contextlib
import io
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

from pages import ROOT, Block, blocks, given

from widthwise import cli

_OWN_NETWORK = ROOT / "docs" / "howto" / "own_network.md"


def run_page(text: str, folder: Path, finished_study: Path | None = None) -> int:
    """Run every block of a page in ``folder``, which is the current one; returns how many ran.

    Raises:
        AssertionError: if a block fails, prints something else, or neither runs nor says why not.
    """
    for name in given(text):
        _give(name, folder, finished_study)
    return sum(run(block, folder) for block in blocks(text))


def run(block: Block, folder: Path) -> bool:
    """Run a block, and look at what it prints; whether there was something to run."""
    if block.file is not None:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text, encoding="utf-8")
    if block.language == "python":
        code = compile(block.text, "snippet", "exec")
        if block.why_not is None and block.file is None:
            _compare(block, _said_by(lambda: exec(code, {"__name__": "snippet"})))
            return True
    elif block.language == "sh" and block.why_not is None:
        said = [_run_line(line, block) for line in _lines(block.text)]
        _compare(block, "".join(said))
        return True
    return False


def _lines(text: str) -> list[list[str]]:
    """Command lines as words; one that ends in a backslash goes on."""
    whole = text.replace("\\\n", " ")
    return [words for line in whole.splitlines() if (words := shlex.split(line, comments=True))]


def _run_line(words: list[str], block: Block) -> str:
    if words[0] == "python" and len(words) == 2:
        return _said_by(lambda: runpy.run_path(words[1], run_name="__main__"))
    assert words[0] == "widthwise", f"this line is not run, nor is said why: {shlex.join(words)}"
    errors = io.StringIO()
    before = sys.argv
    sys.argv = words
    try:
        with contextlib.redirect_stderr(errors):
            said, code = _ended_by(cli.main)
    finally:
        sys.argv = before
    if code:
        assert block.shown is not None, f"{shlex.join(words)} failed: {errors.getvalue()}"
        return errors.getvalue()
    return said


def _said_by(call) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        call()
    return output.getvalue()


def _ended_by(call) -> tuple[str, int]:
    """What was printed, and the exit code."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            call()
        except SystemExit as end:
            return output.getvalue(), int(end.code or 0)
    return output.getvalue(), 0


def _compare(block: Block, said: str) -> None:
    if block.shown is not None:
        assert shows(block.shown, said), f"the page shows\n{block.shown}\nbut it is\n{said}"


def shows(shown: str, said: str) -> bool:
    """Whether the one is the other; "…" stands for anything, spaces that end a line for nothing."""
    wanted = re.escape(_trimmed(shown)).replace("…", ".*?")
    return re.fullmatch(wanted, _trimmed(said), flags=re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _give(name: str, folder: Path, finished_study: Path | None) -> None:
    if name == "nets.py":
        (network,) = [b for b in blocks(_OWN_NETWORK.read_text("utf-8")) if b.file == name]
        (folder / name).write_text(network.text, encoding="utf-8")
    elif name == "examples":
        shutil.copytree(ROOT / name, folder / name)
    else:
        assert name == "studies/my_study", f"what is {name}?"
        assert finished_study is not None
        shutil.copytree(finished_study, folder / name)
