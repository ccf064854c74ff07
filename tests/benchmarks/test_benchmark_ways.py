"""All ways of training that are compared train the same."""

import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are not part of the package

from benchmarks.cells import Cell
from benchmarks.peers import functorch, loops, ours, product
from benchmarks.peers.base import Task
from benchmarks.timing import WayFailedError, assemble, require_agreement, time_cell
from benchmarks.ways import OURS, Way
from benchmarks.ways import ours as our_way

CELLS = [Cell("mlp", 8, 16), Cell("cnn", 4, 8)]
SEEDS = (0, 1, 2)


def _losses(start, task, **options):
    runner = start(task, task.cell.dataset(), **options)
    for _ in range(task.blocks):
        runner.block()
    return runner.losses()


def _task(cell, steps=3):
    return Task(cell=cell, seeds=SEEDS, steps=steps, blocks=2)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.network)
def test_all_ways_train_alike(cell):
    reference = _losses(ours.start, _task(cell))
    smaller = Cell(cell.network, cell.width, cell.batch_size, pack_size=2)
    require_agreement("two packs", _losses(ours.start, _task(smaller)), reference)
    require_agreement("loops", _losses(loops.start, _task(cell)), reference)
    require_agreement("fused", _losses(loops.start, _task(cell), fused=True), reference)
    require_agreement("torch.func", _losses(functorch.start, _task(cell)), reference)
    # The check can fail: steps more or less give other losses.
    further = _losses(loops.start, _task(cell, steps=4))
    with pytest.raises(WayFailedError, match="further trains something else"):
        require_agreement("further", further, reference)


@pytest.mark.slow
def test_channels_last_loops_train_alike():
    cell = CELLS[1]
    last = _losses(loops.start, _task(cell), channels_last=True)
    require_agreement("channels-last", last, _losses(ours.start, _task(cell)))


@pytest.mark.cluster
@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.network)
def test_jax_trains_alike(cell):
    from benchmarks.peers import jax_loops, jax_scan

    reference = _losses(loops.start, _task(cell))
    require_agreement("scan", _losses(jax_scan.start, _task(cell)), reference)
    require_agreement("alone", _losses(jax_scan.start, _task(cell), one_by_one=True), reference)
    require_agreement("one after the other", _losses(jax_loops.start, _task(cell)), reference)


@pytest.mark.slow
def test_ours_refuses_to_be_asked_early():
    task = _task(CELLS[0])
    runner = ours.start(task, task.cell.dataset())
    runner.block()
    with pytest.raises(AssertionError, match="before the last block"):
        runner.losses()


def test_products_train_nothing():
    task = Task(cell=CELLS[0], seeds=(), steps=1, blocks=1)
    assert _losses(product.start, task) == []


@pytest.mark.cluster
def test_ways_in_processes_are_timed_and_a_slow_one_may_train_fewer():
    cell = Cell("cnn", 4, 8, num_replicas=3)
    few = Way(name="few", groups=("loops",), module="loops", processes=1, threads=1, replicas=2)
    with ExitStack() as stack:
        teams = assemble(stack, [our_way(1), few])
        measured = time_cell(teams, cell, rounds=2, seconds=0.01)
        assert set(measured.times) == set(measured.memory) == {OURS, "few"}
        assert all(len(times) == 2 and min(times) > 0 for times in measured.times.values())
        # Weights and gradients of two runs with 4,146 weights, and activations.
        assert 2 * 2 * 4 * 4_146 < measured.memory["few"] < 1e8
        with pytest.raises(WayFailedError, match=r"\(the training examples\), got 1000"):
            teams[0].start(Cell("cnn", 4, 1000), steps=1, blocks=1)
