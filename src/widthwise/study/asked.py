"""The files of a study that queries read: the question as it was written, and the runs it asks for.

No PyTorch here, and nothing of the user's is imported.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from widthwise.errors import InputError
from widthwise.files import explained, write_atomically
from widthwise.mistaken import mistaken_for
from widthwise.runs.address import place_of
from widthwise.runs.blobs import problem_of
from widthwise.runs.folder import Folder
from widthwise.runs.key import Run, is_key
from widthwise.runs.schema import ASKED_SCHEMA
from widthwise.runs.sealed import BrokenSealError, seal, unseal
from widthwise.runs.store import Store

STUDY_FILE = "study.json"
FORMAT = "widthwise-study-3"
# Of 0.1: shards, and no store.
FORMAT_2 = "widthwise-study-2"
_ASKED_FILE = "asked.json"
# Folder of the runs, in a study that does not share them.
OWN_STORE = "store"
_GO_ON = "restore it, or remove it and run its specification again: what has landed is kept"


def is_begun(directory: Path) -> bool:
    """Whether there is a study in a directory."""
    with explained(directory):
        return os.path.lexists(directory / STUDY_FILE)


def written_question(directory: Path) -> dict[str, Any]:
    """What ``study.json`` holds, whole and unaltered; its format is one of two.

    Raises:
        InputError: if the directory is no study, or the file was damaged or altered.
    """
    path = directory / STUDY_FILE
    content = _content(directory)
    found = content.get("format")
    if found == FORMAT_2:
        return content
    if found != FORMAT:
        raise InputError(
            f"{path} must have format {FORMAT!r}, got {found!r}; it was written by another "
            "version of widthwise"
        )
    return _read_sealed(path, _GO_ON)


def store_of(directory: Path, question: Mapping[str, Any]) -> Store:
    """Where the runs of a study lie: beside its question, or in a store that others share.

    Raises:
        InputError: if the place is not written as one, or what speaks to it is not installed.
    """
    place = question.get("store", OWN_STORE)
    if not isinstance(place, str) or not place or "\0" in place:
        raise InputError(f"{directory / STUDY_FILE} must name its store, got {place!r}")
    found = place_of(place)
    return Store(Path(os.path.normpath(directory / place)) if isinstance(found, Path) else found)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The runs that a study asks for; of a search those of the rounds that have begun.

    Attributes:
        runs: rows of :data:`widthwise.runs.schema.ASKED_SCHEMA`.
        rounds: name of the folder with its rounds; None without a search.
        unreachable: (widening factor, ḡ) that no stable learning rate and whole batch gives.
    """

    runs: pl.DataFrame
    rounds: str | None = None
    unreachable: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, runs: Mapping[str, Run], **others: Any) -> "Asked":
        """Of key → run."""
        rows = [{"key": key, **vars(run)} for key, run in runs.items()]
        return cls(runs=pl.DataFrame(rows, schema=ASKED_SCHEMA), **others)

    @property
    def keys(self) -> list[str]:
        found: list[str] = self.runs["key"].to_list()
        return found

    def write(self, directory: Path) -> None:
        """Keep it with the study, unless it is there already.

        Raises:
            InputError: if the directory cannot be written.
        """
        columns = {name: self.runs[name].to_list() for name in ASKED_SCHEMA}
        unreachable = [list(pair) for pair in self.unreachable]
        content = seal({"runs": columns, "rounds": self.rounds, "unreachable": unreachable})
        path = directory / _ASKED_FILE
        try:
            if Folder(directory).read(_ASKED_FILE) == content:
                return
        except OSError:
            pass  # whatever it is, it is replaced
        write_atomically(path, content)


def read_asked(directory: Path) -> Asked:
    """What was kept; nothing before the runs were laid out.

    Raises:
        InputError: if the file is damaged.
    """
    path = directory / _ASKED_FILE
    if not os.path.lexists(path):
        return Asked(runs=pl.DataFrame(schema=ASKED_SCHEMA))
    fields = _read_sealed(path, f"write it again: widthwise run {directory}")
    try:
        runs = pl.DataFrame(
            {name: fields["runs"][name] for name in ASKED_SCHEMA}, schema=ASKED_SCHEMA
        )
        unreachable = tuple((float(w), float(scale)) for w, scale in fields["unreachable"])
        rounds = fields["rounds"]
        if runs["key"].n_unique() < len(runs) or not all(map(is_key, runs["key"])):
            raise ValueError("it must name runs, each once")
        if not (rounds is None or (isinstance(rounds, str) and rounds.isalnum())):
            raise ValueError(f"its rounds must be those of a search, got {rounds!r}")
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{path} cannot be read: {said}; write it again: widthwise run {directory}"
        ) from None
    return Asked(runs=runs, rounds=rounds, unreachable=unreachable)


def _read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The sealed object in a file.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        InputError: if it is not there or not whole.
    """
    folder = Folder(path.parent)
    try:
        content = folder.read(path.name)
        if content is None:
            raise BrokenSealError("it is not there")
        return unseal(content)
    except (BrokenSealError, OSError) as error:
        raise InputError(f"{path} cannot be read: {problem_of(error)}; {remedy}") from None


def _content(directory: Path) -> dict[str, Any]:
    path = directory / STUDY_FILE
    other = mistaken_for("study", directory)
    if other is not None:
        raise InputError(f"a study is a folder with a {STUDY_FILE}, got {directory}, {other}")
    try:
        content = Folder(directory).read(STUDY_FILE)
        if content is None:
            raise InputError(
                f"{directory} is not a study: it has no {STUDY_FILE}; "
                "begin one with `widthwise run SPEC`"
            )
        fields = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be read: {reason}; {_GO_ON}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold a table, got {type(fields).__name__}")
    return fields
