"""Where to begin at a width, and where to go on while its peak is not bracketed.

Neighboring widths tell each other where to begin, never where the optimum is.
"""

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from widthwise.search.problem import Lattice
from widthwise.search.state import WidthState
from widthwise.search.steps import Step, step

# Settings of a width about which nothing is known: from the noisy end downwards, an octave or more
# apart, each at most so many times as dear as the one before.
FIRST_SETTINGS = 4
DEARER = 2.0
# The estimate must lie so far (octaves) inside what was run before refining begins.
MARGIN = 0.5
# ... and below, where runs are dear, so far if nothing else shows that it is lower.
LOW_REACH = 1.0
# More than this share of the draws beyond an end of the lattice: the optimum is not inside.
BEYOND_SHARE = 0.8
# ... judged from no fewer seeds than this of every setting that is fitted.
EDGE_SEEDS = 6
# A level top is believed once so many of the settings that tie have EDGE_SEEDS.
TIES = 3
# Seeds of a setting that is run for the first time while the peak is not bracketed.
BRACKET_SEEDS = 2
# Exponent assumed from one width to the next while no two are located: between the two of
# interest, constant and proportional.
PRIOR_EXPONENT = 0.5


def octave_stride(lattice: Lattice) -> int:
    """Lattice steps in an octave, at least one."""
    return max(1, round(1.0 / float(np.median(np.diff(lattice.octaves)))))


def opening(lattice: Lattice, expected: float | None) -> list[int]:
    """First settings: round the expected peak (log2), or from the cheap, noisy end downwards."""
    stride, last = octave_stride(lattice), lattice.size - 1
    if expected is None:
        return _downwards(lattice, stride)
    middle = int(np.argmin(np.abs(lattice.octaves - expected)))
    middle = min(max(middle, min(stride, last)), max(last - stride, 0))
    return sorted({min(max(middle + i * stride, 0), last) for i in range(-1, 2)})


def _downwards(lattice: Lattice, stride: int) -> list[int]:
    """An octave apart where each is twice as dear as the last, else over the whole lattice."""
    last = lattice.size - 1
    widest = max(stride, last // (FIRST_SETTINGS - 1))
    chosen = [last]
    while len(chosen) < FIRST_SETTINGS and chosen[-1] > 0:
        top = chosen[-1]
        allowed = DEARER * lattice.cost[top] * (1.0 + 1e-9)
        far = [k for k in range(max(top - widest, 0), top) if lattice.cost[k] <= allowed]
        chosen.append(min(far[0] if far else top, max(top - stride, 0)))
    return sorted(chosen)


def extension(state: WidthState) -> list[int]:
    """Settings that were not run and are needed to bracket the peak; empty if it is bracketed."""
    stride, last = octave_stride(state.lattice), state.lattice.size - 1
    ran = np.flatnonzero(state.counts > 0)
    if state.optimum is None:
        return _toward_three(state, ran, stride)
    usable = np.flatnonzero(state.usable)
    wanted: list[int] = []
    below, above = state.bracketed
    room, room_above = state.room
    if (
        ran[0] > 0
        and not below
        and (room < MARGIN - 1e-9 or (state.open_below and room < LOW_REACH - 1e-9))
    ):
        wanted.append(max(0, int(ran[0]) - stride))
    if not above and room_above < MARGIN - 1e-9:
        limit = _first_unstable_above(state, int(usable[-1]))
        if limit is None:
            # Every further octave is half the cost, so two at once.
            top = int(usable[-1])
            wanted += sorted({min(top + stride, last), min(top + 2 * stride, last)} - {top})
        elif limit - usable[-1] > 1:
            wanted.append((int(usable[-1]) + limit) // 2)
    return [k for k in wanted if state.counts[k] == 0]


def _toward_three(state: WidthState, ran: NDArray[np.intp], stride: int) -> list[int]:
    """Settings on the way to three stable ones: downwards first, then up, then between."""
    missing = 3 - int(np.sum(state.usable))
    last = state.lattice.size - 1
    down = [int(ran[0]) - (i + 1) * stride for i in range(missing)]
    wanted = [max(0, k) for k in down] if ran[0] > 0 else []
    if not wanted and not np.any(state.unstable) and ran[-1] < last:
        wanted = [min(last, int(ran[-1]) + (i + 1) * stride) for i in range(missing)]
    if not wanted:
        limit = _first_unstable_above(state, int(ran[0]))
        upper = last if limit is None else limit
        wanted = [k for k in range(upper) if state.counts[k] == 0][:missing]
    return sorted({k for k in wanted if state.counts[k] == 0})


def _first_unstable_above(state: WidthState, index: int) -> int | None:
    above = np.flatnonzero(state.unstable[index + 1 :])
    return index + 1 + int(above[0]) if above.size else None


def at_edge(state: WidthState) -> bool:
    """The peak very probably lies beyond an end at which nothing further can be run.

    So it does between the highest setting that trains and the next, if that diverges.

    Judged only from a peak that is bracketed on the other side, and from enough seeds.
    """
    if state.optimum is None:
        return not extension(state)
    if np.any(state.counts[state.window] < EDGE_SEEDS):
        return False
    usable = np.flatnonzero(state.usable)
    samples = state.optimum.samples
    below, above = state.bracketed
    if usable[0] == 0 and above and np.mean(np.isneginf(samples)) > BEYOND_SHARE:
        return True
    high = int(usable[-1])
    last = high == state.lattice.size - 1 or _first_unstable_above(state, high) == high + 1
    beyond = samples > state.settings.log_noise_scale[-1]
    return bool(last and below and np.mean(beyond) > BEYOND_SHARE)


def on_level_top(state: WidthState) -> bool:
    """The best settings tie, and nothing further can be run that may show where the top ends."""
    return state.optimum is not None and state.optimum.is_flat and not extension(state)


def untested_ties(state: WidthState, max_seeds: int) -> dict[int, int]:
    """Seeds that settings on a level top lack before it is believed; three of them are enough."""
    tied = np.flatnonzero(state.usable)[state.settings.ties]
    chosen = sorted(tied.tolist(), key=lambda k: (-state.counts[k], state.lattice.cost[k]))[:TIES]
    least = min(EDGE_SEEDS, max_seeds)
    return {k: least - int(state.counts[k]) for k in chosen if state.counts[k] < least}


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
