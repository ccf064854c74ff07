"""Neighboring widths tell each other where to begin, never where the optimum is."""

from collections.abc import Container, Sequence

import numpy as np

from widthwise.search.bracket import extension, opening
from widthwise.search.state import WidthState
from widthwise.search.steps import Step, step

# Seeds of a setting that is run for the first time while the peak is not bracketed.
BRACKET_SEEDS = 2
# Exponent assumed from one width to the next while no two are located: between the two of
# interest, constant and proportional.
PRIOR_EXPONENT = 0.5


def needed_to_bracket(
    states: Sequence[WidthState], active: Sequence[int], located: Sequence[int]
) -> list[Step]:
    """First settings of widths that can begin, and further ones of those not yet bracketed."""
    steps = []
    for i in active:
        state = states[i]
        if not state.begun:
            begins = (
                _beside(states, i, active, located)
                if located
                else _first_to_open(states, active) == i
            )
            if begins:
                first = opening(state.lattice, expected_peak(states, i, located))
                steps += [step(states, i, k, BRACKET_SEEDS) for k in first]
        elif i not in located:
            steps += [step(states, i, k, BRACKET_SEEDS) for k in extension(state)]
    return steps


def early_openings(
    states: Sequence[WidthState], active: Sequence[int], beginning: Container[int]
) -> list[list[Step]]:
    """First settings of the widths that would still wait for a neighbor, the cheapest width first.

    For workers who would otherwise idle: such a width begins at its noisy end, like the first.
    """
    waiting = [i for i in active if not states[i].begun and i not in beginning]
    return [
        [step(states, i, k, BRACKET_SEEDS) for k in opening(states[i].lattice, None)]
        for i in sorted(waiting, key=lambda i: (_typical_cost(states[i]), i))
    ]


def _first_to_open(states: Sequence[WidthState], active: Sequence[int]) -> int | None:
    """The cheapest width, unless one is being bracketed."""
    if any(states[i].begun for i in active):
        return None
    return min(active, key=lambda i: (_typical_cost(states[i]), i))


def _typical_cost(state: WidthState) -> float:
    return float(np.median(state.lattice.cost))


def _beside(
    states: Sequence[WidthState], width: int, active: Sequence[int], located: Sequence[int]
) -> bool:
    """Whether no width still to be located lies between this one and the nearest located one."""
    factors = np.log([s.lattice.widening_factor for s in states])
    nearest = min(located, key=lambda j: abs(factors[j] - factors[width]))
    low, high = sorted((factors[nearest], factors[width]))
    return not any(low < factors[j] < high for j in active if j not in located)


def expected_peak(states: Sequence[WidthState], width: int, located: Sequence[int]) -> float | None:
    """log2 of the best noise scale that the located widths let one expect; None if there are none.

    The nearest one's, shifted by the exponent through all of them. Only where to begin rests on
    it: a width's interval uses its own runs alone.
    """
    if not located:
        return None
    factors = np.log2([s.lattice.widening_factor for s in states])
    peaks = np.array([states[j].peak for j in located])
    x = factors[list(located)]
    exponent = PRIOR_EXPONENT
    if np.ptp(x) > 0.0:
        exponent = float(np.clip(np.polyfit(x, peaks, 1)[0], 0.0, 1.0))
    nearest = int(np.argmin(np.abs(x - factors[width])))
    return float(peaks[nearest] + exponent * (factors[width] - x[nearest]))
