"""How many replicas a pack should hold, measured: more share the overhead of an operation, fewer
stay in the caches.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import torch

from widthwise.data import Dataset
from widthwise.families import WidthFamily
from widthwise.recipe import Recipe
from widthwise.study.timing import time_step

# A larger pack must be faster by this much a run: smaller ones spread better over cores.
_WORTHWHILE = 0.97
# Sizes are tried in ascending order until, twice, a run takes this much longer than with the best.
_HOPELESS = 1.2
_BATCH_SIZES = 3  # measured at each width; the others take the nearest one's


def best_size(largest: int, seconds: Callable[[int], float]) -> int:
    """The number of replicas with the least time a replica: 1, 2, 4, … or ``largest``.

    Args:
        largest: most replicas, at least 1.
        seconds: number of replicas → time of a step of the pack.

    >>> best_size(16, lambda replicas: 5.0 + replicas)  # overhead to share
    16
    >>> best_size(16, lambda replicas: replicas if replicas <= 4 else 2 * replicas)  # caches
    1
    """
    each: dict[int, float] = {}
    hopeless = 0
    for size in _powers_of_two(largest):
        each[size] = seconds(size) / size
        hopeless = hopeless + 1 if each[size] > _HOPELESS * min(each.values()) else 0
        if hopeless == 2:  # one may have met a slow moment of the machine
            break
    if len(each) > 1:  # once more, so that such a moment does not decide
        each = {size: min(before, seconds(size) / size) for size, before in each.items()}
    best = 1
    for size, time in each.items():
        if time < _WORTHWHILE * each[best]:
            best = size
    return best


def measured_sizes(
    family: WidthFamily,
    dataset: Dataset,
    recipe: Recipe,
    largest: Mapping[tuple[float, int], int],
    *,
    momentum: float,
    device: torch.device | None = None,
) -> dict[tuple[float, int], int]:
    """The best size of a pack for each (widening factor, batch size).

    Args:
        family, dataset, recipe: what is trained.
        largest: (widening factor, batch size) → most replicas.
        momentum: of the runs, or of some of them.
        device: where; None is the CPU.
    """
    sizes: dict[tuple[float, int], int] = {}
    for width in sorted({width for width, _ in largest}):
        batches = sorted(batch for w, batch in largest if w == width)
        measured = {
            batch: best_size(
                largest[width, batch],
                lambda replicas, w=width, b=batch: time_step(  # type: ignore[misc]
                    family, dataset, recipe, w, b, replicas, momentum, device
                ),
            )
            for batch in _spread(batches)
        }
        for batch in batches:
            nearest = min(measured, key=lambda b: abs(math.log(b / batch)))
            sizes[width, batch] = min(measured[nearest], largest[width, batch])
    return sizes


def _spread(batches: list[int]) -> list[int]:
    """The smallest, the largest and those between, evenly.

    >>> _spread([1, 2, 4, 8, 16])
    [1, 4, 16]
    """
    count = min(_BATCH_SIZES, len(batches))
    last = len(batches) - 1
    return sorted({batches[round(i * last / max(1, count - 1))] for i in range(count)})


def _powers_of_two(largest: int) -> Iterable[int]:
    """
    >>> list(_powers_of_two(6))
    [1, 2, 4, 6]
    """
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest
