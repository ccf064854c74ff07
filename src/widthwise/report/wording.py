"""The sentences of the page: the verdict, what it asks of ε, B and m, and how sure it is."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from widthwise.adviser.answer import PARAMETERIZATIONS
from widthwise.adviser.reasoning import practice
from widthwise.analysis import Law
from widthwise.report.training import (
    normalization_cautions,
    rate_changes_late,
    schedule_sentence,
)
from widthwise.runs.tables import OptimumRow, SelectedOn, SettingRow
from widthwise.runs.trust import (
    FEW_SEEDS,
    NEAR_FACTOR,
    near_optimum,
    still_moving,
)
from widthwise.sgd.recipe import Recipe
from widthwise.text import (
    MISSING,
    count,
    exact,
    exact_list,
    interval,
    listing,
    number,
    percent,
    points,
    points_error,
)
from widthwise.theory.power_law import LACK_OF_FIT

_INFINITE = re.compile(r"-?\binf\b")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the runs were trained, as far as it bears on what they show.

    Attributes:
        recipe: the training options.
        late_fraction: the part of training over which accuracies were averaged.
        normalization: of the networks, a key of
            :data:`widthwise.families.layers.NORMALIZATIONS`; None where it is not known.
    """

    recipe: Recipe = field(default_factory=Recipe)
    late_fraction: float = 0.25
    normalization: str | None = None


@dataclass(frozen=True)
class Remark:
    """A sentence on how far the result can be trusted; `caution` if it weakens it."""

    text: str
    caution: bool = False


def verdict_sentence(law: Law | None, law_problem: str | None) -> str:
    """The answer, with its numbers, or in plain words why there is none."""
    if law is None:
        problem = (law_problem or "").rstrip(".")
        return f"No law can be stated: {problem}."
    return _INFINITE.sub(lambda match: number(float(match[0])), law.sentence())


def practice_sentence(law: Law | None, parameterizations: Sequence[str]) -> str | None:
    """What the verdict asks of ε, B and m, where the parameterization is one we know and the law is
    straight: a bent one asks for something else at every width."""
    if law is None or law.curve is not None or len(parameterizations) != 1:
        return None
    asked = practice(law.verdict, parameterizations[0])
    if asked is None:
        return None
    return f"With {PARAMETERIZATIONS[parameterizations[0]]} that means: {asked}"


def remarks(
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    problems: Mapping[float, str],
    law: Law | None,
    selected_on: SelectedOn,
    training: Training,
) -> list[Remark]:
    """How sure: what was found, what bounds it, and every reason for doubt that the rows show."""
    return [
        *_location_remarks(settings, optima, problems),
        *_fit_remarks(law),
        _seed_remark(settings),
        *_plateau_remarks(settings, optima, selected_on, training),
        *_training_remarks(settings, training),
        *_sampling_remarks(optima),
        *([_selection_remark(selected_on)] if optima else []),
        *_divergence_remarks(settings),
    ]


def _location_remarks(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], problems: Mapping[float, str]
) -> list[Remark]:
    widths = sorted({row.widening_factor for row in settings})
    lines = []
    unbounded = [row for row in optima if not row.censored and not row.located]
    if unbounded:
        lines.append(
            Remark(
                f"At w = {exact_list(row.widening_factor for row in unbounded)} nothing bounds "
                "the peak’s position: too few seeds for an interval.",
                caution=True,
            )
        )
    lines += [
        Remark(
            f"At w = {exact(row.widening_factor)} the top is flat: the best settings tie, so that "
            f"any ḡ{_within(row.optimum.interval)} may be the best.",
            caution=True,
        )
        for row in optima
        if row.optimum.is_flat
    ]
    saturated = [row.widening_factor for row in optima if row.optimum.is_saturated]
    if saturated:
        lines.append(
            Remark(
                f"At w = {exact_list(saturated)} accuracy is saturated, at most one test example "
                "is left to get right: choose harder data or fewer training examples.",
                caution=True,
            )
        )
    bounds: dict[tuple[str, str | None], list[OptimumRow]] = {}
    peaked = [row for row in optima if not row.optimum.is_flat]
    for row in peaked:
        if row.relation != "=" and not _open_on_both_sides(row):
            bounds.setdefault((row.optimum.censoring, row.optimum.reason), []).append(row)
    lines += [
        Remark(
            f"At w = {exact_list(row.widening_factor for row in rows)} only a bound is known: "
            f"the optimum may lie {'above' if side == 'high' else 'below'} ḡ = "
            f"{listing([number(row.optimum.noise_scale) for row in rows])} ({reason}).",
            caution=True,
        )
        for (side, reason), rows in bounds.items()
    ]
    lines += [
        Remark(
            f"At w = {exact(row.widening_factor)} the optimum is bounded on one side only: ḡ = "
            f"{number(row.optimum.noise_scale)}, but at 95 % anything "
            f"{interval(*row.optimum.interval)} is possible ({row.optimum.reason}).",
            caution=True,
        )
        for row in peaked
        if row.censored and row.relation == "=" and not _open_on_both_sides(row)
    ]
    lines += [
        Remark(
            f"At w = {exact(row.widening_factor)} nothing bounds the optimum at 95 %: the best "
            f"estimate is ḡ {row.relation} {number(row.optimum.noise_scale)}, but the runs are "
            f"consistent with any ({row.optimum.reason}).",
            caution=True,
        )
        for row in peaked
        if row.censored and _open_on_both_sides(row)
    ]
    cut_off = [row for row in optima if row.optimum.cliff is not None]
    if cut_off:
        cliffs = listing([number(row.optimum.cliff) for row in cut_off])
        lines.append(
            Remark(
                f"At w = {exact_list(row.widening_factor for row in cut_off)} the interval ends "
                f"where noise makes training diverge (ḡ = {cliffs}), though as large a learning "
                "rate trains at lower noise: the best may be the last that trains.",
                caution=True,
            )
        )
    doubted: dict[tuple[str, ...], list[float]] = {}
    for row in optima:
        if row.optimum.doubts:
            doubted.setdefault(row.optimum.doubts, []).append(row.widening_factor)
    lines += [
        Remark(f"Doubt the interval at w = {exact_list(at)}: {'; '.join(doubts)}.", caution=True)
        for doubts, at in doubted.items()
    ]
    missing: dict[str, list[float]] = {}
    for width in widths:
        if width not in {row.widening_factor for row in optima}:
            # What to do about it is said elsewhere.
            reason = problems.get(width, "no reason was given").partition("; ")[0].rstrip(".")
            missing.setdefault(reason, []).append(width)
    lines += [
        Remark(
            f"At w = {exact_list(lost)} no optimum could be located: {problem}.",
            caution=True,
        )
        for problem, lost in missing.items()
    ]
    return lines


def _within(ends: tuple[float, float]) -> str:
    """
    >>> _within((0.0, math.inf)), _within((0.0, 2.0)), _within((0.5, 2.0))
    ('', ' below 2', ' from 0.5 to 2')
    """
    text = interval(*ends)
    if text == MISSING:
        return ""
    return f" {text}" if text.startswith(("above", "below")) else f" from {text}"


def _open_on_both_sides(row: OptimumRow) -> bool:
    low, high = row.optimum.interval
    return low <= 0.0 and math.isinf(high)


def _fit_remarks(law: Law | None) -> list[Remark]:
    if law is None or law.lack_of_fit is None or law.lack_of_fit >= LACK_OF_FIT:
        return []
    return [
        Remark(
            f"The optima scatter about {'a power law' if law.curve is None else 'the bent law'} by "
            f"more than their errors explain (chance {number(law.lack_of_fit, 2)}), so "
            f"{'one exponent' if law.curve is None else 'it'} may not describe them.",
            caution=True,
        )
    ]


def _seed_remark(settings: Sequence[SettingRow]) -> Remark:
    fewest = min(row.num_seeds for row in settings)
    most = max(row.num_seeds for row in settings)
    seeds = count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    text = f"{seeds[0].upper()}{seeds[1:]} a setting"
    if fewest == 1:
        return Remark(f"{text}: of one the spread is unknown.", True)
    if fewest < FEW_SEEDS:
        return Remark(f"{text}: few, so that intervals are themselves uncertain.", True)
    return Remark(f"{text}.")


def _plateau_remarks(
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    selected_on: SelectedOn,
    training: Training,
) -> list[Remark]:
    near = near_optimum(settings, optima)
    judged = [row for row in near if row.plateau_slope_sem is not None]
    if not near:
        return []
    where = f"settings within a factor {NEAR_FACTOR:g} of an optimum"
    if not judged:
        return [
            Remark(
                f"Whether training had arrived cannot be judged at the {where}: too few seeds.",
                True,
            )
        ]
    scheduled = rate_changes_late(training.recipe, training.late_fraction)
    moving = still_moving(settings, optima, selected_on)
    if not moving:
        largest = max(judged, key=lambda row: abs(row.plateau_slope or 0.0))
        beginning = (
            "The learning rate changes at late times, so a plateau there does not show that a "
            "longer run would end alike"
            if scheduled
            else "Training had arrived"
        )
        return [
            Remark(
                f"{beginning}: at none of {len(judged)} {where} does accuracy change late by what "
                f"matters (at most {points(largest.plateau_slope)} ± "
                f"{points_error(largest.plateau_slope_sem)} points, at w = "
                f"{exact(largest.widening_factor)}).",
                caution=scheduled,
            )
        ]
    worst = moving[0]
    beginning, end = (
        (
            "Accuracy was not at rest",
            "That is partly the schedule's doing, whose learning rate changes then; a longer run "
            "of the same schedule may move these optima, too.",
        )
        if scheduled
        else (
            "Training had not arrived everywhere",
            "Longer training may move the optima there.",
        )
    )
    return [
        Remark(
            f"{beginning}: at {len(moving)} of {len(judged)} {where} accuracy changes at late "
            "times by what matters, most "
            f"at w = {exact(worst.widening_factor)}, ḡ = {number(worst.normalized_noise_scale)} "
            f"({points(worst.plateau_slope)} ± {points_error(worst.plateau_slope_sem)} points). "
            f"{end}",
            caution=True,
        )
    ]


def _training_remarks(settings: Sequence[SettingRow], training: Training) -> list[Remark]:
    cautions = normalization_cautions(
        training.normalization, training.recipe, {row.batch_size for row in settings}
    )
    sentence = schedule_sentence(training.recipe)
    scheduled = [] if sentence is None else [Remark(sentence)]
    return [*scheduled, *(Remark(text, caution=True) for text in cautions)]


def _sampling_remarks(optima: Sequence[OptimumRow]) -> list[Remark]:
    errors = [
        row.optimum.sampling_error for row in optima if row.optimum.sampling_error is not None
    ]
    if not errors:
        return []
    scores = [row.optimum.score for row in optima]
    spread = max(scores) - min(scores)
    text = (
        f"All accuracies share a sampling error of {percent(max(errors))} points (one standard "
        "error)"
    )
    if len(scores) > 1 and max(errors) > spread / 2:
        return [
            Remark(
                f"{text}, large against the {percent(spread)} points between the best and the "
                "worst.",
                True,
            )
        ]
    return [Remark(f"{text}.")]


def _selection_remark(selected_on: SelectedOn) -> Remark:
    if selected_on == "validation":
        return Remark(
            "The optimum was chosen on validation accuracy; test accuracy is reported separately."
        )
    return Remark(
        "Best accuracies are slightly optimistic: chosen on test accuracy itself (there was no "
        "validation split)."
    )


def _divergence_remarks(settings: Sequence[SettingRow]) -> list[Remark]:
    diverged = sum(row.num_diverged for row in settings)
    runs = sum(row.num_seeds for row in settings)
    if not diverged:
        return [Remark(f"None of {count(runs, 'run')} diverged.")]
    lost = sum(1 for row in settings if row.num_diverged)
    return [
        Remark(
            f"{diverged} of {count(runs, 'run')} diverged, at {count(lost, 'setting')}; means "
            "leave them out."
        )
    ]
