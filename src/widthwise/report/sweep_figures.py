"""Figures of a table of runs: scores against a hyper-parameter, its optimum against width."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis.sweep import SweepSetting
from widthwise.report.accuracy_figure import draw_optima, draw_optimum, label_rows
from widthwise.report.figures import law_figure
from widthwise.report.spots import tell
from widthwise.report.style import (
    WIDTH_INCHES,
    WidthStyle,
    draw_width_legend,
    drawable,
    house_style,
    log_axis,
    padded,
    power_of_ratio,
    width_styles,
)
from widthwise.report.sweep_content import SweepContent
from widthwise.runs.tables import LawLine, law_line
from widthwise.text import exact, interval, number

_PANEL_INCHES = {"score": 2.8, "diverged": 0.2, "optima": 0.19}


def score_figure(content: SweepContent) -> Figure:
    """Panels over one axis of the hyper-parameter: (a) the score of each setting, a curve for each
    width, with the optimum and its interval; where runs diverged; (b) the optimum and its
    interval, a row for each width.
    """
    sweep = content.sweep
    with house_style():
        styles = width_styles(sweep.widths)
        diverged = sorted({row.width for row in sweep.settings if row.num_diverged})
        heights = {"score": _PANEL_INCHES["score"]}
        if diverged:
            heights["diverged"] = 0.1 + _PANEL_INCHES["diverged"] * len(diverged)
        if content.placed:
            heights["optima"] = 0.1 + _PANEL_INCHES["optima"] * len(content.placed)
        figure = Figure(
            figsize=(WIDTH_INCHES, sum(heights.values()) + 0.6 + 0.2 * len(heights)),
            layout="constrained",
        )
        grid = figure.add_gridspec(len(heights), height_ratios=list(heights.values()))
        panels = dict(zip(heights, grid.subplots(sharex=True, squeeze=False)[:, 0], strict=True))
        log_axis(panels["score"], "x", *_limits(content))
        _draw_scores(panels["score"], content, styles)
        if diverged:
            _draw_diverged(panels["diverged"], sweep.settings, diverged, styles)
        if content.placed:
            draw_optima(panels["optima"], content.placed, styles, "", _names(content))
        list(panels.values())[-1].set_xlabel(plain_label(content.hyperparameter))
        legend_rows = draw_width_legend(figure, styles, title=plain_label(content.width))
        figure.set_figheight(figure.get_figheight() + 0.22 * legend_rows)
        return figure


def optimum_figure(content: SweepContent) -> Figure:
    """The best value against width, with the fitted law and its band."""
    law = content.sweep.law
    return law_figure(
        content.placed,
        None if law is None else _line(content),
        content.missing,
        optimum_label=f"best {plain_label(content.hyperparameter)}",
        width_label=plain_label(content.width),
        slope=-1.0 if law is not None and law.exponent < 0.0 else 1.0,
        names=_names(content),
    )


def plain_label(name: str) -> str:
    """A name of the user's, which is no mathematics.

    >>> plain_label("cost in $")
    'cost in \\\\$'
    """
    return name.replace("$", r"\$")


def _line(content: SweepContent) -> LawLine:
    """The law between the widths themselves, not their ratios to the narrowest."""
    law, narrowest = content.sweep.law, content.sweep.widths[0]
    assert law is not None
    line = law_line(law, (row.widening_factor / narrowest for row in content.placed))
    return LawLine(
        widening_factors=line.widening_factors * narrowest,
        value=line.value,
        low=line.low,
        high=line.high,
    )


def _names(content: SweepContent) -> tuple[str, str]:
    return content.hyperparameter, content.width


def _values(
    content: SweepContent, rows: Sequence[SweepSetting]
) -> Iterator[tuple[float, float, str]]:
    """Place and words of each setting, as the table writes it."""
    for row in rows:
        if row.score is not None:
            ends = "" if row.interval is None else f" ({interval(*row.interval, digits=4)})"
            yield (
                row.value,
                row.score,
                f"{content.width} = {exact(row.width)}, {content.hyperparameter} = "
                f"{number(row.value, 4)}: {content.score} {number(row.score, 4)}{ends}",
            )


def _limits(content: SweepContent) -> tuple[float, float]:
    """All settings, with room for the arrows of optima beyond an end."""
    low, high = padded(row.value for row in content.sweep.settings)
    arrow = power_of_ratio(low, high, 0.08)
    sides = {row.optimum.censoring for row in content.placed}
    return (
        drawable(low / arrow) if "low" in sides else low,
        drawable(high * arrow) if "high" in sides else high,
    )


def _draw_scores(axes: Axes, content: SweepContent, styles: dict[float, WidthStyle]) -> None:
    better = "smallest" if content.sweep.minimize else "largest"
    axes.set_title(f"(a) {plain_label(content.score)}; the {better} is the best", loc="left")
    if content.sweep.logarithmic:
        axes.set_yscale("log")
    for width, style in styles.items():
        rows = [row for row in content.sweep.settings if row.width == width]
        _draw_curve(axes, rows, style, f"w={width:g}")
        tell(axes, _values(content, rows), width)
    for row in content.placed:
        style = styles[row.widening_factor]
        draw_optimum(axes, row, row.optimum.score, style, _names(content))


def _draw_curve(axes: Axes, rows: Sequence[SweepSetting], style: WidthStyle, label: str) -> None:
    """Means with one standard error, where several runs have one."""
    alive = [(row.value, row.score, row.interval) for row in rows if row.score is not None]
    if not alive:
        return
    places, scores = [place for place, *_ in alive], [score for _, score, _ in alive]
    ends = [interval or (score, score) for _, score, interval in alive]
    container = axes.errorbar(
        places,
        scores,
        yerr=[
            [max(score - low, 0.0) for score, (low, _) in zip(scores, ends, strict=True)],
            [max(high - score, 0.0) for score, (_, high) in zip(scores, ends, strict=True)],
        ],
        marker=style.marker,
        markersize=4.5,
        color=style.color,
        linewidth=1.1,
        elinewidth=1.0,
        label=label,
    )
    line, _, bars = container.lines
    for part in (line, *bars):
        part.set_gid(f"{label} points")


def _draw_diverged(
    axes: Axes,
    settings: Sequence[SweepSetting],
    widths: Sequence[float],
    styles: dict[float, WidthStyle],
) -> None:
    for height, width in enumerate(widths):
        places = [row.value for row in settings if row.width == width and row.num_diverged]
        axes.plot(
            places,
            [height] * len(places),
            linestyle="none",
            marker="x",
            markersize=5.5,
            markeredgewidth=1.5,
            color=styles[width].color,
            clip_on=False,
            gid=f"w={width:g} diverged",
        )
    axes.set_ylim(-0.7, len(widths) - 0.3)
    axes.set_title("settings at which runs diverged", loc="left")
    label_rows(axes, widths, sign="")
