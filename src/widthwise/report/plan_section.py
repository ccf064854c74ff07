"""The section on what to set for a wider network: the adviser's plans, by the study's own law."""

import math
from collections.abc import Sequence

from widthwise.adviser import AdviceRefusedError, Network, Plan, Training, widen
from widthwise.analysis import Law
from widthwise.report.content import ReportContent
from widthwise.report.parts import Section, SectionTable
from widthwise.report.training import training_recipe
from widthwise.runs.tables import OptimumRow
from widthwise.text import exact, exact_list, interval, listing, number
from widthwise.theory.parameterization import PARAMETERIZATIONS, noise_growth

# The adviser says it in widening factors relative to the base; the page has those of the study.
_BEYOND = "beyond the study"
# Less than this part of the noise that the law asks for is too little.
_ALL = 0.999
_FACTORS = (2.0, 4.0, 8.0, 16.0)


def plan_section(content: ReportContent, optima: Sequence[OptimumRow]) -> Section | None:
    """None unless the study bounds the law's exponent on both sides."""
    law, parameterization = content.law, _parameterization(content)
    if not optima or law is None or parameterization is None:
        return None
    if not all(map(math.isfinite, law.interval)):
        return None
    tuned = next((row for row in optima if row.located), optima[0])
    try:
        plans = [_plan(factor, tuned, law, parameterization, content) for factor in _FACTORS]
    except AdviceRefusedError as refusal:
        return Section(
            title="What to set for a wider network",
            question="",
            answers=("No advice: the rule says nothing about networks trained as these were.",),
            cautions=tuple(finding.text for finding in refusal.findings),
            figure=None,
            leads=True,
            table=_table([], law, parameterization),
        )
    best = tuned.nearest
    shift = PARAMETERIZATIONS[parameterization].variance_exponent
    exponents = [end + shift for end in (law.exponent, *law.interval)]
    return Section(
        title="What to set for a wider network",
        question="",
        answers=(
            f"{_multiply(law, exponents)} The table does so from the best setting at w = "
            f"{exact(tuned.widening_factor)} (ε = {number(best.learning_rate)}, B = "
            f"{best.batch_size}, m = {exact(best.momentum)}), by a smaller B: no larger ε is known "
            "to be stable. For your numbers: widthwise widen --law (this study’s folder).",
        ),
        cautions=_cautions(plans, law, tuned.widening_factor),
        figure=None,
        leads=True,
        table=_table(plans, law, parameterization),
    )


def _multiply(law: Law, exponents: Sequence[float]) -> str:
    """What to do with ε/(B(1 − m)), whose exponents these are: value and both ends."""
    if law.curve is not None:
        return (
            "Where every layer gets k times wider, multiply ε/(B(1 − m)) along the bent law, by "
            "the factors of the table."
        )
    middle, low, high = (f"k^{exponent:.2f}" for exponent in exponents)
    return (
        f"Where every layer gets k times wider, multiply ε/(B(1 − m)) by {middle} (95 %: {low} to "
        f"{high})."
    )


def _plan(
    factor: float, tuned: OptimumRow, law: Law, parameterization: str, content: ReportContent
) -> Plan:
    """From the best setting of a width, which is the base: the law's widths are relative to it."""
    recipe, setting = training_recipe(content.results), tuned.nearest
    return widen(
        learning_rate=setting.learning_rate,
        batch_size=setting.batch_size,
        momentum=setting.momentum,
        widening_factor=factor,
        parameterization=parameterization,
        network=Network(normalization=content.normalization, init_variance=setting.init_variance),
        training=Training(
            schedule=recipe.schedule, weight_decay=recipe.weight_decay, epochs=_epochs(content)
        ),
        law=law.relative_to(tuned.widening_factor),
    )


def _table(plans: Sequence[Plan], law: Law, parameterization: str) -> SectionTable:
    return SectionTable(
        name="plan",
        label="Plans for wider networks",
        note="Factor: on ε/(B(1 − m)), with its 95 % interval; the paper’s rule: ḡ ∝ k.",
        header=("k", "ε", "B", "m", "factor", "interval", "by the paper's rule", "evidence"),
        rows=tuple(
            (
                exact(plan.widening_factor),
                number(plan.learning_rate),
                exact(plan.batch_size),
                exact(plan.momentum),
                "× " + number(plan.noise_ratio),
                interval(*(plan.noise_ratio_interval or (0.0, math.inf))),
                "× " + number(noise_growth(parameterization, plan.widening_factor)),
                plan.evidence,
            )
            for plan in plans
        ),
        text_columns=frozenset({7}),
    )


def _cautions(plans: Sequence[Plan], law: Law, base: float) -> tuple[str, ...]:
    """What the adviser doubts, each once, and where the plans leave the widths that were run."""
    findings = {
        finding.condition: finding.text
        for plan in reversed(plans)
        for finding in plan.findings
        if finding.condition != _BEYOND
    }
    said = list(findings.values())
    short = [plan for plan in plans if plan.noise_reached < _ALL]
    said += dict.fromkeys(text for plan in plans if plan not in short for text in plan.changes)
    if short:
        reached = listing([f"{100.0 * plan.noise_reached:.3g} %" for plan in short])
        said.append(
            f"At k = {exact_list(plan.widening_factor for plan in short)} the noise is {reached} "
            "of what the law asks for: even with B = 1 no more is known to be stable."
        )
    widest = max(law.widening_factors) / base
    if any(plan.widening_factor > widest for plan in plans):
        said.append(
            f"Beyond k = {exact(widest)}, as far as the study reaches, it is an extrapolation."
        )
    said.append(
        "It holds for networks trained as these were, and is as far off in ḡ as your setting is."
    )
    return tuple(said)


def _parameterization(content: ReportContent) -> str | None:
    """That of all runs, if it is one that the adviser knows, and there are several widths."""
    known = content.results["parameterization"].unique().drop_nulls().to_list()
    several = content.results["widening_factor"].n_unique() > 1
    return known[0] if several and len(known) == 1 and known[0] in PARAMETERIZATIONS else None


def _epochs(content: ReportContent) -> float | None:
    """The shortest training of any run; None where the table does not say."""
    if "epochs" not in content.results.columns:
        return None
    return float(content.results["epochs"].to_numpy().min())
