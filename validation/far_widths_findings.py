"""What far_widths.csv and far_widths_limit.csv say, by the rules of far_widths_design.py."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from committed_runs import complete

from widthwise.analysis import Law, Optimum, WidthCurve, fit_law, measure_resistance
from widthwise.analysis.resistance_result import ToleratedNoise, WidthResistance
from widthwise.errors import FitError
from widthwise.runs.analyses import setting_scores, summarize, width_curves

# Little noise is at most this part of the tolerated: else nothing is said of what noise gains.
_LITTLE = 0.2

Answer = Literal["yes", "no", "open"]
Outcome = Literal["confirmed", "refuted", "bounded"]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthFound:
    """One width.

    Attributes:
        units: h; infinite for the limit.
        unit_scale: σ_init², which takes normalized noise scales to ε/B.
        optimum: in normalized noise scale; `tolerated`: two points below its score.
        gain: of the score at the optimum over that at the lowest noise run, with its interval.
        late: settings that had not arrived.
    """

    units: float
    unit_scale: float
    curve: WidthCurve
    tolerated: ToleratedNoise
    gain: float
    gain_interval: Interval

    @property
    def optimum(self) -> Optimum:
        return self.curve.optimum

    def best(self) -> tuple[float, Interval]:
        """ε/B, with its interval."""
        low, high = self.optimum.interval
        return self.optimum.noise_scale * self.unit_scale, (
            low * self.unit_scale,
            high * self.unit_scale,
        )

    def bears(self) -> tuple[float, Interval]:
        """Tolerated ε/B, with its interval."""
        low, high = self.tolerated.interval
        return self.tolerated.noise_scale * self.unit_scale, (
            low * self.unit_scale,
            high * self.unit_scale,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseFound:
    """A parameterization: its widths, narrow to wide, and those without an optimum."""

    widths: tuple[WidthFound, ...]
    problems: Mapping[float, str]

    def at(self, units: float) -> WidthFound:
        return next(w for w in self.widths if w.units == units)

    def between(self, low: float, high: float) -> list[WidthFound]:
        return [w for w in self.widths if low <= w.units <= high]

    def optimum_law(self, low: float, high: float) -> Law | None:
        """Of the optima of the widths from low to high units."""
        chosen = self.between(low, high)
        return _law([w.curve.widening_factor for w in chosen], [w.optimum for w in chosen])

    def tolerance_law(self, low: float, high: float) -> Law | None:
        """Of the tolerated noise of the widths from low to high units."""
        chosen = self.between(low, high)
        if len(chosen) < 2:
            return None
        try:
            return measure_resistance([w.curve for w in chosen]).own_law
        except FitError:
            return None

    def octaves(self) -> Iterator[tuple[WidthFound, WidthFound]]:
        """Neighbours."""
        return zip(self.widths[:-1], self.widths[1:], strict=True)


def find(
    results: pl.DataFrame,
    *,
    base_units: float,
    num_train: int,
    num_test: int,
    late_fraction: float,
) -> CaseFound:
    """What a table of runs of one parameterization says."""
    summary = summarize(
        results, num_train=num_train, num_scored=num_test, late_fraction=late_fraction
    )
    curves = width_curves(setting_scores(results), summary.optima)
    lowest = [float(c.noise_scale.min()) for c in curves]
    measured = measure_resistance(curves, fixed_scales=lowest)
    variances = dict(results.select("widening_factor", "init_variance").unique().iter_rows())
    widths = tuple(
        WidthFound(
            units=base_units * curve.widening_factor,
            unit_scale=variances[curve.widening_factor],
            curve=curve,
            tolerated=found.own,
            gain=gain[0],
            gain_interval=gain[1],
        )
        for curve, found, gain in zip(
            curves, measured.widths, map(_gain, measured.widths, lowest), strict=True
        )
    )
    return CaseFound(
        widths=widths, problems={base_units * w: why for w, why in summary.problems.items()}
    )


def find_limit(rows: pl.DataFrame, *, num_train: int, num_test: int) -> dict[float, WidthFound]:
    """Units → what the process in function space tolerates, in ε/B."""
    found = {}
    for (units,), own in rows.group_by("units", maintain_order=True):
        assert isinstance(units, float)
        one = complete(own.with_columns(init_variance=pl.lit(1.0)))
        # Resistance compares two widths: it with itself.
        twice = [one.with_columns(widening_factor=pl.lit(w)) for w in (1.0, 2.0)]
        case = find(
            pl.concat(twice),
            base_units=units,
            num_train=num_train,
            num_test=num_test,
            late_fraction=0.5,
        )
        found[units] = case.widths[0]
    return found


def _gain(width: WidthResistance, lowest: float) -> tuple[float, Interval]:
    """Score at the optimum less that at the lowest noise, half widths added in squares."""
    at_lowest = next(f for f in width.fixed if math.isclose(f.noise_scale, lowest))
    if at_lowest.score is None or lowest > _LITTLE * width.own.noise_scale:
        return math.nan, (-math.inf, math.inf)
    value = width.score - at_lowest.score
    (a, b), (c, d) = width.score_interval, at_lowest.interval
    below = math.hypot(width.score - a, d - at_lowest.score)
    above = math.hypot(b - width.score, at_lowest.score - c)
    return value, (value - below, value + above)


def _law(factors: Sequence[float], optima: Sequence[Optimum]) -> Law | None:
    try:
        return fit_law(factors, optima)
    except FitError:
        return None


def below(first: Interval | None, second: Interval | None) -> Answer:
    """Whether the first is smaller: “yes” or “no” if the intervals do not overlap."""
    if first is None or second is None or np.isnan([*first, *second]).any():
        return "open"
    if first[1] < second[0]:
        return "yes"
    return "no" if first[0] > second[1] else "open"


def within(interval: Interval | None, low: float, high: float) -> Answer:
    """Whether all of it lies between; “no” if none of it does."""
    if interval is None:
        return "open"
    if low <= interval[0] and interval[1] <= high:
        return "yes"
    return "no" if interval[1] < low or interval[0] > high else "open"


def outcome(answers: Sequence[Answer]) -> Outcome:
    """Of a conjecture that has these parts.

    >>> outcome(["yes", "yes"]), outcome(["yes", "no"]), outcome(["yes", "open"])
    ('confirmed', 'refuted', 'bounded')
    """
    if "no" in answers:
        return "refuted"
    return "confirmed" if all(a == "yes" for a in answers) else "bounded"


def both(first: Answer, second: Answer) -> Answer:
    """Of two that must hold together."""
    return {"confirmed": "yes", "refuted": "no", "bounded": "open"}[outcome([first, second])]  # type: ignore[return-value]
