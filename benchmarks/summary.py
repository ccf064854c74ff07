"""From times of rounds to ratios: pure functions on numbers."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Times = Mapping[str, Sequence[float]]  # way → time in each round


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0)
        """
        return cls(statistics.median(values), min(values), max(values))


def paired_ratios(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Time over the reference's, round by round: what slows a round down cancels.

    Args:
        times: of a way, in the rounds in which it took part, which are the first ones.
        reference: of the reference, in all rounds.

    >>> paired_ratios([4.0, 8.0], [2.0, 4.0])
    [2.0, 2.0]
    """
    if len(times) > len(reference):
        raise ValueError(
            f"ratios need the reference in every round, got {len(times)} rounds and "
            f"{len(reference)} of the reference"
        )
    return [time / base for time, base in zip(times, reference, strict=False)]


def fastest(times: Times, names: Sequence[str]) -> str:
    """The way with the smallest median time.

    >>> fastest({"a": [1.0, 9.0, 9.0], "b": [2.0, 2.0, 10.0]}, ["a", "b"])
    'b'
    """
    return min(names, key=lambda name: statistics.median(times[name]))


def geometric_mean(values: Sequence[float]) -> float:
    """
    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def against_best(cells: Sequence[Times], ours: str, names: Sequence[str]) -> list[list[float]]:
    """Ratios of the fastest of ``names`` in each cell to ours: a list of rounds a cell.

    The fastest is chosen by its median, once a cell, not anew in every round.
    """
    return [paired_ratios(times[fastest(times, names)], times[ours]) for times in cells]


def overall(ratios: Sequence[Sequence[float]]) -> Spread:
    """Geometric mean over cells of the median ratios; spread over the rounds that all cells have.

    Args:
        ratios: cell → ratio in each round.

    >>> overall([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0]])
    Spread(median=2.0, low=2.0, high=2.0)
    """
    center = geometric_mean([statistics.median(cell) for cell in ratios])
    # zip ends with the shortest: a slow way has fewer rounds.
    by_round = [geometric_mean(each) for each in zip(*ratios, strict=False)]
    return Spread(center, min(by_round), max(by_round))
