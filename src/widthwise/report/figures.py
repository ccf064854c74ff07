"""What goes with width: rows in, a matplotlib Figure out. Nothing here fits or saves."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.report.accuracy_figure import Z_95, name_arrow
from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    MUTED,
    WIDTH_INCHES,
    WidthStyle,
    at_least,
    house_style,
    log_axis,
    padded,
    width_axis,
    width_styles,
)
from widthwise.report.values import batch_size_values, optimum_values
from widthwise.runs.tables import (
    LawLine,
    OptimumRow,
    PlacedOptimum,
    SelectedOn,
    reference_batch_sizes,
)
from widthwise.text import exact, percent, percent_interval

Row = TypeVar("Row", bound=PlacedOptimum)

_SIZE = (WIDTH_INCHES, 3.7)
# A vertical axis shows at least this ratio, so that a flat law looks flat.
_LEAST_RATIO = 6.0
_FIT_COLOR = "#1f4e79"


def law_figure(
    optima: Sequence[PlacedOptimum],
    line: LawLine | None,
    not_located: Collection[float] = (),
    *,
    optimum_label: str = r"optimal noise scale $\bar{g}_\mathrm{opt}$",
    width_label: str | None = None,
    slope: float = 1.0,
    names: tuple[str, str] = ("ḡ", "w"),
) -> Figure:
    """The optimum against width, with the fit, its band and reference slopes.

    `names`: of the optimum and of width, for readers who point at one.
    """
    with house_style():
        figure, axes = _new_figure()
        styles = width_styles([*(row.widening_factor for row in optima), *not_located])
        width_axis(axes, styles)
        log_axis(axes, "y", *_value_limits(optima, _noise_scales, line))
        if line is not None:
            axes.fill_between(
                line.widening_factors,
                np.clip(line.low, *axes.get_ylim()),
                np.clip(line.high, *axes.get_ylim()),
                color=_FIT_COLOR,
                alpha=0.16,
                linewidth=0.0,
                label="95 % band",
            )
            axes.plot(line.widening_factors, line.value, color=_FIT_COLOR, label="fit")
        _draw_references(axes, optima, line, slope)
        for row in optima:
            _draw_estimate(axes, row, row.optimum.noise_scale, row.optimum.interval, styles)
            words = optimum_values(row, *names)
            tell(axes, [(row.widening_factor, row.optimum.noise_scale, words)], row.widening_factor)
        _mark_missing(axes, not_located)
        axes.set_ylabel(optimum_label)
        if width_label is not None:
            axes.set_xlabel(width_label)
        _legend(figure, axes)
        return figure


def best_accuracy_figure(optima: Sequence[OptimumRow], selected_on: SelectedOn) -> Figure:
    """Accuracy at the optimum against width, with its interval and the test set's own error."""
    with house_style():
        figure, axes = _new_figure()
        styles = width_styles(row.widening_factor for row in optima)
        width_axis(axes, styles)
        for row in optima:
            _draw_score(axes, row, styles[row.widening_factor])
        found = [row for row in optima if not row.censored]
        axes.plot(
            [row.widening_factor for row in found],
            [100.0 * row.optimum.score for row in found],
            color=MUTED,
            linewidth=0.8,
            zorder=1,
            gid="best accuracy line",
        )
        if selected_on == "validation":
            _draw_test_beside(axes, optima)
        _legend(figure, axes)
        axes.set_ylabel("accuracy at the optimum (%)")
        axes.margins(y=0.12)
        return figure


def batch_size_figure(optima: Sequence[OptimumRow]) -> Figure:
    """Batch size at the optimum against width, with the slope that proportionality would give."""
    with house_style():
        figure, axes = _new_figure()
        styles = width_styles(row.widening_factor for row in optima)
        width_axis(axes, styles)
        low, high = _value_limits(
            optima, lambda row: (row.batch_size, *row.batch_size_interval), None, falling=True
        )
        log_axis(axes, "y", low, high)
        if low < 1.0 < high:
            axes.axhline(1.0, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)), label="$B$ = 1")
        found = [row for row in optima if not row.censored] or list(optima)
        if len(found) > 1:
            axes.plot(
                [row.widening_factor for row in found],
                reference_batch_sizes(found),
                color=INK,
                linewidth=1.0,
                linestyle="--",
                label=r"$\bar{g}_\mathrm{opt} \propto w$ at fixed $\epsilon$, $m$",
            )
        for row in optima:
            _draw_estimate(axes, row, row.batch_size, row.batch_size_interval, styles, falling=True)
            place = (row.widening_factor, row.batch_size, batch_size_values(row))
            tell(axes, [place], row.widening_factor)
        axes.set_ylabel("batch size at the optimum $B$")
        _legend(figure, axes)
        return figure


def _new_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(handles)))


def _noise_scales(row: PlacedOptimum) -> tuple[float, ...]:
    return (row.optimum.noise_scale, *row.optimum.interval)


def _value_limits(
    optima: Sequence[Row],
    values_of: Callable[[Row], tuple[float, ...]],
    line: LawLine | None,
    *,
    falling: bool = False,
) -> tuple[float, float]:
    """Limits that hold the values, the line and, at the ends, the arrows of bounds."""
    values = [value for row in optima for value in values_of(row)]
    values += [] if line is None else line.value.tolist()  # the band may be very wide
    low, high = at_least(*padded(values, part=0.08), ratio=_LEAST_RATIO)
    arrow = (high / low) ** 0.16
    for row in optima:
        if row.censored:
            upward = (row.optimum.censoring == "high") != falling
            value = values_of(row)[0]
            low, high = (
                (low, max(high, value * arrow)) if upward else (min(low, value / arrow), high)
            )
    return low, high


def _draw_references(
    axes: Axes, optima: Sequence[PlacedOptimum], line: LawLine | None, slope: float
) -> None:
    """That slope and 0 through the middle of the fit, or of the optima that were found."""
    factors = sorted({row.widening_factor for row in optima})
    if len(factors) < 2:
        return
    ends = np.array([factors[0], factors[-1]])
    if line is not None:
        center = float(np.sqrt(line.widening_factors[0] * line.widening_factors[-1]))
        height = float(
            np.exp(np.interp(np.log(center), np.log(line.widening_factors), np.log(line.value)))
        )
    else:
        found = [row for row in optima if not row.censored] or list(optima)
        center = float(np.exp(np.mean([math.log(row.widening_factor) for row in found])))
        height = float(np.exp(np.mean([math.log(row.optimum.noise_scale) for row in found])))
    axes.plot(
        ends,
        height * (ends / center) ** slope,
        color=INK,
        linewidth=1.0,
        linestyle="--",
        label=f"slope {slope:g}".replace("-", "\N{MINUS SIGN}"),
    )
    axes.plot(
        ends,
        [height, height],
        color=MUTED,
        linewidth=0.9,
        linestyle=(0, (1, 2)),
        label="slope 0",
    )


def _draw_estimate(
    axes: Axes,
    row: PlacedOptimum,
    value: float,
    interval: tuple[float, float],
    styles: dict[float, WidthStyle],
    *,
    falling: bool = False,
) -> None:
    """A marker with its interval; a censored one is open, with an arrow where it may still lie.

    `falling`: the value drawn falls as the noise scale rises, so bounds point the other way.
    """
    style = styles[row.widening_factor]
    low, high = axes.get_ylim()
    if row.located or row.censored:
        axes.plot(
            [row.widening_factor] * 2,
            [min(max(end, low), high) for end in interval],
            color=style.color,
            linewidth=1.6,
            solid_capstyle="butt",
            gid=f"w={row.widening_factor:g} interval",
        )
    axes.plot(
        [row.widening_factor],
        [value],
        marker=style.marker,
        markersize=8.0,
        markerfacecolor="white" if row.censored else style.color,
        markeredgecolor=style.color if row.censored else INK,
        markeredgewidth=1.4 if row.censored else 0.8,
        linestyle="none",
        zorder=4,
        gid=f"w={row.widening_factor:g} {'bound' if row.censored else 'optimum'}",
    )
    if row.censored:
        upward = (row.optimum.censoring == "high") != falling
        arrow = axes.annotate(
            "",
            xy=(row.widening_factor, high if upward else low),
            xytext=(row.widening_factor, value),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.color,
                "linewidth": 1.6,
                "shrinkA": 5.0,
                "shrinkB": 0.0,
            },
            annotation_clip=False,
            gid=f"w={row.widening_factor:g} arrow",
        )
        name_arrow(arrow)


def _draw_score(axes: Axes, row: OptimumRow, style: WidthStyle) -> None:
    optimum, factor = row.optimum, row.widening_factor
    words = (
        f"w = {exact(factor)}: {percent(optimum.score)} % at the optimum (95 %: "
        f"{percent_interval(*optimum.score_interval)})"
    )
    tell(axes, [(factor, 100.0 * optimum.score, words)], factor)
    if optimum.sampling_interval is not None:
        axes.plot(
            [factor, factor],
            [_as_percent(end) for end in optimum.sampling_interval],
            color="#bdbdbd",
            linewidth=0.9,
            zorder=0,
            gid=f"w={factor:g} sampling error",
        )
    axes.plot(
        [factor, factor],
        [_as_percent(end) if math.isfinite(end) else math.nan for end in optimum.score_interval],
        color=style.color,
        linewidth=2.2,
        solid_capstyle="butt",
        gid=f"w={factor:g} interval",
    )
    axes.plot(
        [factor],
        [100.0 * optimum.score],
        marker=style.marker,
        markersize=8.0,
        markerfacecolor="white" if row.censored else style.color,
        markeredgecolor=style.color if row.censored else INK,
        markeredgewidth=1.4 if row.censored else 0.8,
        linestyle="none",
        zorder=4,
        gid=f"w={factor:g} {'bound' if row.censored else 'optimum'}",
    )


def _as_percent(accuracy: float) -> float:
    """The end of an interval, within what an accuracy can be."""
    return 100.0 * min(max(accuracy, 0.0), 1.0)


def _draw_test_beside(axes: Axes, optima: Sequence[OptimumRow]) -> None:
    """Test accuracy at the setting nearest the optimum that validation chose."""
    axes.plot([], [], color=MUTED, marker="o", linewidth=0.8, label="validation (chose it)")
    # Beside the validation accuracy, not on top of it.
    low, high = axes.get_xlim()
    shift = (high / low) ** 0.02
    accuracies = [row.nearest.test_accuracy or math.nan for row in optima]
    errors = [Z_95 * (row.nearest.test_accuracy_sem or 0.0) for row in optima]
    both = list(zip(accuracies, errors, strict=True))
    axes.errorbar(
        [row.widening_factor * shift for row in optima],
        [100.0 * accuracy for accuracy in accuracies],
        yerr=[
            [100.0 * accuracy - _as_percent(accuracy - error) for accuracy, error in both],
            [_as_percent(accuracy + error) - 100.0 * accuracy for accuracy, error in both],
        ],
        linestyle=":",
        linewidth=0.9,
        marker="*",
        markersize=9.0,
        markerfacecolor="white",
        color=INK,
        label="test, nearest setting",
    )


def _mark_missing(axes: Axes, widening_factors: Collection[float]) -> None:
    for factor in widening_factors:
        axes.text(
            factor,
            0.02,
            "none\nfound",
            transform=axes.get_xaxis_transform(),
            horizontalalignment="center",
            color=MUTED,
            fontsize=10.0,
            gid=f"w={factor:g} not located",
        )
