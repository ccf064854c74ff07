"""What a test of the collapse found: comparisons, levels, findings, and their words."""

from dataclasses import dataclass, field
from typing import Literal

from widthwise.text import in_points, signed

CollapseVerdict = Literal["collapses", "broken", "inconclusive", "not tested"]
Outcome = Literal["agrees", "differs", "undecided"]


@dataclass(frozen=True, kw_only=True)
class SettingComparison:
    """One setting against the smallest learning rate that was run at its noise scale.

    Attributes:
        widening_factor, noise_scale, learning_rate, batch_size, momentum: of the setting.
        reference_learning_rate, reference_momentum: of the reference.
        reference_batch_size: None where the reference is interpolated between two batch sizes.
        difference: mean score of the setting minus that of the reference; None where too few of
            its runs survived while the reference was stable.
        interval: of the difference, for this comparison alone, with the bound on the error of
            interpolating added; infinite where there is no difference.
        simultaneous: the same, so wide that all intervals of the test cover together.
        outcome: "agrees" if `interval` lies within ± margin; otherwise "differs" if
            `simultaneous` excludes 0, or if so many more diverged; otherwise "undecided".
    """

    widening_factor: float
    noise_scale: float
    learning_rate: float
    batch_size: int
    momentum: float
    reference_learning_rate: float
    reference_momentum: float
    reference_batch_size: int | None
    difference: float | None
    interval: tuple[float, float]
    simultaneous: tuple[float, float]
    outcome: Outcome

    @property
    def effective_rate(self) -> float:
        """Learning rate / (1 - momentum)."""
        return self.learning_rate / (1.0 - self.momentum)


@dataclass(frozen=True, kw_only=True)
class CollapseLevel:
    """All comparisons at one learning rate / (1 - momentum).

    Attributes:
        effective_rate: learning rate / (1 - momentum).
        difference: weighted mean of the differences; None if every comparison is a divergence.
        interval: of that mean.
        num_comparisons, num_agreeing: comparisons, and how many of them agree one by one.
        outcome: "differs" if a comparison or the mean differs; "agrees" if the interval of the
            mean lies within ± margin and at least half of the comparisons agree.
    """

    effective_rate: float
    difference: float | None
    interval: tuple[float, float]
    num_comparisons: int
    num_agreeing: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class CollapseFinding:
    """What one width, or all together, say.

    Attributes:
        widening_factor: None for all widths together.
        verdict: "collapses" if a level agrees and none at or below it differs; "broken" if levels
            differ and none below them agrees; "not tested" if nothing could be compared.
        agrees_up_to: largest learning rate / (1 - momentum) that agrees, with none below that
            differs; None if there is none.
        differs_from: smallest one that differs; None if none does.
        reference_rate: smallest one, which all others are compared with, if anything was.
        missed: largest difference at one setting, among those not found to differ, that the
            runs do not exclude (simultaneous intervals); infinite if nothing was compared.
    """

    widening_factor: float | None
    verdict: CollapseVerdict
    agrees_up_to: float | None
    differs_from: float | None
    reference_rate: float | None
    missed: float
    levels: tuple[CollapseLevel, ...]


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Whether settings of equal noise scale agree, by width and over all.

    Attributes:
        overall: all widths together.
        widths: one finding a width, ascending.
        comparisons: everything that was compared.
        margin: largest difference that counts as agreement, in units of the scores.
        tolerance: noise scales are equal if their logarithms differ by no more.
        confidence: of the intervals; all of "differs" together are wrong in 1 - confidence at most.
    """

    overall: CollapseFinding
    widths: tuple[CollapseFinding, ...]
    comparisons: tuple[SettingComparison, ...] = field(repr=False)
    margin: float
    tolerance: float
    confidence: float

    @property
    def verdict(self) -> CollapseVerdict:
        return self.overall.verdict

    @property
    def rate_symbol(self) -> str:
        """What the levels are levels of: ε, or ε/(1 − m) where momentum was used."""
        used = any(x.momentum or x.reference_momentum for x in self.comparisons)
        return "ε/(1 − m)" if used else "ε"

    def sentence(self) -> str:
        """The finding in one sentence; scores are taken to be fractions."""
        rate = self.rate_symbol
        found, points = self.overall, in_points(self.margin)
        missed = f"at a single setting up to {in_points(found.missed)} could have been missed"
        if found.verdict == "not tested":
            return (
                "Whether only the noise scale matters was not tested: no two stable settings of "
                "one width share a noise scale at different ε, B or m, with two seeds each; any "
                "difference could have been missed."
            )
        if found.verdict == "collapses":
            beyond = (
                ""
                if found.differs_from is None
                else f"; from {rate} = {found.differs_from:.3g} on they differ"
                f"{self._by(found.differs_from)}"
            )
            assert found.agrees_up_to is not None, "of this verdict"
            return (
                f"Only the noise scale matters up to {rate} = {found.agrees_up_to:.3g}: "
                f"settings of equal noise scale agree within {points}"
                f"{self._by(found.agrees_up_to)}{beyond}; {missed}."
            )
        if found.verdict == "broken":
            assert found.differs_from is not None, "of this verdict"
            return (
                "The collapse is broken: settings of equal noise scale differ from "
                f"{rate} = {found.differs_from:.3g} on{self._by(found.differs_from)}, and none "
                f"below was shown to agree within {points}."
            )
        return (
            "The data do not decide whether only the noise scale matters: no difference is beyond "
            f"chance, but none is shown to be below {points}; {missed}. More seeds would decide."
        )

    def _by(self, effective_rate: float) -> str:
        level = next(x for x in self.overall.levels if x.effective_rate == effective_rate)
        if level.difference is None:
            return " (runs diverge that do not at smaller ε)"
        low, high = level.interval
        return (
            f" (mean difference {signed(level.difference)} points, {100 * self.confidence:g} % "
            f"interval {signed(low)} to {signed(high)}, {level.num_comparisons} compared)"
        )
