"""The ways that are compared: tables."""

import importlib.util
import os
import shutil
from dataclasses import dataclass, field
from typing import Any

PLAIN_LOOPS = "plain loops"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training the replicas of a cell.

    Attributes:
        name: heading of its column.
        groups: what it counts as in the summary, keys of :data:`GROUP_TITLES`; PEAK_GROUP alone
            is for what trains nothing.
        module: in ``benchmarks.peers``.
        processes: how many; the replicas are shared out evenly.
        threads: in each process.
        pinned: whether each process is held on a core of its own (JAX takes its number of
            threads from that).
        replicas: how many of a cell's replicas it trains, the first ones; None: all of them.
        prepared: whether its processes keep their memory between steps and flush denormal
            numbers, as our workers do; a loop written today does neither.
        device: on which it trains, "cpu" or a card.
        options: for the module's ``start``.
        requires: package without which the way is skipped.
        compiler: whether it is skipped without a C++ compiler too.
    """

    name: str
    groups: tuple[str, ...]
    module: str
    processes: int
    threads: int
    pinned: bool = False
    replicas: int | None = None
    prepared: bool = True
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)
    requires: str = "torch"
    compiler: bool = False

    @property
    def missing(self) -> str | None:
        """What it needs and this machine has not."""
        if importlib.util.find_spec(self.requires) is None:
            return self.requires
        if self.compiler and shutil.which(os.environ.get("CXX", "g++")) is None:
            return "a C++ compiler"
        return None

    @property
    def trains(self) -> bool:
        """Whether it trains anything, rather than showing what the machine can do."""
        return PEAK_GROUP not in self.groups

    def num_replicas(self, offered: int) -> int:
        """How many of the replicas of a cell it trains."""
        return offered if self.replicas is None else min(offered, self.replicas)


GROUP_TITLES = {
    "loops": "the loops",
    "default-layout loops": "the loops in PyTorch's default memory format",
    "channels-last loops": "the loops in channels-last",
    "plain loops": "the loops as they are usually written, with the allocator as it is",
    "compiled loops": "the loops under torch.compile",
    "ensembles": "torch.func and JAX",
    "torch.func": "torch.func",
    "JAX": "JAX",
    "JAX ensembles": "JAX with vmap and scan",
    "JAX loops": "JAX, one replica after the other",
}
OURS_GROUP, PEAK_GROUP = "ours", "peak"
OURS, PEAK, PEAK_ONE = "Widthwise", "product, all cores", "product, one core"
_CAN_PIN = hasattr(os, "sched_setaffinity")


def cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def mlp_ways(num_cores: int) -> tuple[Way, ...]:
    """Ways of training dense networks on this many cores."""
    n = num_cores
    loops: dict[str, Any] = {"groups": ("loops",), "module": "loops"}
    functorch: dict[str, Any] = {"groups": ("ensembles",), "module": "functorch"}
    jax: dict[str, Any] = {"groups": ("ensembles",), "module": "jax_scan", "requires": "jax"}
    return (
        ours(n),
        _per_core("loops", n, **loops),
        _per_core("loops, fused SGD", n, options={"fused": True}, **loops),
        _threaded("loops", n, **loops),
        _per_core(
            "loops, torch.compile",
            n,
            groups=("compiled loops",),
            module="loops",
            options={"compiled": True},
            compiler=True,
        ),
        _threaded("torch.func", n, **functorch),
        _per_core("torch.func", n, **functorch),
        _threaded("JAX", n, **jax),
        _per_core("JAX", n, pinned=_CAN_PIN, **jax),
        *peaks(n),
    )


def small_mlp_ways(num_cores: int) -> tuple[Way, ...]:
    """Ways of training small dense networks on this many cores: JAX in the forms that were the best
    in some cell, and the loops that users have."""
    n = num_cores
    jax: dict[str, Any] = {"groups": ("JAX",), "module": "jax_scan", "requires": "jax"}
    alone: dict[str, Any] = {**jax, "options": {"one_by_one": True}}
    return (
        ours(n),
        _per_core("loops", n, groups=("loops",), module="loops"),
        _threaded("JAX", n, **jax),
        _per_core("JAX", n, pinned=_CAN_PIN, **jax),
        _per_core("JAX, one run at a time", n, pinned=_CAN_PIN, **alone),
        *peaks(n),
    )


def cnn_ways(num_cores: int) -> tuple[Way, ...]:
    """Ways of training convolutional networks on this many cores."""
    n = num_cores
    usual: dict[str, Any] = {"groups": ("loops", "default-layout loops"), "module": "loops"}
    last: dict[str, Any] = {
        "groups": ("loops", "channels-last loops"),
        "module": "loops",
        "options": {"channels_last": True},
    }
    functorch: dict[str, Any] = {"groups": ("torch.func",), "module": "functorch"}
    # XLA's convolutions inside a scan run at a few GFLOP/s: with all replicas one step of the
    # widest cell would take a minute. The time per run hardly depends on the number of runs.
    scan: dict[str, Any] = {
        "groups": ("JAX ensembles",),
        "module": "jax_scan",
        "requires": "jax",
        "replicas": n,
    }
    loop: dict[str, Any] = {"groups": ("JAX loops",), "module": "jax_loops", "requires": "jax"}
    return (
        ours(n),
        _per_core("loops", n, **usual),
        _per_core(PLAIN_LOOPS, n, groups=("plain loops",), module="loops", prepared=False),
        _per_core("loops, channels-last", n, **last),
        _threaded("loops, channels-last", n, **last),
        _threaded("torch.func", n, **functorch),
        _per_core("torch.func", n, **functorch),
        _threaded("JAX vmap+scan", n, **scan),
        _per_core("JAX vmap+scan", n, pinned=_CAN_PIN, **scan),
        _threaded("JAX loops", n, **loop),
        _per_core("JAX loops", n, pinned=_CAN_PIN, **loop),
        *peaks(n),
    )


def ours(num_processes: int, name: str = OURS, replicas: int | None = None) -> Way:
    """Widthwise, one thread a process."""
    return Way(
        name=name,
        groups=(OURS_GROUP,),
        module="ours",
        processes=num_processes,
        threads=1,
        replicas=replicas,
    )


def peaks(num_cores: int) -> tuple[Way, Way]:
    """Matrix products on all cores, and on one."""
    shared: dict[str, Any] = {"groups": (PEAK_GROUP,), "module": "product", "threads": 1}
    return (
        Way(name=PEAK, processes=num_cores, **shared),
        Way(name=PEAK_ONE, processes=1, **shared),
    )


def _per_core(name: str, num_cores: int, **attributes: Any) -> Way:
    return Way(name=f"{name}, {num_cores} processes", processes=num_cores, threads=1, **attributes)


def _threaded(name: str, num_cores: int, **attributes: Any) -> Way:
    return Way(name=f"{name}, {num_cores} threads", processes=1, threads=num_cores, **attributes)
