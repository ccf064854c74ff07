"""How long a study may still take, by the time that its runs took so far. A pure function."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from widthwise.runs.key import Run


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """An estimate.

    Attributes:
        seconds: until the last run lands, if all who train now go on; None if nobody does, or
            nothing is known yet.
        hands: processes that train now.
        unknown: widening factors of which no run has landed: what they take is not in `seconds`.
    """

    seconds: float | None
    hands: int
    unknown: tuple[float, ...] = ()


def time_left(
    landed: Iterable[tuple[Run, float]],
    missing: Mapping[str, Run],
    in_flight: Mapping[str, tuple[str, float]],
) -> TimeLeft:
    """Worker seconds that are left, shared out evenly among those who train now.

    A run is taken to cost per step what runs of its width cost, those of the nearest batch size.

    Args:
        landed: runs with the seconds that each took, its share of a pack's.
        missing: key → run, of all that have not landed.
        in_flight: key of a run that is missing → (who trains it, seconds since).
    """
    costs = _seconds_per_step(landed)
    unknown = sorted({run.widening_factor for run in missing.values()} - costs.keys())
    hands = {holder for holder, _ in in_flight.values()}
    if not hands or not costs:
        return TimeLeft(seconds=None, hands=len(hands), unknown=tuple(unknown))
    waiting = 0.0
    at_work = dict.fromkeys(hands, 0.0)
    since = dict.fromkeys(hands, 0.0)
    for key, run in missing.items():
        seconds = _seconds(run, costs.get(run.widening_factor, {}))
        if key in in_flight:
            holder, passed = in_flight[key]
            at_work[holder] += seconds
            since[holder] = max(since[holder], passed)
        else:
            waiting += seconds
    in_hand = [max(0.0, at_work[holder] - since[holder]) for holder in hands]
    evenly = (waiting + sum(in_hand)) / len(hands)
    return TimeLeft(seconds=max(evenly, *in_hand), hands=len(hands), unknown=tuple(unknown))


def _seconds_per_step(landed: Iterable[tuple[Run, float]]) -> dict[float, dict[int, float]]:
    """Widening factor → batch size → seconds per step of one run."""
    sums: dict[float, dict[int, tuple[float, int]]] = {}
    for run, seconds in landed:
        of_width = sums.setdefault(run.widening_factor, {})
        total, steps = of_width.get(run.batch_size, (0.0, 0))
        of_width[run.batch_size] = total + seconds, steps + run.steps
    return {
        width: {batch: total / steps for batch, (total, steps) in of_width.items()}
        for width, of_width in sums.items()
    }


def _seconds(run: Run, costs: Mapping[int, float]) -> float:
    """0 if nothing is known of its width."""
    if not costs:
        return 0.0
    nearest = min(costs, key=lambda batch: abs(math.log(batch / run.batch_size)))
    return costs[nearest] * run.steps
