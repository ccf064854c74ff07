"""Reports: one self-contained page a study or a table, with its figures as SVG and PDF."""

from widthwise.report.drawing import load_matplotlib

load_matplotlib()  # before any other module here asks for it

from widthwise.report.content import NextSteps, ReportContent  # noqa: E402
from widthwise.report.page import write_report  # noqa: E402
from widthwise.report.sweep_content import SweepContent  # noqa: E402
from widthwise.report.sweep_page import write_sweep_report  # noqa: E402

__all__ = ["NextSteps", "ReportContent", "SweepContent", "write_report", "write_sweep_report"]
