"""What a plan needs to have measured, measured once and kept with the study."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from widthwise.data import Dataset
from widthwise.families import WidthFamily
from widthwise.probes import max_stable_learning_rate
from widthwise.runs.store import Store
from widthwise.sgd.recipe import Recipe
from widthwise.study.context import Context
from widthwise.study.cost import ModuleCost
from widthwise.study.schedule import most_replicas, pack_shapes, widths_to_probe
from widthwise.study.timing import measured_sizes

_SECONDS_BETWEEN_LOOKS = 0.5
_Rows = list[dict[str, Any]]


def stable_learning_rates(
    store: Store, context: Context, costs: Mapping[float, ModuleCost]
) -> dict[tuple[float, float], float]:
    """(widening factor, momentum) → largest stable learning rate, where the plan needs it."""
    pairs = widths_to_probe(context.spec)
    if not pairs:
        return {}

    def measure() -> _Rows:
        return [
            {
                "widening_factor": width,
                "momentum": momentum,
                "learning_rate": stable_learning_rate(
                    context.family,
                    context.dataset,
                    width,
                    momentum,
                    max_replicas=most_replicas(
                        context.spec.packing, costs[width], BATCH_SIZE, momentum=momentum > 0
                    ),
                    recipe=context.spec.training.recipe,
                ),
            }
            for width, momentum in pairs
        ]

    rows = _once(store, "stability", "max_stable", measure)
    return {(row["widening_factor"], row["momentum"]): row["learning_rate"] for row in rows}


def pack_sizes(
    store: Store,
    context: Context,
    costs: Mapping[float, ModuleCost],
    stable: Mapping[tuple[float, float], float],
) -> dict[tuple[float, int], int]:
    """(widening factor, batch size) → runs in a pack, measured unless the specification says."""
    spec = context.spec
    momentum = max(m for grid in spec.grid for m in grid.momentum)
    shapes = pack_shapes(
        spec, context.family, num_train=context.dataset.num_train, stable_learning_rates=stable
    )
    largest = {
        (width, batch): min(
            count, most_replicas(spec.packing, costs[width], batch, momentum=momentum > 0)
        )
        for (width, batch), count in shapes.items()
    }
    # What does not fit in memory at all is refused by the plan.
    largest = {shape: count for shape, count in largest.items() if count > 0}
    if spec.packing.size is not None:
        return largest

    def measure() -> _Rows:
        sizes = measured_sizes(
            context.family,
            context.dataset,
            spec.training.recipe,
            largest,
            momentum=momentum,
            device=context.device,
        )
        return [
            {"widening_factor": width, "batch_size": batch, "replicas": size}
            for (width, batch), size in sizes.items()
        ]

    rows = _once(store, "pack-sizes", "sizes", measure)
    return {(row["widening_factor"], row["batch_size"]): row["replicas"] for row in rows}


def _once(store: Store, name: str, field: str, measure: Callable[[], _Rows]) -> _Rows:
    """The rows in ``<name>.json`` of the study, measured first by one of its processes."""
    store.prepare()
    path: Path = store.directory / f"{name}.json"
    while not path.exists():
        with store.claim(name) as mine:
            if mine and not path.exists():
                store.write_json(path.name, {field: measure()})
        time.sleep(0.0 if path.exists() else _SECONDS_BETWEEN_LOOKS)
    rows: _Rows = store.read_json(path.name)[field]
    return rows


BATCH_SIZE = 64
# A plan uses a quarter of it: a few seeds and half octaves decide nothing less.
_SEEDS = 3
_HALF_OCTAVE = 2.0**0.5 - 1.0


def stable_learning_rate(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    *,
    max_replicas: int,
    recipe: Recipe | None = None,
) -> float:
    """The largest ε of a half-octave grid at which three seeds end a short probe (200 steps,
    batches of at most 64) below their initial loss.

    Args:
        max_replicas: most runs to train at once.
        recipe: loss, batch norm's statistics and the rest of training; its schedule does not
            count. None is the default one.

    Raises:
        FitError: if none is stable.
    """
    ghost = (recipe or Recipe()).ghost_batch_size or 1
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=widening_factor,
        batch_size=max(ghost, min(BATCH_SIZE, dataset.num_train) // ghost * ghost),
        momentum=momentum,
        seeds=_SEEDS,
        tolerance=_HALF_OCTAVE,
        recipe=recipe,
        max_replicas=max(1, max_replicas),
        curvature=False,
        device="cpu",
    ).value
