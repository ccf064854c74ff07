"""What else people do when a network gets wider, beside what the plan does: one row a rule."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from widthwise.adviser.solving import Setting


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another rule's setting at the target width.

    Attributes:
        name: of the rule.
        learning_rate, batch_size, momentum: what it would use; the batch size is rounded to a
            whole number of at least 1, the learning rate is the rule's own.
        layer_rates: (layers, learning rate) where the rule has one rate a kind of layer.
        relative_noise: its ḡ at the target divided by the plan's. For µP, whose ḡ is another
            parameterization's: how much more its ḡ grows from the base than the plan's.
        optimizes: what the rule is for.
        note: when it applies.
        source: who proposed it.
    """

    name: str
    learning_rate: float
    batch_size: int
    momentum: float
    layer_rates: tuple[tuple[str, float], ...] = ()
    relative_noise: float
    optimizes: str
    note: str
    source: str


@dataclass(frozen=True)
class _Rule:
    """`learning_rate` and `batch_size` give the factors on the base's at a widening factor."""

    name: str
    learning_rate: Callable[[float], float]
    batch_size: Callable[[float], float]
    optimizes: str
    note: str
    source: str


def _same(widening_factor: float) -> float:
    return 1.0


def _proportional(widening_factor: float) -> float:
    return widening_factor


_RULES: tuple[_Rule, ...] = (
    _Rule(
        "keep everything",
        _same,
        _same,
        "nothing: no tuning is needed",
        "In the standard parameterization the paper's rule asks for it, too, while ε is stable.",
        "common practice",
    ),
    _Rule(
        "linear batch scaling",
        _proportional,
        _proportional,
        "time: fewer steps an epoch",
        "Made for larger batches, not for wider networks. It keeps ε/B; ε soon is too large.",
        "Goyal et al. (2017), arXiv:1706.02677",
    ),
    _Rule(
        "square-root batch scaling",
        math.sqrt,
        _proportional,
        "time, at the same variance of an update",
        "Made for larger batches, not for wider networks.",
        "Krizhevsky (2014), arXiv:1404.5997; Hoffer et al. (2017), arXiv:1705.08741",
    ),
    _Rule(
        "critical batch size",
        _same,
        _same,
        "time to a given loss",
        "Of language models in one pass (Adam): it grows with the data and hardly with width. It "
        "gives no learning rate; the base's is shown.",
        "Zhang et al. (2024), arXiv:2410.21676; Bergsma et al. (2025), arXiv:2505.13738",
    ),
)


def rivals(
    base: Setting, widening_factor: float, exponent: float, noise: float, reached: float = 1.0
) -> tuple[Rival, ...]:
    """Every rival rule at the target.

    Args:
        base: the tuned setting.
        widening_factor: w.
        exponent: s of the plan's ḡ_opt ∝ w^s.
        noise: the plan's ε/(B(1−m)).
        reached: the part of the wanted noise that it is.
    """
    rows = [_row(rule, base, widening_factor, noise) for rule in _RULES]
    rows.insert(1, _mup(base, widening_factor, exponent, reached))
    return tuple(rows)


def _row(rule: _Rule, base: Setting, widening_factor: float, noise: float) -> Rival:
    setting = Setting(
        learning_rate=base.learning_rate * rule.learning_rate(widening_factor),
        batch_size=max(1, math.floor(base.batch_size * rule.batch_size(widening_factor) + 0.5)),
        momentum=base.momentum,
    )
    return Rival(
        name=rule.name,
        learning_rate=setting.learning_rate,
        batch_size=setting.batch_size,
        momentum=setting.momentum,
        relative_noise=setting.noise_scale / noise,
        optimizes=rule.optimizes,
        note=rule.note,
        source=rule.source,
    )


def _mup(base: Setting, widening_factor: float, exponent: float, reached: float) -> Rival:
    rate = base.learning_rate
    return Rival(
        name="µP",
        learning_rate=rate,
        batch_size=base.batch_size,
        momentum=base.momentum,
        layer_rates=(
            ("input weights and biases", rate * widening_factor),
            ("hidden weights", rate),
            ("readout weights, whose output is divided by w", rate * widening_factor),
            ("readout bias", rate),
        ),
        relative_noise=widening_factor ** (1.0 - exponent) / reached,
        optimizes="the speed of training, at every width with the base's constants",
        note="The base must have been tuned in µP. Rates are those of MuSGD in the mup package.",
        source="Yang et al. (2022), arXiv:2203.03466",
    )
