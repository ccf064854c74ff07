"""The largest batch that is still optimal, and the width from which that matters.

B ≤ ε_max(w) / ((1−m) σ_init²(w) ḡ_opt(w)) (Park et al. 2019, arXiv:1905.03776). With ε_max ∝ w^−q
the ceiling is ∝ w^−(q+s+e): a closed form in the exponents.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from widthwise.errors import InputError, real_number

Interval = tuple[float, float]
_LARGEST_LOG = 700.0
_BATCH_SIZE_CAVEAT = (
    "This takes ε_max to be the same at every batch size, which holds for large batches only: "
    "smaller ones are noisier, and bear less. What was measured at batch size 1 is safe for every "
    "batch size."
)


@runtime_checkable
class StableRate(Protocol):
    """A measured largest stable learning rate, such as widthwise.probes.StableLearningRate."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> Interval: ...
    @property
    def widening_factor(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class StableLaw(Protocol):
    """ε_max ∝ w^−exponent, measured, such as widthwise.probes.StabilityLaw."""

    @property
    def exponent(self) -> float: ...
    @property
    def interval(self) -> Interval: ...
    def predict(self, widening_factor: float) -> tuple[float, Interval]: ...


@dataclass(frozen=True, kw_only=True)
class StableRange:
    """The largest stable learning rate at the target, as far as it is known.

    Attributes:
        value: ε_max at the target; None if it is not known.
        interval: of the value; None if none was given.
        base_value: ε_max at w = 1; None if it is not known.
        exponent: q in ε_max ∝ w^−q; None if it is not known.
        momentum, batch_size: at which it was measured; None if that was not said.
        source: where it comes from, or, if it is not known, what is missing.
    """

    value: float | None
    interval: Interval | None = None
    base_value: float | None = None
    exponent: float | None = None
    momentum: float | None = None
    batch_size: int | None = None
    source: str

    def base_share(self, learning_rate: float, batch_size: int) -> float | None:
        """The base's ε as a part of ε_max at the base; None if that is not known.

        Measured at smaller batches than the base's, ε_max is at least that and at most in
        proportion larger at the base's: the share is the smaller one.
        """
        if self.base_value is None:
            return None
        measured = batch_size if self.batch_size is None else self.batch_size
        return learning_rate / self.base_value * min(1.0, measured / batch_size)


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The largest batch size that is still optimal at the target width.

    It takes ε_max to be the same at every batch size, which holds for large batches only.

    Attributes:
        max_stable_learning_rate: ε_max at the target; None if it is not known.
        max_stable_batch_size, max_stable_momentum: at which it was measured; None if that was not
            said: it is then taken to hold at the base's.
        max_stable_interval: of ε_max; None if none was given.
        exact_batch_size: the ceiling as a real number; below 1, no batch is small enough. None if
            ε_max is not known.
        batch_size: the largest whole number below it; 0 if there is none.
        interval: of `exact_batch_size`, end to end of the intervals it is made of; None if none
            was given.
        binds_from: the widening factor from which the base's batch size is above the ceiling, at
            the base's momentum. Below 1: it is at the base already. None: never, or not known.
        exhausted_from: the widening factor from which not even a batch of 1 is below the ceiling.
        learning_rate_binds_from: the widening factor from which the base's learning rate is
            above ε_max.
        why: what these numbers rest on, or why there are none.
        measure: a command that measures what is missing; None if nothing is.
    """

    max_stable_learning_rate: float | None
    max_stable_batch_size: int | None = None
    max_stable_momentum: float | None = None
    max_stable_interval: Interval | None = None
    exact_batch_size: float | None = None
    batch_size: int | None = None
    interval: Interval | None = None
    binds_from: float | None = None
    exhausted_from: float | None = None
    learning_rate_binds_from: float | None = None
    why: str
    measure: str | None = None


def stable_range(
    max_stable: float | StableRate | None,
    measured_at: float,
    exponent: float | StableLaw | None,
    widening_factor: float,
    batch_size: int | None = None,
) -> StableRange:
    """ε_max at the target from what was given.

    Args:
        max_stable: a number, or a measured value that knows its widening factor.
        measured_at: the widening factor at which a bare number holds.
        exponent: q of ε_max ∝ w^−q, or a measured law.
        widening_factor: of the target.
        batch_size: at which a bare number or a law was measured; None if that was not said.

    Raises:
        InputError: if a number is not positive and finite.
    """
    measured_at = _positive("the widening factor of max_stable_learning_rate", measured_at)
    if batch_size is not None:
        examples = real_number("max_stable_batch_size", batch_size)
        if not (examples >= 1.0 and examples % 1.0 == 0.0):
            rule = "at least 1" if examples < 1.0 else "a whole number"
            raise InputError(
                f"max_stable_batch_size must be {rule}, got {batch_size!r}",
                fields=("max_stable_batch_size",),
            )
        batch_size = int(examples)
    q, q_interval, law = _exponent(exponent)
    if max_stable is None:
        return _from_law(law, q, widening_factor, batch_size)
    if isinstance(max_stable, StableRate):
        value, interval = max_stable.value, max_stable.interval
        measured_at, momentum = max_stable.widening_factor, max_stable.momentum
        batch_size = max_stable.batch_size
    else:
        value, interval, momentum = max_stable, None, None
    value = _positive("max_stable_learning_rate", value)
    ratio = widening_factor / measured_at
    here = f"ε_max = {value:.6g} at widening factor {measured_at:g}"
    if ratio == 1.0 or q is not None:
        scaled = value * ratio ** -(q or 0.0)
        power = f"{0.0 - (q or 0.0):g}"
        moved = "" if ratio == 1.0 else f", carried to {widening_factor:g} by {_falls(power)}"
        return StableRange(
            value=scaled,
            interval=_carried(interval or (value, value), ratio, q_interval)
            if interval or (q_interval and ratio != 1.0)
            else None,
            base_value=value * measured_at**q
            if q is not None
            else (value if measured_at == 1.0 else None),
            exponent=q,
            momentum=momentum,
            batch_size=batch_size,
            source=f"{here}{moved}",
        )
    return StableRange(
        value=None,
        base_value=value if measured_at == 1.0 else None,
        momentum=momentum,
        batch_size=batch_size,
        source=f"{here}, but how it changes with width is not known: give stability_exponent "
        "or measure it at the target",
    )


def ceiling(
    stable: StableRange,
    *,
    noise: float,
    base_noise: float,
    noise_exponent: float,
    noise_interval: Interval | None,
    momentum: float,
    base_momentum: float,
    base_learning_rate: float,
    base_batch_size: int,
    measure: str,
) -> Ceiling:
    """The ceiling at the target, and the widths at which it binds.

    Args:
        noise, noise_interval: wanted ε/(B(1−m)) at the target, whether it is reached or not.
        base_noise: at the base.
        noise_exponent: s + e in ε/(B(1−m)) ∝ w^(s+e).
        momentum: of the target's setting; the widths are for the base's.
        measure: the command that measures ε_max.
    """
    binds, exhausted, rate_binds = _binding(
        stable, noise_exponent, base_noise, base_momentum, base_learning_rate, base_batch_size
    )
    if stable.value is None:
        return Ceiling(
            max_stable_learning_rate=None,
            max_stable_batch_size=stable.batch_size,
            max_stable_momentum=stable.momentum,
            why=f"Not known: {stable.source}.",
            measure=measure,
            binds_from=binds,
            exhausted_from=exhausted,
            learning_rate_binds_from=rate_binds,
        )
    exact = stable.value / ((1.0 - momentum) * noise)
    spread = None
    if stable.interval or noise_interval:
        low_rate, high_rate = stable.interval or (stable.value, stable.value)
        low_noise, high_noise = noise_interval or (noise, noise)
        spread = (
            low_rate / ((1.0 - momentum) * high_noise),
            high_rate / ((1.0 - momentum) * low_noise) if low_noise > 0.0 else math.inf,
        )
    return Ceiling(
        max_stable_learning_rate=stable.value,
        max_stable_batch_size=stable.batch_size,
        max_stable_momentum=stable.momentum,
        max_stable_interval=stable.interval,
        exact_batch_size=exact,
        batch_size=math.floor(exact * (1.0 + 1e-12)),
        interval=spread,
        why=f"B ≤ ε_max/((1−m) σ_init² ḡ), with {stable.source}. {_BATCH_SIZE_CAVEAT}",
        measure=None if stable.exponent is not None else measure,
        binds_from=binds,
        exhausted_from=exhausted,
        learning_rate_binds_from=rate_binds,
    )


def _binding(
    stable: StableRange,
    noise_exponent: float,
    base_noise: float,
    base_momentum: float,
    base_learning_rate: float,
    base_batch_size: int,
) -> tuple[float | None, float | None, float | None]:
    """The widths from which the base's B is above the ceiling, B = 1 is, and the base's ε is."""
    base_rate, q = stable.base_value, stable.exponent
    if base_rate is None or q is None:
        return None, None, None
    base_ceiling = base_rate / ((1.0 - base_momentum) * base_noise)
    falls = q + noise_exponent
    return (
        _crossing(base_ceiling / base_batch_size, falls),
        _crossing(base_ceiling, falls),
        _crossing(base_rate / base_learning_rate, q),
    )


def _crossing(margin: float, exponent: float) -> float | None:
    """The w at which margin · w^−exponent falls to 1; None if it does not fall with width.

    >>> _crossing(16.0, 2.0), _crossing(16.0, 0.0)
    (4.0, None)
    """
    if exponent <= 0.0:
        return None
    # Beyond what a float holds is never.
    reached = math.log(margin) / exponent < _LARGEST_LOG
    return float(margin ** (1.0 / exponent)) if reached else None


def _exponent(
    exponent: float | StableLaw | None,
) -> tuple[float | None, Interval | None, StableLaw | None]:
    if exponent is None:
        return None, None, None
    if isinstance(exponent, StableLaw):
        return exponent.exponent, exponent.interval, exponent
    value = real_number("stability_exponent", exponent)
    if not math.isfinite(value):
        raise InputError(
            f"stability_exponent must be finite, got {exponent!r}", fields=("stability_exponent",)
        )
    return value, None, None


def _from_law(
    law: StableLaw | None, q: float | None, widening_factor: float, batch_size: int | None
) -> StableRange:
    if law is not None:
        value, interval = law.predict(widening_factor)
        return StableRange(
            value=value,
            interval=interval,
            base_value=law.predict(1.0)[0],
            exponent=law.exponent,
            batch_size=batch_size,
            source=f"ε_max = {value:.6g} from the measured law "
            f"{_falls(f'{0.0 - law.exponent:.2f}')}",
        )
    return StableRange(
        value=None,
        exponent=q,
        source="the largest stable learning rate is not known: give max_stable_learning_rate",
    )


def _falls(power: str) -> str:
    """With the sign of print."""
    return f"ε_max ∝ w^{power}".replace("-", "−")


def _carried(interval: Interval, ratio: float, exponents: Interval | None) -> Interval:
    """Ends of value · ratio^−q over both intervals."""
    powers = [ratio**-q for q in exponents] if exponents and ratio != 1.0 else [1.0]
    return interval[0] * min(powers), interval[1] * max(powers)


def _positive(name: str, value: float) -> float:
    number = real_number(name, value)
    if not (math.isfinite(number) and number > 0.0):
        raise InputError(
            f"{name} must be positive and finite, got {value!r}",
            fields=("max_stable_learning_rate",),
        )
    return number
