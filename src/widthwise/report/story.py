"""What was asked and what was done, for readers who know neither the paper nor this project."""

from collections.abc import Sequence

from widthwise.report.numbers import count, exact_list, number
from widthwise.report.tables import SelectedOn, SettingRow

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
