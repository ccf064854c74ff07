"""From facts to an evidence grade, findings, or a refusal: the table of cautions, read."""

from widthwise.adviser.cautions import CAUTIONS
from widthwise.adviser.evidence import GRADES, AdviceRefusedError, Facts, Finding, Grade
from widthwise.adviser.solving import Setting
from widthwise.text import first_sentence


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
        row.finding(facts)
        for row in CAUTIONS
        if row.holds(facts) and not (row.settled_by_law and facts.law_bounded)
    )
    refusals = [finding for finding in findings if finding.effect == "refuse"]
    if refusals:
        raise AdviceRefusedError(refusals)
    best: Grade = "measured by your study" if facts.law_covers else "supported by the paper"
    grades = [best, *(finding.effect for finding in findings if finding.effect != "refuse")]
    return max(grades, key=GRADES.index), findings


def refuse_optimizer(optimizer: str, base: Setting) -> None:
    """What can be refused before anything is known of the networks.

    Raises:
        AdviceRefusedError: if the rule says nothing about this optimizer.
    """
    facts = Facts(base=base, widening_factor=1.0, parameterization="standard", optimizer=optimizer)
    (row,) = (row for row in CAUTIONS if row.name == "optimizer")
    if row.holds(facts):
        raise AdviceRefusedError([row.finding(facts)])


def normalization_doubts(normalization: str | None, weight_decay: float) -> tuple[str, ...]:
    """Why the rule may not hold for networks trained so, whatever else they are, for a report.

    >>> normalization_doubts("none", 0.01)
    ()
    """
    facts = Facts(
        base=Setting(learning_rate=1.0, batch_size=1),
        widening_factor=1.0,
        parameterization="standard",
        normalization=normalization,
        weight_decay=weight_decay,
    )
    if not facts.normalized:
        return ()
    names = ["batch norm in a ConvNet", "batch norm in a ResNet"]
    if normalization != "batch":
        names = ["other normalization"]
    if weight_decay > 0.0:
        names.append("weight decay with normalization")
    rows = sorted((row for row in CAUTIONS if row.name in names), key=lambda r: names.index(r.name))
    return tuple(f"{first_sentence(row.text(facts)).rstrip('.')} ({row.source})." for row in rows)
