"""The collapse: curves of one learning rate each, and what is left between them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from widthwise.analysis import Collapse
from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    MUTED,
    WIDTH_INCHES,
    WidthStyle,
    house_style,
    log_axis,
    padded,
    side_legend,
    width_axis,
    width_styles,
)
from widthwise.report.values import setting_values, with_error
from widthwise.runs.tables import SelectedOn, SettingRow, mean_by_noise_scale
from widthwise.text import exact, number, points

_SIZE = (WIDTH_INCHES, 5.6)
_LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
# Widths stand side by side over this part of the distance between two rates.
_SPREAD = 0.5
# The axis of differences shows this many margins at least, and at most.
_LEAST_MARGINS, _MOST_MARGINS = 1.6, 6.0


def collapse_figure(
    collapse: Collapse,
    settings: Sequence[SettingRow],
    selected_on: SelectedOn,
    shown_width: float,
) -> Figure:
    """(a) accuracy of one width against noise scale, a curve a learning rate / (1 - momentum);
    (b) every difference from the smallest rate at the same noise scale, and their means."""
    with house_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        upper, lower = figure.subplots(2, height_ratios=(1.1, 1.0))
        _draw_curves(upper, settings, selected_on, shown_width, collapse.rate_symbol)
        _draw_differences(lower, collapse)
        return figure


def _draw_curves(
    axes: Axes,
    settings: Sequence[SettingRow],
    selected_on: SelectedOn,
    width: float,
    rate_symbol: str,
) -> None:
    rows = [row for row in settings if row.widening_factor == width]
    alive = [row for row in rows if row.score(selected_on)[0] is not None]
    groups: dict[float, list[SettingRow]] = {}
    for row in alive:
        rate = float(f"{row.learning_rate / (1.0 - row.momentum):.6g}")
        groups.setdefault(rate, []).append(row)
    log_axis(axes, "x", *padded(row.normalized_noise_scale for row in alive))
    colors = width_styles(groups)  # a color and a marker for each rate, as elsewhere for widths
    for rank, (rate, style) in enumerate(colors.items()):
        members = groups[rate]
        values = [100.0 * (row.score(selected_on)[0] or 0.0) for row in members]
        errors = [100.0 * (row.score(selected_on)[1] or 0.0) for row in members]
        places = [row.normalized_noise_scale for row in members]
        axes.errorbar(
            places, values, yerr=errors, linestyle="none", color=style.color, elinewidth=1.0
        )
        tell(
            axes,
            [
                (place, value, setting_values(row, with_error(*row.score(selected_on))))
                for place, value, row in zip(places, values, members, strict=True)
            ],
        )
        axes.plot(
            places,
            values,
            linestyle="none",
            marker=style.marker,
            markersize=4.5,
            color=style.color,
            gid=f"rate={rate:g} points",
        )
        axes.plot(
            *mean_by_noise_scale(zip(places, values, strict=True)),
            color=style.color,
            linewidth=1.2,
            linestyle=_LINES[rank % len(_LINES)],
        )
    handles = [
        Line2D(
            [],
            [],
            color=style.color,
            marker=style.marker,
            markersize=4.5,
            linestyle=_LINES[rank % len(_LINES)],
            label=number(rate),
        )
        for rank, (rate, style) in enumerate(colors.items())
    ]
    side_legend(axes, handles, title=_math(rate_symbol))
    axes.set_title(f"(a) {selected_on} accuracy (%), $w$ = {number(width)}", loc="left")
    axes.set_xlabel(r"normalized noise scale $\bar{g}$")


def _draw_differences(axes: Axes, collapse: Collapse) -> None:
    margin = 100.0 * collapse.margin
    compared = [x for x in collapse.comparisons if x.difference is not None]
    levels = [x for x in collapse.overall.levels if x.difference is not None]
    rates = [x.effective_rate for x in collapse.overall.levels]
    reach = [100.0 * abs(end) for x in levels for end in x.interval if math.isfinite(end)]
    reach += [100.0 * abs(x.difference or 0.0) for x in compared]
    top = min(max([_LEAST_MARGINS * margin, *(1.1 * r for r in reach)]), _MOST_MARGINS * margin)
    step = min((b / a for a, b in pairwise(rates)), default=2.0)
    width_axis(axes, [float(f"{rate:.3g}") for rate in rates])  # a tick at each, as for widths
    axes.set_xlim(rates[0] / step**0.7, rates[-1] * step**0.7)
    axes.set_ylim(-top, top)
    axes.axhspan(-margin, margin, color=MUTED, alpha=0.14, linewidth=0.0)
    axes.axhline(0.0, color=MUTED, linewidth=0.7)
    styles = width_styles(x.widening_factor for x in collapse.comparisons)
    places = dict(zip(styles, _side_by_side(len(styles), step), strict=True))
    for comparison in compared:
        style = styles[comparison.widening_factor]
        at = comparison.effective_rate * places[comparison.widening_factor]
        value = 100.0 * (comparison.difference or 0.0)
        axes.plot(
            [at, at],
            [min(max(100.0 * end, -top), top) for end in comparison.interval],
            color=style.color,
            linewidth=0.8,
            alpha=0.5,
            gid=f"w={comparison.widening_factor:g} interval",
        )
        _draw_difference(axes, at, value, top, style, f"w={comparison.widening_factor:g}")
        low, high = (points(end) for end in comparison.interval)
        words = (
            f"w = {exact(comparison.widening_factor)}, {collapse.rate_symbol} = "
            f"{number(comparison.effective_rate)}: {points(comparison.difference)} points "
            f"(95 %: {low} to {high})"
        )
        tell(axes, [(at, min(max(value, -top), top), words)], comparison.widening_factor)
    _draw_means(axes, collapse, top)
    diverged = sorted({x.effective_rate for x in collapse.comparisons if x.difference is None})
    for rate in diverged:
        axes.plot([rate], [0.9 * top], marker="x", color=INK, linestyle="none", gid="diverged")
    axes.set_title("(b) difference from the smallest rate at equal ḡ (points)", loc="left")
    axes.set_xlabel(_math(collapse.rate_symbol))
    handles = [
        Line2D(
            [],
            [],
            color=style.color,
            marker=style.marker,
            markersize=4.5,
            linestyle="none",
            label=f"$w$ = {number(factor)}",
        )
        for factor, style in styles.items()
    ]
    handles.append(Line2D([], [], color=INK, marker="_", markersize=13, linewidth=0, label="mean"))
    if diverged:
        handles.append(Line2D([], [], color=INK, marker="x", linestyle="none", label="diverged"))
    side_legend(axes, handles)


def _draw_difference(
    axes: Axes, at: float, value: float, top: float, style: WidthStyle, name: str
) -> None:
    """A point, or an arrowhead at the edge where it lies beyond."""
    beyond = abs(value) > top
    axes.plot(
        [at],
        [math.copysign(0.96 * top, value) if beyond else value],
        marker=("^" if value > 0 else "v") if beyond else style.marker,
        markersize=5.0 if beyond else 4.0,
        markerfacecolor="white" if beyond else style.color,
        markeredgecolor=style.color,
        linestyle="none",
        gid=f"{name} {'beyond' if beyond else 'difference'}",
    )


def _draw_means(axes: Axes, collapse: Collapse, top: float) -> None:
    for level in collapse.overall.levels:
        if level.difference is None:
            continue
        low, high = (min(max(100.0 * end, -top), top) for end in level.interval)
        at, value = level.effective_rate, 100.0 * level.difference
        ends = " to ".join(points(end) for end in level.interval)
        words = (
            f"all widths, {collapse.rate_symbol} = {number(at)}: {points(level.difference)} points"
        )
        tell(axes, [(at, min(max(value, -top), top), f"{words} (95 %: {ends})")])
        axes.plot([at, at], [low, high], color=INK, linewidth=2.6, solid_capstyle="butt", zorder=5)
        axes.plot(
            [at],
            [min(max(value, -top), top)],
            marker="_",
            markersize=15.0,
            markeredgewidth=2.2,
            color=INK,
            linestyle="none",
            zorder=6,
            gid=f"mean {level.effective_rate:g}",
        )


def _side_by_side(count: int, step: float) -> list[float]:
    """Factors that set so many points next to each other, the middle left to the mean."""
    if count == 1:
        return [step ** (0.25 * _SPREAD)]
    return [float(step**x) for x in np.linspace(-_SPREAD, _SPREAD, count) * 0.6]


def _math(rate_symbol: str) -> str:
    return r"$\epsilon$" if rate_symbol == "ε" else r"$\epsilon\,/\,(1 - m)$"
