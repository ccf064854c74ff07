"""What lies in a study's folder: read, shown and looked after, without data or networks."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl

from widthwise.analysis import Law, Optimum
from widthwise.analysis.optima import Optima
from widthwise.errors import FitError, InputError
from widthwise.files import make_directory, whole_path
from widthwise.runs.analyses import Summary, summarize
from widthwise.runs.blobs import Damage
from widthwise.runs.schema import RESULTS_SCHEMA, curves_table, results_table, without_lists
from widthwise.runs.tables import base_init_variance, selected_on
from widthwise.runs.trust import doubts
from widthwise.study.asked import read_asked
from widthwise.study.format_2 import OldShards
from widthwise.study.keeping import runs_of_best
from widthwise.study.record import StudyRecord, read_record
from widthwise.study.reporting import write_study_report
from widthwise.study.rounds import KeptRounds
from widthwise.study.status import StudyStatus, study_status
from widthwise.text import html_table, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Landed:
    """The runs of a study that have landed, and what they say."""

    def __init__(self, directory: Path, record: StudyRecord) -> None:
        self.directory = directory
        self.spec = record.spec
        self._record = record
        self._store = record.store_in(directory)
        self._summarized: tuple[pl.DataFrame, Summary] | None = None

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Open a study that was begun before.

        Raises:
            InputError: if the directory holds none.
        """
        directory = whole_path(directory)
        return cls(directory, read_record(directory))

    def _repr_html_(self) -> str:
        """In a notebook; nothing is computed for it."""
        now = self.status()
        of = "" if now.runs_planned is None else f" of {now.runs_planned}"
        rows = [("folder", str(self.directory)), ("runs landed", f"{now.runs_landed}{of}")]
        rows += [("diverged", str(now.runs_diverged))]
        law = None if self._summarized is None else self._summarized[1].law
        rows += [] if law is None else [("law", law.sentence())]
        return html_table(printable(now.title), rows)

    def identity(self, what: Literal["data", "family"]) -> Any:
        """Plain values that tell the data, or the networks, that it asks about from others."""
        return self._record.data.fingerprint if what == "data" else self._record.family

    def results(self, *, curves: bool = False) -> pl.DataFrame:
        """One row a run that it asks for and that has landed, in a fixed order; empty if none has.

        Columns are those of :data:`widthwise.runs.schema.RESULTS_SCHEMA` without the curves, which
        are a table of their own (:meth:`curves`), so that what is returned can be written as CSV
        and taken to pandas. Damaged files are not counted; :meth:`verify` names them.

        Args:
            curves: whether to add the curves, as columns of lists; ``decay_at`` is one then, too.

        Raises:
            InputError: if the list of its runs is damaged.
        """
        whole = self._results()[0]
        return whole if curves else without_lists(whole)

    def results_and_damage(self) -> tuple[pl.DataFrame, list[Damage]]:
        """:meth:`results`, and what in its store is not counted."""
        whole, damage = self._results()
        return without_lists(whole), damage

    def curves(self) -> pl.DataFrame:
        """One row an evaluation of a run: ``run_id``, its hyper-parameters, ``step`` (0 is at
        initialization), and what was measured there. Runs are in the order of :meth:`results`.

        Raises:
            InputError: as :meth:`results`.
        """
        return curves_table(self.results(curves=True))

    def best(self) -> pl.DataFrame:
        """The rows of :meth:`results` of each width's best setting, by width, then seed: the one
        with the highest mean accuracy, on validation examples if there are any, of those of which
        no seed diverged. With ``keep = "best"`` their trained weights are kept.
        """
        return without_lists(runs_of_best(self.results(curves=True)))

    def summary(self) -> Summary:
        """Optima and law, with the reason for whatever could not be found.

        Raises:
            FitError: if no run has landed.
        """
        return self._summary(self.results(curves=True))

    def optima(self) -> dict[float, Optimum]:
        """Widening factor → optimum of the normalized noise scale, where one could be located: a
        dict, which prints as a table."""
        return Optima(self.summary().optima)

    def law(self) -> Law:
        """How the optimum moves with width.

        Raises:
            FitError: if the study does not determine it.
        """
        summary = self.summary()
        if summary.law is None:
            raise FitError(summary.law_problem)
        return summary.law

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Test accuracy against the normalized noise scale, a curve a width, with the optima.

        Args:
            axes: where to draw; None makes a figure, by Matplotlib's own settings.

        Returns:
            The axes, to change and to save: ``study.plot().figure.savefig("plot.pdf")``.

        Raises:
            FitError: if no run has landed.
        """
        from widthwise.report.plot import plot_accuracy  # workers need no Matplotlib

        results = self.results(curves=True)
        return plot_accuracy(results, self._summary(results).optima, axes)

    def report(self, *, command: str | None = None, directory: Path | None = None) -> Path:
        """Write the report; returns the path of its page.

        Args:
            command: what produced it, for the page; None takes this program's command line.
            directory: where to write it; None is the study's own.

        Raises:
            FitError: if no run has landed.
            InputError: if the stable learning rates in its directory belong to another study, or it
                cannot be written.
        """
        results, damage = self._results()
        return write_study_report(
            self.directory,
            self._record,
            results,
            damage,
            self._summary(results),
            place=self.directory if directory is None else directory,
            command=command,
        )

    def status(self) -> StudyStatus:
        """How far it has come."""
        return study_status(self.directory)

    def verify(self) -> list[Damage]:
        """Look at everything in its store, set aside what is damaged, and say what that was. A
        study of Widthwise 0.1 is only looked at.

        Raises:
            InputError: if the store cannot be written.
        """
        if self._record.is_old:
            return OldShards(self.directory).table()[1]
        return self._store.verify()

    def collect_garbage(self) -> tuple[int, int]:
        """Clear what finished and crashed work left in its store, and merge single files; how many
        files were removed, and how many runs merged.

        Raises:
            InputError: if the store cannot be written.
        """
        self._require_new()
        self._store.prepare()
        removed = self._store.sweep()
        if self.spec.keep.which != "best":  # of an earlier question
            removed += self._store.weights.drop(read_asked(self.directory).keys)
        return removed, self._store.compact()

    def withdraw(self, where: str) -> int:
        """Take those of its runs out of the store of which this is true, so that they are trained
        again; how many there were. Studies that share the store lose them too.

        Args:
            where: "column=value", of the results; "engine=vmap", say.

        Raises:
            InputError: if there is no such column, or the store cannot be written.
        """
        self._require_new()
        name, equals, value = where.partition("=")
        results = self.results()
        if not equals or name not in results.columns or results[name].dtype == pl.List:
            raise InputError(
                "retrain_where must be a column of the results and a value, as in engine=vmap, "
                f"got {where!r}",
                fields=("retrain_where",),
            )
        chosen = results.filter(pl.col(name).cast(pl.String) == value)
        return self._store.withdraw(chosen["run_id"].to_list())

    def export(self, directory: str | Path) -> Path:
        """Write what can be given away: the results as one Parquet file and the report, without a
        path of this machine; returns the page's path.

        Args:
            directory: where to; made if it is not there.

        Raises:
            FitError: if no run has landed.
            InputError: if it cannot be written, or is the study's own.
        """
        place = whole_path(directory)
        if place == self.directory:
            raise InputError(
                f"an export must have a folder of its own, got the study's, {place}; name another",
                fields=("output",),
            )
        make_directory(place)
        return self.report(command=f"widthwise export {self.directory.name}", directory=place)

    def search_end(self) -> str | None:
        """Why its search ended; None while it goes on, and without one."""
        name = None if self._record.is_old else read_asked(self.directory).rounds
        return None if name is None else KeptRounds(self.directory, name).read().reason

    def _results(self, without: Collection[str] = ()) -> tuple[pl.DataFrame, list[Damage]]:
        if self._record.is_old:
            table, damage = OldShards(self.directory).table()
            return table.filter(~pl.col("run_id").is_in(list(without))), damage
        keys = [key for key in read_asked(self.directory).keys if key not in without]
        if not keys:
            return pl.DataFrame(schema=RESULTS_SCHEMA), []
        landed, damage = self._store.table(keys)
        fraction = self.spec.training.late_fraction
        return results_table(landed, late_fraction=fraction, spec_hash=self.spec.hash), damage

    def _require_new(self) -> None:
        if self._record.is_old:
            raise InputError(
                f"{self.directory} holds a study of Widthwise 0.1, which can be read and not gone "
                "on with; begin it again in another directory"
            )

    def _nothing_landed(self) -> str:
        ended = self.search_end()
        if ended is not None:
            return (
                f"the search of {self.directory} ended before its first run ({ended}); raise "
                "search.max_runs in its specification"
            )
        return f"no run of {self.directory} has landed yet; run the study first"

    def _summary(self, results: pl.DataFrame) -> Summary:
        """Of these results; computed once for equal ones."""
        if results.is_empty():
            raise FitError(self._nothing_landed())
        if self._summarized is not None and self._summarized[0].equals(results):
            return self._summarized[1]
        data = self._record.data
        validated = selected_on(results) == "validation"
        found = summarize(
            results,
            num_train=data.num_train,
            num_scored=data.num_validation if validated else data.num_test,
            seed=self.spec.analysis.seed,
            late_fraction=self.spec.training.late_fraction,
        )
        if found.law is not None:
            law = replace(
                found.law,
                doubts=doubts(results, found.optima),
                init_variance=base_init_variance(results),
            )
            found = replace(found, law=law)
        self._summarized = results, found
        return found
