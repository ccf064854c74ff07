"""What a file is that was given where another kind was wanted, and which command takes it."""

import shlex
from pathlib import Path
from typing import Literal

Kind = Literal["specification", "table", "code", "study", "data"]

# Ending → kind.
_ENDINGS: dict[str, Kind] = {
    ".toml": "specification",
    ".json": "specification",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".pq": "table",
    ".py": "code",
    ".npz": "data",
    ".npy": "data",
}
# Kind → what it is, and what is done with one. {0}: its path, {1}: as a shell reads it.
_SAID: dict[Kind, str] = {
    "specification": "a specification: `widthwise run {1}` trains it, in a folder of its own",
    "table": (
        "a table of runs: `widthwise analyze {1} --width … --x …` says where the best value of a "
        "column lies at each width"
    ),
    "code": (
        'code: its networks are "{0}:FUNCTION", the kind of [family] in a specification; '
        "`widthwise inspect {1}:FUNCTION` looks at them"
    ),
    "study": "a study's folder: `widthwise report {1}` says what it found",
    "data": 'data: a specification takes them, with name = "npz" and path = "{0}" in [data]',
}
_STUDY_FILE = "study.json"


def mistaken_for(wanted: Kind, given: str | Path) -> str | None:
    """What was given instead, in words, with the command or the key that takes it; None if its
    name does not tell that it is something else.

    Args:
        wanted: what it should be.
        given: a path, or a reference to a function in a file.

    >>> mistaken_for("table", "study.toml")
    'a specification: `widthwise run study.toml` trains it, in a folder of its own'
    >>> mistaken_for("specification", "study.toml") is None
    True
    """
    file, colon, _ = str(given).rpartition(":")
    if colon and file.endswith(".py"):
        said = _SAID["code"].replace(":FUNCTION", "")
        return None if wanted == "code" else said.format(given, shlex.quote(str(given)))
    path = Path(given)
    is_study = path.is_dir() and (path / _STUDY_FILE).exists()
    kind = "study" if is_study else _ENDINGS.get(path.suffix.lower())
    if kind is None or kind == wanted or (path.is_dir() and not is_study):
        return None
    return _SAID[kind].format(given, shlex.quote(str(given)))


def without_function(reference: str) -> str:
    """What is said after a reference to networks that names no function: what it is instead, or how
    to name one; nothing where its name does not tell.

    >>> without_function("nets.py")
    '; name a function of it, as nets.py:build'
    >>> without_function("runs.csv")[:19]
    ', a table of runs: '
    """
    if reference.endswith(".py"):
        return f"; name a function of it, as {reference}:build"
    other = mistaken_for("code", reference)
    return "" if other is None else f", {other}"
