"""The documentation site: every page in the navigation, every public name, nothing from elsewhere.

`make docs` builds it strictly, in 13 seconds of a processor, then runs what is marked site.
"""

import importlib.util
import re
import zlib
from html.parser import HTMLParser

import pytest
from pages import ROOT
from test_reference_pages import missing, public_names

CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
PACKAGES = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers")
# What a page loads: tag → the attribute that says whence.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
# Such links are loaded; others are only told of.
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload", "manifest"}


def navigated(configuration):
    """The pages that the navigation leads to, as it writes them."""
    _, _, navigation = configuration.partition("\nnav:\n")
    return re.findall(r": (\S+\.md)$", navigation, flags=re.MULTILINE)


def on_site():
    """Every page that the site should have, as the navigation writes it."""
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    validation = {f"validation/{path.name}" for path in (ROOT / "validation").glob("*.md")}
    return docs | validation | {"CONTRIBUTING.md", "CHANGELOG.md"}


def test_every_page_is_in_the_navigation_once():
    assert sorted(navigated(CONFIGURATION)) == sorted(on_site())


def test_a_page_that_is_left_out_is_missed():
    without = CONFIGURATION.replace("      - Glossary: glossary.md\n", "")
    assert on_site() - set(navigated(without)) == {"glossary.md"}


class Loads(HTMLParser):
    """Collects addresses elsewhere that a browser asks for on its own."""

    def __init__(self):
        super().__init__()
        self.elsewhere = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        address = given.get(LOADED.get(tag, ""))
        if tag == "link" and LOADED_LINKS & set((given.get("rel") or "").split()):
            address = given.get("href")
        if address and re.match(r"(https?:)?//", address):
            self.elsewhere.append(address)


def elsewhere(page):
    parser = Loads()
    parser.feed(page)
    styles = re.findall(r"@import[^;]*|url\(\s*['\"]?((?:https?:)?//[^)]*)", page)
    return parser.elsewhere + styles


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://unpkg.com/x"></script>',
        '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
        "<style>@import 'https://example.org/x.css';</style>",
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(page):
    assert elsewhere(page)
    assert not elsewhere('<a href="https://arxiv.org"></a><link rel="canonical" href="https://x">')


@pytest.fixture(scope="module")
def site():
    """What `make docs` has just built."""
    if not all(importlib.util.find_spec(name) for name in PACKAGES):
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    place = ROOT / "build" / "site"
    if not (place / "index.html").exists():
        pytest.skip("there is no site in build/site: make docs")
    return place


@pytest.mark.site
def test_it_has_every_page_and_every_public_name(site):
    pages = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    assert on_site() <= {
        page.replace("validation/index.md", "validation/README.md") for page in pages
    }
    *_, names = (site / "objects.inv").read_bytes().split(b"\n", 4)
    there = {line.split(" ")[0] for line in zlib.decompress(names).decode().splitlines()}
    modules = {"widthwise.data", "widthwise.families"}  # a page each
    assert missing(public_names() - modules, there) == []


@pytest.mark.site
def test_docstrings_are_markdown(site):
    for page in (site / "reference").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r":(class|func|meth):", text), page
        assert "&gt;&gt;&gt; &gt;&gt;&gt;" not in text


@pytest.mark.site
def test_it_loads_nothing_from_elsewhere(site):
    loaded = {
        path.relative_to(site).as_posix(): found
        for path in [*site.rglob("*.html"), *(site / "assets").glob("*.css")]
        if (found := elsewhere(path.read_text(encoding="utf-8")))
    }
    assert loaded == {}
