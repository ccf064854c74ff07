"""A question put to a directory: a study begun, gone on with, or changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widthwise.data import Dataset, DataSpec, load
from widthwise.errors import InputError
from widthwise.files import explained, make_directory, require_no_link
from widthwise.runs.key import Run
from widthwise.study.asked import OWN_STORE, Asked, is_begun
from widthwise.study.context import Context, describe, make_context, on_this_machine
from widthwise.study.extending import Change, change_between, refuse_unrelated
from widthwise.study.keeping import refuse_many_bytes
from widthwise.study.limits import refuse_many_flops, refuse_many_runs, refuse_many_steps
from widthwise.study.record import StudyRecord, read_record
from widthwise.study.scheduling import known_runs
from widthwise.study.spec import StudySpec
from widthwise.study.variation import check_variation

_DATA_FOLDER = "data"


@dataclass(frozen=True)
class Posed:
    """A question as it lies in the directory.

    Attributes:
        record: the question.
        context: its data and networks.
        change: what it means for the runs that are there, if there was another one before.
        narrows: whether some of them are no longer asked for.
    """

    record: StudyRecord
    context: Context
    change: str | None = None
    narrows: bool = False


def given_data(data: Any, spec: DataSpec) -> Dataset | None:
    """What was given as data, in memory; None if nothing was.

    Args:
        data: a :class:`Dataset`, taken as it is, or whatever ``Dataset.of`` takes.
        spec: how many of the latter, and how they are prepared.

    Raises:
        InputError: if the data are unfit.
    """
    if data is None or isinstance(data, Dataset):
        return data
    return Dataset.of(
        data,
        num_train=spec.num_train,
        num_test=spec.num_test,
        num_validation=spec.num_validation,
        seed=spec.seed,
        preprocessing=spec.preprocessing,
    )


def pose(directory: Path, asked: StudySpec, data: Dataset | None, *, yes: bool) -> Posed:
    """Write a question into a study's directory, which is made if it is not there.

    Args:
        directory: of the study.
        asked: the specification.
        data: data in memory, instead of what ``asked`` names; kept in the directory.
        yes: whether to go on although none of the runs that are there would be used.

    Raises:
        InputError: if the specification is wrong, the data are not here, the directory cannot be
            written, or none of the runs that are there would be used.
    """
    refuse_many_runs(asked.grid, asked.limits)
    before = read_record(directory) if is_begun(directory) else None
    if before is not None and before.is_old:
        raise InputError(
            f"{directory} holds a study of Widthwise 0.1, which can be read and not gone on "
            "with; choose another directory"
        )
    if data is None and before is not None and _means_its_data(before, asked):
        data = Dataset.read(before.spec.data.path or "")
    if data is not None:
        asked = _kept_in(directory, asked, data)
    dataset = load(asked.data) if data is None else data
    resolved = on_this_machine(asked)
    refuse_many_steps(asked.grid, asked.training, dataset.num_train, asked.limits)
    context = make_context(resolved, dataset)
    record = describe(context, asked, in_memory=data is not None)
    if before is not None and _same_question(before, record):
        return Posed(before, context)
    costs = context.costs()  # every network fits the data, or nothing is begun
    refuse_many_flops(
        asked.grid,
        asked.training,
        dataset.num_train,
        context.num_evaluated,
        costs,
        asked.limits,
    )
    search = asked.search
    refuse_many_bytes(
        asked.grid,
        asked.keep,
        costs,
        asked.limits,
        max_seeds=None if search is None else search.max_seeds,
        max_runs=None if search is None else search.max_runs,
    )
    check_variation(context)
    known, is_all = known_runs(context, record.store_in(directory))
    change = None if before is None else _change(directory, before, record, known, is_all, yes=yes)
    require_no_link(directory / OWN_STORE)
    make_directory(directory)
    if data is not None:
        _keep(directory, asked, data)
    # Never the runs of one question under another.
    Asked.of({}).write(directory)
    record.write(directory)
    Asked.of(known if asked.search is None else {}).write(directory)
    if change is None:
        return Posed(record, context)
    sentence = change.sentence() if change.changes else None
    return Posed(record, context, sentence, narrows=change.kept > 0)


def _change(
    directory: Path,
    before: StudyRecord,
    record: StudyRecord,
    known: Mapping[str, Run],
    is_all: bool,
    *,
    yes: bool,
) -> Change:
    """What the new question means.

    Raises:
        InputError: if none of the runs that are there would be used.
    """
    change = change_between(
        directory,
        before,
        record,
        earlier_store=before.store_in(directory),
        store=record.store_in(directory),
        asked=set(known),
        is_all=is_all,
    )
    if not yes:
        refuse_unrelated(directory, change)
    return change


def _same_question(before: StudyRecord, after: StudyRecord) -> bool:
    return (
        before.spec.fields() == after.spec.fields()
        and before.spec.store == after.spec.store
        and before.data.fingerprint == after.data.fingerprint
        and (before.family, before.arithmetic) == (after.family, after.arithmetic)
    )


def _kept_in(directory: Path, spec: StudySpec, data: Dataset) -> StudySpec:
    """The specification with the file in which data given in memory are kept."""
    path = directory / _DATA_FOLDER / f"{data.fingerprint[:16]}.npz"
    kept = DataSpec(name="npz", path=str(path), preprocessing="none")
    return spec.model_copy(update={"data": kept})


def _means_its_data(before: StudyRecord, spec: StudySpec) -> bool:
    """Whether a specification that names no data, or the file in which those given in memory are
    kept, goes on with these."""
    unnamed = "data" not in spec.model_fields_set
    return before.data.in_memory and (unnamed or spec.data == before.spec.data)


def _keep(directory: Path, spec: StudySpec, data: Dataset) -> None:
    require_no_link(directory / _DATA_FOLDER)
    path = Path(spec.data.path or "")
    make_directory(path.parent)
    with explained(path):
        if not path.exists():
            data.save(path)
