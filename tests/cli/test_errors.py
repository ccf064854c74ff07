"""Errors name arguments; the command that ran writes those it has as its options."""

import pickle

import pytest
import typer

from widthwise.cli.command import Command, options
from widthwise.errors import DataNotFoundError, InputError

app = typer.Typer()


@app.command(cls=Command)
def planted(
    widening_factor: float = typer.Option(1.0, "--factor", "-w"),
    residual: bool = False,
    depth_changed: bool = typer.Option(False, "--depth-changed"),
) -> None:
    raise InputError(
        "widening_factor must be positive; grid.widening_factor and epochs are something else, "
        "residual=False or residual or depth_changed=True is another, and depth_changed=False",
        fields=("widening_factor", "epochs", "residual", "depth_changed"),
    )


def test_fields_become_the_options_of_the_command():
    with pytest.raises(InputError) as raised:
        app(["--factor", "2"], standalone_mode=False)
    assert str(raised.value) == (
        "--factor must be positive; grid.widening_factor and epochs are something else, "
        "--no-residual or --residual / --no-residual or --depth-changed is another, and "
        "depth_changed=False"
    )


def test_what_is_no_field_is_left_alone():
    other = typer.Typer(add_completion=False)

    @other.command(cls=Command)
    def command(epochs: int = 1) -> None:
        raise InputError("epochs must be whole")

    with pytest.raises(InputError, match=r"^epochs must be whole$"):
        other([], standalone_mode=False)


def test_positional_arguments_are_no_options():
    other = typer.Typer(add_completion=False)

    @other.command(cls=Command)
    def command(first: str, second: int = 3) -> None:
        pass

    assert options(typer.main.get_command(other)) == {"second": ("--second",)}


def test_fields_survive_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(DataNotFoundError("data is absent", fields=("data",))))
    assert (str(error), error.fields) == ("data is absent", ("data",))
