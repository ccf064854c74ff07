"""The command that measures the largest stable learning rate, width by width."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import FitError, InputError

if TYPE_CHECKING:
    from widthwise.data import Dataset
    from widthwise.probes import StabilityLaw, StableLearningRate
    from widthwise.probes.shares import Scan
    from widthwise.study.progress import ProgressReporter
    from widthwise.study.spec import StudySpec

_WIDTHS = "1,2,4"
_BATCH_SIZE = 64
_SAMPLE = 8
_FILES = (".toml", ".json")
# Panels of the help.
_RUNS, _DATA = "The runs", "Data and training"


def probe(
    network: Annotated[
        str,
        typer.Argument(help='Specification (TOML or JSON), or "module:function" of your own.'),
    ],
    widths: Annotated[
        str | None,
        typer.Option(help="Widening factors, as in 1,2,4; default those of the specification."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Examples a step; default 64, or all if fewer.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Default that of the specification, or 0.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=2, help="Runs at each learning rate.", rich_help_panel=_RUNS)
    ] = 10,
    steps: Annotated[
        int, typer.Option(min=2, help="Length of a run.", rich_help_panel=_RUNS)
    ] = 200,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Relative distance of neighbouring learning rates.", rich_help_panel=_RUNS
        ),
    ] = 0.05,
    spec: Annotated[
        Path | None,
        typer.Option(help="Specification whose data and training are used.", rich_help_panel=_DATA),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A data set; see `widthwise datasets`.", rich_help_panel=_DATA),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key, as in data.num_train=1024.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    curvature: Annotated[
        bool,
        typer.Option(
            help="Measure the top Hessian eigenvalue, to begin near the limit.",
            rich_help_panel=_RUNS,
        ),
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the largest stable learning rate at some widths, and how it falls with width."""
    from widthwise.data import load
    from widthwise.study.progress import make_reporter

    chosen = _specification(network, spec, data, settings or [])
    factors = _widths(widths, chosen)
    dataset = load(chosen.data)
    options: dict[str, Any] = {
        "batch_size": _batch_size(chosen, dataset) if batch_size is None else batch_size,
        "momentum": _momentum(chosen) if momentum is None else momentum,
        "seeds": seeds,
        "steps": steps,
        "tolerance": tolerance,
        "curvature": curvature,
    }
    reporter = make_reporter(not quiet)
    found = []
    for factor in factors:
        with reporter.waiting(f"widening factor {factor:g}"):
            rate = _probe(chosen, dataset, factor, options, reporter)
        found.append(rate)
        if not as_json:
            print(rate.sentence(), flush=True)
    law, problem = _law(factors, found)
    if as_json:
        print_json(
            {
                "widths": [rate.to_dict() for rate in found],
                "law": None if law is None else law.to_dict(),
                "sentence": problem if law is None else law.sentence(),
            }
        )
    else:
        print(problem if law is None else law.sentence())


def _probe(
    spec: "StudySpec",
    dataset: "Dataset",
    factor: float,
    options: dict[str, Any],
    reporter: "ProgressReporter",
) -> "StableLearningRate":
    import torch

    from widthwise.probes import max_stable_learning_rate
    from widthwise.study.cost import module_cost
    from widthwise.study.schedule import most_replicas

    family = spec.family.family(dataset.input_shape, dataset.num_classes)
    module = family.build(factor)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    cost = module_cost(
        module,
        torch.from_numpy(dataset.train_inputs[:_SAMPLE]).to(dtype),
        torch.from_numpy(dataset.train_labels[:_SAMPLE]),
    )
    at_once = most_replicas(
        spec.packing, cost, options["batch_size"], momentum=options["momentum"] > 0
    )
    return max_stable_learning_rate(
        family,
        dataset,
        widening_factor=factor,
        recipe=spec.training.recipe,
        max_replicas=max(1, at_once),
        device=spec.hardware.device,
        on_round=_telling(reporter, factor),
        **options,
    )


def _telling(reporter: "ProgressReporter", factor: float) -> Callable[["Scan"], None]:
    def tell(scan: "Scan") -> None:
        rates = 2.0**scan.log2_rates
        reporter.note(
            f"w = {factor:g}: {scan.stable.size} runs at {len(rates)} learning rates, "
            f"{rates[0]:.3g} to {rates[-1]:.3g}; {int(scan.stable.sum())} stable"
        )

    return tell


def _specification(
    network: str, spec: Path | None, data: str | None, settings: list[str]
) -> "StudySpec":
    from widthwise.study.family_spec import FamilySpec
    from widthwise.study.spec import StudySpec

    overrides = [*settings, *([f"data.name={data}"] if data is not None else [])]
    if network.endswith(_FILES):
        if spec is not None:
            raise InputError(
                f"{network} is a specification already: leave out --spec {spec}, or name the "
                'networks as "module:function"'
            )
        return StudySpec.parse(network, overrides)
    if ":" not in network:
        raise InputError(
            "the networks to probe are a specification (.toml, .json), or your own as "
            f'"module:function" or "file.py:function", got {network!r}'
        )
    if spec is None:
        grid = {
            "widening_factor": [float(w) for w in _WIDTHS.split(",")],
            "learning_rate": 1.0,  # not used: the probe looks for it
            "batch_size": 1,
        }
        fields = {"family": {"kind": network}, "grid": grid, "training": {"epochs": 1}}
        return StudySpec.parse(fields, overrides)
    parsed = StudySpec.parse(spec, overrides)
    own = FamilySpec(kind=network, parameterization=parsed.family.parameterization)
    return parsed.model_copy(update={"family": own})


def _widths(given: str | None, spec: "StudySpec") -> list[float]:
    if given is None:
        return sorted({w for grid in spec.grid for w in grid.widening_factor})
    try:
        factors = sorted({float(word) for word in given.replace(",", " ").split()})
    except ValueError:
        factors = []
    if not factors or not all(0.0 < w < float("inf") for w in factors):
        raise InputError(
            f"--widths must be positive widening factors, as in {_WIDTHS}, got {given!r}"
        )
    return factors


def _momentum(spec: "StudySpec") -> float:
    known = sorted({m for grid in spec.grid for m in grid.momentum})
    if len(known) > 1:
        raise InputError(
            f"the specification has several momenta ({', '.join(f'{m:g}' for m in known)}); "
            "choose one with --momentum"
        )
    return known[0]


def _batch_size(spec: "StudySpec", dataset: "Dataset") -> int:
    ghost = spec.training.ghost_batch_size or 1
    return max(ghost, min(_BATCH_SIZE, dataset.num_train) // ghost * ghost)


def _law(
    factors: list[float], found: "list[StableLearningRate]"
) -> "tuple[StabilityLaw | None, str | None]":
    from widthwise.probes import fit_stability_law

    if len(found) < 2:
        return None, None if not found else "One width says nothing of how it changes with width."
    try:
        return fit_stability_law(factors, found), None
    except FitError as error:
        return None, f"{error}."
