"""What the pages of evidence share: the studies to run, what was found in one, and the files."""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from widthwise.adviser.own_studies import FILE as OWN_STUDIES
from widthwise.analysis import Law, Optimum, Resistance, measure_resistance
from widthwise.errors import FitError
from widthwise.runs.analyses import setting_scores, width_curves
from widthwise.study import Study
from widthwise.text import estimate

HERE = Path(__file__).parent
NOTHING = "—"
_COLUMNS = [
    "widening_factor",
    "learning_rate",
    "batch_size",
    "steps",
    "seed",
    "normalized_noise_scale",
    "test_accuracy",
    "train_loss",
    "status",
]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A study.

    Attributes:
        name: of its directory.
        words: what it is, or what is different from the others.
        specification: its sections.
    """

    name: str
    words: str
    specification: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A study that is complete."""

    variant: Variant
    study: Study
    results: pl.DataFrame
    optima: Mapping[float, Optimum]
    law: Law | None
    resistance: Resistance | None

    @classmethod
    def of(cls, variant: Variant, study: Study) -> "Found":
        results, summary = study.results(), study.summary()
        try:
            resistance = measure_resistance(width_curves(setting_scores(results), summary.optima))
        except FitError:
            resistance = None
        return cls(
            variant=variant,
            study=study,
            results=results,
            optima=summary.optima,
            law=summary.law,
            resistance=resistance,
        )

    @property
    def exponent(self) -> str:
        """Of the optimum."""
        return NOTHING if self.law is None else estimate(self.law.exponent, self.law.interval)

    @property
    def tolerance(self) -> str:
        """Exponent of the noise that is tolerated."""
        own = None if self.resistance is None else self.resistance.own_law
        return NOTHING if own is None else estimate(own.exponent, own.interval)

    @property
    def located(self) -> str:
        found = sum(o.censoring == "none" for o in self.optima.values())
        return f"{found} of {len(self.optima)}"

    @property
    def core_minutes(self) -> float:
        return float(self.results["seconds"].sum()) / 60.0


def optimum_words(optimum: Optimum) -> str:
    """Where it lies, or what bounds it."""
    low, high = optimum.interval
    if low <= 0.0 and math.isinf(high):
        return f"anything ({optimum.reason})"
    if optimum.censoring == "low":
        return f"< {high:.2g} ({optimum.reason})"
    if optimum.censoring == "high":
        return f"> {low:.2g} ({optimum.reason})"
    return f"{optimum.noise_scale:.2g} ({low:.2g}–{high:.2g})"


def make(
    stem: str,
    description: str | None,
    variants: Sequence[Variant],
    page: Callable[[Sequence[Found]], str],
    figure: Callable[[Sequence[Found]], Figure],
    *,
    for_advice: bool = False,
) -> None:
    """Run the studies that the command line names, or all; write page, figure and runs of every
    complete one to ``stem``.md, figures/``stem``.svg and ``stem``.csv; and, ``for_advice``, what
    the adviser says of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", choices=[[], *(v.name for v in variants)])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=Path("studies") / stem)
    options = parser.parse_args()
    found = []
    for variant in variants:
        directory = options.directory / variant.name
        wanted = not options.names or variant.name in options.names
        if not wanted and not directory.exists():
            continue
        study = Study.create(directory, variant.specification)
        if wanted:
            print(variant.name, flush=True)
            study.run(options.workers)
        if _is_complete(study):
            found.append(Found.of(variant, study))
    (HERE / f"{stem}.md").write_text(page(found), encoding="utf-8")
    if for_advice:
        OWN_STUDIES.write_text(own_studies(found, f"validation/{stem}.md"), encoding="utf-8")
    figure(found).savefig(HERE / "figures" / f"{stem}.svg")
    pl.concat(
        f.results.select(pl.lit(f.variant.name).alias("study"), *_COLUMNS) for f in found
    ).write_csv(HERE / f"{stem}.csv", float_precision=6)


def own_studies(found: Sequence[Found], page: str) -> str:
    """What the adviser says of Widthwise's own studies: those whose exponent is known to better
    than one, a line each.
    """
    rows = []
    for f in found:
        law = f.law
        if law is not None and law.interval[1] - law.interval[0] < 1.0:
            row = {
                "study": f.variant.name,
                "parameterization": f.study.spec.family.parameterization,
                "family": f.study.spec.family.kind,
                "exponent": round(law.exponent, 2),
                "interval": [round(end, 2) for end in law.interval],
            }
            rows.append("  " + json.dumps(row, ensure_ascii=False))
    return f'{{\n "page": "{page}",\n "studies": [\n' + ",\n".join(rows) + "\n ]\n}\n"


def end_of_search(study: Study) -> str | None:
    """Why its search ended; None for one that goes on, and for a grid."""
    return study.search_end()


def _is_complete(study: Study) -> bool:
    if study.spec.search is not None:
        return end_of_search(study) is not None
    status = study.status()
    return status.runs_landed == status.runs_planned
