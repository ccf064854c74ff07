"""Largest stable learning rates of a preset's widths, measured once each and kept in a file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

from widthwise.data import Dataset, load
from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.files import make_directory, write_atomically
from widthwise.hardware import resolve_device
from widthwise.probes import StableLearningRate, max_stable_learning_rate
from widthwise.study.cost import module_cost
from widthwise.study.schedule import most_replicas
from widthwise.study.spec import StudySpec

BATCH_SIZE = 64
SEEDS = 10
_SAMPLE = 8
# On a CPU: a pack's weights fit the caches, or its steps wait for memory (docs/performance.md);
# below four replicas the small operations of a step count more.
_CACHED_BYTES, _FEWEST = 5e6, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredRates:
    """Largest stable learning rates, one a width.

    Attributes:
        rates: ascending in width.
        seconds: what measuring them took, over all sessions.
    """

    rates: tuple[StableLearningRate, ...]
    seconds: float

    @property
    def num_runs(self) -> int:
        return sum(rate.seeds * len(rate.learning_rates) for rate in self.rates)


Measure = Callable[[StudySpec, Dataset, float], StableLearningRate]


def measured_rates(
    spec: StudySpec,
    path: Path,
    *,
    on_width: Callable[[float], None] = lambda width: None,
    measure: Measure | None = None,
) -> MeasuredRates:
    """Those in the file, and those it still lacks, measured and added width by width.

    Args:
        spec: of a study: its widths, data, recipe and hardware.
        path: the file.
        on_width: told before a width is measured.
        measure: measures one width; None is :func:`probe`.

    Raises:
        InputError: if the file belongs to another specification.
        FitError: if no learning rate is stable at a width.
    """
    kept = _read(path, spec)
    widths = sorted({w for grid in spec.grid for w in grid.widening_factor})
    missing = [width for width in widths if width not in kept]
    dataset = load(spec.data) if missing else None
    for width in missing:
        on_width(width)
        assert dataset is not None
        started = monotonic()
        rate = (measure or probe)(spec, dataset, width)
        kept[width] = rate, monotonic() - started
        _write(path, spec, kept)
    return MeasuredRates(
        rates=tuple(kept[width][0] for width in widths),
        seconds=sum(kept[width][1] for width in widths),
    )


def probe(spec: StudySpec, dataset: Dataset, width: float) -> StableLearningRate:
    """One width, by the default probe at batches of at most 64 examples."""
    family = spec.family.family(dataset.input_shape, dataset.num_classes)
    ghost = spec.training.ghost_batch_size or 1
    batch_size = max(ghost, min(BATCH_SIZE, dataset.num_train) // ghost * ghost)
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=width,
        batch_size=batch_size,
        seeds=SEEDS,
        recipe=spec.training.recipe,
        max_replicas=max(1, _at_once(spec, family, dataset, width, batch_size)),
        device=spec.hardware.device,
    )


def _at_once(
    spec: StudySpec, family: WidthFamily, dataset: Dataset, width: float, batch_size: int
) -> int:
    cost = module_cost(
        family.build(width),
        torch.from_numpy(dataset.train_inputs[:_SAMPLE]),
        torch.from_numpy(dataset.train_labels[:_SAMPLE]),
    )
    most = most_replicas(spec.packing, cost, batch_size, momentum=False)
    if resolve_device(spec.hardware.device).type != "cpu":
        return most
    return min(most, max(_FEWEST, int(_CACHED_BYTES / (4 * cost.num_parameters))))


_Kept = dict[float, tuple[StableLearningRate, float]]


def _read(path: Path, spec: StudySpec) -> _Kept:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged; remove it, and it is measured again") from error
    if content["of"] != _identity(spec):
        raise InputError(
            f"{path} belongs to another specification; choose another directory, or remove it"
        )
    return {row["rate"]["widening_factor"]: _parsed(row) for row in content["widths"]}


def _parsed(row: dict[str, Any]) -> tuple[StableLearningRate, float]:
    fields = row["rate"]
    rate = StableLearningRate(
        **{
            **fields,
            "interval": _ends(fields["interval"]),
            "learning_rates": tuple(fields["learning_rates"]),
            "shares": tuple(fields["shares"]),
            "samples": np.array(row["samples"], dtype=np.float64),
        }
    )
    return rate, row["seconds"]


def _ends(ends: Sequence[float | None]) -> tuple[float, float]:
    low, high = ends
    assert low is not None
    return low, np.inf if high is None else high


def _write(path: Path, spec: StudySpec, kept: _Kept) -> None:
    rows = []
    for rate, seconds in kept.values():
        fields = rate.to_dict()
        for derived in ("censored", "curvature_bound"):
            del fields[derived]
        low, high = rate.interval
        fields["interval"] = [low, None if np.isinf(high) else high]
        samples = [] if rate.censored else np.round(rate.samples, 6).tolist()
        rows.append({"rate": fields, "samples": samples, "seconds": round(seconds, 3)})
    make_directory(path.parent)
    content = json.dumps({"of": _identity(spec), "widths": rows}, ensure_ascii=False)
    write_atomically(path, content.encode() + b"\n")


def _identity(spec: StudySpec) -> dict[str, Any]:
    """What rates depend on: not how long a study trains, nor where it searches."""
    fields = spec.fields()
    training = {
        key: value
        for key, value in fields["training"].items()
        if key not in ("steps", "epochs", "physical_time", "evaluations", "late_fraction")
    }
    return {"family": fields["family"], "data": fields["data"], "training": training}
