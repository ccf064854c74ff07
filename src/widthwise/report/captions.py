"""What each figure shows, in words: its caption, and its text for the blind. Values stand in the
tables, and beside the points that a reader points at."""

from collections.abc import Sequence

from widthwise.analysis import Law
from widthwise.runs.tables import CurveRow, OptimumRow, SelectedOn, SettingRow
from widthwise.runs.trust import NEAR_FACTOR
from widthwise.sgd.recipe import Recipe
from widthwise.text import count, exact, exact_list, number


def accuracy_caption(
    settings: Sequence[SettingRow], optima: Sequence[OptimumRow], selected_on: SelectedOn
) -> str:
    lost = sum(1 for row in settings if row.num_diverged)
    text = "Mean over seeds, one standard error. "
    if optima:
        text += (
            f"Large markers, and (b): the optimum with its 95 % interval{_bounds(optima)}. "
            "(c) As (a), less the optimum’s. "
        )
    if selected_on == "validation" and optima:
        text += "Validation accuracy chose the optimum; its marker in (a) stands at the nearest "
        text += "setting’s test accuracy. "
    if lost:
        text += f"Crosses: {count(lost, 'setting')} at which seeds diverged."
    return text.rstrip()


def _bounds(optima: Sequence[OptimumRow]) -> str:
    bounded = any(row.censored for row in optima)
    return " (open, with an arrow: a bound)" if bounded else ""


def law_caption(optima: Sequence[OptimumRow], law: Law | None) -> str:
    text = f"With 95 % intervals{_bounds(optima)}. "
    if law is not None:
        bent = " bent" if law.curve is not None else ""
        text += f"Solid: the fitted{bent} law with its {number(100 * law.confidence)} % band; "
        text += "markers of lopsided intervals may lie beside it. "
    if len(optima) > 1:
        text += "Dashed: in proportion to width; dotted: constant."
    return text.strip()


def best_accuracy_caption(optima: Sequence[OptimumRow], selected_on: SelectedOn) -> str:
    text = (
        f"The {selected_on} accuracy at the optimum. Thick bars: 95 % over seeds; thin gray bars: "
        "95 % by the size of the test set (Wilson), common to all widths."
    )
    if any(row.censored for row in optima):
        text += " At open markers more may be possible beyond the settings run."
    if selected_on == "validation":
        text += " Stars: test accuracy nearest the optimum, 95 % over seeds."
    return text


def batch_size_caption(optima: Sequence[OptimumRow], recipe: Recipe) -> str:
    rates = sorted({row.nearest.learning_rate for row in optima})
    momenta = sorted({row.nearest.momentum for row in optima})
    which = "" if recipe.constant_rate else "peak "
    return (
        f"B = ε/(ḡ σ² (1 − m)), not rounded, at {which}ε = {exact_list(rates)}, m = "
        f"{exact_list(momenta)}, nearest the optimum; 95 % intervals{_bounds(optima)}. Dashed: for "
        "ḡ in proportion to width."
    )


def map_caption(optima: Sequence[OptimumRow], selected_on: SelectedOn) -> str:
    text = f"By {selected_on} accuracy."
    if optima:
        bounded = " (open: a bound)" if any(row.censored for row in optima) else ""
        text += f" Circles: B at the optimum, its 95 % interval{bounded}; cells: its ε and m, or "
        text += "the best."
    return text


def knob_caption(optima: Sequence[OptimumRow]) -> str:
    text = "Every setting; lines join the best at each value."
    return text + (" Large: nearest the optimum." if optima else "")


def curves_caption(curves: Sequence[CurveRow], late_fraction: float) -> str:
    return (
        f"Test accuracy at all {count(len(curves), 'setting')} within a factor {NEAR_FACTOR:g} of "
        "an optimum; black: the nearest, with one standard error. Shaded: late times, the last "
        f"{number(100 * late_fraction)} % of training."
    )


def how_it_was_done(
    settings: Sequence[SettingRow],
    *,
    late_fraction: float,
    selected_on: SelectedOn,
    constant_rate: bool,
) -> str:
    """What ḡ is, what was trained, and how an optimum was found."""
    widths = sorted({row.widening_factor for row in settings})
    scales = [row.normalized_noise_scale for row in settings]
    seeds = sorted({row.num_seeds for row in settings})
    rates = sorted({row.learning_rate for row in settings})
    batches = sorted({row.batch_size for row in settings})
    momenta = sorted({row.momentum for row in settings})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    peak = "" if constant_rate else "; ε and ḡ are those of the learning rate’s peak"
    return (
        "ḡ = ε/(B (1 − m) σ²) is the normalized noise scale, with learning rate ε, batch size B, "
        f"momentum m, variance σ² of the initial weights ({_variance(settings)}){peak}; layers are "
        f"w times wider. {count(sum(row.num_seeds for row in settings), 'network')}: "
        f"{count(len(settings), 'setting')} at {count(len(widths), 'width')}, ε {_range(rates)}, B "
        f"{_range(batches)}, m {_range(momenta)}, ḡ {_range([min(scales), max(scales)])}, {each} "
        f"{'seed' if seeds == [1] else 'seeds'} each. Score: {selected_on} accuracy over the last "
        f"{100.0 * late_fraction:g} % of training. Optimum: the maximum of a smooth curve through "
        "mean scores. Intervals are 95 %, from the scatter of seeds."
    )


def _variance(settings: Sequence[SettingRow]) -> str:
    """What σ² is, at the family level, and how it changes with width."""
    known = {row.widening_factor: row.init_variance for row in settings}
    first, last = min(known), max(known)
    low, high = number(known[first]), number(known[last])
    where = f"{low} at w = {exact(first)}"
    if first == last:
        return where
    return f"{low} at every width" if low == high else f"{where}, {high} at w = {exact(last)}"


def _range(values: Sequence[float]) -> str:
    low, high = number(values[0]), number(values[-1])
    return low if low == high else f"{low} to {high}"
