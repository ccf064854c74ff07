"""What a report is made of: rows, what was inferred from them, and where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from widthwise.analysis import Law, Optimum
from widthwise.errors import InputError
from widthwise.probes import StableLearningRate


@dataclass(frozen=True, kw_only=True)
class NextSteps:
    """What would tell more.

    Attributes:
        steps: each in a sentence, with the values to add.
        command: that runs them; None where no command can.
    """

    steps: tuple[str, ...]
    command: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportContent:
    """Everything the page shows. Nothing is read from anywhere else, and optima and law are not
    fitted again; the claims that rest on them are (:mod:`widthwise.runs.analyses`).

    Args:
        title: heading of the page.
        results: one row a run (the results table of a study).
        optima: widening factor -> optimum, `noise_scale` being the *normalized* noise scale ḡ.
        law: how the optimum moves with width, or None if it could not be fitted.
        law_problem: in plain words why there is no law; needed exactly when `law` is None.
        spec_text: what was run, as TOML or JSON text.
        provenance: name -> value, shown as given (versions, fingerprints, seeds).
        command: the command that made this report.
        optimum_problems: widening factor -> why no optimum could be located there.
        results_files: addresses of the results, relative to the page, that it links to.
        late_fraction: the part of training over which accuracies were averaged, in (0, 1].
        normalization: of the networks, "none" or "batch"; None if it is not known.
        stable_learning_rates: measured, at most one a width and all alike (momentum, batch size,
            steps); without them the page says nothing of stability.
        analysis_seed: of the draws behind `optima`.
        next_steps: what would decide more; None if nothing is known to.
    """

    title: str
    results: pl.DataFrame
    optima: Mapping[float, Optimum]
    law: Law | None
    law_problem: str | None
    spec_text: str
    provenance: Mapping[str, str]
    command: str
    optimum_problems: Mapping[float, str] = field(default_factory=dict)
    results_files: tuple[str, ...] = ()
    late_fraction: float = 0.25
    normalization: str | None = None
    stable_learning_rates: Sequence[StableLearningRate] = ()
    analysis_seed: int = 0
    next_steps: NextSteps | None = None

    def __post_init__(self) -> None:
        if self.results.is_empty():
            raise InputError("a report needs at least one run, got an empty table; run the study")
        if (self.law is None) == (self.law_problem is None):
            raise InputError(
                "a report needs either a law or the reason why there is none (law_problem), "
                f"got law={self.law!r} and law_problem={self.law_problem!r}; give exactly one"
            )
        if not 0.0 < self.late_fraction <= 1.0:
            raise InputError(
                f"late_fraction must lie in (0, 1], got {self.late_fraction}; the default is 0.25"
            )
        widths = set(self.results["widening_factor"].to_list())
        unknown = sorted({*self.optima, *self.optimum_problems} - widths)
        if unknown:
            raise InputError(
                f"optima must belong to widths in the results, got {unknown} besides "
                f"{sorted(widths)}; pass the results that the optima were located in"
            )
        measured = [rate.widening_factor for rate in self.stable_learning_rates]
        alike = {
            (rate.momentum, rate.nesterov, rate.batch_size, rate.steps)
            for rate in self.stable_learning_rates
        }
        if len(set(measured)) < len(measured) or len(alike) > 1:
            raise InputError(
                "stable_learning_rates must hold one a width, all at one momentum, batch size and "
                f"number of steps, got widths {measured} and {sorted(alike)}; pass those of one "
                "probe"
            )
