"""The line of equivalent choices: every (ε, B, m) with the plan's ḡ."""

from collections.abc import Iterable
from dataclasses import dataclass

from widthwise.adviser.solving import Request, Setting, needed_learning_rate

# Momenta that people use, beside the base's and the plan's.
COMMON_MOMENTA = (0.0, 0.9)
# The line goes on to twice the largest batch size of interest, up to this one.
_LARGEST_BATCH = 2**20


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
    return None if max_stable is None else rate <= share * max_stable * (1.0 + 1e-12)


def _powers_of_two(limit: int) -> Iterable[int]:
    return (2**i for i in range(limit.bit_length()) if 2**i <= limit)
