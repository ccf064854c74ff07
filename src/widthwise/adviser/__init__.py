"""The adviser: what to set for a wider network, why, and when not to trust it."""

from widthwise.adviser.ceiling import Ceiling
from widthwise.adviser.content import Reason
from widthwise.adviser.evidence import AdviceRefusedError, Finding, Grade
from widthwise.adviser.given import Network, Stability, Training
from widthwise.adviser.plan import Plan
from widthwise.adviser.rivals import Rival
from widthwise.adviser.solving import EquivalentChoice, Keep, Setting
from widthwise.adviser.widen import widen

__all__ = [
    "AdviceRefusedError",
    "Ceiling",
    "EquivalentChoice",
    "Finding",
    "Grade",
    "Keep",
    "Network",
    "Plan",
    "Reason",
    "Rival",
    "Setting",
    "Stability",
    "Training",
    "widen",
]
