"""For each number of a plan its reason and source; what to doubt; what was taken for granted."""

from collections.abc import Sequence

from widthwise.adviser.cautions import PAPER
from widthwise.adviser.ceiling import Ceiling, StableRange
from widthwise.adviser.content import Reason
from widthwise.adviser.evidence import Finding, Grade
from widthwise.adviser.given import Known
from widthwise.adviser.own_studies import (
    costly_trial_sentence,
    own_ranges,
    own_studies,
    own_studies_sentence,
)
from widthwise.adviser.solving import LETTERS, SAFE_SHARE, Keep, Setting
from widthwise.analysis import Law
from widthwise.text import estimate, first_sentence, same
from widthwise.theory.parameterization import (
    PAPER_EXPONENT,
    PARAMETERIZATIONS,
    noise_growth,
    width_rule,
)

# What ḡ_opt ∝ w asks of ε/(B(1−m)), in words.
RULES = {
    "standard": "ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w",
    "ntk": "ε/(B(1−m)) grows in proportion to w, because σ_init² does not change",
    "default": "ε/(B(1−m)) stays as it is, because σ_init² already falls as 1/w",
    "mup": "ε, B and m stay as they are: under µP every layer's ḡ grows in proportion to w "
    "by itself",
}

# What ε/(B(1−m)) ∝ w^total asks for.
_PRACTICE = {
    1.0: "raise ε/(B(1 − m)) in proportion to w when the network is widened: by a smaller B, or by "
    "a larger ε as far as that is known to be stable.",
    0.0: "keep ε/(B(1 − m)) as it is when the network is widened.",
    -1.0: "lower ε/(B(1 − m)) in proportion to 1/w when the network is widened.",
}
_VERDICTS = {"proportional": 1.0, "constant": 0.0}


def practice(verdict: str, parameterization: str) -> str | None:
    """What a law's verdict asks of ε, B and m; None where it decides nothing.

    >>> practice("proportional", "default")
    'keep ε/(B(1 − m)) as it is when the network is widened.'
    >>> practice("inconclusive", "ntk") is None
    True
    """
    if verdict not in _VERDICTS or parameterization not in PARAMETERIZATIONS:
        return None
    rule = PARAMETERIZATIONS[parameterization]
    return _PRACTICE[_VERDICTS[verdict] + rule.variance_exponent]


# What each choice of `keep` makes of the three hyper-parameters, in words.
_ROLES: dict[Keep, dict[str, str]] = {
    "stability": {
        "learning_rate": "It goes no higher than is known to be stable, and is solved for the "
        "whole-numbered batch size.",
        "batch_size": "It stays, or is as much smaller as the noise asks for.",
        "momentum": "It stays.",
    },
    "batch_size": {
        "learning_rate": "It follows: batch size and momentum were to stay.",
        "batch_size": "It was to stay.",
        "momentum": "It stays.",
    },
    "learning_rate": {
        "learning_rate": "It was to stay; it is solved again for the whole-numbered batch size.",
        "batch_size": "It follows, as the nearest whole number: learning rate and momentum were "
        "to stay.",
        "momentum": "It stays.",
    },
    "learning_rate_and_batch_size": {
        "learning_rate": "It was to stay.",
        "batch_size": "It was to stay.",
        "momentum": "It follows: learning rate and batch size were to stay.",
    },
    "momentum": {
        "learning_rate": f"About {SAFE_SHARE:g} of the largest stable one, where ḡ alone can be "
        "expected to decide; solved again for the whole-numbered batch size.",
        "batch_size": "It follows, as the whole number below, so that the learning rate stays "
        "within that part.",
        "momentum": "It was to stay.",
    },
    "largest_batch": {
        "learning_rate": "Just below the largest stable one, where the largest batch needs it: "
        "no margin is left.",
        "batch_size": "The largest whole number at which a stable learning rate has the wanted "
        "noise.",
        "momentum": "It stays.",
    },
}

_MOMENTUM_MATTERS = "it differs by up to a factor of 2, and where noise limits it, it falls as 1−m"
# What is solved for; the rest is the user's.
_SOLVED: dict[Keep, frozenset[str]] = {
    "stability": frozenset({"learning_rate", "batch_size"}),
    "batch_size": frozenset({"learning_rate"}),
    "learning_rate": frozenset({"learning_rate", "batch_size"}),
    "learning_rate_and_batch_size": frozenset({"momentum"}),
    "momentum": frozenset({"learning_rate", "batch_size"}),
    "largest_batch": frozenset({"learning_rate", "batch_size"}),
}


def reasons(
    base: Setting,
    setting: Setting,
    known: Known,
    keep: Keep,
    exponent: float,
    law: Law | None,
    ceiling: Ceiling,
    changed: tuple[str, ...],
    reached: float,
) -> tuple[Reason, ...]:
    """One reason a number.

    Args:
        base, setting: before and after.
        changed: the hyper-parameters that had to give way.
        reached: the part of the wanted noise that the setting has.
    """
    scaling = width_rule(known.parameterization)
    growth = noise_growth(known.parameterization, known.widening_factor, exponent)
    source = PAPER if law is None else _law_source(law, known.widening_factor)
    total = exponent + scaling.variance_exponent
    rule = (
        RULES[known.parameterization]
        if law is None
        else f"σ_init² ∝ w^{scaling.variance_exponent:g}, so ε/(B(1−m)) must go as w^{total:.3g}"
    )
    return (
        Reason(
            quantity="normalized_noise_scale",
            text=f"The ḡ that generalizes best grows as w^{exponent:.3g}, here by "
            f"{known.widening_factor**exponent:.4g}.",
            source=source,
        ),
        Reason(
            quantity="noise_scale",
            text=f"{rule}.{_growth_text(growth, reached)}",
            source=f"{source}; {scaling.meaning}",
        ),
        *(
            Reason(
                quantity=knob,
                text=_knob_text(knob, keep, base, setting, changed),
                source="ε = ḡ σ_init² B (1−m), solved"
                if changed or knob in _SOLVED[keep]
                else f"your choice, keep={keep!r}",
            )
            for knob in ("learning_rate", "batch_size", "momentum")
        ),
        Reason(
            quantity="ceiling",
            text=ceiling.why,
            source=f"{PAPER}; the largest stable learning rate is yours",
        ),
    )


def _growth_text(growth: float, reached: float) -> str:
    if reached < 1.0:
        return (
            f" Here it should change by a factor of {growth:.4g}; {100.0 * reached:.3g} % of that "
            "is reached."
        )
    return "" if growth == 1.0 else f" Here it changes by a factor of {growth:.4g}."


def _knob_text(
    knob: str, keep: Keep, base: Setting, setting: Setting, changed: tuple[str, ...]
) -> str:
    if knob in changed:
        return "What was asked could not be had: see the warnings."
    before, after = getattr(base, knob), getattr(setting, knob)
    moved = "unchanged" if same(before, after) else f"from {before:.6g} to {after:.6g}"
    return f"{_ROLES[keep][knob]} ({moved})"


def notes(
    base: Setting,
    setting: Setting,
    known: Known,
    law: Law | None,
    stable: StableRange,
    ours: tuple[Setting, Setting] | None,
) -> tuple[str, ...]:
    """Remarks that change no grade.

    Args:
        ours: as :attr:`widthwise.adviser.content.PlanContent.by_own_studies`.
    """
    return (
        _exponent_note(known, law, setting, ours),
        "The base must be tuned: the rule carries its noise over, good or bad.",
        *_stability_notes(base, setting, known, stable),
    )


def doubts(
    changes: Sequence[str],
    findings: Sequence[Finding],
    grade: Grade,
    remarks: Sequence[str],
    known: Known,
    law: Law | None,
    stable: StableRange,
) -> tuple[str, ...]:
    """What matters most, a sentence each, the loudest first: what gave way, findings besides the
    one that decides the grade, our own studies where they disagree, stability where it is known
    (else a plan gives the command that tells), a trial that the rule lost.

    Args:
        remarks: as :func:`notes` gives them.
    """
    decisive = next((f for f in findings if f.effect == grade), None)
    others = [finding.text for finding in findings if finding is not decisive]
    found = own_studies(known.parameterization)
    disagree = any(not study.holds(PAPER_EXPONENT) for study in found)
    stability = [] if stable.value is None else remarks[2:]
    said = own_studies_sentence(known.parameterization, PAPER_EXPONENT)
    own = [said] if law is None and disagree else []
    lost = costly_trial_sentence(known.parameterization, known.widening_factor)
    trial = [lost] if law is None and lost and grade != "contradicted by published work" else []
    return tuple(first_sentence(text) for text in (*changes, *others, *own, *stability, *trial))


def _stability_notes(
    base: Setting, setting: Setting, known: Known, stable: StableRange
) -> list[str]:
    """What is not known of stability at the target, or was measured otherwise than the plan is."""
    rate = stable.value
    if rate is None:
        at = f"{known.widening_factor:g} times the width"
        grows = setting.learning_rate > base.learning_rate
        falls = width_rule(known.parameterization).variance_exponent < 0.0
        smaller = setting.batch_size < base.batch_size
        return [
            f"Whether ε = {setting.learning_rate:.4g} is stable at {at} is not known."
            + (" It is larger than the base's." if grows else "")
            + (" In this parameterization the largest stable one may fall." if falls else "")
            + (" Smaller batches are noisier, and bear less." if smaller else "")
        ]
    said = []
    if setting.learning_rate > SAFE_SHARE * rate * (1.0 + 1e-12):
        said.append(
            f"The learning rate is {setting.learning_rate / rate:.0%} of the largest stable one. "
            f"That ḡ alone decides, and that long runs are stable where a short probe was, can be "
            f"expected up to about {SAFE_SHARE:.0%} (a guess)"
            + (
                "; choose a smaller batch from the equivalent choices to go below it."
                if setting.batch_size > 1
                else "."
            )
        )
    measured = base.batch_size if stable.batch_size is None else stable.batch_size
    if setting.batch_size < measured:
        verb = "is taken to have been" if stable.batch_size is None else "was"
        said.append(
            f"The largest stable learning rate {verb} measured at batches of {measured}; the plan "
            f"has {setting.batch_size}. Smaller batches are noisier and bear less, at worst in "
            f"proportion. Measure it there: widthwise probe … --batch-size {setting.batch_size}"
        )
    if stable.momentum not in (None, setting.momentum):
        said.append(
            f"The largest stable learning rate was measured at momentum {stable.momentum:g}, the "
            f"plan's is {setting.momentum:g}: {_MOMENTUM_MATTERS}."
        )
    elif stable.momentum is None and setting.momentum != base.momentum:
        said.append(
            "The largest stable learning rate is taken to hold at the base's momentum, "
            f"{base.momentum:g}; the plan's is {setting.momentum:g}: {_MOMENTUM_MATTERS}."
        )
    return said


def _exponent_note(
    known: Known, law: Law | None, setting: Setting, ours: tuple[Setting, Setting] | None
) -> str:
    if law is None:
        instead = "" if ours is None else _instead(setting, ours)
        said = own_studies_sentence(known.parameterization, PAPER_EXPONENT, instead)
        return f"{said} Measure your own with `widthwise calibrate`."
    return (
        f"{law.sentence()} It counts for networks trained as that study trained them: the same "
        "data, schedule, normalization and weight decay. The intervals carry its uncertainty, not "
        "that of the tuned base."
    )


def _instead(setting: Setting, ours: tuple[Setting, Setting]) -> str:
    ranges = own_ranges(setting, ours)
    told = [f"{letter} = {ranges[name]}" for name, letter in LETTERS.items() if name in ranges]
    return f", which would set {' and '.join(told)}" if told else ""


def _law_source(law: Law, widening_factor: float) -> str:
    if law.curve is None:
        return f"your study: exponent {estimate(law.exponent, law.interval)}"
    first, last = law.local_exponent(1.0)[0], law.local_exponent(widening_factor)[0]
    return (
        f"your study: a bent law, whose exponent goes from {first:.2f} at w = 1 to {last:.2f} at "
        f"w = {widening_factor:g}"
    )


def assumptions(known: Known, epochs: float | None, num_train: int | None) -> tuple[str, ...]:
    """What was not said and was taken for granted, with the field that says it."""
    said = []
    if epochs is None:
        said.append("training lasts many epochs, until test accuracy no longer changes: say epochs")
    if known.normalization is None:
        said.append("there is no normalization layer: say normalization")
    if num_train is None:
        said.append("batches are much smaller than the training set: say num_train")
    return tuple(said)
