"""Planted curves, and a search driven to its end on them."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from widthwise.search import (
    Lattice,
    Observations,
    Proposal,
    SearchTarget,
    next_round,
    octave_lattice,
)

FloatArray = NDArray[np.float64]
LATTICE = octave_lattice(2.0**-5, 2.0**5)
NUM_SEEDS = 64


def parabola(peak: float, curvature: float = 0.01) -> Callable[[FloatArray], FloatArray]:
    return lambda octaves: 0.8 - curvature * (octaves - peak) ** 2


def table(
    curve: Callable[[FloatArray], FloatArray],
    *,
    noise: float = 0.004,
    seed: int = 0,
    lattice: Lattice = LATTICE,
    num_seeds: int = NUM_SEEDS,
) -> Observations:
    """Every run that could be asked for."""
    rng = np.random.default_rng(seed)
    scores = curve(lattice.octaves)[:, None] + noise * rng.standard_normal(
        (lattice.size, num_seeds)
    )
    return Observations(scores=scores, ran=np.ones(scores.shape, dtype=bool))


def land(
    landed: Sequence[Observations], proposal: Proposal, full: Sequence[Observations]
) -> list[Observations]:
    return [
        own.with_runs([r for r in proposal.runs if r.width == i], full[i])
        for i, own in enumerate(landed)
    ]


def drive(
    full: Sequence[Observations],
    target: SearchTarget,
    *,
    lattices: Sequence[Lattice] = (LATTICE,),
    workers: int = 8,
    max_rounds: int = 100,
) -> tuple[list[Proposal], list[Observations]]:
    """All rounds of a search, the last one finished unless max_rounds came first."""
    landed = [Observations.none(lattice) for lattice in lattices]
    rounds: list[Proposal] = []
    for number in range(1, max_rounds + 1):
        proposal = next_round(landed, lattices, target, workers=workers, number=number)
        rounds.append(proposal)
        if proposal.finished:
            break
        landed = land(landed, proposal, full)
    return rounds, landed
