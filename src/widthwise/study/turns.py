"""How many workers share a study without standing in each other's way: in which order each goes
through what is left, and when it looks again."""

import math
import random
from collections.abc import Iterable, Set
from typing import Protocol, TypeVar

# Who finds nothing to do looks again; where many hold runs, a look costs a store a request for
# every 1000 of these. Nobody sleeps for longer than half the time after which the silent are gone.
_SECONDS_BETWEEN_LOOKS, _LONGEST_BETWEEN_LOOKS = 1.0, 8.0
_SECONDS_A_CLAIM, _LONGEST_OF_ALL = 0.001, 30.0


class Sized(Protocol):
    """Runs that are trained together.

    Attributes:
        flops: floating-point operations.
        keys: of the runs.
    """

    @property
    def flops(self) -> float: ...

    @property
    def keys(self) -> tuple[str, ...]: ...


_Sized = TypeVar("_Sized", bound=Sized)


def in_own_order(packs: Iterable[_Sized], claimed: Set[str], order: random.Random) -> list[_Sized]:
    """First what nobody claims, the longest first, but those within a factor of two in an order of
    one's own; then the rest. Many workers that all went through the same list would stand in each
    other's way at its head."""
    given, claimed = list(packs), frozenset(claimed)
    drawn = [
        (
            is_claimed := not claimed.isdisjoint(pack.keys),
            0 if is_claimed else -math.frexp(pack.flops)[1],
            order.random(),
            number,
        )
        for number, pack in enumerate(given)
    ]
    return [given[number] for *_, number in sorted(drawn)]


def next_pause(last: float, num_claimed: int) -> float:
    """Seconds until a worker looks again for something to do: more each time.

    Args:
        last: how long it waited before; 0 if it has trained since.
        num_claimed: runs that somebody held when it looked.

    >>> next_pause(0.0, 100), next_pause(8.0, 100), next_pause(16.0, 20_000)
    (1.0, 8.0, 20.0)
    """
    longest = max(_LONGEST_BETWEEN_LOOKS, _SECONDS_A_CLAIM * num_claimed)
    return min(2 * last or _SECONDS_BETWEEN_LOOKS, longest, _LONGEST_OF_ALL)
