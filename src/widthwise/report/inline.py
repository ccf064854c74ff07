"""A figure as a part of a page: its SVG without names of its own, with values to point at."""

import re
from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from widthwise.report.spots import Spot

_WIDTH = re.compile(r"\bw=([^\s\"]+) ")
# What a browser knows without being told, or what the page has for all figures.
_NEEDLESS = re.compile(
    r' xmlns(?::\w+)?="[^"]*"| version="1\.1"|<metadata>.*?</metadata>'
    r'|<defs>\s*<style type="text/css">.*?</style>\s*</defs>|<!--.*?-->',
    re.DOTALL,
)
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'url\(#([^)]+)\)|href="#([^"]+)"')
# A browser draws a page of more places slowly, and nobody points at all of them.
MOST_SPOTS = 3000
_RADIUS = 6.0


def inline(svg: str, name: str, spots: Sequence[Spot] = ()) -> Markup:
    """The ``<svg>`` element of a figure.

    Names are kept only where the figure itself refers to them, with the figure's before them, so
    that many figures can stand on one page; groups of one width (``w=2 points``) get ``data-w``.

    Args:
        svg: the file's text.
        name: of the figure, of letters, digits and hyphens.
        spots: values to point at; of more than :data:`MOST_SPOTS` none.

    >>> inline('<?xml version="1.0"?><svg viewBox="0 0 9 9"><g id="w=2 points"/></svg>', "a")
    Markup('<svg role="img" aria-labelledby="a-caption" viewBox="0 0 9 9"><g data-w="2"/></svg>')
    """
    text = _NEEDLESS.sub("", svg[svg.index("<svg") :])
    used = {first or second for first, second in _REFERENCE.findall(text)}
    text = _REFERENCE.sub(lambda match: match[0].replace("#", f"#{name}-"), text)

    def renamed(match: re.Match[str]) -> str:
        width = _WIDTH.search(match[1] + " ")
        if width is not None:
            return f' data-w="{width[1]}"'
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = _ID.sub(renamed, text)
    text = text.replace("<svg", f'<svg role="img" aria-labelledby="{name}-caption"', 1)
    shown = spots if len(spots) <= MOST_SPOTS else ()
    end = text.rindex("</svg>")
    return Markup(text[:end] + "".join(map(_circle, shown)) + text[end:].rstrip())


def _circle(spot: Spot) -> str:
    whose = "" if spot.width is None else f' data-w="{spot.width}"'
    return (
        f'<circle class="spot" cx="{spot.x:.1f}" cy="{spot.y:.1f}" r="{_RADIUS:g}"{whose}>'
        f"<title>{escape(spot.words)}</title></circle>"
    )
