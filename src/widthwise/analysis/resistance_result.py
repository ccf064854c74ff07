"""What a study says of noise resistance: scores and tolerated noise by width, and verdicts."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.law import ZONES, Law
from widthwise.text import estimate, in_points, signed

Trend = Literal["higher", "not higher", "inconclusive"]
ClaimVerdict = Literal["confirmed", "contradicted", "inconclusive"]
FloatArray = NDArray[np.float64]

# An exponent below this is "does not change with width", as for the law of the optimum.
NO_GROWTH = ZONES["constant"][1]


@dataclass(frozen=True, kw_only=True)
class FixedScore:
    """Score of one width at a given noise scale, interpolated between settings.

    Attributes:
        noise_scale: where.
        score: None where it is not known.
        interval: of the score, over seeds.
        problem: "diverges", "not run" or, between a setting that trains and one that diverges,
            "not known", where the score is not known.
    """

    noise_scale: float
    score: float | None
    interval: tuple[float, float]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ToleratedNoise:
    """The highest noise scale at which a width still reaches a given score.

    Attributes:
        noise_scale: where the score falls below it; the highest setting run, if it never does.
        interval: infinity marks an open end.
        reason: what kept the settings from going on, where the end is open.
        samples: draws of log(noise_scale), (D,); infinite beyond the highest setting.
        measured: lowest and highest usable noise scale.
    """

    noise_scale: float
    interval: tuple[float, float]
    reason: str | None
    samples: FloatArray = field(repr=False)
    measured: tuple[float, float]

    @property
    def is_bound(self) -> bool:
        """Whether `noise_scale` is only a lower bound."""
        return self.noise_scale >= self.measured[1] * (1 - 1e-9) and bool(
            np.isinf(self.interval[1])
        )


@dataclass(frozen=True, kw_only=True)
class WidthResistance:
    """One width.

    Attributes:
        widening_factor: w.
        noise_scale: of its optimum.
        score, score_interval: at its own optimum.
        fixed: scores at the noise scales common to all widths.
        own: noise tolerated before the score falls `drop` below the width's own best.
        common: the same below the narrowest network's best; None if never reached.
    """

    widening_factor: float
    noise_scale: float
    score: float
    score_interval: tuple[float, float]
    fixed: tuple[FixedScore, ...]
    own: ToleratedNoise
    common: ToleratedNoise | None


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Score of the widest network minus that of the narrowest, with its interval over seeds."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resistance:
    """How scores depend on width at each width's own optimum and at fixed noise scales.

    Attributes:
        widths: ascending.
        fixed_scales: the noise scales of `WidthResistance.fixed`.
        drop: by which a score may fall while noise still counts as tolerated.
        margin: gains up to this count as none.
        confidence: of the intervals.
        gain: widest minus narrowest, each at its own optimum.
        fixed_gain: the same, both at the narrowest network's optimum; None where the widest was
            not run there.
        resisted_gain: `gain` minus `fixed_gain`: what only more noise brings; None as above.
        optimum_law: of the optima; None where it could not be fitted.
        own_law, common_law: of the tolerated noise; None where they could not be fitted.
    """

    widths: tuple[WidthResistance, ...]
    fixed_scales: tuple[float, ...]
    drop: float
    margin: float
    confidence: float
    gain: Gain
    fixed_gain: Gain | None
    resisted_gain: Gain | None
    optimum_law: Law | None
    own_law: Law | None
    common_law: Law | None

    @property
    def score_trend(self) -> Trend:
        """Is the widest network's best score higher? An equivalence test with `margin`."""
        return _trend(self.gain.interval, self.margin)

    @property
    def noise_trend(self) -> Trend:
        """Is it reached at a higher noise scale? By the exponent of the optima."""
        law = self.optimum_law
        return "inconclusive" if law is None else _trend(law.interval, NO_GROWTH)

    @property
    def tolerance_trend(self) -> Trend:
        """Do wider networks tolerate more noise? By the exponent of `own_law`."""
        return "inconclusive" if self.own_law is None else _trend(self.own_law.interval, NO_GROWTH)

    @property
    def verdict(self) -> ClaimVerdict:
        """Of "wider networks' best score is higher and is reached at higher noise"."""
        trends = {self.score_trend, self.noise_trend}
        if trends == {"higher"}:
            return "confirmed"
        return "contradicted" if "not higher" in trends else "inconclusive"

    def sentence(self) -> str:
        """The finding; scores are taken to be fractions."""
        first, last = self.widths[0].widening_factor, self.widths[-1].widening_factor
        law = self.optimum_law
        where = (
            "how its noise scale moves with width is not known"
            if law is None or not np.any(np.isfinite(law.interval))
            else f"its noise scale goes as w^s with s = {estimate(law.exponent, law.interval)}"
        )
        return (
            f"That wider networks' best accuracy is higher and is reached at higher noise is "
            f"{_CLAIM[self.verdict]}: from w = {first:g} to {last:g} the best accuracy changes by "
            f"{_points(self.gain)} points, and {where} ({100 * self.confidence:g} % intervals)."
        )

    def cause(self) -> str | None:
        """How much of the gain is width itself and how much is noise resisted, if it is known."""
        if self.fixed_gain is None or self.resisted_gain is None:
            return None
        return (
            "At the narrowest network's best noise scale the widest has "
            f"{_points(self.fixed_gain)} points more; going to its own optimum adds "
            f"{_points(self.resisted_gain)} points, which is what bearing more "
            "noise is worth."
        )

    def tolerance(self) -> str:
        """How tolerated noise grows with width."""
        if self.own_law is None:
            return "How tolerated noise grows with width could not be fitted."
        law = self.own_law
        return (
            f"{_TOLERANCE[self.tolerance_trend]}: the highest noise scale at which a network "
            f"stays within {in_points(self.drop)} of its own best goes as w^p with "
            f"p = {estimate(law.exponent, law.interval)}."
        )


_CLAIM: dict[ClaimVerdict, str] = {
    "confirmed": "confirmed",
    "contradicted": "contradicted",
    "inconclusive": "not decided",
}
_TOLERANCE: dict[Trend, str] = {
    "higher": "Wider networks tolerate more noise",
    "not higher": "Wider networks do not tolerate more noise",
    "inconclusive": "Whether wider networks tolerate more noise is not decided",
}


def _trend(interval: tuple[float, float], margin: float) -> Trend:
    """Equivalence test against "no higher by more than the margin".

    >>> _trend((0.1, 0.9), 0.2), _trend((-0.1, 0.2), 0.2), _trend((-0.1, 0.9), 0.2)
    ('higher', 'not higher', 'inconclusive')
    """
    low, high = interval
    if high <= margin:
        return "not higher"
    return "higher" if low > 0.0 else "inconclusive"


def _points(gain: Gain) -> str:
    low, high = gain.interval
    if np.isfinite(low) and np.isfinite(high):
        text = f"{signed(gain.value)} ({signed(low)} to {signed(high)})"
    elif np.isfinite(low):
        text = f"at least {signed(low)}"
    else:
        text = f"at most {signed(high)}" if np.isfinite(high) else "an unknown number of"
    return text
