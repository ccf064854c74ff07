"""The ways that are compared on a card: a table."""

from collections.abc import Sequence
from typing import Any

from benchmarks.cells import Cell
from benchmarks.planning import cost_of
from benchmarks.ways import OURS, OURS_GROUP, PEAK_GROUP, Way

LOOPS, GRAPHS, ENSEMBLE = "loops", "loops with CUDA graphs", "torch.func"
PRODUCT = "product"
# Large, so that the card's speed is reached; on a CPU, where nothing is to be learned, soon over.
_CARD_SIZE, _CPU_SIZE = 8192, 256
# Of the card's memory that the replicas of all ways together may take, by a rough count.
_SHARE = 0.5


def card_ways(num_processes: int, device: str) -> tuple[Way, ...]:
    """One process on a card, and several on the same card.

    Args:
        num_processes: of the ways with several.
        device: the card; "cpu" to try the ways out.
    """

    def ways(name: str, group: str, module: str) -> tuple[Way, Way]:
        shared: dict[str, Any] = {"module": module, "threads": 1, "device": device}
        several = f"{name}, {num_processes} processes"
        return (
            Way(name=name, groups=(group,), processes=1, **shared),
            Way(name=several, groups=(group,), processes=num_processes, **shared),
        )

    return (
        *ways(OURS, OURS_GROUP, "ours"),
        *ways(LOOPS, "loops", "loops"),
        *ways(GRAPHS, "loops", "graph_loops"),
        ways(ENSEMBLE, "torch.func", "functorch")[0],
        Way(
            name=PRODUCT,
            groups=(PEAK_GROUP,),
            module="product",
            processes=1,
            threads=1,
            device=device,
            options={"size": peak_size(device)},
        ),
    )


def peak_size(device: str) -> int:
    """Of the matrices whose product shows what the device can do."""
    return _CPU_SIZE if device == "cpu" else _CARD_SIZE


def fits(cell: Cell, ways: Sequence[Way], card_memory: int | None) -> bool:
    """Whether the replicas of all ways, which lie on the card together, are likely to fit there.

    Args:
        cell: what is trained.
        ways: who trains it.
        card_memory: bytes; None is not limited.
    """
    if card_memory is None:
        return True
    cost = cost_of(cell)
    stacked = cost.pack_bytes(cell.batch_size, momentum=False)
    # One replica after the other: of the others, weights and gradients remain.
    alone = 2 * 4 * cost.num_parameters
    each = sum(alone if "loops" in way.groups else stacked for way in ways if way.trains)
    return cell.num_replicas * each <= _SHARE * card_memory
