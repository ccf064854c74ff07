"""From scores to findings: tables in, values out. No training framework is imported here."""

from typing import TYPE_CHECKING, Any

from widthwise.analysis.batch_ceiling import BatchCeiling, LargestRate, measure_batch_ceiling
from widthwise.analysis.collapse import measure_collapse
from widthwise.analysis.collapse_result import Collapse, CollapseVerdict
from widthwise.analysis.comparison import (
    OptimumShift,
    ShiftVerdict,
    compare_optima,
    summarize_shifts,
)
from widthwise.analysis.late_times import late_mean, plateau_slope
from widthwise.analysis.law import Law, Verdict, fit_law
from widthwise.analysis.optimum import Censoring, Optimum, locate_optimum
from widthwise.analysis.resistance import WidthCurve, measure_resistance
from widthwise.analysis.resistance_result import ClaimVerdict, Resistance
from widthwise.deprecated import old_name

__all__ = [
    "BatchCeiling",
    "Censoring",
    "ClaimVerdict",
    "Collapse",
    "CollapseVerdict",
    "LargestRate",
    "Law",
    "Optimum",
    "OptimumShift",
    "Resistance",
    "ShiftVerdict",
    "Verdict",
    "WidthCurve",
    "compare_optima",
    "fit_law",
    "late_mean",
    "locate_optimum",
    "measure_batch_ceiling",
    "measure_collapse",
    "measure_resistance",
    "plateau_slope",
    "summarize_shifts",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
