"""Every link of the pages leads somewhere: to a file that is here, and to a heading of it."""

from pathlib import Path

import pytest
from pages import PAGES, ROOT, anchors, links, named

PAGES_AND_TEMPLATES = (*PAGES, *sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md")))


def broken(text: str, page: Path) -> list[str]:
    """The links of ``text``, standing on ``page``, that lead nowhere."""
    return [link for link in links(text) if not _leads_somewhere(link, page)]


def _leads_somewhere(link: str, page: Path) -> bool:
    if "://" in link:
        return True
    target, _, anchor = link.partition("#")
    path = (page.parent / target).resolve() if target else page
    if not path.is_relative_to(ROOT.resolve()) or not path.exists():
        return False
    return not anchor or anchor in anchors(path)


@pytest.mark.parametrize("page", PAGES_AND_TEMPLATES, ids=named)
def test_links_lead_somewhere(page):
    assert broken(page.read_text(encoding="utf-8"), page) == []


@pytest.mark.parametrize(
    "link",
    [
        "docs/no_such_page.md",
        "docs/performance.md#no-such-heading",
        "#no-such-heading",
        "../outside.md",
    ],
)
def test_a_planted_broken_link_is_found(link):
    assert broken(f"See [this]({link}).", ROOT / "README.md") == [link]


def test_a_link_to_a_heading_is_followed():
    assert broken("[x](docs/performance.md#convolutions) [y](#limits)", ROOT / "README.md") == []


def test_links_in_blocks_are_not_links():
    assert broken("```text\n[x](nowhere.md)\n```", ROOT / "README.md") == []
