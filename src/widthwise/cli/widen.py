"""``widthwise widen``: what to set for a wider network."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from widthwise.cli.output import AsJson, Explain, print_json, print_plan
from widthwise.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from widthwise.adviser import Keep
    from widthwise.analysis import Law
    from widthwise.probes.gradient_noise import GradientNoiseScale

_REFERENCE = "MODULE:FUNCTION"
# Panels of the help.
_NETWORK, _PARTS = "The networks", "What the networks contain"
_STABILITY, _TRAINING = "What is known of stability", "How it trains"
_MEASURED = "What is measured"


def widen(
    context: typer.Context,
    learning_rate: Annotated[float, typer.Option(help="ε tuned at the base.")],
    batch_size: Annotated[int, typer.Option(help="B tuned at the base.")],
    momentum: Annotated[float, typer.Option(help="m tuned at the base.")] = 0.0,
    widening_factor: Annotated[
        float | None,
        typer.Option("--factor", "-w", help="How many times as wide the target is."),
    ] = None,
    parameterization: Annotated[
        str | None, typer.Option(help="standard, ntk, default (PyTorch's) or mup.")
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="What stays: stability (ε no higher than is known to be stable), batch_size, "
            "learning_rate, learning_rate_and_batch_size, momentum or largest_batch."
        ),
    ] = "stability",
    base: Annotated[
        str | None,
        typer.Option(
            metavar=_REFERENCE,
            help="Builds the base, with no argument or with 1; also file.py:function.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar=_REFERENCE,
            help="The target; default --base at --factor, if its function takes one.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    normalization: Annotated[
        str | None,
        typer.Option(
            help="none, batch, layer, group, instance, rms, mixed, other.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    convolutional: Annotated[
        bool | None,
        typer.Option(help="Whether there are convolutions.", rich_help_panel=_PARTS),
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option(help="Whether there are residual sums.", rich_help_panel=_PARTS),
    ] = None,
    depth_changed: Annotated[
        bool,
        typer.Option(
            "--depth-changed",
            help="The number of layers differs as well.",
            rich_help_panel=_PARTS,
        ),
    ] = False,
    max_stable_learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Largest stable ε; `widthwise probe` measures it.", rich_help_panel=_STABILITY
        ),
    ] = None,
    max_stable_at: Annotated[
        float,
        typer.Option(
            help="The widening factor at which it was measured.", rich_help_panel=_STABILITY
        ),
    ] = 1.0,
    max_stable_batch_size: Annotated[
        int | None,
        typer.Option(
            help="The B at which it was measured; default the base's.", rich_help_panel=_STABILITY
        ),
    ] = None,
    stability_exponent: Annotated[
        float | None,
        typer.Option(help="q in: largest stable ε ∝ w^−q.", rich_help_panel=_STABILITY),
    ] = None,
    num_train: Annotated[
        int | None, typer.Option(help="Training examples.", rich_help_panel=_TRAINING)
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes through them.", rich_help_panel=_TRAINING)
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="The advice is for sgd.", rich_help_panel=_TRAINING)
    ] = "sgd",
    schedule: Annotated[
        str | None,
        typer.Option(help="Of the learning rate; default constant.", rich_help_panel=_TRAINING),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Of torch.optim.SGD; default 0.", rich_help_panel=_TRAINING),
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="The largest that fits.", rich_help_panel=_TRAINING)
    ] = None,
    law: Annotated[
        Path | None,
        typer.Option(help="Directory of a study whose exponent to use.", rich_help_panel=_MEASURED),
    ] = None,
    gradient_noise: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Measure tr(Σ)/|G|² of --base, as initialized, on this data set and show it "
            "beside ḡ; `widthwise datasets` lists them.",
            rich_help_panel=_MEASURED,
        ),
    ] = None,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """What learning rate, batch size and momentum to use for a wider network."""
    from widthwise.adviser import AdviceRefusedError, Network, Stability, Training
    from widthwise.adviser import widen as advise
    from widthwise.adviser.evidence import refusal_text

    said: dict[str, Any] = {
        "parameterization": parameterization,
        "normalization": normalization,
        "schedule": schedule,
        "weight_decay": weight_decay,
    }
    measured = None
    if law is not None:
        measured, said = _from_study(law, said)
    modules, init_variance = None, None
    if base is not None or target is not None:
        modules, init_variance = _networks(base, target, widening_factor)
    noise = None if gradient_noise is None else _gradient_noise(modules, gradient_noise)
    try:
        plan = advise(
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            widening_factor=widening_factor,
            parameterization=said["parameterization"],
            network=Network(
                modules=modules,
                normalization=said["normalization"],
                convolutional=convolutional,
                residual=residual,
                depth_changed=depth_changed,
                init_variance=init_variance,
                # Another function than the base's is not one family, which a probe needs.
                build=base if target in (None, base) else None,
            ),
            stability=Stability(
                max_stable_learning_rate=max_stable_learning_rate,
                max_stable_at=max_stable_at,
                max_stable_batch_size=max_stable_batch_size,
                stability_exponent=stability_exponent,
            ),
            training=Training(
                num_train=num_train,
                epochs=epochs,
                optimizer=optimizer,
                schedule=said["schedule"] or "constant",
                weight_decay=said["weight_decay"] or 0.0,
                max_batch_size=max_batch_size,
                gradient_noise=noise,
            ),
            law=measured,
            keep=cast("Keep", keep),
        )
    except AdviceRefusedError as refusal:
        if as_json:
            print_json(refusal.to_dict())
        else:
            print(refusal_text(refusal), file=sys.stderr)
        raise typer.Exit(1) from refusal
    if as_json:
        print_json(plan.to_dict())
    else:
        print_plan(plan, context.command, explain=explain)


def _from_study(directory: Path, given: dict[str, Any]) -> tuple["Law", dict[str, Any]]:
    """The study's law, and how it trained; its exponent says nothing of another training.

    Raises:
        InputError: if something that was given contradicts the study.
    """
    from widthwise.study import Study

    study = Study.open(directory)
    family, training = study.spec.family, study.spec.training
    measured = {
        "parameterization": family.parameterization,
        "normalization": family.normalization,
        "schedule": training.schedule,
        "weight_decay": training.weight_decay,
    }
    for name, value in measured.items():
        said = given[name]
        # PyTorch's default initialization scales as the standard parameterization.
        alike = said == "default" and value == "standard"
        if said is not None and value is not None and said != value and not alike:
            raise InputError(
                f"{name} {said} contradicts the study {directory}, which trained with {value}: "
                "its exponent does not hold there; leave law out, or run a study as you train",
                fields=(name, "law"),
            )
    taken = {
        name: value if given[name] is None else given[name] for name, value in measured.items()
    }
    return study.law(), taken


def _gradient_noise(
    modules: "tuple[nn.Module, nn.Module] | None", data: str
) -> "GradientNoiseScale":
    if modules is None:
        raise InputError("--gradient-noise is measured on a network: which? Give --base")
    from pydantic import ValidationError

    from widthwise.data import DataSpec, load
    from widthwise.probes.gradient_noise import gradient_noise_scale
    from widthwise.study.reading import explain

    try:
        spec = DataSpec(name=data)
    except ValidationError as error:
        raise InputError(f"--gradient-noise: {explain(error, DataSpec)}") from None
    return gradient_noise_scale(modules[0], load(spec))


def _networks(
    base: str | None, target: str | None, widening_factor: float | None
) -> tuple["tuple[nn.Module, nn.Module]", float]:
    """Both modules, and the family's σ_init² at widening factor 1; the target may be the base's
    function at another width."""
    if base is None:
        raise InputError(
            "--target is compared with --base, which is missing; give both, or --factor alone"
        )
    if target is None and widening_factor is None:
        raise InputError(
            "Which is the target? Give --target, or --factor if the function of --base takes a "
            "widening factor"
        )
    from widthwise.families import user_family

    first = user_family(base)
    second = first if target is None else user_family(target)
    if second.needs_width and widening_factor is None:
        raise InputError(f"How wide is {target} to be built? Give --factor")
    wide = widening_factor if target is None or second.takes_width else None
    pair = first.network(1.0 if first.takes_width else None), second.network(wide)
    return pair, first.init_variance(1.0)
