"""The page: sentences, figures and tables put into the template, then written to disk."""

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from widthwise import text
from widthwise.files import make_directory, require_no_link, write_atomically
from widthwise.report import captions, wording
from widthwise.report.accuracy_figure import accuracy_figure
from widthwise.report.collapse_section import collapse_section
from widthwise.report.content import ReportContent
from widthwise.report.curves_figure import curves_figure
from widthwise.report.figures import batch_size_figure, best_accuracy_figure, law_figure
from widthwise.report.inline import inline
from widthwise.report.parts import CaptionedFigure, Section
from widthwise.report.plain_figures import has_map, knob_figure, map_figure, varied
from widthwise.report.plan_section import plan_section
from widthwise.report.resistance_section import resistance_section
from widthwise.report.spots import spots_of
from widthwise.report.stability_section import stability_section
from widthwise.report.style import house_style, width_styles
from widthwise.report.training import training_recipe
from widthwise.runs.analyses import setting_scores
from widthwise.runs.tables import (
    OptimumRow,
    SelectedOn,
    SettingRow,
    curve_rows,
    law_line,
    optimum_rows,
    selected_on,
    setting_rows,
)
from widthwise.runs.trust import near_optimum

_PAGE = "report.html"
_FIGURES = "figures"
# No dates and no version, so that the same study gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def write_report(content: ReportContent, directory: Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg, *.pdf``; each file appears complete or not at all.

    Returns:
        The path of the page.
    """
    directory = prepare_directory(directory)
    figures = report_figures(content)
    sections = report_sections(content)
    shown = [*figures, *(s.figure for s in sections if s.figure is not None)]
    images = write_figures(shown, directory)
    return write_page(render_page(content, figures, images, sections), directory)


def prepare_directory(directory: Path) -> Path:
    """A folder that figures and a page can be written into."""
    directory = Path(directory)
    require_no_link(directory / _FIGURES)
    make_directory(directory / _FIGURES)
    return directory


def write_figures(figures: Sequence[CaptionedFigure], directory: Path) -> dict[str, Markup]:
    """Write ``figures/*.svg, *.pdf``; each as a part of a page, by its name."""
    images = {}
    for figure in figures:
        for kind in _METADATA:
            image = _encode(figure.figure, kind)
            write_atomically(directory / _FIGURES / f"{figure.name}.{kind}", image)
            if kind == "svg":  # of its layout, not the other's
                spots = spots_of(figure.figure)
                images[figure.name] = inline(image.decode(), figure.name, spots)
    return images


def write_page(page: str, directory: Path) -> Path:
    """Write ``report.html``; its path."""
    path = directory / _PAGE
    write_atomically(path, page.encode())
    return path


def report_sections(content: ReportContent) -> list[Section]:
    """The claims for which the study has the data, in the order of the page."""
    settings = setting_rows(content.results)
    optima = optimum_rows(settings, content.optima)
    table = setting_scores(content.results)
    sections = (
        plan_section(content, optima),
        collapse_section(content, table, settings),
        stability_section(content),
        resistance_section(content, table, optima),
    )
    return [section for section in sections if section is not None]


def report_figures(content: ReportContent) -> list[CaptionedFigure]:
    """The figures that the content has data for, in the order of the page."""
    chosen_on = selected_on(content.results)
    settings = setting_rows(content.results)
    optima = optimum_rows(settings, content.optima)
    curves = curve_rows(content.results, near_optimum(settings, optima))
    recipe = training_recipe(content.results)
    figures = [
        CaptionedFigure(
            name="accuracy-vs-noise-scale",
            title="Accuracy against noise scale",
            caption=captions.accuracy_caption(settings, optima, chosen_on),
            figure=accuracy_figure(settings, optima, chosen_on),
        )
    ]
    if optima:
        law = content.law
        line = None if law is None else law_line(law, (row.widening_factor for row in optima))
        missing = _missing_widths(settings, optima)
        figures += [
            CaptionedFigure(
                name="optimum-vs-width",
                title="The optimum",
                caption=captions.law_caption(optima, law),
                figure=law_figure(optima, line, missing),
            ),
            CaptionedFigure(
                name="best-accuracy-vs-width",
                title="Best accuracy",
                caption=captions.best_accuracy_caption(optima, chosen_on),
                figure=best_accuracy_figure(optima, chosen_on),
            ),
            CaptionedFigure(
                name="batch-size-vs-width",
                title="Batch size at the optimum",
                caption=captions.batch_size_caption(optima, recipe),
                figure=batch_size_figure(optima),
            ),
        ]
    figures += _plain_figures(settings, optima, chosen_on)
    if curves:
        figures.append(
            CaptionedFigure(
                name="accuracy-during-training",
                title="Accuracy during training",
                caption=captions.curves_caption(curves, content.late_fraction),
                figure=curves_figure(curves, optima, content.late_fraction),
            )
        )
    return figures


def _plain_figures(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], chosen_on: SelectedOn
) -> list[CaptionedFigure]:
    """In learning rate and batch size as they are set, where they were varied."""
    figures, knobs = [], varied(settings)
    if has_map(settings):
        figures.append(
            CaptionedFigure(
                name="accuracy-map",
                title="Batch size and width",
                caption=captions.map_caption(optima, chosen_on),
                figure=map_figure(settings, optima, chosen_on),
            )
        )
    if knobs and any(row.test_accuracy is not None for row in settings):
        named = " and ".join(knob.name for knob in knobs).capitalize()
        figures.append(
            CaptionedFigure(
                name="accuracy-vs-settings",
                title=named,
                caption=captions.knob_caption(optima),
                figure=knob_figure(settings, optima, chosen_on, knobs),
            )
        )
    return figures


def render_page(
    content: ReportContent,
    figures: Sequence[CaptionedFigure],
    images: Mapping[str, Markup],
    sections: Sequence[Section] = (),
) -> str:
    """The page as text; `images` holds each figure's element by name, sections' included."""
    chosen_on = selected_on(content.results)
    settings = setting_rows(content.results)
    optima = optimum_rows(settings, content.optima)
    parameterizations = (
        content.results["parameterization"].unique().drop_nulls().to_list()
        if "parameterization" in content.results.columns
        else []
    )
    training = wording.Training(
        recipe=training_recipe(content.results),
        late_fraction=content.late_fraction,
        normalization=content.normalization,
    )
    return template("template.html.j2").render(
        content=content,
        verdict=wording.verdict_sentence(content.law, content.law_problem),
        story=captions.how_it_was_done(
            settings,
            late_fraction=content.late_fraction,
            selected_on=chosen_on,
            constant_rate=training.recipe.constant_rate,
        ),
        practice=wording.practice_sentence(content.law, parameterizations),
        remarks=[
            *wording.remarks(
                settings, optima, content.optimum_problems, content.law, chosen_on, training
            ),
            *(wording.Remark(x.warning, caution=True) for x in sections if x.warning),
        ],
        constant_rate=training.recipe.constant_rate,
        figures=figures,
        sections=sections,
        illustrated=[section for section in sections if section.figure is not None],
        images=images,
        switches=switches(row.widening_factor for row in settings),
        settings=settings,
        optima=optima,
        missing={
            width: content.optimum_problems.get(width, "no reason was given")
            for width in _missing_widths(settings, optima)
        },
        chosen_on=chosen_on,
        num_runs=len(content.results),
    )


@dataclass(frozen=True)
class Switch:
    """What shows or hides one width: its key in figures, its name and its color there."""

    key: str
    name: str
    color: str


def switches(widths: Iterable[float]) -> list[Switch]:
    """One for each width; none where there is one width only."""
    styles = width_styles(widths)
    found = [Switch(f"{w:g}", text.exact(w), style.color) for w, style in styles.items()]
    return found if len(found) > 1 else []


def template(name: str) -> Template:
    """A template of this package, with the filters that all pages use."""
    environment = Environment(
        loader=PackageLoader("widthwise.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=text.number,
        percent=text.percent,
        points=text.points,
        interval=lambda ends: text.interval(*ends),
        percent_interval=lambda ends: text.percent_interval(*ends),
        exact=text.exact,
        typeset=typeset,
    )
    script, _, _ = PackageLoader("widthwise.report", ".").get_source(environment, "page.js")
    environment.globals.update(script=Markup(script), script_hash=_hash_of(script))
    return environment.get_template(name)


def drawn(figure: Figure, name: str) -> Markup:
    """A figure as a part of a page; nothing is written."""
    image = _encode(figure, "svg")
    return inline(image.decode(), name, spots_of(figure))


def typeset(text: str) -> Markup:
    """Subscripts and exponents of symbols in plain sentences, as HTML.

    >>> typeset("ε_max < 1 goes as w^−q")
    Markup('ε<sub>max</sub> &lt; 1 goes as w<sup>−q</sup>')
    >>> typeset("w^0.49, w^-1 and w^2.")
    Markup('w<sup>0.49</sup>, w<sup>-1</sup> and w<sup>2</sup>.')
    >>> typeset("σ_init² by k^0.5")
    Markup('σ<sub>init</sub>² by k<sup>0.5</sup>')
    """
    lowered = re.sub(r"_(max|opt|init)(?![a-z])", r"<sub>\1</sub>", str(escape(text)))
    power = r"\b([wk])\^([−-]?(?:[a-z]|\d+(?:\.\d+)?))\b"
    return Markup(re.sub(power, r"\1<sup>\2</sup>", lowered))


def _missing_widths(settings: Sequence[SettingRow], optima: Sequence[OptimumRow]) -> list[float]:
    located = {row.widening_factor for row in optima}
    return sorted({row.widening_factor for row in settings} - located)


def _encode(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


def _hash_of(script: str) -> str:
    """By which a page's policy knows the one script that it may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
