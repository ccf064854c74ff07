"""On a card as on the CPU: what must hold before anything is timed."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.cells import Cell
from benchmarks.peers import loops
from benchmarks.peers.base import Task
from benchmarks.timing import Team, require_agreement

STEPS = 24
# Relative difference of losses that float32 may make in so many steps. Max-pooling turns rounding
# into another choice of pixel: after 30 steps the same loops in two memory formats were 2e-4 apart
# on a CPU. Of dense networks all ways were within 2e-7 there.
TOLERANCES = {"mlp": 1e-4, "cnn": 2e-3}


def require_cpu_losses(teams: Sequence[Team], cells: Sequence[Cell], num_replicas: int) -> None:
    """Every way must end with the losses of ordinary loops on the CPU, in every cell.

    Args:
        teams: the ways.
        cells: of their replicas only the first are trained; cells that differ in nothing else are
            checked once.
        num_replicas: how many; at least one a process.

    Raises:
        WayFailedError: if one fails, or does not.
    """
    few = (replace(c, num_replicas=num_replicas, pack_size=num_replicas) for c in cells)
    for cell in dict.fromkeys(few):
        expected = _cpu_losses(cell)
        for team in teams:
            if team.way.trains:
                require_agreement(
                    team.way.name,
                    _losses(team, cell),
                    expected,
                    of="loops on the CPU",
                    relative_tolerance=TOLERANCES[cell.network],
                )


def _losses(team: Team, cell: Cell) -> list[float]:
    team.start(cell, STEPS, blocks=1)
    team.block()
    losses = team.losses()
    team.stop()
    return losses


def _cpu_losses(cell: Cell) -> list[float]:
    seeds = tuple(range(cell.num_replicas))
    runner = loops.start(Task(cell=cell, seeds=seeds, steps=STEPS, blocks=1), cell.dataset())
    runner.block()
    return runner.losses()
