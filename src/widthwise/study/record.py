"""``study.json``: the question that a study is, with the data and the networks it is about."""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from widthwise.errors import InputError
from widthwise.files import write_atomically
from widthwise.runs.address import is_address, place_of
from widthwise.runs.key import ARITHMETIC
from widthwise.runs.sealed import seal
from widthwise.runs.store import Store
from widthwise.study.asked import (
    FORMAT,
    FORMAT_2,
    OWN_STORE,
    STUDY_FILE,
    store_of,
    written_question,
)
from widthwise.study.reading import with_paths
from widthwise.study.spec import StudySpec


class DataRecord(BaseModel):
    """The data that a study is about.

    Attributes:
        name: of the data set.
        in_memory: whether they were given as arrays, which are kept beside ``study.json``.
        fingerprint: SHA-256 of their content.
        input_shape: of one example.
        num_classes: of the labels.
        num_train, num_test, num_validation: examples.
        preparation: in words, what was done to the inputs; "" if that is not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    in_memory: bool
    fingerprint: str
    input_shape: tuple[int, ...]
    num_classes: int
    num_train: int
    num_test: int
    num_validation: int
    preparation: str = ""


class StudyRecord(BaseModel):
    """The content of ``study.json``, with whole paths.

    Attributes:
        spec: what is asked, how it is looked at, and where it is computed.
        data: on which examples.
        family: plain values that tell its networks from every other family.
        arithmetic: version in which its results have their meaning.
        is_old: whether it is of format 2.
    """

    model_config = ConfigDict(frozen=True)

    spec: StudySpec
    data: DataRecord
    family: dict[str, Any]
    arithmetic: int = ARITHMETIC
    is_old: bool = False

    def __hash__(self) -> int:
        return hash((self.spec.hash, self.data.fingerprint))

    def store_in(self, directory: Path) -> Store:
        """Where its runs lie, of a study in this directory.

        Raises:
            InputError: if the place is not written as one, or what speaks to it is not installed.
        """
        return Store(place_of(self.spec.store or directory / OWN_STORE))

    def write(self, directory: Path) -> None:
        """Make it the question of the study in a directory.

        Raises:
            InputError: if the directory cannot be written.
        """
        fields = with_paths(self.spec.fields(), lambda path: _portable(path, directory))
        # What was left out stays open: a device may decide it.
        fields["packing"] = self.spec.packing.model_dump(mode="json", exclude_unset=True)
        content = {
            "format": FORMAT,
            "spec": fields,
            "store": _portable(str(self.store_in(directory).place), directory),
            **self.model_dump(mode="json", include={"data", "family", "arithmetic"}),
        }
        write_atomically(directory / STUDY_FILE, seal(content, indent=2))


def read_record(directory: Path) -> StudyRecord:
    """The record in a study's directory.

    Raises:
        InputError: if the directory is not a study, or its record was damaged or altered.
    """
    path = directory / STUDY_FILE
    content = written_question(directory)
    absent = {"spec", "data", "family"} - set(content)
    if absent:
        raise InputError(
            f"{path} must hold {min(absent)!r}; restore the file, or begin a study in another "
            "directory"
        )
    is_old = content["format"] == FORMAT_2
    try:
        if not isinstance(content["spec"], dict):
            raise InputError(f"spec must be a table, got {content['spec']!r}")
        fields = with_paths(content["spec"], lambda p: os.path.normpath(directory / p))
        spec = StudySpec.parse(fields)
        if not is_old:
            store = store_of(directory, content).place
            if store != directory / OWN_STORE:
                spec = spec.model_copy(update={"store": str(store)})
        return StudyRecord.model_validate({**content, "spec": spec, "is_old": is_old})
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise InputError(
            f"{path} is damaged: {where}: {first['msg']}, got {got}; restore the file, or begin a "
            "study in another directory"
        ) from None


def _portable(path: str, directory: Path) -> str:
    """Relative to the directory, where there is a way from there."""
    if is_address(path):
        return path
    try:
        return Path(os.path.relpath(path, directory)).as_posix()
    except ValueError:  # another drive
        return path
