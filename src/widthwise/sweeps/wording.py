"""What a sweep says, in the words of its table."""

import itertools
import math

from widthwise.analysis.optimum import Optimum
from widthwise.analysis.sweep import Sweep
from widthwise.text import count, exact, exact_list, interval, listing, number

# Values to add beyond an edge of what was run.
_TO_ADD = 2
ONE_RUN = "the intervals rest on how runs scatter about a curve, not on seeds"


def verdict_sentence(sweep: Sweep, x: str, width: str) -> str:
    """Whether the best value moves with width, with the numbers; or why that cannot be said."""
    law = sweep.law
    if law is None:
        return f"How the best {x} moves with {width} cannot be said: {_no_law(sweep, x, width)}."
    bounded = sum(sweep.optima[w].censoring != "none" for w in sweep.optima)
    known = f", at {bounded} of which only a bound is known" if bounded else ""
    return f"{_finding(sweep, x, width)}: {_exponent(sweep)}, from {law.num_widths} widths{known}."


def _finding(sweep: Sweep, x: str, width: str) -> str:
    assert sweep.law is not None
    low, high = sweep.law.interval
    way = "grows" if low > 0.0 else "falls" if high < 0.0 else None
    if sweep.verdict == "fixed":
        return f"The best {x} does not change with {width}"
    if sweep.verdict == "moves":
        least, most = sorted((abs(low), abs(high)))
        if most <= 1.25 and least >= 0.75:
            how = "in proportion" if way == "grows" else "in inverse proportion"
            return f"The best {x} {way} {how} to {width}"
        return f"The best {x} {way} with {width}"
    if way is not None:
        return f"The best {x} {way} with {width}, though perhaps by very little"
    return f"Whether the best {x} changes with {width} is not decided"


def _exponent(sweep: Sweep) -> str:
    law = sweep.law
    assert law is not None
    low, high = (f"{end:.2f}".replace("-", "−") for end in law.interval)
    at = f"{100 * law.confidence:g} %"
    if all(map(math.isfinite, law.interval)):
        least, most = sorted(2.0**end for end in law.interval)
        return (
            f"exponent {law.exponent:.2f} ({at} interval {low} to {high}), ".replace("-", "−")
            + f"× {number(2.0**law.exponent)} ({number(least)} to {number(most)}) for each doubling"
        )
    if math.isfinite(law.interval[0]):
        return f"exponent at least {low} at {at}"
    if math.isfinite(law.interval[1]):
        return f"exponent at most {high} at {at}"
    return f"no exponent is excluded at {at}"


def _no_law(sweep: Sweep, x: str, width: str) -> str:
    if len(sweep.widths) == 1:
        return f"the table has one {width}, {exact(sweep.widths[0])}"
    problems = [
        f"at {width} {exact(w)} {without_optimum(sweep, w, x)}"
        for w in sweep.widths
        if without_optimum(sweep, w, x)
    ]
    return "it takes optima of two widths that differ" + "".join(f"; {said}" for said in problems)


def without_optimum(sweep: Sweep, width: float, x: str) -> str | None:
    """Why a width has no optimum, or an open one; None if it has."""
    if width in sweep.problems:
        return sweep.problems[width]
    optimum = sweep.optima[width]
    if optimum.is_flat:
        return f"the best settings tie, so that any {x}{_within(optimum)} may be the best"
    if optimum.censoring == "none":
        low, high = optimum.interval
        return "too few settings were run for an interval" if low <= 0 or math.isinf(high) else None
    ends = interval(*optimum.interval)
    reason = {"edge of the grid": "the table ends there", "stability": "training diverges above"}
    why = reason.get(optimum.reason or "", optimum.reason)
    if ends == interval(0.0, math.inf):
        return f"the optimum is not bounded ({why})"
    return f"the optimum is known only to lie {ends} ({why})"


def _within(optimum: Optimum) -> str:
    ends = interval(*optimum.interval)
    return "" if ends == interval(0.0, math.inf) else f" {ends}"


def grade(sweep: Sweep) -> str | None:
    """How good intervals are that no seeds stand behind."""
    if sweep.evidence == "seeds":
        return None
    most = max(row.num_runs for row in sweep.settings)
    runs = "One run a setting" if most == 1 else f"At most {count(most, 'run')} a setting"
    return f"{runs}: {ONE_RUN}."


def to_add(sweep: Sweep, width: float) -> tuple[float, ...]:
    """Values beyond the edge of what was run, by the ratio of the table, where the optimum of a
    width may lie beyond it."""
    optimum = sweep.optima.get(width)
    if optimum is None or optimum.censoring == "none" or optimum.reason != "edge of the grid":
        return ()
    values = [row.value for row in sweep.settings if row.width == width and row.score is not None]
    ratios = sorted(b / a for a, b in itertools.pairwise(values))
    ratio = ratios[len(ratios) // 2]
    powers = range(1, _TO_ADD + 1)
    if optimum.censoring == "low":
        return tuple(values[0] / ratio**power for power in powers)
    return tuple(values[-1] * ratio**power for power in powers)


def remarks(sweep: Sweep, x: str, width: str) -> list[tuple[str, bool]]:
    """Sentences on how far to trust it; True beside those that weaken it."""
    said: list[tuple[str, bool]] = []
    graded = grade(sweep)
    if graded is not None:
        said.append((graded, True))
    for w in sweep.widths:
        problem = without_optimum(sweep, w, x)
        if problem is None:
            continue
        added = to_add(sweep, w)
        more = f"; add {x} = {listing([number(value) for value in added])}" if added else ""
        said.append((f"At {width} {exact(w)} {problem}{more}.", True))
    for w, optimum in sweep.optima.items():
        if optimum.cliff is not None:
            said.append(
                (
                    f"At {width} {exact(w)} the interval ends where training diverges, at {x} = "
                    f"{number(optimum.cliff)}.",
                    False,
                )
            )
        if optimum.doubts:
            said.append(
                (f"Doubt the interval at {width} {exact(w)}: {'; '.join(optimum.doubts)}.", True)
            )
    if sweep.law is not None and (sweep.law.lack_of_fit or 1.0) < 0.05:
        said.append(
            (
                "The optima scatter about a power law by more than their errors explain (chance "
                f"{number(sweep.law.lack_of_fit, 2)}): one exponent may not describe them.",
                True,
            )
        )
    lost = sum(row.num_diverged for row in sweep.settings)
    runs = sum(row.num_runs for row in sweep.settings)
    if lost:
        where = sorted({row.width for row in sweep.settings if row.num_diverged})
        said.append((f"{lost} of {runs} runs diverged, at {width} {exact_list(where)}.", False))
    return said
