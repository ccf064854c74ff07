"""The figure that a user makes in a notebook: on axes of their own, in their own style."""

from collections.abc import Mapping

import polars as pl
from matplotlib.axes import Axes

from widthwise.analysis import Optimum
from widthwise.report.accuracy_figure import draw_accuracy
from widthwise.runs.tables import optimum_rows, selected_on, setting_rows


def plot_accuracy(
    results: pl.DataFrame, optima: Mapping[float, Optimum], axes: Axes | None = None
) -> Axes:
    """Test accuracy against the normalized noise scale, a curve a width, with the optima.

    Args:
        results: rows of :data:`widthwise.runs.schema.RESULTS_SCHEMA`, at least one.
        optima: widening factor → optimum of the normalized noise scale.
        axes: where to draw; None makes a figure.
    """
    if axes is None:
        from matplotlib import pyplot

        _, axes = pyplot.subplots(layout="constrained")
    settings = setting_rows(results)
    draw_accuracy(axes, settings, optimum_rows(settings, optima), selected_on(results))
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return axes
