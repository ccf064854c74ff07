"""From what a study found to a verdict on a claim. Pure: tables and values in, judgements out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from widthwise.analysis import Collapse, Law, Optimum, measure_resistance
from widthwise.analysis.law import ZONES
from widthwise.errors import FitError
from widthwise.probes import StableLearningRate, fit_stability_law
from widthwise.runs.analyses import batch_ceiling, collapse_of, setting_scores, width_curves
from widthwise.study.next_steps import MOST_TIMES, times_the_runs
from widthwise.text import estimate, exact_list

Verdict = Literal["confirmed", "contradicted", "inconclusive"]

# An exponent within this of 0 is "does not change with width", as for the law of the optimum.
NO_GROWTH = ZONES["constant"][1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What there is to judge by.

    Attributes:
        results: one row a run; empty where only rates were measured.
        optima: widening factor → optimum of ḡ.
        problems: widening factor → why none could be located.
        law: over the optima; None for the reason `law_problem`.
        law_problem: why there is no law.
        search_end: why the search ended; None for a grid.
        rates: largest stable learning rates, at most one a width.
        seed: of the draws behind the optima.
    """

    results: pl.DataFrame
    optima: Mapping[float, Optimum]
    problems: Mapping[float, str]
    law: Law | None
    law_problem: str | None
    search_end: str | None = None
    rates: Sequence[StableLearningRate] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came out for one claim and one family.

    Attributes:
        symbol: what was measured, in a table.
        quantity: the same in words.
        value: None where it could not be measured.
        interval: 95 %; infinite ends are open. None where the value has none.
        verdict: by the whole interval.
        sentence: the finding in words.
        would_decide: what it would take; None once decided.
    """

    symbol: str
    quantity: str
    value: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    sentence: str
    would_decide: str | None = None

    def measured(self) -> str:
        """Value and interval in a few characters.

        >>> Judgement(symbol="s", quantity="exponent", value=0.9, interval=(0.8, 1.1),
        ...           verdict="confirmed", sentence="").measured()
        's = 0.90 (0.80 to 1.10)'
        """
        if self.value is None:
            return "not measured"
        if self.interval is None:
            return f"{self.symbol} = {self.value:.3g}"
        text = estimate(self.value, self.interval)
        return f"{self.symbol} {text}" if text.startswith("at ") else f"{self.symbol} = {text}"


def judge_proportional(evidence: Evidence) -> Judgement:
    """Is ḡ_opt ∝ w? The interval lies in the zone of proportionality, or outside it, or neither."""
    return _in_zone(evidence, inside="confirmed", outside="contradicted")


def judge_growing(evidence: Evidence) -> Judgement:
    """Does ḡ_opt grow with w at all? "A similar trend" is less than proportionality."""
    found = _exponent(evidence)
    if found.interval is None:
        return found
    low, high = found.interval
    if low > NO_GROWTH:
        return replace(found, verdict="confirmed", would_decide=None)
    if high <= NO_GROWTH:
        return replace(found, verdict="contradicted", would_decide=None)
    return found


def judge_not_proportional(evidence: Evidence) -> Judgement:
    """Is ḡ_opt ∝ w ruled out? As :func:`judge_proportional`, the other way round."""
    return _in_zone(evidence, inside="contradicted", outside="confirmed")


def _in_zone(evidence: Evidence, *, inside: Verdict, outside: Verdict) -> Judgement:
    found = _exponent(evidence)
    if found.interval is None:
        return found
    low, high = found.interval
    zone_low, zone_high = ZONES["proportional"]
    if zone_low <= low and high <= zone_high:
        return replace(found, verdict=inside, would_decide=None)
    if high < zone_low or low > zone_high:
        return replace(found, verdict=outside, would_decide=None)
    return found


def judge_collapse(evidence: Evidence) -> Judgement:
    """Do settings of equal ḡ agree while ε is small?"""
    found = collapse_of(setting_scores(evidence.results))
    verdicts: dict[str, Verdict] = {"collapses": "confirmed", "broken": "contradicted"}
    verdict = verdicts.get(found.verdict, "inconclusive")
    overall = found.overall
    broken = found.verdict == "broken"
    return Judgement(
        symbol=f"{'differs from' if broken else 'agrees up to'} {found.rate_symbol}",
        quantity="where settings of equal ḡ begin to differ"
        if broken
        else "up to where settings of equal ḡ agree",
        value=overall.differs_from if broken else overall.agrees_up_to,
        interval=None,
        verdict=verdict,
        sentence=found.sentence(),
        would_decide=_more_for_collapse(found) if verdict == "inconclusive" else None,
    )


def judge_bounded(evidence: Evidence) -> Judgement:
    """Is ε_max bounded as width grows, ε_max ∝ w^−q with q ≥ 0?

    Confirmed if q is shown to be at least −0.25 (constant, by the tolerance of all verdicts here),
    contradicted if ε_max is shown to grow.
    """
    named = ("q", "exponent of ε_max ∝ w^−q")
    rates = sorted(evidence.rates, key=lambda rate: rate.widening_factor)
    try:
        law = fit_stability_law([rate.widening_factor for rate in rates], rates)
    except FitError as error:
        return _unknown(named, f"{str(error).rstrip('.')}.", "probes at more widths")
    low, high = law.interval
    verdict: Verdict = "inconclusive"
    if low >= -NO_GROWTH:
        verdict = "confirmed"
    elif high < 0.0:
        verdict = "contradicted"
    return Judgement(
        symbol=named[0],
        quantity=named[1],
        value=law.exponent,
        interval=law.interval,
        verdict=verdict,
        sentence=law.sentence(),
        would_decide="more seeds a probe, and wider networks"
        if verdict == "inconclusive"
        else None,
    )


def judge_ceiling(evidence: Evidence) -> Judgement:
    """Is B_opt ≤ const/w, ε_max/((1 − m) σ² ḡ_opt) falling as 1/w or faster?"""
    named = ("p", "exponent of the largest batch that can have ḡ_opt, ∝ w^p")
    found = batch_ceiling(evidence.results, evidence.optima, evidence.rates)
    if found is None:
        return _unknown(
            named,
            "No width has both an optimum and a largest stable learning rate.",
            _more_optima(evidence),
        )
    verdicts: dict[str, Verdict] = {
        "falls as 1/w or faster": "confirmed",
        "falls more slowly": "contradicted",
        "does not fall": "contradicted",
    }
    verdict = verdicts.get(found.verdict, "inconclusive")
    return Judgement(
        symbol=named[0],
        quantity=named[1],
        value=None if _says_nothing(found.interval) else found.exponent,
        interval=None if found.exponent is None else found.interval,
        verdict=verdict,
        sentence=found.sentence(),
        would_decide=_more_optima(evidence) if verdict == "inconclusive" else None,
    )


def judge_resistance(evidence: Evidence) -> Judgement:
    """Is the widest network's best accuracy higher, and reached at higher noise?"""
    named = ("gain", "best accuracy of the widest minus that of the narrowest, in points")
    curves = width_curves(setting_scores(evidence.results), evidence.optima)
    try:
        found = measure_resistance(curves, seed=evidence.seed)
    except FitError as error:
        return _unknown(named, f"{str(error).rstrip('.')}.", "more runs at two widths or more")
    low, high = found.gain.interval
    decide = None
    if found.verdict == "inconclusive":
        open_part = [
            "more seeds, for the gain in accuracy" if found.score_trend == "inconclusive" else None,
            "for the noise: " + _more_for_exponent(evidence.law, evidence.optima, evidence.problems)
            if found.noise_trend == "inconclusive"
            else None,
        ]
        decide = "; ".join(part for part in open_part if part)
    return Judgement(
        symbol=named[0],
        quantity=named[1],
        value=100.0 * found.gain.value,
        interval=(100.0 * low, 100.0 * high),
        verdict=found.verdict,
        sentence=found.sentence(),
        would_decide=decide,
    )


def _exponent(evidence: Evidence) -> Judgement:
    """The exponent of the law, undecided."""
    named = ("s", "exponent of ḡ_opt ∝ w^s")
    law = evidence.law
    more = _more_for_exponent(law, evidence.optima, evidence.problems)
    if evidence.search_end == "budget spent":
        more += "; the search stopped at its limit of runs"
    if law is None:
        problem = (evidence.law_problem or "no law could be fitted").rstrip(".")
        return _unknown(named, f"{problem}.", more)
    return Judgement(
        symbol=named[0],
        quantity=named[1],
        value=None if _says_nothing(law.interval) else law.exponent,
        interval=law.interval,
        verdict="inconclusive",
        sentence=law.sentence(),
        would_decide=more,
    )


def _unknown(named: tuple[str, str], why: str, more: str) -> Judgement:
    return Judgement(
        symbol=named[0],
        quantity=named[1],
        value=None,
        interval=None,
        verdict="inconclusive",
        sentence=why[:1].upper() + why[1:],
        would_decide=more,
    )


def _more_optima(evidence: Evidence) -> str:
    return _more_for_ceiling(evidence.optima, evidence.problems)


def _says_nothing(interval: tuple[float, float]) -> bool:
    return all(math.isinf(end) for end in interval)


def _more_for_exponent(
    law: Law | None, optima: Mapping[float, Optimum], problems: Mapping[float, str]
) -> str:
    """What would decide how the optimum goes with width."""
    missing = _unlocated(optima, problems)
    if law is None:
        return missing or "optima at two widths or more"
    low, high = law.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return missing or "more seeds at every width"
    times = times_the_runs(law.exponent, law.interval)
    runs = (
        "a wider range of widths, because the exponent lies at the edge of a verdict"
        if times is None
        else f"about {times:.2g} times the runs, if the estimate stays"
    )
    cut_off = sorted(w for w, optimum in optima.items() if optimum.cliff is not None)
    if cut_off:
        runs += (
            f", and at w = {exact_list(cut_off)} noise scales between the highest that trains and "
            "the lowest that diverges"
        )
    return f"{missing}; then {runs}" if missing else runs


def _more_for_ceiling(optima: Mapping[float, Optimum], problems: Mapping[float, str]) -> str:
    """What would decide how the largest batch goes with width."""
    return _unlocated(optima, problems) or "optima with narrower intervals: more runs, more widths"


def _more_for_collapse(found: Collapse) -> str:
    """What would decide whether only the noise scale matters."""
    if found.verdict == "not tested":
        return "settings of equal ḡ at different ε, two seeds each"
    excess = found.overall.missed / found.margin
    if math.isfinite(excess) and excess > 1.0:
        return f"about {min(excess**2, MOST_TIMES):.2g} times the seeds"
    return "more seeds"


def _unlocated(optima: Mapping[float, Optimum], problems: Mapping[float, str]) -> str:
    """Widths without an optimum, by what keeps it from being known; empty if there is none."""
    sides = {
        "low": "settings of lower noise (longer training, more images) at w = {}",
        "high": "settings of higher noise (a larger ε that is still stable) at w = {}",
    }
    parts = []
    for side, words in sides.items():
        widths = sorted(w for w, optimum in optima.items() if optimum.censoring == side)
        if widths:
            parts.append(words.format(exact_list(widths)) + ", where the optimum is only bounded")
    if problems:
        parts.append(
            f"more runs at w = {exact_list(sorted(problems))}, where no optimum could be located"
        )
    return "; ".join(parts)
