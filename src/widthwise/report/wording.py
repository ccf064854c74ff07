"""The sentences of the page: the verdict, how sure it is, and what each figure shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widthwise.analysis import Law
from widthwise.report.numbers import count, interval, listing, number, percent, points
from widthwise.report.tables import CurveRow, OptimumRow, SelectedOn, SettingRow

# Below this many seeds a bootstrap interval is narrower than it should be.
FEW_SEEDS = 5
# A slope counts as real from this many standard errors on (several settings are looked at).
SLOPE_ERRORS = 3.0
# Settings within this factor of an optimum decide where it lies.
NEAR_FACTOR = 4.0

_VERDICTS = {
    "proportional": "The best normalized noise scale ḡ grows in proportion to width",
    "constant": "The best normalized noise scale ḡ does not change with width",
    "other": "The best normalized noise scale ḡ is neither proportional to width nor constant",
    "inconclusive": "These measurements do not settle how the best normalized noise scale ḡ "
    "changes with width",
}
_PRACTICE = {
    ("proportional", "standard"): "With the standard parameterization that means: keep "
    "ε/(B(1 − m)) as it is when the network is widened.",
    ("proportional", "ntk"): "With the NTK parameterization that means: raise ε/(B(1 − m)) in "
    "proportion to w, by a larger ε while it is stable, then by a smaller B.",
    ("constant", "standard"): "With the standard parameterization that means: lower ε/(B(1 − m)) "
    "in proportion to 1/w when the network is widened.",
    ("constant", "ntk"): "With the NTK parameterization that means: keep ε/(B(1 − m)) as it is "
    "when the network is widened.",
}


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
    low, high = law.interval
    bounds = f", {count(law.num_censored, 'bound')} included" if law.num_censored else ""
    return (
        f"{_VERDICTS[law.verdict]}: as w to the power {number(law.exponent)} "
        f"(95 % interval {number(low)} to {number(high)}; {law.num_widths} widths used{bounds})."
    )


def practice_sentence(law: Law | None, parameterizations: Sequence[str]) -> str | None:
    """What the verdict asks of ε, B and m, where the parameterization is one we know."""
    if law is None or len(parameterizations) != 1:
        return None
    return _PRACTICE.get((law.verdict, parameterizations[0]))


def remarks(
    settings: Sequence[SettingRow],
    optima: Sequence[OptimumRow],
    problems: Mapping[float, str],
    selected_on: SelectedOn,
) -> list[Remark]:
    """How sure: what was found, what bounds it, and every reason for doubt that the rows show."""
    return [
        *_location_remarks(settings, optima, problems),
        _seed_remark(settings),
        *_plateau_remarks(settings, optima, selected_on),
        *_sampling_remarks(optima),
        _selection_remark(selected_on),
        *_divergence_remarks(settings),
    ]


def still_moving(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> list[SettingRow]:
    """Settings near an optimum whose accuracy still changed at late times, worst first.

    "Still changed": the change over the late window exceeds three of its standard errors and
    the standard error of the accuracy itself.
    """
    moving = [
        row
        for row in near_optimum(settings, optima)
        if row.plateau_slope is not None
        and row.plateau_slope_sem is not None
        and abs(row.plateau_slope) > SLOPE_ERRORS * row.plateau_slope_sem
        and abs(row.plateau_slope) > (row.score(selected_on)[1] or 0.0)
    ]
    return sorted(moving, key=lambda row: -abs(row.plateau_slope or 0.0))


def near_optimum(settings: Sequence[SettingRow], optima: Sequence[OptimumRow]) -> list[SettingRow]:
    """Surviving settings within a factor NEAR_FACTOR of their width's optimum."""
    places = {row.widening_factor: row.optimum.noise_scale for row in optima}
    return [
        row
        for row in settings
        if row.test_accuracy is not None
        and row.widening_factor in places
        and 1 / NEAR_FACTOR
        <= row.normalized_noise_scale / places[row.widening_factor]
        <= NEAR_FACTOR
    ]


def _location_remarks(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], problems: Mapping[float, str]
) -> list[Remark]:
    widths = sorted({row.widening_factor for row in settings})
    found = [row.widening_factor for row in optima if not row.censored]
    lines = [
        Remark(
            f"The optimum was found inside the settings run at {len(found)} of "
            f"{count(len(widths), 'width')}" + (f" (w = {_widths(found)})." if found else "."),
            caution=len(found) < len(widths),
        )
    ]
    lines += [
        Remark(
            f"At w = {number(row.widening_factor)} only a bound is known: the optimum may lie "
            f"{'above' if row.optimum.censoring == 'high' else 'below'} "
            f"ḡ = {number(row.optimum.noise_scale)} ({row.optimum.reason}).",
            caution=True,
        )
        for row in optima
        if row.censored
    ]
    missing = [width for width in widths if width not in {row.widening_factor for row in optima}]
    lines += [
        Remark(
            f"At w = {number(width)} no optimum could be located: "
            f"{problems.get(width, 'no reason was given').rstrip('.')}.",
            caution=True,
        )
        for width in missing
    ]
    return lines


def _seed_remark(settings: Sequence[SettingRow]) -> Remark:
    fewest = min(row.num_seeds for row in settings)
    most = max(row.num_seeds for row in settings)
    seeds = count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    text = f"Each setting was run with {seeds}"
    if fewest == 1:
        return Remark(f"{text}: the spread between seeds is unknown where only one was run.", True)
    if fewest < FEW_SEEDS:
        return Remark(f"{text}: few, so that the intervals themselves are uncertain.", True)
    return Remark(f"{text}.")


def _plateau_remarks(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
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
    moving = still_moving(settings, optima, selected_on)
    if not moving:
        largest = max(judged, key=lambda row: abs(row.plateau_slope or 0.0))
        return [
            Remark(
                f"Training had arrived: at none of the {len(judged)} {where} does test accuracy "
                "still change by more than its error over late times (largest change "
                f"{points(largest.plateau_slope)} ± {_error(largest.plateau_slope_sem)} points, "
                f"at w = {number(largest.widening_factor)})."
            )
        ]
    worst = moving[0]
    return [
        Remark(
            f"Training had not arrived everywhere: at {len(moving)} of {len(judged)} {where} "
            f"test accuracy still changes at late times, most at w = "
            f"{number(worst.widening_factor)}, ḡ = {number(worst.normalized_noise_scale)} "
            f"({points(worst.plateau_slope)} ± {_error(worst.plateau_slope_sem)} points over the "
            "late window). Longer training may move these optima.",
            caution=True,
        )
    ]


def _sampling_remarks(optima: Sequence[OptimumRow]) -> list[Remark]:
    errors = [
        row.optimum.sampling_error for row in optima if row.optimum.sampling_error is not None
    ]
    if not errors:
        return []
    scores = [row.optimum.score for row in optima]
    spread = max(scores) - min(scores)
    text = (
        f"The accuracies carry, beside the error over seeds, a sampling error of "
        f"{percent(max(errors))} points (one standard error) from the finite set they were "
        "measured on; it is common to all widths, so it matters less for comparing them"
    )
    if len(scores) > 1 and max(errors) > spread / 2:
        return [
            Remark(
                f"{text}, yet it is large against the {percent(spread)} points between "
                "the best and the worst width.",
                True,
            )
        ]
    return [Remark(f"{text}.")]


def _selection_remark(selected_on: SelectedOn) -> Remark:
    if selected_on == "validation":
        return Remark(
            "The optimum was chosen on validation accuracy; test accuracy is reported separately "
            "and had no part in the choice."
        )
    return Remark(
        "The optimum was chosen on test accuracy itself (there was no validation split), so the "
        "best accuracies are slightly optimistic."
    )


def _divergence_remarks(settings: Sequence[SettingRow]) -> list[Remark]:
    diverged = sum(row.num_diverged for row in settings)
    runs = sum(row.num_seeds for row in settings)
    if not diverged:
        return [Remark(f"None of {count(runs, 'run')} diverged.")]
    lost = sum(1 for row in settings if row.num_diverged)
    return [
        Remark(
            f"{diverged} of {count(runs, 'run')} diverged, at {count(lost, 'setting')}; means are "
            "over the seeds that survived."
        )
    ]


def accuracy_caption(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> str:
    widths = sorted({row.widening_factor for row in settings})
    lost = sum(1 for row in settings if row.num_diverged)
    scales = [row.normalized_noise_scale for row in settings]
    text = (
        f"Test accuracy at late times against the normalized noise scale, ḡ = {number(min(scales))}"
        f" to {number(max(scales))}, at {count(len(widths), 'width')} (w = {_widths(widths)}). "
        "Points: mean over seeds; bars: one standard error (often smaller than the point). "
    )
    if optima:
        text += (
            "Large markers: the optimum, with its 95 % interval; open markers with an arrow are "
            f"bounds. Optima: {_optimum_list(optima)}. "
        )
    if selected_on == "validation" and optima:
        text += (
            "The optimum was chosen on validation accuracy; in (a) its marker stands at the test "
            "accuracy of the nearest setting. "
        )
    if lost:
        text += f"Crosses: {count(lost, 'setting')} at which seeds diverged."
    else:
        text += "No setting diverged."
    return text


def law_caption(optima: Sequence[OptimumRow], law: Law | None) -> str:
    text = (
        "The normalized noise scale at the optimum against width, with 95 % intervals: "
        f"{_optimum_list(optima)}. Open markers with an arrow are bounds. "
    )
    if law is not None:
        low, high = law.interval
        text += (
            f"Solid: the fitted law, exponent {number(law.exponent)} ({number(low)} to "
            f"{number(high)}), with its 95 % band. "
        )
    if len(optima) > 1:
        text += "Dashed: slope 1, proportional to width; dotted: slope 0."
    return text.strip()


def best_accuracy_caption(optima: Sequence[OptimumRow], selected_on: SelectedOn) -> str:
    values = "; ".join(
        f"{percent(row.optimum.score)} % at w = {number(row.widening_factor)}"
        + (" (bound)" if row.censored else "")
        for row in optima
    )
    text = (
        f"The {selected_on} accuracy at the optimum against width: {values}. Thick bars: 95 % "
        "interval over seeds; thin gray bars: 95 % sampling error of the finite set, common to "
        "all widths. At open markers the optimum was not reached, so more may be possible."
    )
    if selected_on == "validation":
        text += (
            " Stars: test accuracy at the setting nearest the optimum, 95 % interval over seeds."
        )
    return text


def batch_size_caption(optima: Sequence[OptimumRow]) -> str:
    values = "; ".join(
        f"{number(row.batch_size)} at w = {number(row.widening_factor)}"
        + (" (bound)" if row.censored else "")
        for row in optima
    )
    rates = sorted({row.nearest.learning_rate for row in optima})
    momenta = sorted({row.nearest.momentum for row in optima})
    return (
        "The batch size at the optimum against width, B = ε/(ḡ σ² (1 − m)), not rounded: "
        f"{values}. "
        f"The learning rate and momentum are those of the setting nearest the optimum: ε = "
        f"{_widths(rates)}, m = {_widths(momenta)}. Dashed: what ḡ proportional to width would "
        "give at a fixed learning rate and momentum."
    )


def curves_caption(curves: Sequence[CurveRow], late_fraction: float) -> str:
    values = "; ".join(
        f"{points(row.setting.plateau_slope)}"
        + (
            f" ± {_error(row.setting.plateau_slope_sem)}"
            if row.setting.plateau_slope_sem is not None
            else ""
        )
        + f" at w = {number(row.widening_factor)}"
        for row in curves
    )
    return (
        "Test accuracy during training at the setting nearest the optimum of each width, mean "
        "over seeds with one standard error. Shaded: late times, the last "
        f"{number(100 * late_fraction)} % of training, over which accuracies are averaged. "
        f"Change over late times in percentage points: {values}."
    )


def _optimum_list(optima: Sequence[OptimumRow]) -> str:
    return "; ".join(
        f"ḡ {_relation(row)} {number(row.optimum.noise_scale)} "
        f"({interval(*row.optimum.interval)}) at w = {number(row.widening_factor)}"
        for row in optima
    )


def _relation(row: OptimumRow) -> str:
    return {"none": "=", "high": "≥", "low": "≤"}[row.optimum.censoring]


def _widths(values: Sequence[float]) -> str:
    return listing([number(value) for value in values])


def _error(value: float | None) -> str:
    return points(value).lstrip("+")
