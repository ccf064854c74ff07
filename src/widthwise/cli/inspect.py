"""Commands that look at networks."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError

if TYPE_CHECKING:
    from widthwise.families import UserFamily

_SGD = "How SGD is set"


def inspect(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="Function that builds the network; also path/to/file.py:function.",
        ),
    ],
    more_factors: Annotated[list[float] | None, typer.Argument(metavar="W", hidden=True)] = None,
    factor: Annotated[
        list[float] | None,
        typer.Option(
            "--factor", "-w", metavar="W [W]", help="Widening factor(s) to build; two are compared."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Function that builds the wider network."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Probability, a parameter, that its scheme is listed; default 0.999."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="ε: adds effective rates; with --batch-size also ḡ.", rich_help_panel=_SGD
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="B.", rich_help_panel=_SGD)] = None,
    momentum: Annotated[float, typer.Option(help="m.", rich_help_panel=_SGD)] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Which known initialization each parameter has, and what a wider network changed."""
    from widthwise import inspection

    options: dict[str, Any] = {} if confidence is None else {"confidence": confidence}
    builds = _builds(reference, target, _factors(factor, more_factors))
    networks = [family.network(width, seed) for family, width in builds]
    found = inspection.inspect(
        *networks, learning_rate=learning_rate, batch_size=batch_size, momentum=momentum, **options
    )
    if as_json:
        print_json(found.to_dict())
    else:
        print(found)


def _factors(options: list[float] | None, more: list[float] | None) -> list[float]:
    """The factors of ``--factor 1 4``: the command line gives the option one, the rest follow."""
    if more and not options:
        raise InputError(f"{more} came after the reference; widening factors are given by --factor")
    factors = [*(options or ()), *(more or ())]
    if len(factors) > 2:
        raise InputError(f"at most two widening factors can be compared, got {factors}")
    for value in factors:
        if not 0.0 < value < float("inf"):
            raise InputError(f"a widening factor must be positive, got {value}")
    return factors


def _builds(
    reference: str, target: str | None, factors: list[float]
) -> list[tuple["UserFamily", float | None]]:
    """What to build: one network or two, each with its widening factor."""
    from widthwise.families import user_family

    base = user_family(reference)
    if target is None:
        return [(base, width) for width in factors] if factors else [(base, None)]
    widths: list[float | None] = [*factors] if factors else [None, None]
    if len(widths) == 1:
        raise InputError(
            f"--target with one --factor {factors[0]:g} does not say whose it is; give two, base "
            "and target, or none"
        )
    return [(base, widths[0]), (user_family(target), widths[1])]
