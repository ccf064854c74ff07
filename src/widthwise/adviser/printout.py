"""A plan in words: what to set, why, what could go wrong, and what else people do.

Written for a reader who has not read the paper.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from widthwise.adviser.ceiling import Ceiling, Interval

if TYPE_CHECKING:
    from widthwise.adviser.line import EquivalentChoice
    from widthwise.adviser.plan import Plan

_WIDTH = 92
_NAMES = {
    "normalized_noise_scale": "normalized noise scale ḡ",
    "noise_scale": "noise scale g",
    "learning_rate": "learning rate ε",
    "batch_size": "batch size B",
    "momentum": "momentum m",
    "ceiling": "largest batch",
}
_PARAMETERIZATIONS = {
    "standard": "standard parameterization",
    "ntk": "NTK parameterization",
    "default": "PyTorch's default initialization",
    "mup": "µP",
}
_ABOUT = (
    "Training on small random batches makes the steps of SGD noisy, and that noise decides how "
    "well the network does on new data: too little and it overfits, too much and it does not "
    "learn. Its strength is ḡ = ε/(B(1−m))/σ_init²: learning rate ε, batch size B, momentum m, "
    "and the variance σ_init² of the initial weights. Wider networks bear, and want, more of it. "
    "This plan keeps ḡ at its best as the network widens."
)
_GRADIENT_NOISE = (
    "This is another quantity than ḡ: a property of the gradients (their variance over their "
    "squared mean, in examples), which says up to which batch size more devices save time. ḡ is a "
    "property of ε, B, m and the initialization, and says which noise generalizes best."
)
_SAME_LIMIT = (
    "The marks take the largest stable learning rate to be the same at every batch size and "
    "momentum. At smaller batches or more momentum it may be smaller."
)


def printout(plan: "Plan") -> str:
    """The whole plan as text."""
    sections = (
        ("", _settings(plan)),
        ("What this is about", _wrapped(_ABOUT)),
        ("Why these numbers", _reasons(plan)),
        (f"How far to trust it: {plan.evidence}", _trust(plan)),
        ("The largest batch that is still optimal", _ceiling(plan.ceiling, plan)),
        ("Other choices with the same noise", _choices(plan)),
        ("What other rules would set", _rivals(plan)),
        ("The network", _networks(plan)),
        ("Gradient noise scale tr(Σ)/|G|² (McCandlish et al. 2018)", _gradient_noise(plan)),
    )
    blocks = []
    for title, lines in sections:
        if lines:
            heading = [title, "-" * len(title)] if title else []
            blocks.append("\n".join([*heading, *lines]))
    return "\n\n".join(blocks)


def _settings(plan: "Plan") -> list[str]:
    before, rows = plan.base, [("", "base", "set", "")]
    for name, old, new, interval in (
        ("learning rate", before.learning_rate, plan.learning_rate, plan.learning_rate_interval),
        ("batch size", before.batch_size, plan.batch_size, plan.batch_size_interval),
        ("momentum", before.momentum, plan.momentum, plan.momentum_interval),
        ("noise scale g", plan.base_noise_scale, plan.noise_scale, None),
        (
            "normalized noise scale ḡ",
            plan.base_normalized_noise_scale,
            plan.normalized_noise_scale,
            plan.normalized_noise_scale_interval,
        ),
    ):
        rows.append((name, _number(old), _number(new), _interval(interval)))
    if plan.noise_reached < 1.0:
        reached = f"{100.0 * plan.noise_reached:.3g} %"
        rows.append(("noise that is reached", "", reached, "of what the rule asks for"))
    title = (
        f"SGD for a network {plan.widening_factor:g} times as wide "
        f"({_PARAMETERIZATIONS[plan.parameterization]})"
    )
    lines = [title, "=" * len(title), *_table(rows)]
    if plan.layer_rates:
        lines.append("The learning rate differs by layer (use parameter_groups(module)):")
        lines += [
            f"  {_number(rate)}  {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for names, rate in plan.layer_rates
        ]
    return lines


def _reasons(plan: "Plan") -> list[str]:
    return _bullets(
        f"{_NAMES[reason.quantity]}: {reason.text} [{reason.source}]"
        for reason in plan.reasons
        if reason.quantity != "ceiling"
    )


def _trust(plan: "Plan") -> list[str]:
    lines = _bullets(f"WARNING: {text}" for text in plan.changes)
    for finding in plan.findings:
        lines += _bullets([f"{finding.text} [{finding.source}]"])
        lines += _command(finding.measure)
    lines += _bullets(plan.notes)
    return lines + _bullets(f"Taken for granted: {text}." for text in plan.assumptions)


def _command(command: str | None) -> list[str]:
    """On a line of its own, never broken, so that it can be copied."""
    return [] if command is None else [f"  Measure it:  {command}"]


def _ceiling(ceiling: Ceiling, plan: "Plan") -> list[str]:
    if ceiling.exact_batch_size is None:
        lines = _wrapped(ceiling.why)
    else:
        within = _interval(ceiling.interval)
        largest = str(ceiling.batch_size or "none: even a batch of 1 is too large")
        lines = _wrapped(f"{largest}{f' {within}' if within else ''}. {ceiling.why}")
    lines += _command(ceiling.measure)
    widths = (
        (ceiling.binds_from, f"the base's batch size, {plan.base.batch_size}, is above it"),
        (
            ceiling.learning_rate_binds_from,
            f"the base's learning rate, {_number(plan.base.learning_rate)}, is no longer stable",
        ),
        (ceiling.exhausted_from, "not even a batch of 1 is below it"),
    )
    return lines + _bullets(
        f"From widening factor {factor:.4g} on {what}." for factor, what in widths if factor
    )


def _choices(plan: "Plan") -> list[str]:
    """Learning rates: a row a batch size, a column a momentum."""
    momenta = sorted({choice.momentum for choice in plan.choices})
    batches = sorted({choice.batch_size for choice in plan.choices})
    at = {(choice.batch_size, choice.momentum): choice for choice in plan.choices}
    rows = [("batch size", *(f"m = {_number(m)}" for m in momenta))]
    rows += [(str(b), *(_marked(at[b, m]) for m in momenta)) for b in batches]
    marks = ["Learning rates. * this plan"]
    found = {_mark(choice) for choice in plan.choices}
    if "?" in found:
        marks.append(
            f"? above {plan.usable_share:.0%} of the largest stable learning rate: a long run may "
            "diverge"
        )
    if "!" in found:
        marks.append("! above the largest stable learning rate")
    if plan.ceiling.max_stable_learning_rate is None:
        return [*_table(rows), *_wrapped(f"{marks[0]}; which of them are stable is not known.")]
    lines = [line for mark in marks for line in _wrapped(mark)]
    return [*_table(rows), *lines, *_wrapped(_SAME_LIMIT)]


def _marked(choice: "EquivalentChoice") -> str:
    return f"{_number(choice.learning_rate)}{'*' if choice.chosen else ''}{_mark(choice)}"


def _mark(choice: "EquivalentChoice") -> str:
    if choice.stable is False:
        return "!"
    return "?" if choice.usable is False else ""


def _rivals(plan: "Plan") -> list[str]:
    rows = [("rule", "ε", "B", "m", "its ḡ / this plan's")]
    rows += [
        (
            rival.name,
            _number(rival.learning_rate),
            str(rival.batch_size),
            _number(rival.momentum),
            f"{rival.relative_noise:.3g}",
        )
        for rival in plan.rivals
    ]
    lines = _table(rows)
    for rival in plan.rivals:
        layers = "; ".join(f"{name} {_number(rate)}" for name, rate in rival.layer_rates)
        lines += _bullets(
            [
                f"{rival.name}: optimizes {rival.optimizes}. {rival.note}"
                f"{f' Learning rates: {layers}.' if layers else ''} [{rival.source}]"
            ]
        )
    return lines


def _networks(plan: "Plan") -> list[str]:
    if not (plan.widened or plan.not_widened):
        return []
    return [
        *_bullets([f"Widened: {', '.join(plan.widened) or 'nothing'}."]),
        *_bullets([f"Not widened: {'; '.join(plan.not_widened) or 'nothing'}."]),
    ]


def _gradient_noise(plan: "Plan") -> list[str]:
    if plan.gradient_noise_scale is None:
        return []
    within = _interval(plan.gradient_noise_interval)
    value = f"{_number(plan.gradient_noise_scale)} examples{f' {within}' if within else ''}."
    return _wrapped(f"{value} {_GRADIENT_NOISE}")


def _number(value: float) -> str:
    """Six digits; a whole number in full.

    >>> _number(32), _number(0.1234567), _number(1e-7)
    ('32', '0.123457', '1e-07')
    """
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _interval(interval: Interval | None) -> str:
    """In parentheses; nothing where there is none, or where nothing is uncertain.

    >>> _interval((0.5, 2.0)), _interval((0.5, math.inf)), _interval((2.0, 2.0)), _interval(None)
    ('(0.5 to 2)', '(at least 0.5)', '', '')
    """
    if interval is None or math.isclose(*interval, rel_tol=1e-9):
        return ""
    low, high = interval
    return f"(at least {low:.3g})" if math.isinf(high) else f"({low:.3g} to {high:.3g})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullets(texts: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="* ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
