"""The pages that users read, and what can be taken from them: blocks, links, command lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Pages that a person wrote; those in docs/benchmarks and most of validation are written by scripts.
SITE = tuple(
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.parent != ROOT / "docs" / "benchmarks"
)
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "validation" / "README.md",
    *SITE,
)

_FENCE = re.compile(
    r"(?:<!-- (?:not run: (?P<why>[^\n]*?)|file: (?P<file>[^\n]*?)) -->\n)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)```",
    re.DOTALL,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_GIVEN = re.compile(r"^<!-- given: (.*) -->$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: python, sh, toml, text or nothing.
        text: what stands in it.
        why_not: the reason beside it why it is not run.
        file: the file that it is, for the blocks after it.
        shown: the block of text right after it: what it prints.
    """

    language: str
    text: str
    why_not: str | None = None
    file: str | None = None
    shown: str | None = None


def blocks(text: str) -> list[Block]:
    """Fenced blocks of a page, in order."""
    found: list[Block] = []
    end = 0
    for m in _FENCE.finditer(text):
        between = _COMMENT.sub("", text[end : m.start()]).strip()
        if m["language"] == "text" and not between and found and found[-1].language != "text":
            found[-1] = replace(found[-1], shown=m["text"])
        found.append(Block(m["language"], m["text"], m["why"], m["file"]))
        end = m.end()
    return found


def given(text: str) -> list[str]:
    """Files and folders that a page takes to be there."""
    return [name.strip() for names in _GIVEN.findall(text) for name in names.split(",")]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def inline_code(text: str) -> list[str]:
    """What stands between single backticks."""
    return _CODE.findall(prose(text))


def links(text: str) -> list[str]:
    """Targets of links and images."""
    return _LINK.findall(prose(text))


def command_lines(text: str) -> list[str]:
    """Lines that begin with ``widthwise``, in blocks of shell and in inline code, comments off."""
    found = [
        line.partition("  #")[0].strip()
        for block in blocks(text)
        if block.language in ("sh", "")
        for line in block.text.splitlines()
    ]
    found += [code.replace("\\|", "|") for code in inline_code(text)]
    return [line for line in found if line.startswith("widthwise ")]


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), flags=re.M)
    return frozenset(_slug(heading) for heading in headings)


def read() -> Iterator[tuple[Path, str]]:
    """Every page with its text."""
    for path in PAGES:
        yield path, path.read_text(encoding="utf-8")


def named(path: Path) -> str:
    """The page's path as test ids show it."""
    return str(path.relative_to(ROOT))


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
