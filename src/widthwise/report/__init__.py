"""Reports: one self-contained page a study, with its figures as SVG and PDF."""

from widthwise.report.content import ReportContent
from widthwise.report.page import write_report

__all__ = ["ReportContent", "write_report"]
