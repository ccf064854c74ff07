"""The section on stability: the largest stable learning rate, and the batch size that it bounds."""

from widthwise.analysis.batch_ceiling import CeilingPoint
from widthwise.report.content import ReportContent
from widthwise.report.parts import CaptionedFigure, Section, SectionTable
from widthwise.report.stability_figure import stability_figure
from widthwise.runs.analyses import StabilityAnalysis, find_stability
from widthwise.text import MISSING, exact, exact_list, interval, number


def stability_section(content: ReportContent) -> Section | None:
    """None unless the largest stable learning rates were measured."""
    found = find_stability(content.results, content.optima, content.stable_learning_rates)
    if found is None:
        return None
    law = (
        found.law.sentence()
        if found.law is not None
        else f"How the largest stable learning rate changes with width is not known: "
        f"{(found.problem or '').rstrip('.')}."
    )
    ceiling = [] if found.ceiling is None else [found.ceiling.sentence()]
    return Section(
        title="How large can the best batch be?",
        question="",
        answers=(*ceiling, law),
        cautions=tuple(_cautions(found)),
        figure=CaptionedFigure(
            name="stability",
            title="Largest stable learning rate and batch size against width",
            caption=_caption(found),
            figure=stability_figure(found),
        ),
        table=_table(content, found),
    )


def _cautions(found: StabilityAnalysis) -> list[str]:
    first = found.rates[0]
    said = [
        f"ε_max is that of short runs ({first.steps} steps, B = {first.batch_size}, m = "
        f"{exact(first.momentum)}, {first.seeds} seeds); longer ones and smaller batches can only "
        "be less stable: the ceiling is an upper bound."
    ]
    bounds = [rate.widening_factor for rate in found.rates if rate.censored]
    if bounds:
        said.append(
            f"At w = {exact_list(bounds)} nothing that was tried failed; ε_max is a lower bound."
        )
    located = {point.widening_factor for point in found.ceiling.points} if found.ceiling else set()
    without = [r.widening_factor for r in found.rates if r.widening_factor not in located]
    if without:
        said.append(f"At w = {exact_list(without)} no optimum is known, so there is no ceiling.")
    return said


def _caption(found: StabilityAnalysis) -> str:
    text = "95 % intervals; open markers: bounds; small triangles: open intervals."
    if found.ceiling is not None:
        text += " (b) B = ε_max/((1 − m) σ² ḡ_opt). Dashed: const/w."
    return text


def _relation(point: CeilingPoint) -> str:
    return {"=": "= ", "≤": "≤ ", "≥": "≥ ", "?": "about "}[point.relation]


def _table(content: ReportContent, found: StabilityAnalysis) -> SectionTable:
    ceilings = {p.widening_factor: p for p in found.ceiling.points} if found.ceiling else {}
    rows = []
    for rate in found.rates:
        optimum = content.optima.get(rate.widening_factor)
        point = ceilings.get(rate.widening_factor)
        rows.append(
            (
                exact(rate.widening_factor),
                ("≥ " if rate.censored else "") + number(rate.value),
                interval(*rate.interval),
                MISSING if optimum is None else number(optimum.noise_scale),
                MISSING if optimum is None else interval(*optimum.interval),
                MISSING
                if point is None
                else _relation(point).lstrip("= ") + number(point.batch_size),
                MISSING if point is None else interval(*point.interval),
            )
        )
    return SectionTable(
        name="stability",
        label="Largest stable learning rate and batch size of each width",
        note=f"Largest B: at m = {exact(found.rates[0].momentum)}, not rounded. 95 % intervals.",
        header=("w", "ε_max", "interval", "optimal ḡ", "interval", "largest B", "interval"),
        rows=tuple(rows),
    )
