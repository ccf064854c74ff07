"""The pages that users read, and what can be taken from them: blocks, links, command lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Pages that a person wrote; those in docs/benchmarks and most of validation are written by scripts.
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "validation" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``why_not`` is the reason beside it why it is not run."""

    language: str
    text: str
    why_not: str | None


def blocks(text: str) -> list[Block]:
    """Fenced blocks of a page, in order."""
    return [Block(m["language"], m["text"], m["why"]) for m in _FENCE.finditer(text)]


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
