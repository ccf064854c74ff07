"""How far a study has come, read from its files alone."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from widthwise.study.asked import FORMAT_2, read_asked, store_of, written_question
from widthwise.study.format_2 import OldShards


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """How far a study has come.

    Attributes:
        title: of the study.
        runs_planned: runs that it asks for; of a search those of the rounds that have begun; None
            if that is not known, as of a study of format 2.
        runs_landed: of these, how many have landed.
        runs_diverged: of those landed.
        runs_in_flight: being trained now, somewhere.
        longest_in_flight: seconds since the first of these was taken; None if there is none.
        runs_failed: tried, given up and not landed; the next `run` tries them again.
        runs_waiting: none of these; None if it is not known how many there are.
        damaged: files of its store that are not what their names promise, set aside or not.
        kept: runs of its store that it does not ask for.
    """

    title: str
    runs_planned: int | None
    runs_landed: int
    runs_diverged: int
    runs_in_flight: int
    longest_in_flight: float | None
    runs_failed: int
    runs_waiting: int | None
    damaged: int
    kept: int


def study_status(directory: Path) -> StudyStatus:
    """Read how far the study in a directory has come.

    Raises:
        InputError: if the directory is no study, or a file of it is damaged.
    """
    question = written_question(directory)
    spec = question.get("spec")
    title = str(spec.get("title", "")) if isinstance(spec, dict) else ""
    if question["format"] == FORMAT_2:
        old = OldShards(directory)
        table, damaged = old.table()
        return StudyStatus(
            title=title,
            runs_planned=None,
            runs_landed=len(table),
            runs_diverged=_diverged(table),
            runs_in_flight=0,
            longest_in_flight=None,
            runs_failed=0,
            runs_waiting=None,
            damaged=len(damaged),
            kept=0,
        )
    store, asked = store_of(directory, question), read_asked(directory)
    landed, damage = store.table(columns=["key", "status"])
    keys = asked.runs.select("key")
    ours = landed.join(keys, on="key", how="semi")
    missing = set(keys["key"].to_list()) - set(ours["key"].to_list())
    in_flight = {
        key: since
        for key, since in store.leases.held().items()
        if key in missing and since < float("inf")  # else it was just given up
    }
    failed = missing.intersection(store.failures.noted()) - in_flight.keys()
    return StudyStatus(
        title=title,
        runs_planned=len(keys),
        runs_landed=len(ours),
        runs_diverged=_diverged(ours),
        runs_in_flight=len(in_flight),
        longest_in_flight=max(in_flight.values(), default=None),
        runs_failed=len(failed),
        runs_waiting=len(missing) - len(in_flight) - len(failed),
        damaged=len(damage) + store.num_set_aside(),
        kept=len(landed) - len(ours),
    )


def _diverged(table: pl.DataFrame) -> int:
    return int((table["status"] == "diverged").sum())
