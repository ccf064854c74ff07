"""The section on what to set for a wider network, by the law that the study found."""

import math

import numpy as np
import polars as pl

from widthwise.analysis import Law
from widthwise.report.content import ReportContent
from widthwise.report.section import Section, SectionTable
from widthwise.text import count, exact, exact_list, interval, number

_FACTORS = (2.0, 4.0, 8.0, 16.0)
_PAPER_EXPONENT = 1.0  # Park et al. (2019)


def plan_section(content: ReportContent) -> Section | None:
    """None unless the study bounds the law's exponent on both sides."""
    law, variance = content.law, _variance_exponent(content)
    if law is None or variance is None or not all(map(math.isfinite, law.interval)):
        return None
    low, high = law.interval
    moves = "does not change with width" if variance == 0.0 else f"goes as k^{variance:g}"
    return Section(
        title="What to set for a wider network",
        question="A network of this family is tuned at one width, and then every layer gets k "
        "times wider (from w = 2 to w = 6, k is 3). What becomes of learning rate ε, batch size B "
        "and momentum m?",
        answers=(
            f"Multiply ε/(B(1 − m)) by k^{law.exponent + variance:.2f} (95 %: "
            f"k^{low + variance:.2f} to k^{high + variance:.2f}): the best ḡ goes as "
            f"k^{law.exponent:.2f}, and the variance σ² of the initial weights, in this "
            f"parameterization, {moves}. Which of the three you change is yours: a smaller B uses "
            "the hardware less well and ends at 1; a larger ε must still be stable (here "
            f"{_tried(content)}).",
            "If your setting was not the best one at its width, what this makes of it will be as "
            "far off in ḡ. The best ε, B and m of each width that was run are in the table of "
            "optima below.",
            "For your own numbers, with reasons, limits and other rules: widthwise widen --law "
            "(this study's folder) --learning-rate … --batch-size … --momentum … --factor k",
        ),
        cautions=_cautions(law),
        figure=None,
        table=SectionTable(
            name="plan",
            label="By how much to change the hyper-parameters",
            note="Factors on ε/(B(1 − m)): on ε if B and m stay, or one over them on B if ε and m "
            "stay. Intervals are 95 % and hold the law's uncertainty only. The paper's rule is "
            "ḡ ∝ k.",
            header=("k", "by this study", "interval", "by the paper's rule", "measured?"),
            rows=tuple(_row(factor, law, variance) for factor in _FACTORS),
            text_columns=frozenset({4}),
        ),
    )


def _row(factor: float, law: Law, variance: float) -> tuple[str, ...]:
    low, high = (factor ** (end + variance) for end in law.interval)
    measured = factor <= max(law.widening_factors) / min(law.widening_factors)
    return (
        exact(factor),
        "× " + number(factor ** (law.exponent + variance)),
        interval(low, high),
        "× " + number(factor ** (_PAPER_EXPONENT + variance)),
        "yes" if measured else "no: extrapolated",
    )


def _tried(content: ReportContent) -> str:
    """The learning rates and momenta that trained."""
    trained = content.results.filter(pl.col("status") == "ok")
    rates, momenta = trained["learning_rate"], sorted(trained["momentum"].unique().to_list())
    return (
        f"ε up to {number(float(rates.to_numpy().max()))} trained, with m = {exact_list(momenta)}"
    )


def _cautions(law: Law) -> tuple[str, ...]:
    widths = law.widening_factors
    span = max(widths) / min(widths)
    cut_off = (
        f"At {count(law.num_cut_off, 'width')} of {law.num_widths} the best noise may lie where "
        "noise begins to make training diverge: a plan by this law may aim at that edge. Stay a "
        "factor of two below it, or measure.",
    )
    return (
        f"Measured from w = {exact(min(widths))} to {exact(max(widths))}, a factor of "
        f"{exact(span)}: beyond that it is an extrapolation. It holds for networks trained as "
        "these were, and carries the noise of the tuned setting over, good or bad.",
        *(cut_off if law.num_cut_off else ()),
    )


def _variance_exponent(content: ReportContent) -> float | None:
    """e of σ_init² ∝ w^e at the family level; None for one width."""
    table = content.results.select("widening_factor", "init_variance").unique()
    width, variance = table.sort("widening_factor").to_numpy().T
    if width.size < 2:
        return None
    slope = np.log(variance[-1] / variance[0]) / np.log(width[-1] / width[0])
    return round(float(slope), 9) + 0.0
