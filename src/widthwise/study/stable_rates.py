"""The largest stable learning rates that belong to a specification, and how they are measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from widthwise.data import Dataset, load
from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.families.size import tensors_in_memory
from widthwise.hardware import resolve_device
from widthwise.probes import StableLearningRate, max_stable_learning_rate
from widthwise.probes.shares import Scan
from widthwise.sgd.batches import whole_batch
from widthwise.sgd.recipe import Recipe
from widthwise.study.cost import ModuleCost, module_cost
from widthwise.study.progress import ProgressReporter
from widthwise.study.rates_file import (
    MeasuredRates,
    identity_of,
    of_widths,
    read_rates,
    write_rates,
)
from widthwise.study.schedule import most_replicas
from widthwise.study.spec import PackingSpec, StudySpec
from widthwise.training.networks import check_network, network_inputs

BATCH_SIZE = 64
_SAMPLE = 8
# On a CPU: a pack's weights fit the caches, or its steps wait for memory (docs/performance.md);
# below four replicas the small operations of a step count more. Speed only: what is found does
# not depend on how many runs share a pack.
_CACHED_BYTES, _FEWEST = 5e6, 4
# A schedule uses a quarter of the rate: a few seeds and half octaves decide nothing less.
_QUICK_SEEDS = 3
_HALF_OCTAVE = 2.0**0.5 - 1.0


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How the largest stable learning rate of a width is measured; see
    :func:`widthwise.max_stable_learning_rate`.

    Attributes:
        batch_size: None takes 64, or all training examples if there are fewer (with ghost batch
            norm whole parts of either).
        momentum: None takes the specification's.
        seeds: runs at each learning rate.
        first_seed: of them; the others follow it.
        steps: length of a run.
        tolerance: relative distance of neighbouring learning rates.
        curvature: whether the top Hessian eigenvalue is measured, to begin near the limit.
    """

    batch_size: int | None = None
    momentum: float | None = None
    seeds: int = 10
    first_seed: int = 0
    steps: int = 200
    tolerance: float = 0.05
    curvature: bool = True

    def momentum_for(self, spec: StudySpec) -> float:
        """The momentum of the probe.

        Raises:
            InputError: if none was given and the specification has several.
        """
        if self.momentum is not None:
            return self.momentum
        known = sorted({m for grid in spec.grid for m in grid.momentum})
        if len(known) > 1:
            raise InputError(
                f"the specification has several momenta ({', '.join(f'{m:g}' for m in known)}); "
                "choose one: give momentum",
                fields=("momentum",),
            )
        return known[0]

    def batch_size_for(self, recipe: Recipe, num_train: int) -> int:
        """The batch size of the probe, with so many training examples."""
        return probe_batch_size(recipe, num_train) if self.batch_size is None else self.batch_size


Measure = Callable[[StudySpec, Dataset, float], StableLearningRate]


def probe_batch_size(recipe: Recipe, num_train: int) -> int:
    """At most 64 examples and no more than there are, in whole ghost batches."""
    return whole_batch(min(BATCH_SIZE, num_train), recipe.ghost_batch_size)


def probe_width(
    spec: StudySpec,
    dataset: Dataset,
    widening_factor: float,
    options: ProbeOptions | None = None,
    *,
    on_round: Callable[[Scan], None] | None = None,
) -> StableLearningRate:
    """Measure one width, with the specification's networks, recipe and device.

    Args:
        spec: its grid is not looked at, but for the momentum.
        dataset: its data.
        widening_factor: of the network.
        options: None are the defaults.
        on_round: told after every round what was tried.

    Raises:
        InputError: if an option is out of range.
        FitError: if no learning rate is stable.
    """
    chosen, recipe = options or ProbeOptions(), spec.training.recipe
    family = spec.family.family(dataset.input_shape, dataset.num_classes)
    momentum = chosen.momentum_for(spec)
    batch_size = chosen.batch_size_for(recipe, dataset.num_train)
    at_once = _at_once(spec, family, dataset, widening_factor, batch_size, momentum=momentum > 0)
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=widening_factor,
        batch_size=batch_size,
        momentum=momentum,
        steps=chosen.steps,
        seeds=chosen.seeds,
        seed=chosen.first_seed,
        tolerance=chosen.tolerance,
        curvature=chosen.curvature,
        recipe=recipe,
        max_replicas=max(1, at_once),
        device=spec.hardware.device,
        on_round=on_round,
    )


def reported(options: ProbeOptions, reporter: ProgressReporter) -> Measure:
    """:func:`probe_width`, telling what goes on."""

    def measure(spec: StudySpec, dataset: Dataset, width: float) -> StableLearningRate:
        def tell(scan: Scan) -> None:
            rates = 2.0**scan.log2_rates
            reporter.note(
                f"w = {width:g}: {scan.stable.size} runs at {len(rates)} learning rates, "
                f"{rates[0]:.3g} to {rates[-1]:.3g}; {int(scan.stable.sum())} stable"
            )

        with reporter.waiting(f"widening factor {width:g}"):
            return probe_width(spec, dataset, width, options, on_round=tell)

    return measure


def measured_rates(
    spec: StudySpec,
    path: Path | None,
    *,
    dataset: Dataset | None = None,
    family: Mapping[str, Any] | None = None,
    widths: Iterable[float] | None = None,
    options: ProbeOptions | None = None,
    measure: Measure | None = None,
    on_width: Callable[[float], None] = lambda width: None,
    on_rate: Callable[[StableLearningRate], None] = lambda rate: None,
) -> MeasuredRates:
    """Those in the file, and those it still lacks, measured and added width by width.

    Args:
        spec: of a study: its widths, data, recipe and hardware.
        path: the file; None keeps nothing.
        dataset: its data, by whose content the file is then known; None takes what `spec` names.
        family: plain values that tell its networks from others; None takes what `spec` names.
        widths: widening factors; None takes those of `spec`.
        options: how a width is measured; None are the defaults.
        measure: measures one width; None is :func:`probe_width` with `options`.
        on_width: told before a width is measured.
        on_rate: told what is known of each width, as it becomes known, ascending.

    Raises:
        InputError: if the file belongs to another specification, or was measured with other
            options.
        FitError: if no learning rate is stable at a width.
    """
    chosen = options or ProbeOptions()
    asked = widths_of(spec) if widths is None else sorted(set(widths))
    fingerprint = None if dataset is None else dataset.fingerprint
    identity = identity_of(spec, fingerprint, family, chosen.first_seed)
    kept = {} if path is None else read_rates(path, identity)
    for rate, _ in kept.values():
        _require_alike(path, rate, chosen, chosen.momentum_for(spec))
    data = dataset
    for width in asked:
        if width not in kept:
            data = load(spec.data) if data is None else data
            on_width(width)
            started = monotonic()
            found = (
                probe_width(spec, data, width, chosen)
                if measure is None
                else measure(spec, data, width)
            )
            kept[width] = found, monotonic() - started
            if path is not None:
                write_rates(path, identity, kept)
        on_rate(kept[width][0])
    return of_widths(kept, asked)


def widths_of(spec: StudySpec) -> list[float]:
    """The widening factors of all its grids, ascending."""
    return sorted({width for grid in spec.grid for width in grid.widening_factor})


def quick_probe(recipe: Recipe, num_train: int) -> dict[str, Any]:
    """How :func:`stable_learning_rate` measures, in plain values."""
    return {
        "batch_size": probe_batch_size(recipe, num_train),
        "seeds": _QUICK_SEEDS,
        "tolerance": _HALF_OCTAVE,
    }


def stable_learning_rate(
    family: WidthFamily,
    dataset: Dataset,
    widening_factor: float,
    momentum: float,
    *,
    cost: ModuleCost,
    recipe: Recipe | None = None,
) -> float:
    """Quick and coarse, for laying out a grid: the largest ε of a half-octave grid at which three
    seeds end a short probe (200 steps, batches of at most 64) below their initial loss.

    It is measured on the CPU, in packs whose size follows from the network alone, so that no
    setting of a study's packs or device can move it.

    Args:
        cost: of the network.
        recipe: loss, batch norm's statistics and the rest of training; its schedule does not
            count. None is the default one.

    Raises:
        FitError: if none is stable.
    """
    chosen = recipe or Recipe()
    probe = quick_probe(chosen, dataset.num_train)
    most = most_replicas(PackingSpec(), cost, probe["batch_size"], momentum=momentum > 0)
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=widening_factor,
        momentum=momentum,
        recipe=recipe,
        max_replicas=max(1, most),
        curvature=False,
        device="cpu",
        **probe,
    ).value


def _at_once(
    spec: StudySpec,
    family: WidthFamily,
    dataset: Dataset,
    width: float,
    batch_size: int,
    *,
    momentum: bool,
) -> int:
    """Runs that are trained together."""
    with tensors_in_memory():
        module = family.build(width)
    inputs = network_inputs(module, dataset.train_inputs[:_SAMPLE])
    check_network(family, module, inputs, dataset.num_classes, data=dataset.name)
    cost = module_cost(module, inputs, torch.from_numpy(dataset.train_labels[:_SAMPLE]))
    most = most_replicas(spec.packing, cost, batch_size, momentum=momentum)
    if resolve_device(spec.hardware.device).type != "cpu":
        return most
    return min(most, max(_FEWEST, int(_CACHED_BYTES / (4 * cost.num_parameters))))


def _require_alike(
    path: Path | None, rate: StableLearningRate, options: ProbeOptions, momentum: float
) -> None:
    """Rates are compared over widths: all of a file are measured alike."""
    asked = {"momentum": momentum, "steps": options.steps, "seeds": options.seeds}
    if options.batch_size is not None:
        asked["batch_size"] = options.batch_size
    for name, value in asked.items():
        if getattr(rate, name) != value:
            raise InputError(
                f"all rates in {path} must be measured alike: it holds {name} = "
                f"{getattr(rate, name):g}, got {value:g}; ask for the same, or remove it"
            )
