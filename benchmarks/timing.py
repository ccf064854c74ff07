"""Processes that train on command, and rounds in which the ways take turns.

The processes live as long as the benchmark; each is loaded, warmed up and idle when its turn
comes, so that a block's time holds nothing but training. Because the ways take turns, what else
happens on the machine hits all of them alike.
"""

import multiprocessing
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.cells import Cell
from benchmarks.peers.base import Task
from benchmarks.server import serve
from benchmarks.ways import Way, cores

# Operations of all replicas together in the trial blocks that size the timed ones.
_TRIAL_FLOPS = 1e10
_MAX_TRIAL_STEPS = 24
# A way whose blocks take longer than asked for, because a single step does, takes part in fewer
# rounds: in all of them together it may take this many times what the others take.
_PATIENCE = 3.0
_MIN_ROUNDS = 2
_RELATIVE_TOLERANCE = 2e-3


class WayFailedError(RuntimeError):
    """A way raised, or trained something else than the others."""


@dataclass(frozen=True)
class Measurement:
    """What the ways did in one cell.

    Attributes:
        times: way → µs a step and run (a product, for the peaks) in each round. A slow way has
            fewer rounds than the others: the first ones.
        memory: way → most bytes that its processes held in training, together, beyond what they
            held before they built the networks. The evaluation is not in it, nor are the data,
            but on a card.
        remarks: way → what it says of how it trains, if anything.
    """

    times: dict[str, list[float]]
    memory: dict[str, int]
    remarks: dict[str, str] = field(default_factory=dict)


class Team:
    """The processes of one way."""

    def __init__(self, way: Way) -> None:
        self.way = way
        context = multiprocessing.get_context("spawn")
        self._members = []
        every = cores()
        for k in range(way.processes):
            here, there = context.Pipe()
            process = context.Process(
                target=serve, args=(there, way, every[k] if way.pinned else None), daemon=True
            )
            process.start()
            there.close()
            self._members.append((process, here))

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._members:
            connection.close()
            process.join()

    def start(self, cell: Cell, steps: int, blocks: int) -> None:
        """Build the replicas of a cell, afresh."""
        seeds = np.arange(self.way.num_replicas(cell.num_replicas))
        parts = np.array_split(seeds, len(self._members))
        for (_, connection), part in zip(self._members, parts, strict=True):
            connection.send(
                Task(
                    cell=cell,
                    seeds=tuple(part.tolist()),
                    steps=steps,
                    blocks=blocks,
                    device=self.way.device,
                )
            )
        self._expect("ready")

    def stop(self) -> None:
        """Drop the replicas, and the memory that they take."""
        self._ask("stop")
        self._expect("stopped")

    def block(self) -> float:
        """Seconds from the word go until the last process has trained its block."""
        begun = perf_counter()
        self._ask("block")
        self._expect("trained")
        return perf_counter() - begun

    def losses(self) -> list[float]:
        """Of every replica, by seed."""
        self._ask("losses")
        return [loss for answer in self._expect(list) for loss in answer]

    def memory(self) -> int:
        """Bytes held at most since the replicas are built, all processes together."""
        self._ask("memory")
        return sum(self._expect(int))

    def whole_memory(self) -> int:
        """The same, building them included."""
        self._ask("whole_memory")
        return sum(self._expect(int))

    def remark(self) -> str:
        """What the first process says of how it trains; empty for most ways."""
        self._ask("remark")
        return str(self._expect(list)[0][0])

    def _ask(self, order: str) -> None:
        for _, connection in self._members:
            connection.send(order)

    def _expect(self, wanted: str | type) -> list[Any]:
        answers = []
        for _, connection in self._members:
            try:
                answer = connection.recv()
            except (EOFError, ConnectionResetError):
                raise WayFailedError(f"{self.way.name}: a process died") from None
            if answer != wanted and not (isinstance(wanted, type) and isinstance(answer, wanted)):
                raise WayFailedError(f"{self.way.name}: {answer}")
            answers.append(answer)
        return answers


def time_cell(
    teams: Sequence[Team],
    cell: Cell,
    *,
    rounds: int,
    seconds: float,
    min_steps: int = 1,
    relative_tolerance: float = _RELATIVE_TOLERANCE,
) -> Measurement:
    """Time every way in a cell.

    Args:
        teams: who takes part.
        cell: what is trained.
        rounds: how often each way is timed, unless it is slow.
        seconds: about how long each time.
        min_steps: steps that a pack takes in a row at least, however long that lasts.
        relative_tolerance: how far losses may be apart after the trial steps.

    Raises:
        WayFailedError: if a way fails, or its losses after the trial steps are not those of the
            first way.
    """
    trial = int(np.clip(_TRIAL_FLOPS / (cell.flops * cell.num_replicas), 1, _MAX_TRIAL_STEPS))
    steps, turns = {}, {}
    reference: list[float] = []
    for team in teams:
        name = team.way.name
        team.start(cell, trial, blocks=2)
        # The second of two: the first one warms up.
        each = [team.block() for _ in range(2)][1] / trial
        steps[name] = max(min_steps, round(seconds / each))
        turns[name] = num_turns(steps[name] * each, rounds=rounds, seconds=seconds)
        if team.way.trains:
            losses = team.losses()
            reference = reference or losses
            require_agreement(name, losses, reference, relative_tolerance=relative_tolerance)
        team.stop()
    for team in teams:
        name = team.way.name
        # Without it if its blocks are long; but on a card steps are recorded in the first block.
        warm_up = turns[name] > _MIN_ROUNDS or team.way.device != "cpu"
        team.start(cell, steps[name], blocks=turns[name] + warm_up)
        if warm_up:
            team.block()
    times: dict[str, list[float]] = {team.way.name: [] for team in teams}
    for k in range(rounds):
        # Who follows whom changes from round to round.
        for team in [*teams[k % len(teams) :], *teams[: k % len(teams)]]:
            name = team.way.name
            if k < turns[name]:
                runs = team.way.num_replicas(cell.num_replicas) if team.way.trains else 1
                times[name].append(1e6 * team.block() / (steps[name] * runs))
    trained = [team for team in teams if team.way.trains]
    memory = {team.way.name: team.memory() for team in trained}
    remarks = {team.way.name: team.remark() for team in trained}
    for team in teams:
        team.stop()
    return Measurement(times, memory, {name: text for name, text in remarks.items() if text})


def num_turns(block_seconds: float, *, rounds: int, seconds: float) -> int:
    """In how many of the rounds a way takes part whose blocks take so long.

    >>> num_turns(0.6, rounds=7, seconds=0.5), num_turns(30.0, rounds=7, seconds=0.5)
    (7, 2)
    """
    affordable = int(_PATIENCE * rounds * seconds / block_seconds)
    return min(rounds, max(_MIN_ROUNDS, affordable))


def require_agreement(
    name: str,
    losses: Sequence[float],
    reference: Sequence[float],
    *,
    of: str = "the first way",
    relative_tolerance: float = _RELATIVE_TOLERANCE,
) -> None:
    """All ways begin with the same weights and see the same batches: so must their losses.

    Args:
        name: of the way.
        losses: of its replicas, the first of those in the reference, or all.
        reference: losses of what it is compared with.
        of: what that is.
        relative_tolerance: how far they may be apart.

    Raises:
        WayFailedError: if these do not agree within rounding.
    """
    expected = reference[: len(losses)]
    if len(losses) != len(expected) or not np.allclose(
        losses, expected, rtol=relative_tolerance, atol=0.0
    ):
        raise WayFailedError(
            f"{name} trains something else than {of}: losses {losses}, not {expected}"
        )


def assemble(stack: ExitStack, selected: Sequence[Way]) -> list[Team]:
    """Start the processes of these ways; they end with the stack."""
    return [stack.enter_context(Team(way)) for way in selected]
