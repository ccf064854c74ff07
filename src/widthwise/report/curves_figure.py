"""Accuracy during training: a panel for each width, a curve for each setting near its optimum."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from widthwise.report.spots import tell
from widthwise.report.style import INK, WIDTH_INCHES, house_style
from widthwise.report.values import setting_values, with_error
from widthwise.runs.tables import CurveRow, OptimumRow
from widthwise.text import exact

_ROW_INCHES = 1.75
_QUIET, _NOISY = "#1f4e79", "#b35900"
# A median of the second half of the curves, minus this many times its spread, starts the axis.
_DEPTH = 1.5
# More points of a curve than this are not told apart at this size.
_MOST_POINTS = 150


def curves_figure(
    curves: Sequence[CurveRow], optima: Sequence[OptimumRow], late_fraction: float
) -> Figure:
    """Test accuracy against the step; late times shaded, the setting nearest the optimum in black.

    The axis counts steps where all curves of a panel have equally many, else the fraction of
    training.
    """
    nearest = {row.widening_factor: row for row in optima}
    widths = sorted({row.widening_factor for row in curves})
    columns = 1 if len(widths) == 1 else 2
    rows = math.ceil(len(widths) / columns)
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, _ROW_INCHES * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, width in zip(panels, widths, strict=False):
            here = [row for row in curves if row.widening_factor == width]
            _draw_panel(axes, here, nearest[width], late_fraction)
        for axes in panels[len(widths) :]:
            axes.remove()
        _legend(figure, curves, nearest)
        return figure


def _draw_panel(
    axes: Axes, curves: Sequence[CurveRow], optimum: OptimumRow, late_fraction: float
) -> None:
    totals = {row.setting.steps for row in curves}
    total = float(totals.pop()) if len(totals) == 1 else 1.0
    by_step = total != 1.0
    axes.axvspan((1.0 - late_fraction) * total, total, color="#000000", alpha=0.06, linewidth=0.0)
    late = []
    # The best one last, on top of the others.
    for row in sorted(curves, key=lambda row: row.setting == optimum.nearest):
        best = row.setting == optimum.nearest
        every = math.ceil(len(row.steps) / _MOST_POINTS)
        place = (row.steps if by_step else row.steps / row.setting.steps)[::every]
        mean, sem = 100.0 * row.mean[::every], 100.0 * row.sem[::every]
        color = INK if best else _color(row, optimum)
        if best:
            axes.fill_between(place, mean - sem, mean + sem, color=color, alpha=0.2, linewidth=0.0)
        axes.plot(
            place,
            mean,
            color=color,
            linewidth=1.5 if best else 0.8,
            alpha=1.0 if best else 0.7,
            gid=f"w={row.widening_factor:g} {'nearest' if best else 'curve'}",
        )
        end = [(place[-1], mean[-1], _values(row))]
        tell(axes, end, row.widening_factor)
        late.append(mean[place >= 0.5 * total])
    _focus_on_late(axes, np.concatenate(late))
    axes.set_xlim(0.0, total * 1.03)
    axes.set_title(f"$w$ = {exact(optimum.widening_factor)}", loc="left", fontsize=11.5, pad=3.0)
    axes.set_xlabel("training step" if by_step else "fraction of training", fontsize=11.0)
    axes.tick_params(labelsize=10.5)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=by_step))
    if by_step:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _values(row: CurveRow) -> str:
    setting = row.setting
    change = with_error(setting.plateau_slope, setting.plateau_slope_sem).replace(" %", " points")
    ends = with_error(float(row.mean[-1]), _known(float(row.sem[-1])))
    return setting_values(setting, f"{ends} at the end, change over late times {change}")


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def _color(row: CurveRow, optimum: OptimumRow) -> str:
    quiet = row.setting.normalized_noise_scale < optimum.nearest.normalized_noise_scale
    return _QUIET if quiet else _NOISY


def _focus_on_late(axes: Axes, late: NDArray[np.float64]) -> None:
    low, high = (float(end) for end in np.quantile(late, [0.1, 1.0]))
    spread = max(high - low, 1.0)
    axes.set_ylim(low - _DEPTH * spread, high + 0.25 * spread)


def _legend(figure: Figure, curves: Sequence[CurveRow], nearest: dict[float, OptimumRow]) -> None:
    others = {
        _color(row, nearest[row.widening_factor])
        for row in curves
        if row.setting != nearest[row.widening_factor].nearest
    }
    names = {_QUIET: "less noise", INK: "nearest the optimum", _NOISY: "as much or more"}
    handles = [
        Line2D([], [], color=color, linewidth=1.5 if color == INK else 0.8, label=name)
        for color, name in names.items()
        if color == INK or color in others
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
