"""The page in a browser: values to point at, widths to switch off, phones, paper, keyboards."""

import base64
import re

import pytest
from chromium import CHROMIUM, running
from report_samples import content, results_table, table_cells

from widthwise.report.page import render_page, report_figures, write_figures
from widthwise.report.values import setting_values, with_error
from widthwise.runs.tables import setting_rows

PHONE_WIDTH = 390
PAPER_WIDTH = 680  # of a printed A4 page within its margins, in pixels
LEAST_CONTRAST = 4.5  # WCAG 2.1, level AA
FIGURES = ("accuracy-vs-noise-scale", "accuracy-map")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

# Text and how it stands out against white; of figures the fill of glyphs outside colored cells.
CONTRASTS = """(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => {
      const part = v / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const at = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && !at.closest("svg"))
      found.push([walker.currentNode.data.trim(), getComputedStyle(at).color]);
  }
  for (const use of document.querySelectorAll("figure svg use"))
    if (use.href.baseVal.includes("STIX") && !use.closest("[data-w]"))
      found.push(["in a figure", getComputedStyle(use).fill]);
  return found.map(([text, color]) => [text, 1.05 / (light(color) + 0.05)]);
})()"""


@pytest.fixture(scope="module")
def sample():
    return content(results_table(widths=(1.0, 2.0), seeds=4), late_fraction=0.25)


@pytest.fixture(scope="module")
def page(sample, tmp_path_factory):
    """Two of its figures, to save drawing time, with all of its tables."""
    directory = tmp_path_factory.mktemp("study")
    (directory / "figures").mkdir()
    figures = [figure for figure in report_figures(sample) if figure.name in FIGURES]
    images = write_figures(figures, directory)
    text = render_page(sample, figures, images)
    # The closed tables count too: a reader may open them.
    (directory / "report.html").write_text(text.replace("<details>", "<details open>"), "utf-8")
    return directory / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def shown(browser, page):
    return browser.open(page.as_uri())


def place_of(shown, index):
    """Where the middle of a place with values is in the window, once it is in sight."""
    return shown.value(
        f"""(() => {{
          const spot = document.querySelectorAll("#{FIGURES[0]} .spot")[{index}];
          spot.scrollIntoView({{ block: "center" }});
          const box = spot.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
    )


def tip(shown):
    """What stands beside the pointer; None if nothing does."""
    return shown.value(
        "getComputedStyle(document.getElementById('tip')).visibility === 'visible'"
        " ? document.getElementById('tip').textContent : null"
    )


def test_pointing_shows_what_the_table_has(shown, page, sample):
    assert tip(shown) is None
    x, y = place_of(shown, 2)
    shown.point(x + 3, y - 3)
    said = tip(shown)
    row = setting_rows(sample.results)[2]
    accuracy = with_error(row.test_accuracy, row.test_accuracy_sem)
    assert said == setting_values(row, accuracy)
    cells = table_cells(page.read_text("utf-8"), "settings")[2]
    assert f"w = {cells[0]}, ḡ = {cells[4]}: {cells[5]} ± {cells[6]} %" in said
    shown.point(5, 5)
    assert tip(shown) is None
    assert shown.complaints() == []
    asked = {address for address in shown.addresses() if not address.startswith("data:")}
    assert asked == {page.as_uri()}


def test_a_width_switches_off_and_on_by_the_keyboard(shown):
    parts = "[...document.querySelectorAll('figure [data-w=\"2\"]')]"
    seen = f"{parts}.map((part) => getComputedStyle(part).display !== 'none')"
    assert len(shown.value(seen)) > 20
    assert all(shown.value(seen))
    assert shown.value("!document.getElementById('widths').hidden")
    for _ in range(2):
        shown.press("Tab")
    assert shown.value("document.activeElement.value") == "2"
    shown.press(" ")
    assert not any(shown.value(seen))
    others = seen.replace('"2"', '"1"')
    assert all(shown.value(others))
    shown.call("Emulation.setEmulatedMedia", media="print")
    assert all(shown.value(seen))
    assert not shown.value("document.getElementById('widths').getClientRects().length")
    shown.call("Emulation.setEmulatedMedia", media="")
    shown.value("document.querySelector('#widths input[value=\"2\"]').focus()")
    shown.press(" ")
    assert all(shown.value(seen))
    assert shown.complaints() == []


def test_arrow_keys_read_a_figure(shown, sample):
    for _ in range(3):
        shown.press("Tab")
    assert shown.value("document.activeElement.closest('figure').id") == FIGURES[0]
    rows = setting_rows(sample.results)
    first = tip(shown)
    assert first == setting_values(
        rows[0], with_error(rows[0].test_accuracy, rows[0].test_accuracy_sem)
    )
    shown.press("ArrowRight")
    second = tip(shown)
    assert f"ḡ = {rows[1].normalized_noise_scale:.4g}" in second
    shown.press("ArrowDown")
    assert tip(shown).startswith("w = 2, ")
    shown.press("Home")
    assert tip(shown) == first
    shown.press("Escape")
    assert tip(shown) is None


def test_phones_and_paper_need_no_scrolling_sideways(shown):
    wide = "document.documentElement.scrollWidth"
    shown.resize(PHONE_WIDTH)
    assert shown.value(wide) == PHONE_WIDTH
    assert shown.value("document.querySelector('figure svg').getBoundingClientRect().width") > 340
    wider = "<div id=x style=width:600px>x</div>"
    shown.value(f"document.querySelector('main').insertAdjacentHTML('beforeend', '{wider}')")
    assert shown.value(wide) > PHONE_WIDTH
    shown.value("document.getElementById('x').remove()")
    shown.call("Emulation.setEmulatedMedia", media="print")
    shown.resize(PAPER_WIDTH)
    assert shown.value("document.querySelector('figure svg').getBoundingClientRect().width") > 300
    printed = base64.b64decode(shown.call("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_all_text_stands_out(shown):
    found = shown.value(CONTRASTS)
    assert len(found) > 100
    assert {text for text, ratio in found if ratio < LEAST_CONTRAST} == set()
    shown.value("document.querySelector('h1').style.color = '#999999'")
    assert any(ratio < LEAST_CONTRAST for _, ratio in shown.value(CONTRASTS))
