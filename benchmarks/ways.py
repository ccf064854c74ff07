"""The ways that are compared: a table."""

import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any, Literal

Group = Literal["ours", "loops", "ensembles", "peak"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training the replicas of a cell.

    Attributes:
        name: heading of its column.
        group: what it counts as in the summary.
        module: in ``benchmarks.peers``.
        processes: how many; the replicas are shared out evenly.
        threads: in each process.
        pinned: whether each process is held on a core of its own (JAX takes its number of
            threads from that).
        options: for the module's ``start``.
        requires: package without which the way is skipped.
    """

    name: str
    group: Group
    module: str
    processes: int
    threads: int
    pinned: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    requires: str = "torch"

    @property
    def available(self) -> bool:
        return importlib.util.find_spec(self.requires) is not None


def cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


OURS, PEAK, PEAK_ONE = "Widthwise", "product, all cores", "product, one core"


def ways(num_cores: int, max_replicas: int | None = None) -> tuple[Way, ...]:
    """Every way, on this many cores: one process a core, or one process with a thread a core."""
    n = num_cores
    pinned = hasattr(os, "sched_setaffinity")
    jax: dict[str, Any] = {"module": "jax_scan", "requires": "jax"}
    return (
        Way(
            name=OURS,
            group="ours",
            module="ours",
            processes=n,
            threads=1,
            options={"max_replicas": max_replicas},
        ),
        Way(name=f"loops, {n} processes", group="loops", module="loops", processes=n, threads=1),
        Way(
            name=f"loops, fused SGD, {n} processes",
            group="loops",
            module="loops",
            processes=n,
            threads=1,
            options={"fused": True},
        ),
        Way(name=f"loops, {n} threads", group="loops", module="loops", processes=1, threads=n),
        Way(
            name=f"torch.func, {n} threads",
            group="ensembles",
            module="functorch",
            processes=1,
            threads=n,
        ),
        Way(
            name=f"torch.func, {n} processes",
            group="ensembles",
            module="functorch",
            processes=n,
            threads=1,
        ),
        Way(name=f"JAX, {n} threads", group="ensembles", processes=1, threads=n, **jax),
        Way(
            name=f"JAX, {n} processes",
            group="ensembles",
            processes=n,
            threads=1,
            pinned=pinned,
            **jax,
        ),
        Way(name=PEAK, group="peak", module="product", processes=n, threads=1),
        Way(name=PEAK_ONE, group="peak", module="product", processes=1, threads=1),
    )
