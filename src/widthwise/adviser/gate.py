"""The regime gate: from facts to an evidence grade, findings, or a refusal."""

from widthwise.adviser.conditions import CONDITIONS
from widthwise.adviser.evidence import GRADES, AdviceRefusedError, Facts, Finding, Grade


def examine(facts: Facts) -> tuple[Grade, tuple[Finding, ...]]:
    """The evidence grade and every reason for doubt.

    Raises:
        AdviceRefusedError: if the rule says nothing about this case.

    >>> from widthwise.adviser.solving import Setting
    >>> base = Setting(learning_rate=0.1, batch_size=32)
    >>> examine(Facts(base=base, widening_factor=4, parameterization="ntk"))
    ('supported by the paper', ())
    """
    findings = tuple(
        Finding(
            condition=row.name,
            effect=row.effect,
            text=row.text(facts),
            source=row.source,
            measure=row.measure(facts) if row.measure is not None else None,
        )
        for row in CONDITIONS
        if row.holds(facts) and not (row.settled_by_law and facts.law_bounded)
    )
    refusals = [finding for finding in findings if finding.effect == "refuse"]
    if refusals:
        raise AdviceRefusedError(refusals)
    grades: list[Grade] = [_best_grade(facts)]
    grades += [finding.effect for finding in findings if finding.effect != "refuse"]
    return max(grades, key=GRADES.index), findings


def condition_names() -> tuple[str, ...]:
    """Names of the rows of the gate, in order."""
    return tuple(row.name for row in CONDITIONS)


def _best_grade(facts: Facts) -> Grade:
    return "measured by your study" if facts.law_covers else "supported by the paper"
