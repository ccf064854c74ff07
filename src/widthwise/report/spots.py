"""What a figure tells where a reader points: places with words, drawn by nobody."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_POINTS_PER_INCH = 72.0
# Beyond an axis by no more than this many pixels, a marker is still seen.
_AT_THE_EDGE = 1.0


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A place in a figure, and what is there.

    Attributes:
        x, y: in points (1/72 inch) from the upper left corner.
        words: the values.
        width: widening factor, as in the figure's group names; None of no single width.
    """

    x: float
    y: float
    words: str
    width: str | None


class _Spots(Artist):
    """Places in the coordinates of its axes' data."""

    def __init__(self, places: Iterable[tuple[float, float, str]], width: float | None) -> None:
        super().__init__()
        self.places = list(places)
        self.width = width
        self.set_in_layout(False)

    def draw(self, renderer: Any) -> None:
        """Nothing: the words are for the page."""


def tell(
    axes: Axes, places: Iterable[tuple[float, float, str]], width: float | None = None
) -> None:
    """Give places of a panel words.

    Args:
        axes: the panel.
        places: (x, y, words) in the coordinates of its data.
        width: widening factor that all belong to, if they belong to one.
    """
    axes.add_artist(_Spots(places, width))


def spots_of(figure: Figure) -> list[Spot]:
    """All places that lie within their panels; after the figure was drawn, which lays it out."""
    height = figure.get_figheight() * _POINTS_PER_INCH
    found = []
    for axes in figure.axes:
        seen = axes.get_window_extent().padded(_AT_THE_EDGE)
        for artist in axes.findobj(_Spots):
            assert isinstance(artist, _Spots)
            for x, y, words in artist.places:
                place = axes.transData.transform((x, y))
                if seen.contains(*place):
                    across, up = place * _POINTS_PER_INCH / figure.dpi
                    width = None if artist.width is None else f"{artist.width:g}"
                    found.append(Spot(x=across, y=height - up, words=words, width=width))
    return found
