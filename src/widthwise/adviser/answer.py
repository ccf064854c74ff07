"""A plan in at most 15 lines: what to set, how far to trust it, what would settle the doubt."""

import math
import textwrap
from collections.abc import Mapping

from widthwise.adviser.ceiling import Interval
from widthwise.adviser.content import PlanContent
from widthwise.adviser.evidence import Grade
from widthwise.adviser.own_studies import own_ranges
from widthwise.adviser.solving import LETTERS
from widthwise.text import first_sentence, same, table

MOST_LINES = 15
WIDTH = 80  # of a terminal
PARAMETERIZATIONS = {
    "standard": "standard parameterization",
    "ntk": "NTK parameterization",
    "default": "PyTorch's default initialization",
    "mup": "µP",
}
# Below it a part of the wanted noise is not worth digits, for which a line has no room.
_LEAST_PART = 1e-4
_SMALLER = "Take a smaller batch"
# What stands before an answer that is poorly supported.
_POOR: Mapping[Grade, str] = {
    "extrapolated": "Extrapolated",
    "contradicted by published work": "The rule's answer, which published work contradicts",
}


def answer(plan: PlanContent, more: str) -> str:
    """The plan in words; only the command may be wider than a terminal.

    Args:
        plan: what to put into words.
        more: the last line: where reasons are to be had.
    """
    beginning = [title(plan), *_wrapped(_graded(plan)), *_settings(plan)]
    end = _wrapped(f"Evidence: {plan.evidence}. {_reason(plan)}")
    last = [*_commands(plan), more]
    room = MOST_LINES - len(beginning) - len(end) - len(last)
    for doubt in plan.doubts[:2]:
        lines = _wrapped(f"Warning: {doubt}")
        if len(lines) <= room:
            end += lines
            room -= len(lines)
    blank = [""] if room > 0 else []
    return "\n".join([*beginning, *blank, *end, *last])


def _commands(plan: PlanContent) -> list[str]:
    """What would settle the doubt, and, always, what tells whether the learning rate is stable
    where that is not known: advice that is right may diverge."""
    unknown = plan.ceiling.max_stable_learning_rate is None and plan.ceiling.measure
    stable = [f"Is ε stable there? Not known: {plan.ceiling.measure}"] if unknown else []
    if plan.settle is None or (stable and plan.settle == plan.ceiling.measure):
        return stable
    return [f"Settle it: {plan.settle}", *stable]


def title(plan: PlanContent) -> str:
    return (
        f"SGD for a network {plan.widening_factor:g} times as wide "
        f"({PARAMETERIZATIONS[plan.parameterization]})"
    )


def number_text(value: float) -> str:
    """Six digits; a whole number in full.

    >>> number_text(32), number_text(0.1234567), number_text(1e-7)
    ('32', '0.123457', '1e-07')
    """
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def interval_text(interval: Interval | None) -> str:
    """In parentheses; nothing where there is none, or where nothing is uncertain.

    >>> interval_text((0.5, 2.0)), interval_text((0.5, math.inf)), interval_text((2.0, 2.0))
    ('(0.5 to 2)', '(at least 0.5)', '')
    """
    if interval is None or math.isclose(*interval, rel_tol=1e-9):
        return ""
    low, high = interval
    return f"(at least {low:.3g})" if math.isinf(high) else f"({low:.3g} to {high:.3g})"


def _graded(plan: PlanContent) -> str:
    """What to do, behind the grade where that is poor: nobody is to read the one without the
    other."""
    said = _instruction(plan)
    if plan.evidence not in _POOR:
        return said
    said = said.replace(f"{_SMALLER}:", f"{_SMALLER},")
    return f"{_POOR[plan.evidence]}: {said[0].lower()}{said[1:]}"


def _instruction(plan: PlanContent) -> str:
    """What to do, in one sentence."""
    moved, kept = [], []
    for name, letter in LETTERS.items():
        value = getattr(plan, name)
        if same(value, getattr(plan.base, name)):
            kept.append(letter)
        else:
            moved.append(f"{letter} = {_set(plan, name)}")
    if not moved:
        remedy = "lower ε and B together" if plan.batch_size > 1 else "lower ε: B can go no lower"
        said = f"Keep ε, B and m. Should ε turn unstable, {remedy}."
    else:
        smaller = plan.batch_size < plan.base.batch_size and kept == ["ε", "m"]
        verb = _SMALLER if smaller else "Set"
        said = f"{verb}{':' if smaller else ''} {' and '.join(moved)}."
        if kept:
            said += f" Keep {' and '.join(kept)}."
        stable = plan.ceiling.max_stable_learning_rate
        if stable is not None and plan.learning_rate > plan.base.learning_rate:
            said += f" ε is {100 * plan.learning_rate / stable:.0f} % of the largest stable one."
    if plan.layer_rates:
        said += " The rates differ by layer: take the plan's parameter groups."
    return said


def _settings(plan: PlanContent) -> list[str]:
    is_held_back = plan.noise_reached < 1.0  # and what our studies ask for may be, too
    ours = (
        {}
        if plan.by_own_studies is None or is_held_back
        else own_ranges(plan.setting, plan.by_own_studies)
    )
    rows = [
        [
            f"{name.replace('_', ' ')} {letter}",
            number_text(getattr(plan.base, name)),
            _set(plan, name),
            interval_text(getattr(plan, f"{name}_interval")),
            ours.get(name, ""),
        ]
        for name, letter in LETTERS.items()
    ]
    intervals = {row[3] for row in rows}
    grown = "unchanged" if same(plan.noise_ratio, 1.0) else f"× {plan.noise_ratio:.4g}"
    if plan.noise_reached < 1.0:
        grown += f", {_part(plan.noise_reached)} the rule's"
    rows.append(
        [
            "noise ε/(B(1−m))",
            f"{plan.base_noise_scale:.4g}",
            f"{plan.noise_scale:.4g}",
            grown,
            _own_noise(plan) if ours else "",
        ]
    )
    within = "" if intervals == {""} else "95 %"
    header = ["", "tuned", "set", within, "by our studies" if ours else ""]
    return [f"  {line}" for line in table(header, rows).splitlines()]


def _own_noise(plan: PlanContent) -> str:
    """How much the noise would grow by our own studies."""
    assert plan.by_own_studies is not None
    low, high = sorted(each.noise_scale / plan.base_noise_scale for each in plan.by_own_studies)
    return f"× {low:.3g} to {high:.3g}"


def _set(plan: PlanContent, name: str) -> str:
    """Four digits of what was solved for; as it was given what stays."""
    value = getattr(plan, name)
    return number_text(value) if same(value, getattr(plan.base, name)) else f"{value:.4g}"


def _part(reached: float) -> str:
    return f"{100.0 * reached:.3g} % of" if reached >= _LEAST_PART else "far below"


def _reason(plan: PlanContent) -> str:
    """The one reason of the grade."""
    worst = next((f for f in plan.findings if f.effect == plan.evidence), None)
    if worst is not None:
        return first_sentence(worst.text)
    return first_sentence(next(r.text for r in plan.reasons if r.quantity == "noise_scale"))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
