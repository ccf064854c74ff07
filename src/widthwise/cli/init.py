"""Files to begin with: a specification and a network with comments that teach, or an example."""

import importlib.resources
import shlex
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.output import AsJson, print_json
from widthwise.errors import InputError
from widthwise.files import create_atomically, make_directory, whole_path

_STARTER = ("study.toml", "network.py")


def init(
    directory: Annotated[
        Path, typer.Argument(help="Folder to write to; made if it is not there.")
    ] = Path(),
    example: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write this example instead; `list` names them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a specification and a network to begin with; nothing that is there is written over."""
    known = _examples()
    if example == "list":
        if as_json:
            print_json(sorted(known))
        else:
            print("\n".join(sorted(known)))
        return
    if example is not None and example not in known:
        raise InputError(
            f"example must be one of {', '.join(sorted(known))}, got {example!r}",
            fields=("example",),
        )
    starter = importlib.resources.files("widthwise.cli") / "starter"
    files = [starter / name for name in _STARTER] if example is None else [known[example]]
    place = whole_path(directory)
    for file in files:
        if (place / file.name).exists():
            raise InputError(f"{place / file.name} is there already; name another folder")
    make_directory(place)
    for file in files:
        if not create_atomically(place / file.name, file.read_bytes()):
            raise InputError(f"{place / file.name} is there already; name another folder")
    written = [place / file.name for file in files]
    if as_json:
        print_json({"written": written})
        return
    for path in written:
        print(path)
    print(f"then: widthwise run {shlex.quote(str(directory / written[0].name))}")


def _examples() -> dict[str, Traversable]:
    """Name → specification: in the wheel beside the package's modules, in a checkout beside it."""
    package = importlib.resources.files("widthwise")
    beside = Path(str(package)).parents[1] / "examples"
    for folder in (package / "examples", beside):
        if folder.is_dir():
            return {
                file.name.removesuffix(".toml"): file
                for file in folder.iterdir()
                if file.name.endswith(".toml")
            }
    return {}
