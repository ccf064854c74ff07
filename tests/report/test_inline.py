"""Figures as parts of a page: no name twice, groups by width, and places where the points are."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from widthwise.report.inline import MOST_SPOTS, inline
from widthwise.report.spots import Spot, spots_of, tell
from widthwise.report.style import house_style


def drawn(scale="linear"):
    """One panel with markers at three places that it also tells of, one of them outside."""
    with house_style():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale(scale)
        axes.plot([1, 10, 100], [3, 5, 4], "o", gid="w=2 points")
        axes.set_xlim(0.5, 50)
        tell(axes, [(1, 3, "first"), (10, 5, "<second>"), (100, 4, "outside")], 2.0)
        axes.set_xlabel("width")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
    return figure, buffer.getvalue().decode()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_places_are_where_the_markers_are(scale):
    figure, svg = drawn(scale)
    spots = spots_of(figure)
    assert [spot.words for spot in spots] == ["first", "<second>"]
    assert {spot.width for spot in spots} == {"2"}
    (group,) = re.findall(r'<g id="w=2 points">(.*?)</g>\s*</g>', svg, re.DOTALL)
    markers = re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)"', group)
    for spot, (x, y) in zip(spots, markers, strict=False):
        assert (spot.x, spot.y) == pytest.approx((float(x), float(y)), abs=0.01)


def test_names_are_the_figures_own_and_widths_are_groups():
    figure, svg = drawn()
    first, second = (inline(svg, name, spots_of(figure)) for name in ("one", "two"))
    names = [set(re.findall(r' id="([^"]*)"', text)) for text in (first, second)]
    assert names[0]
    assert not names[0] & names[1]
    for text, known in zip((first, second), names, strict=True):
        used = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)}
        assert used == known
    assert '<g data-w="2">' in first
    assert "<title>&lt;second&gt;</title>" in first
    assert "xmlns" not in first
    assert "<style" not in first
    assert first.startswith('<svg role="img" aria-labelledby="one-caption"')
    assert first.endswith("</svg>")


def test_of_very_many_places_none_is_told():
    _, svg = drawn()
    spot = Spot(x=1.0, y=2.0, words="x", width=None)
    assert inline(svg, "a", [spot] * MOST_SPOTS).count("<circle") == MOST_SPOTS
    assert "<circle" not in inline(svg, "a", [spot] * (MOST_SPOTS + 1))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_no_words_get_out_of_their_place(words):
    spot = Spot(x=1.0, y=2.0, words=words, width=None)
    text = inline("<svg></svg>", "a", [spot])
    (inside,) = re.findall("<title>(.*)</title>", text, re.DOTALL)
    assert not set("<>") & set(inside)
