"""Figure 1: test accuracy against the normalized noise scale, a curve for each width."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from widthwise.report.spots import tell
from widthwise.report.style import (
    INK,
    MUTED,
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
from widthwise.report.values import optimum_values, setting_values, with_error
from widthwise.runs.tables import (
    OptimumRow,
    PlacedOptimum,
    SelectedOn,
    SettingRow,
    mean_by_noise_scale,
)
from widthwise.text import exact, number

Z_95 = 1.959964  # a normal 95 % interval, in standard errors
# The lower panel shows at least this much, in percentage points, below the peak of each width.
_LEAST_DEPTH = 1.5
# Counts nearer together than this part of the axis would overlap.
_COUNT_SPACING = 0.05
_PANEL_INCHES = {"accuracy": 2.6, "optima": 0.19, "near": 1.9, "diverged": 0.2}


def accuracy_figure(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> Figure:
    """Panels over one axis of noise scales, from top to bottom.

    (a) test accuracy, mean and standard error of each setting, with the optimum and its interval;
    a strip with the diverged settings, if any, and how many seeds diverged; (b) the optimum and
    its interval, a row for each width; the accuracy that chose it, minus its value there.
    """
    with house_style():
        styles = width_styles(row.widening_factor for row in settings)
        diverged = sorted({row.widening_factor for row in settings if row.num_diverged})
        heights = {"accuracy": _PANEL_INCHES["accuracy"]}
        if diverged:
            heights["diverged"] = 0.1 + _PANEL_INCHES["diverged"] * len(diverged)
        if optima:
            heights["optima"] = 0.1 + _PANEL_INCHES["optima"] * len(optima)
            heights["near"] = _PANEL_INCHES["near"]
        figure = Figure(
            figsize=(
                WIDTH_INCHES,
                sum(heights.values()) + 0.6 + 0.2 * len(heights),
            ),
            layout="constrained",
        )
        grid = figure.add_gridspec(len(heights), height_ratios=list(heights.values()))
        panels = dict(zip(heights, grid.subplots(sharex=True, squeeze=False)[:, 0], strict=True))
        log_axis(panels["accuracy"], "x", *_limits(settings, optima))
        _draw_accuracy(panels["accuracy"], settings, optima, selected_on, styles)
        if diverged:
            _draw_diverged(panels["diverged"], settings, diverged, styles)
        if optima:
            draw_optima(panels["optima"], optima, styles)
            _draw_near_peak(panels["near"], settings, optima, selected_on, styles)
        list(panels.values())[-1].set_xlabel(r"normalized noise scale $\bar{g}$")
        legend_rows = draw_width_legend(figure, styles)
        figure.set_figheight(figure.get_figheight() + 0.22 * legend_rows)
        return figure


def draw_accuracy(
    axes: Axes,
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
) -> None:
    """Panel (a) alone, on axes of the caller's."""
    log_axis(axes, "x", *_limits(settings, optima))
    styles = width_styles(row.widening_factor for row in settings)
    _draw_accuracy(axes, settings, optima, selected_on, styles)
    axes.set_title("")
    axes.set_title("", loc="left")
    axes.set_xlabel(r"normalized noise scale $\bar{g}$")
    axes.set_ylabel("test accuracy (%)")


def _limits(settings: Sequence[SettingRow], optima: Sequence[OptimumRow]) -> tuple[float, float]:
    """All settings, with room for the arrows of optima beyond an end."""
    low, high = padded(row.normalized_noise_scale for row in settings)
    arrow = power_of_ratio(low, high, 0.08)
    sides = {row.optimum.censoring for row in optima}
    return (
        drawable(low / arrow) if "low" in sides else low,
        drawable(high * arrow) if "high" in sides else high,
    )


def _draw_accuracy(
    axes: Axes,
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
    styles: dict[float, WidthStyle],
) -> None:
    _title(axes, "(a) test accuracy (%)")
    for factor, style in styles.items():
        rows = [
            (row, row.test_accuracy, row.test_accuracy_sem)
            for row in settings
            if row.widening_factor == factor
        ]
        _draw_points(axes, rows, style, f"w={factor:g}")
    if not axes.lines:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "every run diverged", transform=axes.transAxes, ha="center")
    for row in optima:
        style = styles[row.widening_factor]
        on_test = selected_on == "test"
        height = row.optimum.score if on_test else row.nearest.test_accuracy
        assert height is not None, "the nearest setting has surviving seeds"
        draw_optimum(axes, row, 100.0 * height, style)


def _draw_near_peak(
    axes: Axes,
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
    styles: dict[float, WidthStyle],
) -> None:
    _title(axes, f"(c) {selected_on} accuracy minus that at the optimum (points)")
    axes.axhline(0.0, color=MUTED, linewidth=0.6)
    deepest_error = 0.0
    for row in optima:
        rows = []
        for setting in settings:
            score, error = setting.score(selected_on)
            if setting.widening_factor == row.widening_factor and score is not None:
                rows.append((setting, score - row.optimum.score, error))
                deepest_error = max(deepest_error, 100.0 * (error or 0.0))
        style = styles[row.widening_factor]
        _draw_points(axes, rows, style, f"near w={row.widening_factor:g}")
    depth = max(_LEAST_DEPTH, 4.0 * min(deepest_error, 1.0))
    axes.set_ylim(-depth, 0.3 * depth)


def _draw_points(
    axes: Axes,
    rows: Sequence[tuple[SettingRow, float | None, float | None]],
    style: WidthStyle,
    label: str,
) -> None:
    """Means (fractions) with standard errors, joined by a line through each noise scale's mean."""
    alive = [
        (row.normalized_noise_scale, mean, error) for row, mean, error in rows if mean is not None
    ]
    if not alive:
        return
    tell(
        axes,
        [
            (
                row.normalized_noise_scale,
                100.0 * mean,
                setting_values(row, with_error(row.test_accuracy, row.test_accuracy_sem)),
            )
            for row, mean, _ in rows
            if mean is not None
        ],
        rows[0][0].widening_factor,
    )
    line_x, line_y = mean_by_noise_scale((place, 100.0 * mean) for place, mean, _ in alive)
    axes.plot(line_x, line_y, color=style.color, linewidth=1.1, alpha=0.8, gid=f"{label} line")
    container = axes.errorbar(
        [place for place, _, _ in alive],
        [100.0 * mean for _, mean, _ in alive],
        yerr=[100.0 * (error or 0.0) for _, _, error in alive],
        linestyle="none",
        marker=style.marker,
        markersize=4.5,
        color=style.color,
        elinewidth=1.0,
        label=label,
    )
    container.lines[0].set_gid(f"{label} points")
    for bars in container.lines[2]:
        bars.set_gid(f"{label} bars")


def draw_optimum(
    axes: Axes,
    row: PlacedOptimum,
    height: float,
    style: WidthStyle,
    names: tuple[str, str] = ("ḡ", "w"),
) -> None:
    """A large marker at the optimum and its interval; open, with an arrow, if it is a bound.

    `names`: of what is on the axis, and of width.
    """
    place = row.optimum.noise_scale
    low, high = axes.get_xlim()
    if row.located or row.censored:
        axes.plot(
            [min(max(end, low), high) for end in row.optimum.interval],
            [height, height],
            color=style.color,
            linewidth=2.4,
            alpha=0.55,
            solid_capstyle="butt",
            gid=f"w={row.widening_factor:g} interval",
        )
    axes.plot(
        [place],
        [height],
        marker=style.marker,
        markersize=9.0,
        markerfacecolor="white" if row.censored else style.color,
        markeredgecolor=style.color if row.censored else INK,
        markeredgewidth=1.3 if row.censored else 0.9,
        linestyle="none",
        zorder=4,
        gid=f"w={row.widening_factor:g} {'bound' if row.censored else 'optimum'}",
    )
    tell(axes, [(place, height, optimum_values(row, *names))], row.widening_factor)
    if row.censored:
        arrow = axes.annotate(
            "",
            xy=(high if row.optimum.censoring == "high" else low, height),
            xytext=(place, height),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.color,
                "linewidth": 1.4,
                "shrinkA": 5.0,
                "shrinkB": 0.0,
            },
            annotation_clip=False,
            gid=f"w={row.widening_factor:g} arrow",
        )
        name_arrow(arrow)


def name_arrow(arrow: Annotation) -> None:
    """Its shaft gets its name: text without letters is not drawn, and its group with it."""
    if arrow.arrow_patch is not None:
        arrow.arrow_patch.set_gid(arrow.get_gid())


def draw_optima(
    axes: Axes,
    optima: Sequence[PlacedOptimum],
    styles: dict[float, WidthStyle],
    sign: str = "$w$ = ",
    names: tuple[str, str] = ("ḡ", "w"),
) -> None:
    """The same optima, a row each, so that intervals can be compared."""
    for height, row in enumerate(optima):
        draw_optimum(axes, row, float(height), styles[row.widening_factor], names)
    axes.set_ylim(-0.7, len(optima) - 0.3)
    _title(axes, "(b) optimum and 95 % interval")
    label_rows(axes, [row.widening_factor for row in optima], sign)


def _draw_diverged(
    axes: Axes,
    settings: Sequence[SettingRow],
    widening_factors: Sequence[float],
    styles: dict[float, WidthStyle],
) -> None:
    """Crosses where seeds diverged, with how many of how many."""
    low, high = map(float, axes.get_xlim())
    least_ratio = power_of_ratio(low, high, _COUNT_SPACING)
    for height, factor in enumerate(widening_factors):
        counts: dict[float, tuple[int, int]] = {}
        for row in settings:
            if row.widening_factor == factor and row.num_diverged:
                place = float(f"{row.normalized_noise_scale:.6g}")
                diverged, runs = counts.get(place, (0, 0))
                counts[place] = (diverged + row.num_diverged, runs + row.num_seeds)
        axes.plot(
            list(counts),
            [height] * len(counts),
            linestyle="none",
            marker="x",
            markersize=5.5,
            markeredgewidth=1.5,
            color=styles[factor].color,
            clip_on=False,
            gid=f"w={factor:g} diverged",
        )
        tell(
            axes,
            [
                (
                    place,
                    height,
                    f"w = {exact(factor)}, ḡ = {number(place, 4)}: {lost} of {runs} diverged",
                )
                for place, (lost, runs) in counts.items()
            ],
            factor,
        )
        last_labeled = 0.0
        for place, (diverged, runs) in sorted(counts.items()):
            if place > last_labeled * least_ratio:
                axes.annotate(
                    f"{diverged}/{runs}",
                    (place, height),
                    xytext=(5.0, 0.0),
                    textcoords="offset points",
                    horizontalalignment="left",
                    verticalalignment="center",
                    fontsize=9.5,
                    color=INK,
                    gid=f"w={factor:g} count",
                )
                last_labeled = place
    axes.set_ylim(-0.7, len(widening_factors) - 0.3)
    _title(axes, "diverged settings, with the number of seeds that diverged")
    label_rows(axes, widening_factors)


def label_rows(axes: Axes, widening_factors: Sequence[float], sign: str = "$w$ = ") -> None:
    """A row of a panel for each width."""
    axes.set_yticks(
        range(len(widening_factors)), [f"{sign}{exact(factor)}" for factor in widening_factors]
    )
    axes.tick_params(axis="both", length=0.0)
    axes.tick_params(axis="y", labelsize=10.5)
    axes.spines[["left", "bottom"]].set_visible(False)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11.5, pad=3.0)
