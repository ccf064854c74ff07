"""From scores to findings: tables in, values out. No training framework is imported here."""

from widthwise.analysis.comparison import (
    OptimumShift,
    ShiftVerdict,
    compare_optima,
    summarize_shifts,
)
from widthwise.analysis.late_times import late_mean, plateau_slope
from widthwise.analysis.law import Law, Verdict, fit_law
from widthwise.analysis.optimum import Censoring, Optimum, locate_optimum

__all__ = [
    "Censoring",
    "Law",
    "Optimum",
    "OptimumShift",
    "ShiftVerdict",
    "Verdict",
    "compare_optima",
    "fit_law",
    "late_mean",
    "locate_optimum",
    "plateau_slope",
    "summarize_shifts",
]
