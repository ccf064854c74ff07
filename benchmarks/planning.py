"""How many runs Widthwise puts in a pack: measured, as by its planner."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import torch

from benchmarks.cells import Cell
from widthwise.execution.worker import prepare_process
from widthwise.hardware import card_memory
from widthwise.sgd.recipe import Precision, Recipe
from widthwise.study.cost import ModuleCost, module_cost
from widthwise.study.schedule import most_replicas
from widthwise.study.spec import PackingSpec
from widthwise.study.timing import measured_sizes


def planned(
    cells: Sequence[Cell],
    num_processes: int,
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[Cell]:
    """The cells with measured pack sizes.

    Args:
        cells: what will be trained.
        num_processes: over which the runs of a cell are shared out; a pack has no more of them
            than a process.
        device: on which they will be.
        precision: of their products.
    """
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=prepare_process
    ) as process:
        measure = partial(
            measured_pack_size, num_processes=num_processes, device=device, precision=precision
        )
        sizes = process.map(measure, cells)
        return [replace(cell, pack_size=size) for cell, size in zip(cells, sizes, strict=True)]


def measured_pack_size(
    cell: Cell, num_processes: int, device: str = "cpu", precision: Precision = "float32"
) -> int:
    """Runs in a pack of this cell, as a study with the default limits measures it."""
    where = torch.device(device)
    card = card_memory(where)
    packing = PackingSpec() if card is None else PackingSpec().on_card(card)
    largest = min(largest_pack(cell, packing), -(-cell.num_replicas // num_processes))
    sizes = measured_sizes(
        cell.family(),
        cell.dataset(),
        Recipe(precision=precision),
        {(1.0, cell.batch_size): largest},
        momentum=0.0,
        device=where,
    )
    return sizes[1.0, cell.batch_size]


def largest_pack(cell: Cell, packing: PackingSpec) -> int:
    """Most runs of this cell that a pack may hold; 0 if not even one fits in memory."""
    return most_replicas(packing, cost_of(cell), cell.batch_size, momentum=False)


def cost_of(cell: Cell) -> ModuleCost:
    """Of a run of this cell."""
    data = cell.dataset()
    inputs, labels = (torch.from_numpy(a[:8]) for a in (data.train_inputs, data.train_labels))
    return module_cost(cell.family().build(1.0, 0), inputs, labels)
