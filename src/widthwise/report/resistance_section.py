"""The section on noise resistance: is wider better, or does wider resist noise?"""

from collections.abc import Sequence

import polars as pl

from widthwise.analysis import Resistance
from widthwise.analysis.resistance_result import FixedScore, ToleratedNoise
from widthwise.report.content import ReportContent
from widthwise.report.parts import CaptionedFigure, Section, SectionTable
from widthwise.report.resistance_figure import resistance_figure
from widthwise.runs.analyses import SettingScores, find_resistance
from widthwise.runs.tables import OptimumRow, SelectedOn, selected_on
from widthwise.text import (
    MISSING,
    exact,
    exact_list,
    in_points,
    interval,
    listing,
    number,
    percent,
)


def resistance_section(
    content: ReportContent, table: SettingScores, optima: Sequence[OptimumRow]
) -> Section | None:
    """None unless two widths have an optimum and two seeds."""
    found = find_resistance(table, content.optima, seed=content.analysis_seed)
    if found is None:
        return None
    chosen_on = selected_on(content.results)
    cause = found.cause()
    return Section(
        title="Is wider better, or does wider resist noise?",
        question="",
        answers=(found.sentence(), *([cause] if cause else []), found.tolerance()),
        cautions=tuple(_cautions(found, optima)),
        figure=CaptionedFigure(
            name="noise-resistance",
            title="Accuracy and tolerated noise against width",
            caption=_caption(found, chosen_on),
            figure=resistance_figure(found, chosen_on, _bounded(optima)),
        ),
        table=_table(found, content.results, optima, chosen_on),
    )


def _cautions(found: Resistance, optima: Sequence[OptimumRow]) -> list[str]:
    said = []
    if bounds := _bounded(optima):
        said.append(
            f"At w = {exact_list(bounds)} the optimum may lie beyond what was run, and be higher."
        )
    lost = {
        fixed.noise_scale: fixed.problem
        for row in found.widths
        for fixed in row.fixed
        if fixed.problem
    }
    if lost:
        said.append(
            f"At ḡ = {listing([number(scale) for scale in sorted(lost)])} some widths have no "
            "accuracy: nothing was run near, or it diverged, or lies just below what did."
        )
    if found.cause() is None:
        said.append(
            "The widest network was not run at the narrowest’s best ḡ, so the gain cannot be split "
            "into width and noise."
        )
    return said


def _bounded(optima: Sequence[OptimumRow]) -> list[float]:
    return [row.widening_factor for row in optima if row.censored]


def _caption(found: Resistance, selected_on: SelectedOn) -> str:
    lost = any(fixed.problem == "diverges" for row in found.widths for fixed in row.fixed)
    crosses = "; crosses: diverges" if lost else ""
    return (
        f"(a) The {selected_on} accuracy at each width’s optimum (black), and at those of the "
        f"narrowest, a middle and the widest; bars: 95 %{crosses}. (b) Open: a bound; highest ḡ "
        f"within {in_points(found.drop)} of the width’s best (squares) and the narrowest’s "
        "(triangles; arrows: at least)."
    )


def _table(
    found: Resistance,
    results: pl.DataFrame,
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
) -> SectionTable:
    losses = {row.widening_factor: _loss(results, row) for row in optima}
    scales = tuple(f"at ḡ = {number(scale)}" for scale in found.fixed_scales)
    rows = tuple(
        (
            exact(row.widening_factor),
            number(row.noise_scale),
            percent(row.score),
            *(_fixed(fixed) for fixed in row.fixed),
            *_tolerated(row.own),
            *_tolerated(row.common),
            losses.get(row.widening_factor, MISSING),
        )
        for row in found.widths
    )
    return SectionTable(
        name="resistance",
        label="Noise resistance of each width",
        note=f"Percent of {selected_on} data, 95 % intervals. Tolerated: within "
        f"{in_points(found.drop)}. Training loss: at the end, ± one standard error.",
        header=(
            "w",
            "optimal ḡ",
            "best accuracy",
            *scales,
            "tolerated, own best",
            "interval",
            "tolerated, narrowest's best",
            "interval",
            "training loss",
        ),
        rows=rows,
    )


def _fixed(fixed: FixedScore) -> str:
    return percent(fixed.score) if fixed.score is not None else (fixed.problem or MISSING)


def _tolerated(found: ToleratedNoise | None) -> tuple[str, str]:
    if found is None:
        return "not reached", MISSING
    relation = "≥ " if found.is_bound else ""
    return relation + number(found.noise_scale), interval(*found.interval)


def _loss(results: pl.DataFrame, row: OptimumRow) -> str:
    """Mean and standard error of the training loss at the setting nearest the optimum."""
    if "final_train_loss" not in results.columns:
        return MISSING
    names = ("widening_factor", "learning_rate", "batch_size", "momentum")
    losses = (
        results.filter(
            pl.col("status") == "ok",
            *(pl.col(name) == getattr(row.nearest, name) for name in names),
        )
        .sort("seed")["final_train_loss"]
        .cast(pl.Float64)
        .fill_nan(None)
        .drop_nulls()
    )
    if losses.is_empty():
        return MISSING
    mean, spread = float(losses.to_numpy().mean()), losses.std(ddof=1)
    if spread is None:
        return number(mean)
    return f"{number(mean)} ± {number(float(str(spread)) / len(losses) ** 0.5, 2)}"
