"""Why a number is what it is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A number of a plan, explained.

    Attributes:
        quantity: name of the plan's field.
        text: the reason.
        source: who says so, or what it was computed from.
    """

    quantity: str
    text: str
    source: str
