"""``ww.analyze``: a table of runs that somebody trained, to a verdict."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from widthwise.analysis.law import Law
from widthwise.analysis.optima import Optima
from widthwise.analysis.optimum import Optimum
from widthwise.analysis.sweep import Sweep, SweepVerdict, analyze_sweep
from widthwise.errors import FitError, InputError
from widthwise.sweeps.reading import Table, read_table
from widthwise.sweeps.runs import Columns, read_runs
from widthwise.sweeps.wording import grade, remarks, to_add, verdict_sentence, without_optimum
from widthwise.text import exact, interval, number, plain, table

if TYPE_CHECKING:
    from widthwise.report.sweep_content import SweepContent

# Names of scores of which the smallest is the best.
_LOSSES = re.compile(r"loss|error|perplexity|(?<![a-z])(?:err|nll|mse|mae|ppl)(?![a-z])", re.I)


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepAnalysis:
    """Where the best value of a hyper-parameter lies at each width, and whether it moves.

    Attributes:
        sweep: the numbers: settings, optima, law.
        hyperparameter, width, score: names of the columns.
        source: name of the table.
        notes: what was left out of the table, and what looks odd.
    """

    sweep: Sweep
    hyperparameter: str
    width: str
    score: str
    source: str
    notes: tuple[str, ...] = ()

    @property
    def optima(self) -> Mapping[float, Optimum]:
        """Width → optimum; `noise_scale` is the best value of the hyper-parameter. It prints as a
        table."""
        return Optima(self.sweep.optima)

    @property
    def law(self) -> Law | None:
        """Best value ∝ width ** exponent; its widening factors count from the narrowest width."""
        return self.sweep.law

    @property
    def verdict(self) -> SweepVerdict:
        """Whether the 95 % interval of the exponent lies in [−0.25, 0.25], or outside it."""
        return self.sweep.verdict

    def sentence(self) -> str:
        """The finding, and how good it is."""
        graded = grade(self.sweep)
        said = verdict_sentence(self.sweep, self.hyperparameter, self.width)
        return said if graded is None else f"{said} {graded}"

    def predict(self, width: float) -> tuple[float, tuple[float, float]]:
        """Best value at a width by the law, with its 95 % band.

        Raises:
            FitError: if there is no law.
        """
        if self.law is None:
            raise FitError(verdict_sentence(self.sweep, self.hyperparameter, self.width))
        return self.law.predict(width / self.sweep.widths[0])

    def to_frame(self) -> pl.DataFrame:
        """One row a width: its best value and score with their intervals, None where open."""
        rows = [_row(self.sweep, width) for width in self.sweep.widths]
        return pl.DataFrame(rows, schema=_SCHEMA).rename(
            {"width": self.width, "best": f"best_{self.hyperparameter}"}
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; open ends are None."""
        law = self.law
        return {
            "hyperparameter": self.hyperparameter,
            "width": self.width,
            "score": self.score,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "evidence": self.sweep.evidence,
            "exponent": None if law is None else law.exponent,
            "interval": None if law is None else plain(law.interval),
            "optima": [
                {**_row(self.sweep, w), "add": list(to_add(self.sweep, w))}
                for w in self.sweep.widths
            ],
            "remarks": [text for text, _ in self._remarks()],
        }

    def write_report(self, directory: Path | str, *, command: str = "") -> Path:
        """Write ``report.html`` with its figures; returns its path."""
        from widthwise.report import write_sweep_report  # loads Matplotlib

        return write_sweep_report(self._content(command), Path(directory))

    def __str__(self) -> str:
        lines = [self.sentence(), "", self._table(), ""]
        lines += [text for text, _ in self._remarks() if text != grade(self.sweep)]
        return "\n".join(lines).rstrip()

    def _table(self) -> str:
        header = [self.width, f"best {self.hyperparameter}", "95 % interval", self.score, "runs"]
        rows = []
        for w in self.sweep.widths:
            runs = sum(row.num_runs for row in self.sweep.settings if row.width == w)
            found = self.optima.get(w)
            if found is None:
                rows.append([exact(w), "—", "—", "—", str(runs)])
                continue
            relation = {"low": "≤ ", "high": "≥ "}.get(_side(found), "")
            rows.append(
                [
                    exact(w),
                    relation + number(found.noise_scale),
                    interval(*found.interval),
                    number(found.score, 4),
                    str(runs),
                ]
            )
        return table(header, rows)

    def _remarks(self) -> list[tuple[str, bool]]:
        return [
            *remarks(self.sweep, self.hyperparameter, self.width),
            *((f"{note}.", True) for note in self.notes),
        ]

    def _content(self, command: str) -> "SweepContent":
        from widthwise.report.sweep_content import SweepContent

        return SweepContent(
            sweep=self.sweep,
            title=f"The best {self.hyperparameter} at each {self.width}",
            hyperparameter=self.hyperparameter,
            width=self.width,
            score=self.score,
            verdict=verdict_sentence(self.sweep, self.hyperparameter, self.width),
            remarks=tuple(self._remarks()),
            open_ends={
                w: said
                for w in self.sweep.widths
                if (said := without_optimum(self.sweep, w, self.hyperparameter)) is not None
            },
            source=self.source,
            command=command,
        )


def analyze(
    source: Any,
    *,
    width: Columns,
    x: Columns,
    score: Columns | None = None,
    seed: str | None = None,
    minimize: bool | None = None,
    where: Mapping[str, Any] | None = None,
    log_base: float | None = None,
) -> SweepAnalysis:
    """Where the best value of a hyper-parameter lies at each width, and whether it moves.

    Args:
        source: path of a CSV or Parquet file, a DataFrame of polars or pandas, an Optuna study, a
            mapping of columns, or a list of rows; one row a run. A score of NaN or infinity is a
            run that diverged, an empty one was not made. Names in exports of MLflow, Optuna and
            W&B may leave out "params.", "metrics.", "config/" and the like.
        width: column of widths: any positive measure of it.
        x: column of the hyper-parameter: positive.
        score: column of scores. Several columns, as a list or by a pattern such as "acc_*", are
            scores of several seeds.
        seed: column that says which runs have one seed. Without it, runs of one width and value are
            repetitions.
        minimize: whether the smallest score is the best. None takes the largest, or what an Optuna
            study says; where the score's name is that of a loss or an error, it must be said.
        where: column → value: the rows to look at.
        log_base: if the column x holds logarithms: their base.

    `width` or `x` may name several columns instead: their names then hold the widths, or the
    values, and their cells the scores.

    Raises:
        InputError: naming the column and the rows that are not as they must be.

    >>> import numpy as np
    >>> runs = [
    ...     {"width": w, "lr": 2.0**k, "acc": 0.8 - 0.01 * (k - np.log2(w)) ** 2 + 1e-4 * (k % 3)}
    ...     for w in (1, 2, 4) for k in range(-4, 8)
    ... ]
    >>> found = analyze(runs, width="width", x="lr", score="acc")
    >>> found.verdict, round(found.law.exponent, 1)
    ('moves', 1.0)
    """
    read = read_table(source)
    runs = read_runs(
        read,
        width=width,
        x=x,
        score=score,
        seed=seed,
        where=dict(where or {}),
        log_base=log_base,
    )
    smallest = _is_minimized(minimize, runs.names["score"], read)
    sweep = analyze_sweep(runs.width, runs.value, runs.score, runs.seed, minimize=smallest)
    return SweepAnalysis(
        sweep=sweep,
        hyperparameter=runs.names["x"],
        width=runs.names["width"],
        score=runs.names["score"],
        source=read.name,
        notes=runs.notes,
    )


def _is_minimized(minimize: bool | None, score: str, table: Table) -> bool:
    """
    Raises:
        InputError: if that is not known, or what was said is not what the table says.
    """
    if table.minimized is not None and score == table.minimized:
        if minimize is False:
            raise InputError(
                f"minimize must be True, for {table.name} minimizes {table.minimized}, got False",
                fields=("minimize",),
            )
        return True
    if minimize is None and _LOSSES.search(score):
        raise InputError(
            f"whether the smallest {score} is the best or the largest must be said: give "
            "minimize=True or minimize=False",
            fields=("minimize",),
        )
    return bool(minimize)


_SCHEMA = {
    "width": pl.Float64,
    "best": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "bound": pl.String,
    "score": pl.Float64,
    "score_low": pl.Float64,
    "score_high": pl.Float64,
    "settings": pl.Int64,
    "runs": pl.Int64,
    "diverged": pl.Int64,
    "doubts": pl.String,
    "problem": pl.String,
}


def _row(sweep: Sweep, width: float) -> dict[str, Any]:
    settings = [row for row in sweep.settings if row.width == width]
    counted = {
        "width": width,
        "settings": len(settings),
        "runs": sum(row.num_runs for row in settings),
        "diverged": sum(row.num_diverged for row in settings),
        "problem": sweep.problems.get(width),
    }
    found = sweep.optima.get(width)
    if found is None:
        return dict.fromkeys(_SCHEMA) | counted
    low, high = found.interval
    ends = plain(found.score_interval)
    return counted | {
        "best": found.noise_scale,
        "low": low if low > 0.0 else None,
        "high": plain(high),
        "bound": None if found.censoring == "none" else found.censoring,
        "score": found.score,
        "score_low": ends[0],
        "score_high": ends[1],
        "doubts": "; ".join(found.doubts) or None,
    }


def _side(found: Optimum) -> str:
    """Where the optimum lies of the value that is given for it: "low", "high" or "none"."""
    edge = {"low": found.measured[0], "high": found.measured[1]}.get(found.censoring)
    beyond = edge is not None and abs(found.noise_scale / edge - 1.0) < 1e-6
    return found.censoring if beyond else "none"
