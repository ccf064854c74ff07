"""Figures in what is set: accuracy against learning rate, batch size and width, as they are."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    WIDTH_INCHES,
    WidthStyle,
    draw_width_legend,
    house_style,
    log_axis,
    padded,
    width_styles,
)
from widthwise.report.values import batch_size_values, setting_values, with_error
from widthwise.runs.tables import OptimumRow, SelectedOn, SettingRow
from widthwise.text import exact

_PANEL_INCHES = 2.4
_ROW_INCHES = 0.36
# Colors reach at least and at most so far below the best of a width, in points.
_LEAST_DEPTH, _MOST_DEPTH = 0.5, 5.0
# A number is written into cells at least so wide, as part of the axis.
_ROOM_FOR_NUMBER = 0.085
_OPEN = "#ffffff"


@dataclass(frozen=True)
class Knob:
    """A hyper-parameter as it is set."""

    name: str
    label: str
    of: Callable[[SettingRow], float]


_KNOBS = (
    Knob("learning rate", r"learning rate $\epsilon$", lambda row: row.learning_rate),
    Knob("batch size", "batch size $B$", lambda row: float(row.batch_size)),
)


def varied(settings: Sequence[SettingRow]) -> list[Knob]:
    """What takes three values or more at some width, so that a curve can be seen."""
    widths = {row.widening_factor for row in settings}
    return [
        knob
        for knob in _KNOBS
        if any(len({knob.of(r) for r in settings if r.widening_factor == w}) >= 3 for w in widths)
    ]


def knob_figure(
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
    knobs: Sequence[Knob],
) -> Figure:
    """A panel for each hyper-parameter: every setting, and a line through the best at each value.

    The setting nearest the optimum has a large marker.
    """
    with house_style():
        styles = width_styles(row.widening_factor for row in settings)
        figure = Figure(
            figsize=(WIDTH_INCHES, _PANEL_INCHES * len(knobs) + 0.5), layout="constrained"
        )
        panels = figure.subplots(len(knobs), squeeze=False).ravel()
        for axes, knob, letter in zip(panels, knobs, "ab", strict=False):
            log_axis(axes, "x", *padded(knob.of(row) for row in settings))
            axes.set_xlabel(knob.label)
            _draw_knob(axes, knob, settings, optima, selected_on, styles)
            mark = f"({letter}) " if len(knobs) > 1 else ""
            axes.set_title(f"{mark}{selected_on} accuracy (%)", loc="left", fontsize=11.5, pad=3.0)
        rows = draw_width_legend(figure, styles)
        figure.set_figheight(figure.get_figheight() + 0.22 * rows)
        return figure


def _draw_knob(
    axes: Axes,
    knob: Knob,
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
    styles: dict[float, WidthStyle],
) -> None:
    nearest = {row.widening_factor: row.nearest for row in optima}
    for width, style in styles.items():
        here = sorted(
            (
                (knob.of(row), 100.0 * score, row)
                for row in settings
                for score in [row.score(selected_on)[0]]
                if row.widening_factor == width and score is not None
            ),
            key=lambda found: found[:2],
        )
        if not here:
            continue
        best = [max(group) for group in _values_at(here)]
        axes.plot(
            [place for place, _ in best],
            [value for _, value in best],
            color=style.color,
            linewidth=1.2,
            gid=f"w={width:g} line",
        )
        axes.plot(
            [place for place, _, _ in here],
            [value for _, value, _ in here],
            linestyle="none",
            markersize=3.8,
            gid=f"w={width:g} points",
            color=style.color,
            marker=style.marker,
        )
        axes.plot(
            [place for place, _, row in here if row == nearest.get(width)],
            [value for _, value, row in here if row == nearest.get(width)],
            linestyle="none",
            markersize=9.0,
            markeredgecolor=INK,
            markeredgewidth=0.9,
            zorder=4,
            gid=f"w={width:g} nearest",
            color=style.color,
            marker=style.marker,
        )
        tell(
            axes,
            [
                (place, value, setting_values(row, with_error(*row.score(selected_on))))
                for place, value, row in here
            ],
            width,
        )


def _values_at(
    here: Sequence[tuple[float, float, SettingRow]],
) -> list[list[tuple[float, float]]]:
    groups = itertools.groupby(here, key=lambda found: found[0])
    return [[(place, value) for place, value, _ in group] for _, group in groups]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The best setting of one width and batch size, and the ends of what it stands for."""

    setting: SettingRow
    low: float
    high: float
    below: float | None  # how far its score lies below the best of the width; None if it diverged


def map_cells(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> dict[float, list[Cell]]:
    """Width → its cells by batch size, at the learning rate and momentum nearest the optimum if
    three batch sizes have them, else at the best of each; between two batch sizes the border is
    their middle, in ratios."""
    found = {}
    nearest = {row.widening_factor: row.nearest for row in optima}
    for width in sorted({row.widening_factor for row in settings}):
        best: dict[int, SettingRow] = {}
        for row in _of_one_rate(settings, width, nearest.get(width)):
            known = best.get(row.batch_size)
            if known is None or _score(row, selected_on) > _score(known, selected_on):
                best[row.batch_size] = row
        sizes = sorted(best)
        top = max(_score(row, selected_on) for row in best.values())
        middles = [math.sqrt(a * b) for a, b in itertools.pairwise(sizes)]
        first = sizes[0] ** 2 / middles[0] if middles else sizes[0] / 2**0.5
        last = sizes[-1] ** 2 / middles[-1] if middles else sizes[-1] * 2**0.5
        borders = [first, *middles, last]
        found[width] = [
            Cell(
                setting=best[size],
                low=low,
                high=high,
                below=None
                if best[size].score(selected_on)[0] is None
                else top - _score(best[size], selected_on),
            )
            for size, (low, high) in zip(sizes, itertools.pairwise(borders), strict=True)
        ]
    return found


def _of_one_rate(
    settings: Sequence[SettingRow], width: float, nearest: SettingRow | None
) -> list[SettingRow]:
    here = [row for row in settings if row.widening_factor == width]
    if nearest is None:
        return here
    alike = [
        row
        for row in here
        if (row.learning_rate, row.momentum) == (nearest.learning_rate, nearest.momentum)
    ]
    return alike if len({row.batch_size for row in alike}) >= 3 else here


def _score(row: SettingRow, selected_on: SelectedOn) -> float:
    score = row.score(selected_on)[0]
    return -math.inf if score is None else score


def has_map(settings: Sequence[SettingRow]) -> bool:
    """Whether several widths were run, and batch size was varied."""
    several = len({row.widening_factor for row in settings}) > 1
    alive = any(row.test_accuracy is not None for row in settings)
    return several and alive and any(knob.name == "batch size" for knob in varied(settings))


def map_figure(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> Figure:
    """Batch size across, widths from below: how far each cell's best setting lies below the best
    of its width, with the optimum and its interval."""
    cells = map_cells(settings, optima, selected_on)
    gaps = [cell.below for row in cells.values() for cell in row if cell.below is not None]
    depth = min(max([_LEAST_DEPTH, *(100.0 * gap for gap in gaps)]), _MOST_DEPTH)
    norm = Normalize(0.0, depth)
    colormap = mpl.colormaps["cividis_r"]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 1.5 + _ROW_INCHES * len(cells)))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        ends = [end for row in cells.values() for cell in row for end in (cell.low, cell.high)]
        log_axis(axes, "x", min(ends), max(ends))
        span = math.log(max(ends) / min(ends))
        for height, (width, row) in enumerate(cells.items()):
            for cell in row:
                _draw_cell(axes, cell, height, colormap, norm, span)
            tell(
                axes,
                [
                    (
                        math.sqrt(cell.low * cell.high),
                        height,
                        setting_values(cell.setting, with_error(*cell.setting.score(selected_on))),
                    )
                    for cell in row
                ],
                width,
            )
        heights = {width: height for height, width in enumerate(cells)}
        for optimum in optima:
            _draw_optimum(axes, optimum, heights[optimum.widening_factor])
        axes.set_ylim(-0.5, len(cells) - 0.5)
        axes.set_yticks(range(len(cells)), [exact(width) for width in cells])
        axes.set_ylabel("widening factor $w$")
        axes.set_xlabel("batch size $B$")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0.0)
        bar = figure.colorbar(
            ScalarMappable(norm, colormap), ax=axes, location="top", aspect=40, shrink=0.7
        )
        bar.set_label(f"{selected_on} accuracy, points below the best of the width", fontsize=11.0)
        bar.outline.set_visible(False)
        return figure


def _draw_cell(
    axes: Axes, cell: Cell, height: int, colormap: mpl.colors.Colormap, norm: Normalize, span: float
) -> None:
    width = cell.setting.widening_factor
    color = _OPEN if cell.below is None else colormap(norm(100.0 * cell.below))
    axes.fill_between(
        [cell.low, cell.high],
        height - 0.46,
        height + 0.46,
        facecolor=color,
        edgecolor="#ffffff",
        linewidth=0.6,
        gid=f"w={width:g} cell",
    )
    if math.log(cell.high / cell.low) < _ROOM_FOR_NUMBER * span:
        return
    dark = cell.below is not None and norm(100.0 * cell.below) > 0.5
    axes.text(
        math.sqrt(cell.low * cell.high),
        height - 0.28,
        "diverged" if cell.below is None else f"{100.0 * cell.below:.2f}",
        fontsize=7.5 if cell.below is None else 9.0,
        horizontalalignment="center",
        verticalalignment="center",
        color="#ffffff" if dark else "#000000",
        gid=f"w={width:g} number",
    )


def _draw_optimum(axes: Axes, row: OptimumRow, height: int) -> None:
    low, high = axes.get_xlim()
    name = f"w={row.widening_factor:g}"
    ends = [min(max(end, low), high) for end in row.batch_size_interval]
    for color, linewidth in (("#ffffff", 3.4), ("#000000", 1.6)):
        axes.plot(
            ends,
            [height + 0.2] * 2,
            color=color,
            linewidth=linewidth,
            solid_capstyle="butt",
            gid=f"{name} interval",
        )
    axes.plot(
        [row.batch_size],
        [height + 0.2],
        marker="o",
        markersize=6.5,
        markerfacecolor="#ffffff" if row.censored else "#000000",
        markeredgecolor="#000000" if row.censored else "#ffffff",
        markeredgewidth=1.2,
        linestyle="none",
        gid=f"{name} {'bound' if row.censored else 'optimum'}",
    )
    tell(axes, [(row.batch_size, height + 0.2, batch_size_values(row))], row.widening_factor)
