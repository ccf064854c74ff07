"""``widthwise widen``: what to set for a wider network."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from widthwise.analysis import Law
    from widthwise.probes.gradient_noise import GradientNoiseScale

_REFERENCE = "MODULE:FUNCTION"
# Panels of the help.
_NETWORK, _PARTS = "The networks", "What the networks contain"
_STABILITY, _TRAINING = "What is known of stability", "How it trains"
_MEASURED = "What is measured"


def widen(
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
            help="batch_size, learning_rate, learning_rate_and_batch_size, momentum or "
            "largest_batch."
        ),
    ] = "batch_size",
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
    as_json: AsJson = False,
) -> None:
    """What learning rate, batch size and momentum to use for a wider network, and why."""
    from widthwise.adviser import AdviceRefusedError
    from widthwise.adviser import widen as advise
    from widthwise.adviser.evidence import refusal_text

    given: dict[str, Any] = {
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "momentum": momentum,
        "widening_factor": widening_factor,
        "keep": keep,
        "convolutional": convolutional,
        "residual": residual,
        "max_stable_learning_rate": max_stable_learning_rate,
        "max_stable_at": max_stable_at,
        "max_stable_batch_size": max_stable_batch_size,
        "stability_exponent": stability_exponent,
        "num_train": num_train,
        "epochs": epochs,
        "optimizer": optimizer,
        "max_batch_size": max_batch_size,
        "depth_changed": depth_changed,
        "build": base,
    }
    training = {
        "parameterization": parameterization,
        "normalization": normalization,
        "schedule": schedule,
        "weight_decay": weight_decay,
    }
    if law is not None:
        measured, training = _from_study(law, training)
        given["law"] = measured
    given |= {name: value for name, value in training.items() if value is not None}
    if base is not None or target is not None:
        given |= _networks(base, target, widening_factor)
    if gradient_noise is not None:
        given["gradient_noise"] = _gradient_noise(given.get("base"), gradient_noise)
    try:
        plan = advise(**given)
    except AdviceRefusedError as refusal:
        if as_json:
            print_json(refusal.to_dict())
        else:
            print(refusal_text(refusal), file=sys.stderr)
        raise typer.Exit(1) from refusal
    if as_json:
        print_json(plan.to_dict())
    else:
        print(plan)


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
                f"--{name.replace('_', '-')} {said} contradicts the study {directory}, which "
                f"trained with {value}: its exponent does not hold there; leave --law out, or run "
                "a study as you train"
            )
    return study.law(), {
        name: value if given[name] is None else given[name] for name, value in measured.items()
    }


def _gradient_noise(base: "nn.Module | None", data: str) -> "GradientNoiseScale":
    if base is None:
        raise InputError("--gradient-noise is measured on a network: which? Give --base")
    from widthwise.data import DataSpec, load
    from widthwise.probes.gradient_noise import gradient_noise_scale

    return gradient_noise_scale(base, load(DataSpec(name=data)))


def _networks(
    base: str | None, target: str | None, widening_factor: float | None
) -> dict[str, Any]:
    """Both modules; the target may be the base's function at another width."""
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
    return {
        "base": first.network(1.0 if first.takes_width else None),
        "target": second.network(wide),
    }
