"""What a network is, read off its parameters: initial scales, schemes, what a wider one changed."""

from widthwise.inspection.inspection import CONFIDENCE, Inspection
from widthwise.inspection.recognition import Recognition
from widthwise.inspection.rows import ParameterRow
from widthwise.inspection.schemes import SCHEMES, Scheme
from widthwise.inspection.widening import Growth, Widening, compare, inspect

__all__ = [
    "CONFIDENCE",
    "SCHEMES",
    "Growth",
    "Inspection",
    "ParameterRow",
    "Recognition",
    "Scheme",
    "Widening",
    "compare",
    "inspect",
]
