"""The largest stable learning rate against width, and the batch size that it bounds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis import BatchCeiling
from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    WIDTH_INCHES,
    WidthStyle,
    at_least,
    house_style,
    log_axis,
    padded,
    side_legend,
    width_axis,
    width_styles,
)
from widthwise.runs.analyses import StabilityAnalysis
from widthwise.text import MISSING, exact, interval, number

_LEAST_RATIO = 6.0
_FIT_COLOR = "#1f4e79"
# width, value, interval, is a bound, what and how it is related to the value
_Point = tuple[float, float, tuple[float, float], bool, str]
_RELATIONS = {"?": "about"}


def stability_figure(found: StabilityAnalysis) -> Figure:
    """(a) the largest stable learning rate; (b) the ceiling of the batch size, if it is known."""
    with house_style():
        panels = 1 if found.ceiling is None else 2
        figure = Figure(figsize=(WIDTH_INCHES, 3.1 * panels), layout="constrained")
        axes = figure.subplots(panels, squeeze=False)[:, 0]
        styles = width_styles(rate.widening_factor for rate in found.rates)
        rates: list[_Point] = [
            (
                rate.widening_factor,
                rate.value,
                rate.interval,
                rate.censored,
                "ε_max ≥" if rate.censored else "ε_max =",
            )
            for rate in found.rates
        ]
        line = _line(rates, None if found.law is None else found.law.predict)
        _draw(axes[0], rates, styles, line)
        axes[0].set_title(r"(a) largest stable learning rate $\epsilon_\mathrm{max}$", loc="left")
        if found.ceiling is not None:
            _draw_ceiling(axes[1], found.ceiling, styles)
        side_legend(axes[0])
        return figure


def _draw_ceiling(axes: Axes, ceiling: BatchCeiling, styles: dict[float, WidthStyle]) -> None:
    points: list[_Point] = [
        (
            x.widening_factor,
            x.batch_size,
            x.interval,
            x.relation != "=",
            f"largest B {_RELATIONS.get(x.relation, x.relation)}",
        )
        for x in ceiling.points
    ]
    line = _line(points, None if ceiling.exponent is None else ceiling.predict)
    _draw(axes, points, styles, line)
    low, high = axes.get_ylim()
    if low < 1.0 < high:
        axes.axhline(1.0, color=INK, linewidth=0.7, linestyle=(0, (1, 2)), label="$B$ = 1")
    if len(points) > 1:
        factors = np.array([points[0][0], points[-1][0]])
        center = float(np.exp(np.mean(np.log([point[0] for point in points]))))
        height = float(np.exp(np.mean(np.log([point[1] for point in points]))))
        if line is not None:
            height = float(np.exp(np.interp(np.log(center), np.log(line[0]), np.log(line[1]))))
        axes.plot(
            factors, height * center / factors, color=INK, linewidth=1.0, linestyle="--",
            label="const/$w$",
        )  # fmt: skip
    axes.set_title(
        r"(b) largest batch size at the optimum, from $\epsilon_\mathrm{max}$",
        loc="left",
    )
    side_legend(axes)


def _ends(ends: tuple[float, float]) -> str:
    """
    >>> _ends((0.5, 2.0)), _ends((0.0, np.inf))
    ('95 %: 0.5 to 2', 'not bounded')
    """
    said = interval(*ends)
    return "not bounded" if said == MISSING else f"95 %: {said}"


def _line(points: list[_Point], predict: object) -> tuple[np.ndarray, ...] | None:
    """Widths, values and band of a fit; None without one."""
    if not callable(predict) or len(points) < 2:
        return None
    grid = np.geomspace(points[0][0], points[-1][0], 41)
    predictions = [predict(float(factor)) for factor in grid]
    return (
        grid,
        np.array([value for value, _ in predictions]),
        np.array([band[0] for _, band in predictions]),
        np.array([band[1] for _, band in predictions]),
    )


def _draw(
    axes: Axes,
    points: list[_Point],
    styles: dict[float, WidthStyle],
    line: tuple[np.ndarray, ...] | None,
) -> None:
    width_axis(axes, styles)
    values = [x for _, value, interval, *_ in points for x in (value, *interval)]
    values += [] if line is None else line[1].tolist()
    low, high = at_least(*padded(values, part=0.12), ratio=_LEAST_RATIO)
    log_axis(axes, "y", low, high)
    if line is not None:
        axes.fill_between(
            line[0],
            np.clip(line[2], low, high),
            np.clip(line[3], low, high),
            color=_FIT_COLOR,
            alpha=0.16,
            linewidth=0.0,
            label="95 % band",
        )
        axes.plot(line[0], line[1], color=_FIT_COLOR, label="fit")
    for factor, value, ends_of, is_bound, said in points:
        style = styles[factor]
        ends = [min(max(end, low), high) for end in ends_of]
        axes.plot(
            [factor, factor],
            ends,
            color=style.color,
            linewidth=1.8,
            solid_capstyle="butt",
            gid=f"w={factor:g} interval",
        )
        for end, edge, marker in zip(ends_of, ends, ("v", "^"), strict=True):
            if not 0.0 < end < np.inf:
                axes.plot(
                    [factor],
                    [edge],
                    marker=marker,
                    color=style.color,
                    linestyle="none",
                    gid=f"w={factor:g} open end",
                )
        words = f"w = {exact(factor)}: {said} {number(value)}"
        tell(axes, [(factor, value, f"{words} ({_ends(ends_of)})")], factor)
        axes.plot(
            [factor],
            [value],
            marker=style.marker,
            markersize=8.0,
            markerfacecolor="white" if is_bound else style.color,
            markeredgecolor=style.color if is_bound else INK,
            markeredgewidth=1.4 if is_bound else 0.8,
            linestyle="none",
            zorder=4,
            gid=f"w={factor:g} {'bound' if is_bound else 'value'}",
        )
