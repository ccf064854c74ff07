"""The claims of a page, one section each, for which the study has the data."""

from widthwise.report.collapse_section import collapse_section
from widthwise.report.content import ReportContent
from widthwise.report.parts import Section
from widthwise.report.plan_section import plan_section
from widthwise.report.resistance_section import resistance_section
from widthwise.report.stability_section import stability_section
from widthwise.runs.analyses import setting_scores
from widthwise.runs.tables import optimum_rows, setting_rows


def report_sections(content: ReportContent) -> list[Section]:
    """In the order of the page."""
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
