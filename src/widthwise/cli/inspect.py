"""Commands that look at networks."""

from typing import Annotated

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError
from widthwise.families.user import UserFamily, user_family
from widthwise.inspection import CONFIDENCE, Inspection, Widening
from widthwise.inspection import compare as compare_networks
from widthwise.inspection import inspect as inspect_network


def inspect(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="Function that builds the network; also path/to/file.py:function.",
        ),
    ],
    more_factors: Annotated[list[float] | None, typer.Argument(metavar="[W]", hidden=True)] = None,
    factor: Annotated[
        list[float] | None,
        typer.Option(
            "--factor", metavar="W [W]", help="Widening factor(s) to build; two are compared."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Function that builds the wider network."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="ε: adds effective rates; with --batch-size also ḡ.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="B of SGD.")] = None,
    momentum: Annotated[float, typer.Option(help="m of SGD.")] = 0.0,
    confidence: Annotated[
        float, typer.Option(help="Probability, a parameter, that its scheme is listed.")
    ] = CONFIDENCE,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Which known initialization each parameter has, and what a wider network changed."""
    factors = _factors(factor, more_factors)
    builds = _builds(reference, target, factors)
    networks = [family.network(width, seed) for family, width in builds]
    found: Inspection | Widening
    if len(networks) == 1:
        found = inspect_network(
            networks[0],
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            confidence=confidence,
        )
    else:
        found = compare_networks(
            networks[0],
            networks[1],
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            confidence=confidence,
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
) -> list[tuple[UserFamily, float | None]]:
    """What to build: one network or two, each with its widening factor."""
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
