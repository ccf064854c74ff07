"""Pages quote the page of coverage rightly."""

import re

from pages import ROOT

COVERAGE = (ROOT / "validation" / "table_coverage.md").read_text(encoding="utf-8")
STATISTICS = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
CHECKS = (ROOT / "validation" / "README.md").read_text(encoding="utf-8")


def totals(title):
    """Shares of a table of the page that are covered, and of how many: optima, then exponents."""
    section = COVERAGE[COVERAGE.index(f"## {title}") :]
    found = re.search(r"optima ([\d.]+) % .*? of (\d+), exponents ([\d.]+) % .*? of (\d+)", section)
    return float(found[1]), int(found[2]), float(found[3]), int(found[4])


def test_intervals_cover():
    for title in ("One run a setting", "Several runs a setting", "Fixed or moving"):
        optima, _, exponents, _ = totals(title)
        assert 90.0 <= optima <= 99.0
        assert 90.0 <= exponents <= 99.0


def test_no_verdict_is_false():
    assert re.findall(r"(\d+) false verdicts", COVERAGE) == ["0"] * 3


def test_what_statistics_quotes():
    optima, cases, exponents, laws = totals("One run a setting")
    flat = " ".join(STATISTICS.split())
    assert f"held {optima} % of {cases:,} planted optima" in flat
    assert f"the exponent {exponents} % of {laws}" in flat


def test_what_the_list_of_checks_quotes():
    one, several = totals("One run a setting"), totals("Several runs a setting")
    said = f"{one[0]} % and {one[2]} %; {several[0]} % and {several[2]} %"
    assert said in CHECKS
    assert f"{one[1]:,} and {one[3]}; {several[1]:,} and {several[3]}" in CHECKS
    apart = COVERAGE[COVERAGE.index("## Fixed or moving") :]
    decided = sum(int(number) for number in re.findall(r"(?:fixed|moves) (\d+)", apart))
    assert f"{decided} decided, none falsely" in CHECKS
