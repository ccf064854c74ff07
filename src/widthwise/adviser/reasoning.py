"""For each number of a plan its reason and its source; and what was taken for granted."""

from widthwise.adviser.ceiling import Ceiling, StableRange
from widthwise.adviser.conditions import OWN_STUDIES, PAPER
from widthwise.adviser.facts import Networks, option
from widthwise.adviser.plan import Reason
from widthwise.adviser.rules import noise_growth, scaling_of
from widthwise.adviser.solving import SAFE_SHARE, Keep, Setting
from widthwise.analysis import Law

# What each choice of `keep` makes of the three hyper-parameters, in words.
_ROLES: dict[Keep, dict[str, str]] = {
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
    "batch_size": frozenset({"learning_rate"}),
    "learning_rate": frozenset({"learning_rate", "batch_size"}),
    "learning_rate_and_batch_size": frozenset({"momentum"}),
    "momentum": frozenset({"learning_rate", "batch_size"}),
    "largest_batch": frozenset({"learning_rate", "batch_size"}),
}


def reasons(
    base: Setting,
    setting: Setting,
    known: Networks,
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
    scaling = scaling_of(known.parameterization)
    growth = noise_growth(known.parameterization, known.widening_factor, exponent)
    source = PAPER if law is None else _law_source(law)
    total = exponent + scaling.variance_exponent
    rule = (
        scaling.rule
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
    moved = "unchanged" if before == after else f"from {before:.6g} to {after:.6g}"
    return f"{_ROLES[keep][knob]} ({moved})"


def notes(
    base: Setting,
    setting: Setting,
    known: Networks,
    law: Law | None,
    stable: StableRange,
) -> tuple[str, ...]:
    """Remarks that change no grade."""
    said = [
        _exponent_note(law),
        "The base must be tuned: the rule carries its noise over, good or bad.",
    ]
    rate = stable.value
    if rate is None:
        grows = setting.learning_rate > base.learning_rate
        said.append(
            f"Whether a learning rate of {setting.learning_rate:.6g} is stable at the target is "
            "not known"
            + (", and it is larger than the base's" if grows else "")
            + (
                "; with the standard parameterization the largest stable one falls with width"
                if known.parameterization in ("standard", "default")
                else ""
            )
            + "."
        )
    else:
        said += _stability_notes(base, setting, stable, rate)
    return tuple(said)


def _stability_notes(
    base: Setting, setting: Setting, stable: StableRange, rate: float
) -> list[str]:
    """Where the largest stable learning rate was measured otherwise than the plan is."""
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


def _exponent_note(law: Law | None) -> str:
    if law is None:
        return (
            f"How steeply the best noise grows with width differs: {OWN_STUDIES}. Measure your "
            "own with `widthwise calibrate`."
        )
    return (
        f"{law.sentence()} It counts for networks trained as that study trained them: the same "
        "data, schedule, normalization and weight decay. The intervals carry its uncertainty, not "
        "that of the tuned base."
    )


def _law_source(law: Law) -> str:
    low, high = law.interval
    return f"your study: exponent {law.exponent:.2f} ({low:.2f} to {high:.2f})"


def assumptions(known: Networks, epochs: float | None, num_train: int | None) -> tuple[str, ...]:
    """What was not said and was taken for granted, with the option that says it."""
    said = []
    if epochs is None:
        said.append(
            "training lasts many epochs, until test accuracy no longer changes: say "
            f"{option('epochs')}"
        )
    if known.normalization is None:
        said.append(f"there is no normalization layer: say {option('normalization')}")
    if num_train is None:
        said.append("batches are much smaller than the training set: say " + option("num_train"))
    return tuple(said)
