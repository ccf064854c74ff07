"""Noise resistance: accuracy and tolerated noise against width."""

import math
from collections.abc import Collection

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis import Resistance
from widthwise.analysis.resistance_result import ToleratedNoise
from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    MUTED,
    WIDTH_INCHES,
    at_least,
    house_style,
    log_axis,
    padded,
    side_legend,
    width_axis,
)
from widthwise.runs.tables import SelectedOn
from widthwise.text import (
    MISSING,
    exact,
    in_points,
    interval,
    number,
    percent,
    percent_interval,
)

_SIZE = (WIDTH_INCHES, 6.6)
_MARKERS = ("s", "^", "D", "v", "P")
_LINES = ((0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))


def resistance_figure(
    resistance: Resistance, selected_on: SelectedOn, bounds: Collection[float] = ()
) -> Figure:
    """(a) accuracy at each width's own optimum and at fixed noise scales; (b) tolerated noise.

    The optima of the widths in ``bounds`` are only bounded, and drawn open in (b).
    """
    with house_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        upper, lower = figure.subplots(2)
        _draw_scores(upper, resistance, selected_on)
        _draw_tolerated(lower, resistance, bounds)
        return figure


def _draw_scores(axes: Axes, resistance: Resistance, selected_on: SelectedOn) -> None:
    factors = [row.widening_factor for row in resistance.widths]
    width_axis(axes, factors)
    colors = _colors(len(resistance.fixed_scales))
    unknown = []
    for k, scale in enumerate(resistance.fixed_scales):
        known = [row for row in resistance.widths if row.fixed[k].score is not None]
        axes.plot(
            [row.widening_factor for row in known],
            [100.0 * (row.fixed[k].score or 0.0) for row in known],
            color=colors[k],
            linestyle=_LINES[k % len(_LINES)],
            marker=_MARKERS[k % len(_MARKERS)],
            markersize=5.0,
            label=rf"$\bar{{g}}$ = {number(scale)}",
            gid=f"fixed {k}",
        )
        for row in known:
            _bar(axes, row.widening_factor, row.fixed[k].interval, colors[k], 1.0)
        tell(
            axes,
            [
                (
                    row.widening_factor,
                    100.0 * (row.fixed[k].score or 0.0),
                    f"w = {exact(row.widening_factor)}: {percent(row.fixed[k].score)} % at ḡ = "
                    f"{number(scale)} (95 %: {percent_interval(*row.fixed[k].interval)})",
                )
                for row in known
            ],
        )
        unknown += [
            (row.widening_factor, k)
            for row in resistance.widths
            if row.fixed[k].problem == "diverges"
        ]
    axes.plot(
        factors,
        [100.0 * row.score for row in resistance.widths],
        color=INK,
        marker="o",
        markersize=7.0,
        linewidth=1.6,
        label="own optimum",
        zorder=5,
        gid="own optimum",
    )
    for row in resistance.widths:
        _bar(axes, row.widening_factor, row.score_interval, INK, 2.2)
    tell(
        axes,
        [
            (
                row.widening_factor,
                100.0 * row.score,
                f"w = {exact(row.widening_factor)}: {percent(row.score)} % at its own optimum "
                f"(95 %: {percent_interval(*row.score_interval)})",
            )
            for row in resistance.widths
        ],
    )
    axes.margins(y=0.12)
    if unknown:
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.12 * (high - low), high)
    for factor, k in unknown:
        axes.plot(
            [factor],
            [0.03 + 0.05 * k],
            transform=axes.get_xaxis_transform(),
            marker="x",
            color=colors[k],
            linestyle="none",
            clip_on=False,
            gid=f"w={factor:g} diverges {k}",
        )
    axes.set_title(f"(a) {selected_on} accuracy (%)", loc="left")
    handles = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    side_legend(axes, handles[::-1])


def _draw_tolerated(axes: Axes, resistance: Resistance, bounds: Collection[float]) -> None:
    widths = resistance.widths
    width_axis(axes, [row.widening_factor for row in widths])
    own = [(row.widening_factor, row.own) for row in widths]
    common = [(row.widening_factor, row.common) for row in widths if row.common is not None]
    places = [row.noise_scale for row in widths]
    places += [x for _, found in (*own, *common) for x in (found.noise_scale, *found.interval)]
    low, high = at_least(*padded(places, part=0.1), ratio=6.0)
    log_axis(axes, "y", low, high)
    series = (
        ("optimum", INK, "o", [(row.widening_factor, row.noise_scale) for row in widths]),
        ("below own best", "#1f4e79", "s", [(w, x.noise_scale) for w, x in own]),
        ("below narrowest's", "#b35900", "^", [(w, x.noise_scale) for w, x in common]),
    )
    for label, color, marker, values in series:
        axes.plot(
            [w for w, _ in values],
            [value for _, value in values],
            color=color,
            marker=marker,
            markersize=6.0,
            linewidth=1.2,
            label=label,
            gid=label,
        )
    tell(
        axes,
        [
            (
                row.widening_factor,
                row.noise_scale,
                f"w = {exact(row.widening_factor)}: best ḡ = {number(row.noise_scale)}",
            )
            for row in widths
            if row.widening_factor not in bounds
        ],
    )
    for whose, tolerated in (("its own best", own), ("the narrowest's best", common)):
        tell(axes, [(w, x.noise_scale, _tolerated(w, x, whose)) for w, x in tolerated])
    bounded = [row for row in widths if row.widening_factor in bounds]
    if bounded:
        axes.plot(
            [row.widening_factor for row in bounded],
            [row.noise_scale for row in bounded],
            color=INK,
            marker="o",
            markersize=6.0,
            markerfacecolor="white",
            linestyle="none",
            gid="optimum, a bound",
        )
    shift = (widths[-1].widening_factor / widths[0].widening_factor) ** 0.012
    for color, factor, found in [
        *(("#1f4e79", w, x) for w, x in own),
        *(("#b35900", w * shift, x) for w, x in common),
    ]:
        _draw_interval(axes, factor, found, color, (low, high))
    ends = [widths[0].widening_factor, widths[-1].widening_factor]
    middle = math.sqrt(ends[0] * ends[1])
    height = math.exp(sum(math.log(x.noise_scale) for _, x in own) / len(own))
    axes.plot(
        ends,
        [height * end / middle for end in ends],
        color=MUTED,
        linewidth=0.9,
        linestyle="--",
        label="slope 1",
    )
    axes.set_title(
        rf"(b) $\bar{{g}}$ of the optimum, and {in_points(resistance.drop)} below the best",
        loc="left",
    )
    side_legend(axes)


def _tolerated(factor: float, found: ToleratedNoise, whose: str) -> str:
    relation = "≥" if found.is_bound else "="
    ends = interval(*found.interval)
    return (
        f"w = {exact(factor)}: near {whose} up to ḡ {relation} {number(found.noise_scale)} "
        f"({'not bounded' if ends == MISSING else f'95 %: {ends}'})"
    )


def _draw_interval(
    axes: Axes, factor: float, found: ToleratedNoise, color: str, limits: tuple[float, float]
) -> None:
    low, high = (min(max(end, limits[0]), limits[1]) for end in found.interval)
    axes.plot([factor, factor], [low, high], color=color, linewidth=1.6, solid_capstyle="butt")
    if math.isinf(found.interval[1]):
        axes.annotate(
            "",
            xy=(factor, high),
            xytext=(factor, found.noise_scale),
            arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkB": 0.0},
            annotation_clip=False,
            gid=f"w={factor:g} arrow",
        )


def _bar(
    axes: Axes, factor: float, ends: tuple[float, float], color: str, linewidth: float
) -> None:
    if all(math.isfinite(end) for end in ends):
        axes.plot(
            [factor, factor],
            [100.0 * end for end in ends],
            color=color,
            linewidth=linewidth,
            solid_capstyle="butt",
        )


def _colors(count: int) -> list[str]:
    """Viridis from quiet to noisy, dark to light."""
    colormap = mpl.colormaps["viridis"]
    return [mpl.colors.to_hex(colormap(0.15 + 0.6 * k / max(count - 1, 1))) for k in range(count)]
