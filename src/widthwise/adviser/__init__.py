"""The adviser: what to set for a wider network, why, and when not to trust it."""

from widthwise.adviser.ceiling import Ceiling
from widthwise.adviser.evidence import AdviceRefusedError, Finding, Grade
from widthwise.adviser.line import EquivalentChoice
from widthwise.adviser.plan import Plan, Reason
from widthwise.adviser.rivals import Rival
from widthwise.adviser.solving import Keep, Setting
from widthwise.adviser.widen import widen

__all__ = [
    "AdviceRefusedError",
    "Ceiling",
    "EquivalentChoice",
    "Finding",
    "Grade",
    "Keep",
    "Plan",
    "Reason",
    "Rival",
    "Setting",
    "widen",
]
