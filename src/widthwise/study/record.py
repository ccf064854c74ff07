"""``study.json``: what a study is, written once when it begins."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from widthwise.errors import InputError
from widthwise.hardware import describe_hardware
from widthwise.runs.store import Store
from widthwise.study.spec import StudySpec

STUDY_FILE = "study.json"
DATA_FILE = "data.npz"
_FORMAT = "widthwise-study-2"


class DataRecord(BaseModel):
    """The data with which a study began.

    Attributes:
        name: of the data set.
        in_memory: whether they were given as arrays, which are kept beside ``study.json``.
        fingerprint: SHA-256 of their content.
        input_shape: of one example.
        num_classes: of the labels.
        num_train, num_test, num_validation: examples.
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


class StudyRecord(BaseModel):
    """The content of ``study.json``.

    Attributes:
        spec: what is run, and where.
        data: on which examples.
        family: plain values that tell its networks from every other family.
        versions: of the libraries with which it began.
    """

    model_config = ConfigDict(frozen=True)

    spec: StudySpec
    data: DataRecord
    family: dict[str, Any]
    versions: dict[str, str]

    def __hash__(self) -> int:
        return hash((self.spec.hash, self.data.fingerprint))

    def write(self, store: Store) -> None:
        content = {
            "format": _FORMAT,
            "spec": self.spec.fields(),
            "spec_hash": self.spec.hash,
            **self.model_dump(mode="json", include={"data", "family", "versions"}),
        }
        store.write_json(STUDY_FILE, content)


def installed_versions() -> dict[str, str]:
    """Of Python and of what computes the results."""
    versions = {"python": platform.python_version()}
    for name in ("widthwise", "torch", "numpy", "scipy", "polars", "numba"):
        with suppress(PackageNotFoundError):  # numba is optional
            versions[name] = version(name)
    return versions


def provenance(record: StudyRecord, results: pl.DataFrame, num_scheduled: int) -> dict[str, str]:
    """What a report says of where its numbers come from: name → value.

    Args:
        record: of the study.
        results: its runs that have landed.
        num_scheduled: all its runs.
    """
    from widthwise.report.training import family_description, training_description

    spec, data = record.spec, record.data
    seeds = sorted(results["seed"].unique().to_list())
    sizes = f"{data.num_train} training, {data.num_test} test"
    if data.num_validation:
        sizes += f", {data.num_validation} validation"
    return {
        "data": f"{data.name} ({sizes} examples of shape {data.input_shape})",
        "data fingerprint (SHA-256)": data.fingerprint,
        "family": family_description(spec.family.model_dump(mode="json")),
        "training": training_description(spec.training.recipe),
        "specification (SHA-256)": spec.hash,
        "seeds": ", ".join(str(seed) for seed in seeds),
        "runs": f"{len(results)} of {num_scheduled} planned",
        "training time": f"{results['seconds'].sum() / 60:.1f} core minutes",
        "device": spec.hardware.device,
        "this page was written on": describe_hardware(),
        "engine": ", ".join(sorted(results["engine"].unique().to_list())),
        **record.versions,
    }


def read_record(store: Store) -> StudyRecord:
    """The record in a study's directory.

    Raises:
        InputError: if the directory is not a study, or its record was damaged or altered.
    """
    path = store.directory / STUDY_FILE
    content = store.read_json(STUDY_FILE)
    if content.get("format") != _FORMAT:
        raise InputError(
            f"{path} must have format {_FORMAT!r}, got {content.get('format')!r}; it was written "
            "by another version of widthwise"
        )
    absent = {"spec", "spec_hash", "data", "family", "versions"} - set(content)
    if absent:
        raise InputError(
            f"{path} must hold {min(absent)!r}; restore the file, or begin a study in another "
            "directory"
        )
    spec = StudySpec.parse(content["spec"])
    if spec.hash != content["spec_hash"]:
        raise InputError(
            f"the specification in {path} was altered after the study began; restore it, or "
            "begin a study in another directory"
        )
    try:
        return StudyRecord.model_validate({**content, "spec": spec})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise InputError(
            f"{path} is damaged: {where}: {first['msg']}, got {got}; restore the file, or begin a "
            "study in another directory"
        ) from None
