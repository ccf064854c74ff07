"""The page of a table of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from widthwise.report.page import (
    prepare_directory,
    switches,
    template,
    write_figures,
    write_page,
)
from widthwise.report.parts import CaptionedFigure
from widthwise.report.sweep_content import SweepContent
from widthwise.report.sweep_figures import optimum_figure, score_figure
from widthwise.text import count, exact, exact_list, interval, number

_EVIDENCE = {
    "seeds": "the spread between seeds",
    "scatter": "the scatter of runs about their curve",
}


def write_sweep_report(content: SweepContent, directory: Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg, *.pdf``; returns the path of the page."""
    directory = prepare_directory(directory)
    figures = sweep_figures(content)
    images = write_figures(figures, directory)
    return write_page(render_sweep(content, figures, images), directory)


def sweep_figures(content: SweepContent) -> list[CaptionedFigure]:
    """The score against the hyper-parameter, and the optimum against width if there is any."""
    figures = [
        CaptionedFigure(
            name="score",
            title=f"{content.score} against {content.hyperparameter}",
            caption=_score_caption(content),
            figure=score_figure(content),
        )
    ]
    if content.placed:
        figures.append(
            CaptionedFigure(
                name="optimum-vs-width",
                title=f"The best {content.hyperparameter} against {content.width}",
                caption=_optimum_caption(content),
                figure=optimum_figure(content),
            )
        )
    return figures


def render_sweep(
    content: SweepContent, figures: Sequence[CaptionedFigure], images: Mapping[str, Markup]
) -> str:
    """The page as text; `images` holds each figure's element by name."""
    return template("sweep.html.j2").render(
        content=content,
        evidence=_EVIDENCE[content.sweep.evidence],
        figures=figures,
        images=images,
        switches=switches(content.sweep.widths),
        num_runs=sum(row.num_runs for row in content.sweep.settings),
    )


def _score_caption(content: SweepContent) -> str:
    sweep = content.sweep
    lost = sum(1 for row in sweep.settings if row.num_diverged)
    repeated = any(row.interval is not None for row in sweep.settings)
    return (
        f"(a) {content.score} of {count(len(sweep.settings), 'setting')} at {content.width} "
        f"{exact_list(sweep.widths)}"
        + ("; bars: one standard error" if repeated else "")
        + ". Large markers there and in (b): the best "
        f"{content.hyperparameter} with its 95 % interval: {_list(content)}."
        + (f" Crosses: {count(lost, 'setting')} at which runs diverged." if lost else "")
    )


def _optimum_caption(content: SweepContent) -> str:
    law = content.sweep.law
    said = f"The best {content.hyperparameter} with its 95 % interval: {_list(content)}."
    if law is not None:
        said += (
            f" Solid: the fitted law, exponent {number(law.exponent)} ({number(law.interval[0])} "
            f"to {number(law.interval[1])}), with its 95 % band."
        )
    if len(content.placed) > 1:
        said += " Dashed: in proportion to width, or in inverse proportion; dotted: no change."
    return said


def _list(content: SweepContent) -> str:
    return "; ".join(
        f"{number(row.optimum.noise_scale)} ({_ends(row.optimum.interval)}) at "
        f"{exact(row.widening_factor)}" + (", a bound" if row.censored else "")
        for row in content.placed
    )


def _ends(interval_: tuple[float, float]) -> str:
    """
    >>> _ends((0.0, float("inf"))), _ends((1.0, 2.0))
    ('unbounded', '1 to 2')
    """
    said = interval(*interval_)
    return "unbounded" if said == interval(0.0, float("inf")) else said
