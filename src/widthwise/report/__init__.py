"""Reports: one self-contained page a study, with its figures as SVG and PDF."""

from widthwise.report.drawing import load_matplotlib

load_matplotlib()  # before any other module here asks for it

from widthwise.report.content import ReportContent  # noqa: E402
from widthwise.report.page import write_report  # noqa: E402

__all__ = ["ReportContent", "write_report"]
