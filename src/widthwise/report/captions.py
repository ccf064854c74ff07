"""What each figure shows, in words and numbers: its caption, and its text for the blind."""

from collections.abc import Sequence

from widthwise.analysis import Law
from widthwise.runs.tables import CurveRow, OptimumRow, SelectedOn, SettingRow
from widthwise.sgd.recipe import Recipe
from widthwise.text import (
    MISSING,
    count,
    exact,
    exact_list,
    interval,
    number,
    percent,
    points,
    points_error,
)


def accuracy_caption(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> str:
    widths = sorted({row.widening_factor for row in settings})
    lost = sum(1 for row in settings if row.num_diverged)
    scales = [row.normalized_noise_scale for row in settings]
    text = (
        f"Test accuracy at late times against the normalized noise scale, ḡ = {number(min(scales))}"
        f" to {number(max(scales))}, at {count(len(widths), 'width')} "
        f"(w = {exact_list(widths)}). (a) Points: mean over seeds; bars: one standard error (often "
        "smaller than the point). "
    )
    if optima:
        text += (
            "Large markers there and in (b): the optimum, with its 95 % interval"
            f"{_bounds(optima)}. (c) The same accuracies as in (a), less that of the width's "
            f"optimum. Optima: {_optimum_list(optima)}. "
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


def _bounds(optima: Sequence[OptimumRow]) -> str:
    bounded = any(row.censored for row in optima)
    return "; open markers with an arrow are bounds" if bounded else ""


def law_caption(optima: Sequence[OptimumRow], law: Law | None) -> str:
    text = (
        "The normalized noise scale at the optimum against width, with 95 % intervals: "
        f"{_optimum_list(optima)}{_bounds(optima)}. "
    )
    if law is not None:
        low, high = law.interval
        bent = "" if law.curve is None else " bent; a straight line has"
        text += (
            f"Solid: the fitted law,{bent} exponent {number(law.exponent)} ({number(low)} to "
            f"{number(high)}; 1 is proportional, 0 constant), with its "
            f"{number(100 * law.confidence)} % band; it is fitted to all that the runs say of each "
            "optimum, so where intervals are lopsided the markers may lie to one side of it. "
        )
    if len(optima) > 1:
        text += "Dashed: slope 1, proportional to width, through the middle; dotted: slope 0."
    return text.strip()


def best_accuracy_caption(optima: Sequence[OptimumRow], selected_on: SelectedOn) -> str:
    values = "; ".join(
        f"{percent(row.optimum.score)} % at w = {exact(row.widening_factor)}"
        + (" (bound)" if row.censored else "")
        for row in optima
    )
    text = (
        f"The {selected_on} accuracy at the optimum against width: {values}. Thick bars: 95 % "
        "interval over seeds; thin gray bars: 95 % sampling error of the finite set, common to "
        "all widths."
    )
    if any(row.censored for row in optima):
        text += (
            " At open markers the optimum may lie beyond the settings run, so more may be possible."
        )
    if selected_on == "validation":
        text += (
            " Stars: test accuracy at the setting nearest the optimum, 95 % interval over seeds."
        )
    return text


def batch_size_caption(optima: Sequence[OptimumRow], recipe: Recipe) -> str:
    values = "; ".join(
        f"{number(row.batch_size)} at w = {exact(row.widening_factor)}"
        + (" (bound)" if row.censored else "")
        for row in optima
    )
    rates = sorted({row.nearest.learning_rate for row in optima})
    momenta = sorted({row.nearest.momentum for row in optima})
    which = "" if recipe.constant_rate else "peak "
    return (
        "The batch size at the optimum against width, B = ε/(ḡ σ² (1 − m)), not rounded: "
        f"{values}. "
        f"The {which}learning rate and momentum are those of the setting nearest the optimum: "
        f"{which}ε = {exact_list(rates)}, m = {exact_list(momenta)}. Dashed: what ḡ proportional "
        "to width would give at a fixed learning rate and momentum, through the middle of the "
        "optima that are located."
    )


def curves_caption(curves: Sequence[CurveRow], late_fraction: float) -> str:
    values = "; ".join(
        f"{points(row.setting.plateau_slope)}"
        + (
            f" ± {points_error(row.setting.plateau_slope_sem)}"
            if row.setting.plateau_slope_sem is not None
            else ""
        )
        + f" at w = {exact(row.widening_factor)}"
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
        f"ḡ {row.relation} {number(row.optimum.noise_scale)} "
        f"({_interval_text(row)}) at w = {exact(row.widening_factor)}"
        for row in optima
    )


def _interval_text(row: OptimumRow) -> str:
    text = interval(*row.optimum.interval)
    return "no interval" if text == MISSING else text


QUESTION = (
    "Stochastic gradient descent is noisy, and some noise helps a network to generalize: too "
    "little or too much costs test accuracy. One number measures the noise, the normalized noise "
    "scale ḡ = ε / (B (1 − m) σ²), with learning rate ε, batch size B, momentum m and the variance "
    "σ² of the initial weights ({variance}). The question: where is the best ḡ of a network whose "
    "layers are all made w times wider? The answer tells how to change ε, B and m with the width. "
    "Park et al. (2019, arXiv:1905.03776) found the best ḡ to grow in proportion to w."
)


def asked_and_done(
    settings: Sequence[SettingRow], *, late_fraction: float, selected_on: SelectedOn
) -> list[str]:
    """The question, and what was trained to answer it; a paragraph each."""
    widths = sorted({row.widening_factor for row in settings})
    scales = [row.normalized_noise_scale for row in settings]
    seeds = sorted({row.num_seeds for row in settings})
    rates = sorted({row.learning_rate for row in settings})
    batches = sorted({row.batch_size for row in settings})
    momenta = sorted({row.momentum for row in settings})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    done = (
        f"{count(sum(row.num_seeds for row in settings), 'network')} were trained at "
        f"{count(len(widths), 'width')} (w = {exact_list(widths)}): "
        f"{count(len(settings), 'setting')} in all, with ε {_range(rates)}, B {_range(batches)} "
        f"and m {_range(momenta)}, so that ḡ is {_range([min(scales), max(scales)])}; each setting "
        f"from {each} random {'seed' if seeds == [1] else 'seeds'}. The score of a run is its "
        f"{selected_on} accuracy averaged over the last {100.0 * late_fraction:g} % of training, "
        "its late times. The optimum of a width, ḡ_opt, is the maximum of a smooth curve fitted to "
        "the mean scores of the settings round the best one, and its accuracy is the curve's: "
        "single settings may lie above it by chance. A power law ḡ_opt ∝ w^s is fitted to the "
        "optima of all widths. Its exponent s is 1 if the best noise grows in proportion to width "
        "and 0 if it stays. Intervals are 95 % and come from the scatter of seeds."
    )
    return [QUESTION.format(variance=_variance(settings)), done]


def _variance(settings: Sequence[SettingRow]) -> str:
    """What σ² is, at the family level, and how it changes with width."""
    known = {row.widening_factor: row.init_variance for row in settings}
    first, last = min(known), max(known)
    low, high = number(known[first]), number(known[last])
    where = f"{low} at w = {number(first)}"
    if first == last:
        return where
    return f"{low} at every width" if low == high else f"{where}, {high} at w = {number(last)}"


def _range(values: Sequence[float]) -> str:
    low, high = number(values[0]), number(values[-1])
    return low if low == high else f"{low} to {high}"
