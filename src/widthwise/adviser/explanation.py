"""A plan explained: why these numbers, how far to trust them, and what else people do.

Written for a reader who has not read the paper.
"""

import textwrap
from collections.abc import Iterable, Sequence

from widthwise.adviser.answer import interval_text, number_text, title
from widthwise.adviser.ceiling import Ceiling
from widthwise.adviser.content import PlanContent
from widthwise.adviser.solving import EquivalentChoice
from widthwise.text import first_sentence, table

_WIDTH = 92
_NAMES = {
    "normalized_noise_scale": "normalized noise scale ḡ",
    "noise_scale": "noise scale g",
    "learning_rate": "learning rate ε",
    "batch_size": "batch size B",
    "momentum": "momentum m",
    "ceiling": "largest batch",
}
_ABOUT = (
    "Training on small random batches is noisy, and the noise decides how well a network does on "
    "new data. Its strength is ḡ = ε/(B(1−m))/σ_init², with the variance σ_init² of the initial "
    "weights. This plan keeps ḡ at its best."
)
# Says no more than the table of settings.
_NOTHING = ("It stays. (unchanged)", "It was to stay. (unchanged)")
# What the plan sets: its reason needs no source, for it is solved for or the user's choice.
_KNOBS = ("learning_rate", "batch_size", "momentum")
_GRADIENT_NOISE = (
    "This is another quantity than ḡ: a property of the gradients (their variance over their "
    "squared mean, in examples), which says up to which batch size more devices save time. ḡ is a "
    "property of ε, B, m and the initialization, and says which noise generalizes best."
)
_SAME_LIMIT = (
    "The marks take the largest stable learning rate to be the same at every batch size and "
    "momentum. At smaller batches or more momentum it may be smaller."
)


def explanation(plan: PlanContent) -> str:
    """Reasons, doubts, ceilings, equivalent choices and rivals as text."""
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
    for name, lines in sections:
        if lines:
            heading = [name, "-" * len(name)] if name else []
            blocks.append("\n".join([*heading, *lines]))
    return "\n\n".join(blocks)


def _settings(plan: PlanContent) -> list[str]:
    before, rows = plan.base, []
    for name, old, new, interval in (
        ("learning rate", before.learning_rate, plan.learning_rate, plan.learning_rate_interval),
        ("batch size", before.batch_size, plan.batch_size, plan.batch_size_interval),
        ("momentum", before.momentum, plan.momentum, plan.momentum_interval),
        ("noise scale g", plan.base_noise_scale, plan.noise_scale, None),
    ):
        rows.append((name, number_text(old), number_text(new), interval_text(interval)))
    name, grown = "normalized noise scale ḡ", f"× {number_text(plan.normalized_noise_ratio)}"
    before_after = plan.base_normalized_noise_scale, plan.normalized_noise_scale
    if before_after[0] is None or before_after[1] is None:
        rows.append((name, "", grown, ""))
    else:
        within = interval_text(plan.normalized_noise_scale_interval)
        rows.append(
            (name, number_text(before_after[0]), number_text(before_after[1]), within or grown)
        )
    if plan.noise_reached < 1.0:
        reached = f"{100.0 * plan.noise_reached:.3g} %"
        rows.append(("noise that is reached", "", reached, "of what the rule asks for"))
    heading = title(plan)
    graded = [f"Evidence: {plan.evidence}."]
    lines = [heading, "=" * len(heading), *graded, *_table(("", "base", "set", ""), rows)]
    if plan.layer_rates:
        lines.append("The learning rate differs by layer (use parameter_groups(module)):")
        lines += [
            f"  {number_text(rate)}  {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for names, rate in plan.layer_rates
        ]
    return lines


def _reasons(plan: PlanContent) -> list[str]:
    said, before = [], ""
    for reason in plan.reasons:
        if reason.quantity == "ceiling" or reason.text in _NOTHING:
            continue
        # What two reasons rest on is named once.
        source = reason.source.removeprefix(before).removeprefix("; ")
        cited = "" if reason.quantity in _KNOBS or not source else f" [{source}]"
        said.append(f"{_NAMES[reason.quantity]}: {reason.text}{cited}")
        before = reason.source
    return _bullets(said)


def _trust(plan: PlanContent) -> list[str]:
    lines = _bullets(f"WARNING: {text}" for text in plan.changes)
    for finding in plan.findings:
        lines += _bullets([f"{finding.text} [{finding.source}]"])
        lines += _command(finding.measure)
    lines += _bullets(plan.notes)
    granted = "; ".join(plan.assumptions)
    return lines + _bullets([f"Taken for granted: {granted}."] if granted else [])


def _command(command: str | None) -> list[str]:
    """On a line of its own, never broken, so that it can be copied."""
    return [] if command is None else [f"  Measure it:  {command}"]


def _ceiling(ceiling: Ceiling, plan: PlanContent) -> list[str]:
    if ceiling.exact_batch_size is None:
        lines = _wrapped(ceiling.why)
    else:
        within = interval_text(ceiling.interval)
        largest = str(ceiling.batch_size or "none: even a batch of 1 is too large")
        lines = _wrapped(f"{largest}{f' {within}' if within else ''}. {ceiling.why}")
    lines += _command(ceiling.measure)
    widths = (
        (ceiling.binds_from, f"the base's batch size, {plan.base.batch_size}, is above it"),
        (
            ceiling.learning_rate_binds_from,
            f"the base's, ε = {number_text(plan.base.learning_rate)}, is no longer stable",
        ),
        (ceiling.exhausted_from, "not even a batch of 1 is below it"),
    )
    return lines + _bullets(
        f"From widening factor {factor:.4g} on {what}." for factor, what in widths if factor
    )


def _choices(plan: PlanContent) -> list[str]:
    """Learning rates: a row a batch size, a column a momentum."""
    momenta = sorted({choice.momentum for choice in plan.choices})
    batches = sorted({choice.batch_size for choice in plan.choices})
    at = {(choice.batch_size, choice.momentum): choice for choice in plan.choices}
    header = ("batch size", *(f"m = {number_text(m)}" for m in momenta))
    rows = _table(header, [(str(b), *(_marked(at[b, m]) for m in momenta)) for b in batches])
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
        known = (
            f"{marks[0]}; of those above {number_text(plan.base.learning_rate)}, the tuned one, it "
            "is not known which are stable."
        )
        return [*rows, *_wrapped(known)]
    lines = [line for mark in marks for line in _wrapped(mark)]
    return [*rows, *lines, *_wrapped(_SAME_LIMIT)]


def _marked(choice: EquivalentChoice) -> str:
    return f"{number_text(choice.learning_rate)}{'*' if choice.chosen else ''}{_mark(choice)}"


def _mark(choice: EquivalentChoice) -> str:
    if choice.stable is False:
        return "!"
    return "?" if choice.usable is False else ""


def _rivals(plan: PlanContent) -> list[str]:
    rows = [
        (
            rival.name,
            number_text(rival.learning_rate),
            str(rival.batch_size),
            number_text(rival.momentum),
            f"{rival.relative_noise:.3g}",
        )
        for rival in plan.rivals
    ]
    lines = _table(("rule", "ε", "B", "m", "its ḡ / this plan's"), rows)
    for rival in plan.rivals:
        layers = "; ".join(f"{name} {number_text(rate)}" for name, rate in rival.layer_rates)
        lines += _bullets(
            [
                f"{rival.name}: optimizes {rival.optimizes}. {first_sentence(rival.note)}"
                f"{f' Learning rates: {layers}.' if layers else ''} [{rival.source}]"
            ]
        )
    return lines


def _networks(plan: PlanContent) -> list[str]:
    if not (plan.widened or plan.not_widened):
        return []
    return [
        *_bullets([f"Widened: {', '.join(plan.widened) or 'nothing'}."]),
        *_bullets([f"Not widened: {'; '.join(plan.not_widened) or 'nothing'}."]),
    ]


def _gradient_noise(plan: PlanContent) -> list[str]:
    if plan.gradient_noise_scale is None:
        return []
    within = interval_text(plan.gradient_noise_interval)
    value = f"{number_text(plan.gradient_noise_scale)} examples{f' {within}' if within else ''}."
    return _wrapped(f"{value} {_GRADIENT_NOISE}")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in table(header, rows).splitlines()]


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
