"""What the page of a table of runs is made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.analysis.sweep import Sweep
from widthwise.runs.tables import PlacedOptimum


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepContent:
    """Everything the page shows; nothing is fitted again.

    Attributes:
        sweep: settings, optima and law.
        title: heading of the page.
        hyperparameter, width, score: what the table calls them.
        verdict: the answer.
        remarks: sentences on how far to trust it; True beside those that weaken it.
        open_ends: width → why its optimum is missing, or only bounded.
        source: the table.
        command: what made the page; empty if no command did.
    """

    sweep: Sweep
    title: str
    hyperparameter: str
    width: str
    score: str
    verdict: str
    remarks: tuple[tuple[str, bool], ...]
    open_ends: Mapping[float, str]
    source: str
    command: str = ""

    @property
    def placed(self) -> list[PlacedOptimum]:
        """The optima by width."""
        return [
            PlacedOptimum(widening_factor=width, optimum=optimum)
            for width, optimum in sorted(self.sweep.optima.items())
        ]

    @property
    def missing(self) -> list[float]:
        """Widths without an optimum."""
        return [width for width in self.sweep.widths if width not in self.sweep.optima]
