"""Adaptive search: which settings and seeds to run next, so that the optimum is found cheaply.

Pure and deterministic: no training, no files. `next_round` is called with what has landed and says
what to run next, or that the search is finished and why. docs/search.md has the reasons.
"""

from widthwise.search.problem import (
    Lattice,
    Observations,
    Proposal,
    Reason,
    Runs,
    SearchTarget,
    octave_lattice,
)
from widthwise.search.rounds import next_round, propose

__all__ = [
    "Lattice",
    "Observations",
    "Proposal",
    "Reason",
    "Runs",
    "SearchTarget",
    "next_round",
    "octave_lattice",
    "propose",
]
