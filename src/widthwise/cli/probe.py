"""The command that measures the largest stable learning rate, width by width."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise.cli.command import widening_factors
from widthwise.cli.output import AsJson, print_json
from widthwise.errors import FitError, InputError
from widthwise.mistaken import without_function

if TYPE_CHECKING:
    from widthwise.probes import StabilityLaw, StableLearningRate
    from widthwise.study import StudySpec

_FILES = (".toml", ".json")
# Panels of the help.
_RUNS, _DATA = "The runs", "Data and training"


def probe(
    network: Annotated[
        str,
        typer.Argument(
            help='Specification (TOML or JSON), a study\'s folder, or "module:function" of your '
            "own."
        ),
    ],
    widths: Annotated[
        str | None,
        typer.Option(help="Widening factors; default those of the specification, or 1,2,4."),
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
    """Measure the largest stable learning rate at some widths, and how it falls with width.

    A specification needs no grid. With a study's folder, at its widths and on its data: the rates
    are kept there, and its report shows them.
    """
    from widthwise.data import load
    from widthwise.study import Study
    from widthwise.study.progress import make_reporter
    from widthwise.study.record import read_record
    from widthwise.study.stable_rates import ProbeOptions, measured_rates, reported

    options = ProbeOptions(
        batch_size=batch_size,
        momentum=momentum,
        seeds=seeds,
        steps=steps,
        tolerance=tolerance,
        curvature=curvature,
    )
    factors = None if widths is None else widening_factors(widths)

    begins: list[str] = []  # above the first rate, so that bad input prints nothing

    def show(rate: "StableLearningRate") -> None:
        if not as_json:
            print("".join([*begins, rate.sentence()]), flush=True)
        begins.clear()

    if Path(network).is_dir():
        _refuse(network, {"--spec": spec, "--data": data, "--set": settings})
        study = Study.open(network)
        known = read_record(study.directory).data
        on, num_train = known.name, known.num_train
        begins.append(_on(on, num_train))
        found = study.probe(options, widths=factors, progress=not quiet, on_rate=show)
    else:
        asked = _specification(network, spec, data, settings or [], momentum)
        dataset = load(asked.data)
        on, num_train = dataset.name, dataset.num_train
        is_default = "data" not in asked.model_fields_set
        begins.append(_on(on, num_train, is_default=is_default))
        found = measured_rates(
            asked,
            None,
            dataset=dataset,
            widths=factors,
            measure=reported(options, make_reporter(not quiet)),
            options=options,
            on_rate=show,
        )
    law, problem = _law(found.rates)
    if as_json:
        print_json(
            {
                "data": {"name": on, "num_train": num_train},
                "widths": [rate.to_dict() for rate in found.rates],
                "law": None if law is None else law.to_dict(),
                "sentence": problem if law is None else law.sentence(),
            }
        )
    else:
        print(problem if law is None else law.sentence())
        print(_next(found.rates[-1]))


def _next(rate: "StableLearningRate") -> str:
    """What the rate of the last width is for."""
    from widthwise.adviser.commands import plan_with_command
    from widthwise.adviser.solving import SAFE_SHARE

    plan = plan_with_command(rate.value, rate.widening_factor, rate.batch_size)
    return (
        f"At w = {rate.widening_factor:g}, B = {rate.batch_size} long runs can be expected to be "
        f"stable up to about a quarter of it, ε = {SAFE_SHARE * rate.value:.3g} (a rule of thumb)."
        f"\nA plan with it: {plan}"
    )


def _refuse(directory: str, options: dict[str, object]) -> None:
    """What a study that has begun decides itself."""
    given = [name for name, value in options.items() if value]
    if given:
        raise InputError(
            f"{directory} is a study that has begun: its networks, data and training are fixed; "
            f"leave out {', '.join(given)}"
        )


def _on(data: str, num_train: int, *, is_default: bool = False) -> str:
    """The line that says on which data the rates are measured.

    >>> _on("mnist1d", 4000)
    'Data: mnist1d, 4,000 training examples\\n'
    """
    why = "; none were named: give --data, or [data] in the specification" if is_default else ""
    return f"Data: {data}, {num_train:,} training examples{why}\n"


def _specification(
    network: str,
    spec: Path | None,
    data: str | None,
    settings: list[str],
    momentum: float | None,
) -> "StudySpec":
    from widthwise.study.family_spec import FamilySpec
    from widthwise.study.probe_spec import probe_spec

    overrides = [*settings, *([f"data.name={data}"] if data is not None else [])]
    if network.endswith(_FILES):
        if spec is not None:
            raise InputError(
                f"{network} is a specification already: leave out --spec {spec}, or name the "
                'networks as "module:function"'
            )
        return probe_spec(network, overrides, momentum=momentum)
    if ":" not in network:
        raise InputError(
            "the networks to probe are a specification (.toml, .json), a study's folder, or your "
            f'own as "module:function" or "file.py:function", got {network!r}'
            f"{without_function(network)}"
        )
    if spec is None:
        return probe_spec({"family": {"kind": network}}, overrides, momentum=momentum)
    parsed = probe_spec(spec, overrides, momentum=momentum)
    own = FamilySpec(kind=network, parameterization=parsed.family.parameterization)
    return parsed.model_copy(update={"family": own})


def _law(found: Sequence["StableLearningRate"]) -> tuple["StabilityLaw | None", str | None]:
    from widthwise.probes import fit_stability_law

    if len(found) < 2:
        return None, None if not found else "One width says nothing of how it changes with width."
    try:
        return fit_stability_law([rate.widening_factor for rate in found], found), None
    except FitError as error:
        return None, f"{error}."
