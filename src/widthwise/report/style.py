"""How every figure looks: type, line weights, and one color and marker for each width."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from widthwise.text import exact

# Fonts that come with matplotlib, so that a figure is the same on every machine.
_RC: Any = {
    "text.usetex": False,  # whoever changed it may have changed Matplotlib's defaults, too
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 12.0,
    "axes.labelsize": 12.5,
    "axes.titlesize": 12.0,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "errorbar.capsize": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.4,
    "figure.dpi": 100.0,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "widthwise",
    "pdf.fonttype": 42,
}
INK = "#222222"
MUTED = "#767676"
WIDTH_INCHES = 4.8
# Labels narrower apart than this part of an axis would touch.
_LABEL_SPACING = 0.09
_MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">", "h", "p", "d")
# Beyond 0.8 viridis is too pale for a thin line on white paper.
_PALEST = 0.8
# Ends of a logarithmic axis beyond which its own arithmetic overflows.
_SMALLEST, _LARGEST = 1e-300, 1e300


@contextmanager
def house_style() -> Iterator[None]:
    """The settings under which figures are made *and* saved, whatever the user's are; afterwards
    all is as before."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


@dataclass(frozen=True)
class WidthStyle:
    """Color and marker of one width; the color darkens from wide to narrow, also in gray."""

    color: str
    marker: str


def width_styles(widening_factors: Iterable[float]) -> dict[float, WidthStyle]:
    """One style for each width, in order.

    >>> list(width_styles([4.0, 1.0]))
    [1.0, 4.0]
    """
    ordered = sorted(set(widening_factors))
    colormap = mpl.colormaps["viridis"]
    last = max(len(ordered) - 1, 1)
    return {
        factor: WidthStyle(
            color=mpl.colors.to_hex(colormap(_PALEST * rank / last)),
            marker=_MARKERS[rank % len(_MARKERS)],
        )
        for rank, factor in enumerate(ordered)
    }


def draw_width_legend(
    figure: Figure, styles: dict[float, WidthStyle], title: str | None = None
) -> int:
    """The legend of widths above a figure, each as w = 2, or as 2 below a title; returns the
    number of its rows."""
    columns = len(styles) if len(styles) <= 5 else 4
    sign = "$w$ = " if title is None else ""
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, label=f"{sign}{exact(factor)}")
        for factor, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, title=title)
    return math.ceil(len(styles) / columns) + (title is not None)


def side_legend(axes: Axes, handles: Sequence[Line2D] | None = None, title: str = "") -> None:
    """A legend to the right of a panel: `handles`, or what is labeled there, if anything is."""
    labeled = axes.get_legend_handles_labels()[0] if handles is None else handles
    if labeled:
        axes.legend(
            handles=labeled,
            title=title or None,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=10.5,
            title_fontsize=11.0,
        )


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic axis from `low` to `high` with few, plainly written ticks."""
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        _place_ticks(axes.xaxis, _log_ticks(low, high))
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        _place_ticks(axes.yaxis, _log_ticks(low, high))


def width_axis(axes: Axes, widening_factors: Iterable[float]) -> None:
    """The horizontal axis of widths: logarithmic, a tick at each width that has room for one."""
    factors = sorted(set(widening_factors))
    low, high = padded(factors, part=0.07)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    span = math.log(high / low)
    ticks: list[float] = []
    for factor in factors:
        if not ticks or math.log(factor / ticks[-1]) / span > _LABEL_SPACING:
            ticks.append(factor)
    _place_ticks(axes.xaxis, ticks)
    axes.set_xlabel("widening factor $w$")


def padded(values: Iterable[float], part: float = 0.05) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds positive, finite values with room at both ends."""
    kept = [value for value in values if 0.0 < value < math.inf]
    low, high = min(kept), max(kept)
    room = power_of_ratio(low, high, part) if high > low * 1.001 else 2.0
    return drawable(low / room), drawable(high * room)


def power_of_ratio(low: float, high: float, part: float) -> float:
    """(high / low) ** part, also where the ratio itself is no float.

    >>> power_of_ratio(1.0, 16.0, 0.5), round(power_of_ratio(1e-300, 1e300, 0.01))
    (4.0, 1000000)
    """
    ratio = high / low
    if ratio < math.inf:
        return float(ratio**part)
    return math.exp(part * (math.log(high) - math.log(low)))


def drawable(value: float) -> float:
    """Within what a logarithmic axis can show."""
    return min(max(value, _SMALLEST), _LARGEST)


def at_least(low: float, high: float, ratio: float) -> tuple[float, float]:
    """Limits of a logarithmic axis, widened round their middle to span at least `ratio`.

    >>> at_least(1.0, 4.0, ratio=16.0)
    (0.5, 8.0)
    """
    room = max(1.0, math.sqrt(ratio * low / high))
    return low / room, high * room


def _log_ticks(low: float, high: float) -> list[float]:
    ratio = high / low
    decades = math.log10(ratio) if ratio < math.inf else math.log10(high) - math.log10(low)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for multiples, most in (((1, 1.5, 2, 3, 5, 7), 0.5), ((1, 2, 5), 3.0), ((1,), 7.0)):
        if decades <= most:
            ticks = [m * 10.0**power for power in range(first, last + 1) for m in multiples]
            return [tick for tick in ticks if low <= tick <= high]
    stride = math.ceil(decades / 6.0)
    return [10.0**power for power in range(first, last + 1, stride) if low <= 10.0**power <= high]


def _place_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick_label(value)))


def _tick_label(value: float) -> str:
    if value * (1.0 + 1e-9) >= 1e-4 and value < 1e5:  # as the text writes them
        return f"{value:.12g}"
    power = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10.0**power
    if abs(mantissa - 1.0) < 1e-9:
        return f"$10^{{{power}}}$"
    return f"${mantissa:.3g} \\times 10^{{{power}}}$"
