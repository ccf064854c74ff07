"""Solve ε/(B(1−m)) = wanted for ε, B and m: what is kept, what follows, what had to give way; and
the line of all choices with the same noise.

Everything is written as ratios to the base, so that a growth of exactly 1 changes no bit.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from widthwise.errors import InputError, real_number
from widthwise.theory.noise import noise_scale

Keep = Literal[
    "stability",
    "batch_size",
    "learning_rate",
    "learning_rate_and_batch_size",
    "momentum",
    "largest_batch",
]
KEEPS: tuple[Keep, ...] = get_args(Keep)
Knob = Literal["learning_rate", "batch_size", "momentum"]

# The default of a study's grid: ḡ alone decides only while ε is well below the largest stable one.
# A probe is short: what passes it near the limit diverges in a long run
# (validation/regret_images.md).
SAFE_SHARE = 0.25
# Guess. Heavy-ball SGD needs about 1/(1−m) steps to follow its gradients.
MAX_MOMENTUM = 0.999
# Momenta that people use, beside the base's and the plan's.
COMMON_MOMENTA = (0.0, 0.9)
# The line goes on to twice the largest batch size of interest, up to this one.
_LARGEST_BATCH = 2**20
# Slack of comparisons that rounding must not decide.
_SLACK = 1e-12
# Hyper-parameter → its letter.
LETTERS = {"learning_rate": "ε", "batch_size": "B", "momentum": "m"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One choice of the three hyper-parameters.

    Attributes:
        learning_rate: ε > 0, for a loss averaged over the batch.
        batch_size: B ≥ 1, examples per step.
        momentum: heavy-ball coefficient m in [0, 1).
    """

    learning_rate: float
    batch_size: int
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "momentum"):
            object.__setattr__(self, name, real_number(name, getattr(self, name)))
        # A numpy integer or 32.0 is a whole number; 32.5 is not, nor is True.
        given = self.batch_size
        examples = math.nan if isinstance(given, bool) else real_number("batch_size", given)
        if examples % 1.0 != 0.0:
            raise InputError(
                f"batch_size must be a whole number, got {given!r}", fields=("batch_size",)
            )
        object.__setattr__(self, "batch_size", int(examples))
        scale = noise_scale(self.learning_rate, self.batch_size, self.momentum)
        if not (math.isfinite(scale) and scale > 0.0):
            raise InputError(
                f"learning_rate must be positive and finite, got {self.learning_rate!r}",
                fields=("learning_rate",),
            )

    @property
    def noise_scale(self) -> float:
        """ε/(B(1−m)), in the units of the learning rate."""
        return float(noise_scale(self.learning_rate, self.batch_size, self.momentum))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to solve.

    Attributes:
        base: the setting tuned at w = 1.
        growth: factor on ε/(B(1−m)).
        keep: what stays as it is.
        max_stable: largest stable learning rate at the target; None if it is not known. Then the
            base's own is the largest that is known to be stable.
        usable_share: the part of it that a plan goes up to, unless the largest batch is asked for.
        max_batch_size: largest B allowed; None for no limit.
    """

    base: Setting
    growth: float
    keep: Keep
    max_stable: float | None = None
    usable_share: float = 1.0
    max_batch_size: int | None = None

    @property
    def largest_rate(self) -> float | None:
        """The largest learning rate that the plan may have; None for no limit: whoever keeps the
        batch size takes the rate that follows, where nothing says that it is unstable."""
        if self.max_stable is None:
            return None if self.keep == "batch_size" else self.base.learning_rate
        return self.max_stable * (1.0 if self.keep == "largest_batch" else self.usable_share)


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something had to change that was to be kept, or that the rule alone would not have moved."""

    knob: Knob
    text: str


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A setting with the wanted noise, or with as much of it as a usable ε has at B = 1.

    Attributes:
        setting: ε, B, m; ε is solved for the whole-numbered B.
        changes: what could not be kept, in the order in which it was given up.
        wanted_batch_size: B before rounding and limits.
        reached: the setting's noise over the wanted one; 1 unless not even B = 1 has it at a
            usable ε.
    """

    setting: Setting
    changes: tuple[Change, ...]
    wanted_batch_size: float
    reached: float = 1.0


def needed_learning_rate(request: Request, batch_size: float, momentum: float) -> float:
    """The ε with the wanted noise at this B and m."""
    base = request.base
    damping = (1.0 - momentum) / (1.0 - base.momentum)
    return base.learning_rate * request.growth * (batch_size / base.batch_size) * damping


def real_batch_size(request: Request, learning_rate: float, momentum: float) -> float:
    """The B with the wanted noise at this ε and m, as a real number."""
    base = request.base
    damping = (1.0 - base.momentum) / (1.0 - momentum)
    return base.batch_size * (learning_rate / base.learning_rate) / request.growth * damping


def solve(request: Request) -> Solution:
    """ε, B and m with the wanted noise.

    Raises:
        InputError: if what is kept refers to the largest stable learning rate and it is unknown.

    >>> base = Setting(learning_rate=0.1, batch_size=32)
    >>> solve(Request(base=base, growth=4.0, keep="stability")).setting
    Setting(learning_rate=0.1, batch_size=8, momentum=0.0)
    >>> solve(Request(base=base, growth=4.0, keep="batch_size")).setting
    Setting(learning_rate=0.4, batch_size=32, momentum=0.0)
    """
    momentum, changes = _kept_momentum(request)
    wanted = _WANTED_BATCH[request.keep](request, momentum)
    batch, limited = _whole(request, wanted, momentum)
    changes += limited
    rate = needed_learning_rate(request, batch, momentum)
    reached = 1.0
    limit = request.largest_rate
    if limit is not None and rate > _up_to(limit):
        batch, stabilized, reached = _stabilize(request, limit, batch, momentum, rate)
        changes += stabilized
        rate = needed_learning_rate(request, batch, momentum) if reached == 1.0 else limit
    setting = Setting(learning_rate=rate, batch_size=batch, momentum=momentum)
    return Solution(setting=setting, changes=changes, wanted_batch_size=wanted, reached=reached)


def _kept_momentum(request: Request) -> tuple[float, tuple[Change, ...]]:
    """m: solved for where ε and B are kept, else the base's."""
    base = request.base
    if request.keep != "learning_rate_and_batch_size" or request.growth == 1.0:
        return base.momentum, ()
    momentum = 1.0 - (1.0 - base.momentum) / request.growth
    bounded = min(max(momentum, 0.0), MAX_MOMENTUM)
    if bounded == momentum:
        return momentum, ()
    why = (
        "not even plain SGD is quiet enough"
        if momentum < 0.0
        else f"it would have to be {momentum:.6g}, beyond {MAX_MOMENTUM:g}"
    )
    text = (
        f"Momentum alone cannot set the noise: {why}. It is {bounded:g}, and the learning rate, "
        "which was to be kept, changes as well."
    )
    return bounded, (Change(knob="learning_rate", text=text),)


def _base_batch(request: Request, momentum: float) -> float:
    return float(request.base.batch_size)


def _batch_at_base_rate(request: Request, momentum: float) -> float:
    return real_batch_size(request, request.base.learning_rate, momentum)


def _batch_at_safe_rate(request: Request, momentum: float) -> float:
    return real_batch_size(request, SAFE_SHARE * _known_rate(request), momentum)


def _batch_at_largest_rate(request: Request, momentum: float) -> float:
    return real_batch_size(request, _known_rate(request), momentum)


_WANTED_BATCH: dict[Keep, Callable[[Request, float], float]] = {
    "stability": _base_batch,
    "batch_size": _base_batch,
    "learning_rate": _batch_at_base_rate,
    "learning_rate_and_batch_size": _base_batch,
    "momentum": _batch_at_safe_rate,
    "largest_batch": _batch_at_largest_rate,
}
# What needs the largest stable learning rate.
NEEDS_MAX_STABLE: frozenset[Keep] = frozenset({"momentum", "largest_batch"})


def _known_rate(request: Request) -> float:
    if request.max_stable is None:
        raise InputError(
            f"keep={request.keep!r} needs the largest stable learning rate at the target width"
        )
    return request.max_stable


def _whole(request: Request, wanted: float, momentum: float) -> tuple[int, tuple[Change, ...]]:
    """A whole B within its limits; rounded down where it comes from a limit of ε, which rounding
    up would pass."""
    limit = request.max_batch_size
    if wanted < 1.0 - _SLACK:
        text = (
            f"The batch size would have to be {wanted:.3g}, and 1 is the smallest there is. It is "
            f"1, for which the rule needs a learning rate of "
            f"{needed_learning_rate(request, 1, momentum):.6g}."
        )
        return 1, (Change(knob="learning_rate", text=text),)
    if limit is not None and wanted > limit * (1.0 + _SLACK):
        text = (
            f"The batch size would have to be {wanted:.6g}, above the limit of {limit}. It is "
            f"{limit}, for which the rule needs a learning rate of "
            f"{needed_learning_rate(request, limit, momentum):.6g}."
        )
        return limit, (Change(knob="batch_size", text=text),)
    if request.keep in NEEDS_MAX_STABLE:
        return max(1, math.floor(wanted * (1.0 + _SLACK))), ()
    # Half up, not to even: Python's round() sends 2.5 to 2 and 3.5 to 4.
    nearest = max(1, math.floor(wanted * (1.0 + _SLACK) + 0.5))
    below = max(1, math.floor(wanted * (1.0 + _SLACK)))
    # Unless that alone would lift the rate above what is known to be stable.
    largest = request.largest_rate
    if largest is None or needed_learning_rate(request, nearest, momentum) <= _up_to(largest):
        return nearest, ()
    fits = needed_learning_rate(request, below, momentum) <= _up_to(largest)
    return below if fits else nearest, ()


def _stabilize(
    request: Request, limit: float, batch: int, momentum: float, rate: float
) -> tuple[int, tuple[Change, ...], float]:
    """A smaller B for which ε is usable; where even B = 1 is not enough, less noise."""
    largest = real_batch_size(request, limit, momentum) * (1.0 + _SLACK)
    over = (
        f"At batch size {batch} the rule needs a learning rate of {rate:.6g}, above {limit:.6g}, "
        f"{_limit_words(request)}."
    )
    if largest >= 1.0:
        lower = math.floor(largest)
        text = f"{over} The batch size is lowered to {lower}, which has the same noise below it."
        # Where only stability is to be kept, nothing had to give way.
        change = Change(knob="batch_size", text=text)
        return lower, () if request.keep == "stability" else (change,), 1.0
    needed = needed_learning_rate(request, 1, momentum)
    reached = limit / needed
    text = (
        f"{over} No batch size is small enough"
        + (f": even 1 would need {needed:.6g}" if batch > 1 else "")
        + f". The batch size is 1, the learning rate {limit:.6g}, and the noise "
        f"{100.0 * reached:.3g} % of what the rule asks for: more is not known to be safe at this "
        "width."
    )
    changes = (Change(knob="batch_size", text=text), Change(knob="learning_rate", text=text))
    return 1, changes if batch > 1 else changes[1:], reached


def _limit_words(request: Request) -> str:
    if request.max_stable is None:
        return "the tuned one, which is the largest that is known to be stable"
    whole = request.keep == "largest_batch" or request.usable_share == 1.0
    part = "" if whole else f"{request.usable_share:.0%} of "
    return f"{part}the largest stable one"


def _up_to(limit: float) -> float:
    return limit * (1.0 + _SLACK)


def with_growth(request: Request, growth: float, max_stable: float | None) -> Request:
    """The same request at another noise and another largest stable learning rate."""
    return replace(request, growth=growth, max_stable=max_stable)


@dataclass(frozen=True, kw_only=True)
class EquivalentChoice:
    """One point of the line.

    Attributes:
        learning_rate, batch_size, momentum: ε, B, m with the plan's ḡ.
        usable: whether ε is at most the part of the largest stable learning rate that a plan
            goes up to; None if that rate is unknown.
        stable: whether ε is at most the largest stable learning rate itself; None likewise. Both
            take that rate to be the same at every batch size and momentum.
        chosen: whether it is the plan's own.
    """

    learning_rate: float
    batch_size: int
    momentum: float
    usable: bool | None
    stable: bool | None
    chosen: bool = False


def equivalent_choices(
    request: Request, chosen: Setting, ceiling_batch_size: int | None
) -> tuple[EquivalentChoice, ...]:
    """Choices of the same ḡ: B from 1 upward in powers of two, and the plan's, at a few momenta.

    Args:
        request: whose base, growth and limits define the line; its growth is the plan's own.
        chosen: the plan's setting.
        ceiling_batch_size: the largest batch size that is still optimal, if known.
    """
    momenta = sorted({*COMMON_MOMENTA, request.base.momentum, chosen.momentum})
    last = max(chosen.batch_size, request.base.batch_size, ceiling_batch_size or 1)
    limit = min(request.max_batch_size or _LARGEST_BATCH, 2 * min(last, _LARGEST_BATCH))
    batches = sorted({*_powers_of_two(limit), chosen.batch_size})
    return tuple(
        _choice(request, chosen, batch, momentum) for momentum in momenta for batch in batches
    )


def _choice(request: Request, chosen: Setting, batch: int, momentum: float) -> EquivalentChoice:
    rate = needed_learning_rate(request, batch, momentum)
    return EquivalentChoice(
        learning_rate=rate,
        batch_size=batch,
        momentum=momentum,
        usable=_within(rate, request.max_stable, request.usable_share),
        stable=_within(rate, request.max_stable, 1.0),
        chosen=(batch, momentum) == (chosen.batch_size, chosen.momentum),
    )


def _within(rate: float, max_stable: float | None, share: float) -> bool | None:
    return None if max_stable is None else rate <= share * max_stable * (1.0 + _SLACK)


def _powers_of_two(limit: int) -> Iterable[int]:
    return (2**i for i in range(limit.bit_length()) if 2**i <= limit)
