"""The exponents of all families in one figure, against the zones of the verdicts."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis.law import ZONES
from widthwise.report.style import INK, MUTED, WIDTH_INCHES, house_style
from widthwise.reproduce.judging import Verdict
from widthwise.reproduce.running import Finding

LAW_CLAIMS = ("law", "batch-norm-resnet", "batch-norm-convnet")
_COLORS: dict[Verdict, str] = {
    "confirmed": "#1f4e79",
    "contradicted": "#8a3400",
    "inconclusive": MUTED,
}
_MARKERS: dict[Verdict, str] = {"confirmed": "o", "contradicted": "X", "inconclusive": "o"}
_AXIS = (-1.0, 2.5)
_ROW_INCHES = 0.34


def exponents(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that the figure has rows for, one a family."""
    rows = {f.trial.preset: f for f in findings if f.trial.claim.key in LAW_CLAIMS}
    return list(rows.values())


def exponent_figure(findings: Sequence[Finding]) -> Figure:
    """Exponent of ḡ_opt ∝ w^s with its interval, a row a family, cut off at the axis."""
    rows = exponents(findings)
    with house_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 1.1 + _ROW_INCHES * max(len(rows), 1)), layout="constrained"
        )
        axes = figure.subplots()
        for name, (low, high) in ZONES.items():
            axes.axvspan(low, high, color="#000000", alpha=0.07, linewidth=0.0)
            axes.text(
                (low + high) / 2.0,
                1.01,
                name,
                transform=axes.get_xaxis_transform(),
                horizontalalignment="center",
                verticalalignment="bottom",
                fontsize=10.5,
                color=INK,
            )
        for place, finding in enumerate(rows):
            _draw(axes, len(rows) - 1 - place, finding)
        axes.set_xlim(*_AXIS)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        names = [str(finding.trial.preset) for finding in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(r"exponent $s$ of $\bar{g}_\mathrm{opt} \propto w^s$")
        return figure


def _draw(axes: Axes, place: int, finding: Finding) -> None:
    judged = finding.judgement
    color = _COLORS[judged.verdict]
    name = f"{finding.trial.preset} interval"
    if judged.interval is None or all(math.isinf(end) for end in judged.interval):
        axes.plot(_AXIS, [place] * 2, color=color, linewidth=1.2, linestyle=(0, (1, 3)), gid=name)
        return
    low, high = (min(max(end, _AXIS[0]), _AXIS[1]) for end in judged.interval)
    axes.plot([low, high], [place] * 2, color=color, linewidth=1.8, gid=name)
    for end, edge, marker in zip(judged.interval, _AXIS, "<>", strict=True):
        if abs(end) > abs(edge) or math.isinf(end):
            axes.plot([edge], [place], marker=marker, color=color, markersize=6.0, clip_on=False)
    if judged.value is not None and _AXIS[0] < judged.value < _AXIS[1]:
        filled = judged.verdict != "inconclusive"
        axes.plot(
            [judged.value],
            [place],
            marker=_MARKERS[judged.verdict],
            markersize=7.0,
            color=color,
            markerfacecolor=color if filled else "white",
            markeredgewidth=1.3,
        )
