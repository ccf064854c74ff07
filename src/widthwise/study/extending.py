"""Another question for the same folder: what changes, and what of that is there already."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widthwise.errors import InputError
from widthwise.families import code_changes
from widthwise.runs.store import Store
from widthwise.study.asked import read_asked
from widthwise.study.record import StudyRecord
from widthwise.study.spec import differences
from widthwise.text import count

_MOST_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Change:
    """From one question to the next.

    Attributes:
        changes: "key: a became b".
        there: runs of the new question that have landed.
        missing: those that have not; None if that is found out as it runs.
        kept: runs of the earlier question that have landed and are not used.
    """

    changes: tuple[str, ...]
    there: int
    missing: int | None
    kept: int

    def sentence(self) -> str:
        """In one line."""
        shown = list(self.changes[:_MOST_SHOWN])
        if len(self.changes) > _MOST_SHOWN:
            shown.append(f"{len(self.changes) - _MOST_SHOWN} more")
        verb = "is" if self.kept == 1 else "are"
        kept = f", {count(self.kept, 'other')} {verb} kept and no longer asked for"
        there = f"{count(self.there, 'run')} of it {'is' if self.there == 1 else 'are'} there"
        missing = "" if self.missing is None else f", {self.missing} to train"
        return (
            f"the study changes ({'; '.join(shown)}): {there}{missing}{kept if self.kept else ''}"
        )


def change_between(
    directory: Path,
    before: StudyRecord,
    after: StudyRecord,
    *,
    earlier_store: Store,
    store: Store,
    asked: Set[str],
    is_all: bool,
) -> Change:
    """What another question for a folder means.

    Args:
        directory: of the study.
        before, after: its questions.
        earlier_store: where the runs of the first lie.
        store: where those of the second do.
        asked: keys that the second asks for, as far as they are known; of a search all that it may
            ask for.
        is_all: whether it asks for these, all of them and no other.
    """
    landed = store.keys()
    try:
        earlier = set(read_asked(directory).keys)
    except InputError:  # it is written again
        earlier = set()
    return Change(
        changes=tuple(_changes(before, after)),
        there=len(asked & landed),
        missing=len(asked - landed) if is_all else None,
        kept=len((earlier & earlier_store.keys()) - (asked & landed)),
    )


def refuse_unrelated(directory: Path, change: Change) -> None:
    """A study whose runs would all be of no use is not begun by mistake.

    Raises:
        InputError: if there are runs, and none is asked for.
    """
    if change.kept and not change.there:
        raise InputError(
            f"none of the {count(change.kept, 'run')} of the study in {directory} would be used: "
            f"{'; '.join(change.changes[:_MOST_SHOWN])}. They would be kept; give yes to go on "
            "with another question in this folder, or choose another folder",
            fields=("yes",),
        )


def _changes(before: StudyRecord, after: StudyRecord) -> Iterable[str]:
    yield from differences(before.spec, after.spec, " became ")
    if before.data.fingerprint != after.data.fingerprint:
        yield "the data are others"
    if before.arithmetic != after.arithmetic:
        yield f"the version of the arithmetic: {before.arithmetic} became {after.arithmetic}"
    yield from code_changes(before.family.get("code", {}), after.family.get("code", {}))
    if before.spec.store != after.spec.store:
        yield f"store: {_place(before.spec.store)} became {_place(after.spec.store)}"


def _place(store: Any) -> str:
    return "its own" if store is None else str(store)
