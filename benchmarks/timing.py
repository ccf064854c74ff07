"""Processes that train on command, and rounds in which the ways take turns.

The processes live as long as the benchmark; each is loaded, warmed up and idle when its turn
comes, so that a block's time holds nothing but training. Because the ways take turns, what else
happens on the machine hits all of them alike.
"""

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from time import perf_counter

import numpy as np

from benchmarks.cells import Cell, dataset
from benchmarks.peers.base import Runner, Task
from benchmarks.ways import Way, cores

# Operations of all replicas together in the trial blocks that size the timed ones.
_TRIAL_FLOPS = 1e10
_RELATIVE_TOLERANCE = 2e-3


class WayFailedError(RuntimeError):
    """A way raised, or trained something else than the others."""


class Team:
    """The processes of one way."""

    def __init__(self, way: Way) -> None:
        self.way = way
        context = multiprocessing.get_context("spawn")
        self._members = []
        for core in cores()[: way.processes]:
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(there, way, core if way.pinned else None), daemon=True
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
        parts = np.array_split(np.arange(cell.num_replicas), len(self._members))
        for (_, connection), part in zip(self._members, parts, strict=True):
            seeds = tuple(int(seed) for seed in part)
            connection.send(Task(cell=cell, seeds=seeds, steps=steps, blocks=blocks))
        self._expect("ready")

    def block(self) -> float:
        """Seconds from the word go until the last process has trained its block."""
        begun = perf_counter()
        for _, connection in self._members:
            connection.send("block")
        self._expect("trained")
        seconds = perf_counter() - begun
        self._expect("ready")
        return seconds

    def losses(self) -> list[float]:
        for _, connection in self._members:
            connection.send("losses")
        return [loss for answer in self._expect(list) for loss in answer]

    def _expect(self, wanted: str | type) -> list[list[float]]:
        answers = []
        for _, connection in self._members:
            try:
                answer = connection.recv()
            except EOFError:
                raise WayFailedError(f"{self.way.name}: a process died") from None
            if answer != wanted and not (wanted is list and isinstance(answer, list)):
                raise WayFailedError(f"{self.way.name}: {answer}")
            answers.append(answer)
        return answers


def _serve(connection: Connection, way: Way, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})  # before JAX counts the cores
    import torch

    torch.set_num_threads(way.threads)
    torch.set_flush_denormal(True)
    start = importlib.import_module(f"benchmarks.peers.{way.module}").start
    data = dataset()
    runner: Runner | None = None
    try:
        while True:
            order = connection.recv()
            if order == "block":
                assert runner is not None
                runner.block(lambda: connection.send("trained"))
                connection.send("ready")
            elif order == "losses":
                assert runner is not None
                connection.send(runner.losses())
            else:
                runner = None  # frees the memory of the cell before
                runner = start(order, data, **way.options)
                connection.send("ready")
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        connection.send(traceback.format_exc())


def time_cell(
    teams: Sequence[Team], cell: Cell, *, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """µs a step and run (a product, for the peaks) of each way in each round.

    Args:
        teams: who takes part.
        cell: what is trained.
        rounds: how often each way is timed.
        seconds: about how long each time.

    Raises:
        WayFailedError: if a way fails, or its losses after the trial steps are not those of the
            first way.
    """
    flops = cell.flops * cell.num_replicas
    trial = int(np.clip(_TRIAL_FLOPS / flops, 2, 24))
    steps = {}
    reference: list[float] = []
    for team in teams:
        team.start(cell, trial, blocks=2)
        # The second of two: the first one warms up.
        each = [team.block() for _ in range(2)][1] / trial
        steps[team.way.name] = max(2, round(seconds / each))
        if team.way.group != "peak":
            losses = team.losses()
            reference = reference or losses
            require_agreement(team.way.name, losses, reference)
    for team in teams:
        team.start(cell, steps[team.way.name], blocks=rounds + 1)
        team.block()  # warm-up
    times: dict[str, list[float]] = {team.way.name: [] for team in teams}
    for k in range(rounds):
        # Who follows whom changes from round to round.
        for team in [*teams[k % len(teams) :], *teams[: k % len(teams)]]:
            name = team.way.name
            runs = 1 if team.way.group == "peak" else cell.num_replicas
            times[name].append(1e6 * team.block() / (steps[name] * runs))
    return times


def require_agreement(name: str, losses: Sequence[float], reference: Sequence[float]) -> None:
    """All ways begin with the same weights and see the same batches: so must their losses.

    Raises:
        WayFailedError: if these do not agree with the reference within rounding.
    """
    if len(losses) != len(reference) or not np.allclose(
        losses, reference, rtol=_RELATIVE_TOLERANCE, atol=0.0
    ):
        raise WayFailedError(
            f"{name} trains something else than the first way: losses {losses}, not {reference}"
        )


def assemble(stack: ExitStack, selected: Sequence[Way]) -> list[Team]:
    """Start the processes of these ways; they end with the stack."""
    return [stack.enter_context(Team(way)) for way in selected]
