"""The page of a reproduction: findings, figures, and links to the report of every study."""

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis.law import ZONES
from widthwise.files import write_atomically
from widthwise.report.page import typeset
from widthwise.report.stability_figure import stability_figure
from widthwise.report.style import INK, MUTED, WIDTH_INCHES, house_style
from widthwise.reproduce.judging import Verdict
from widthwise.reproduce.paper import PAPER, provenance
from widthwise.reproduce.presets import PresetName, dump
from widthwise.reproduce.running import TrialResult, in_all
from widthwise.runs.analyses import find_stability
from widthwise.text import listing

PAGE = "reproduction.html"
_REPORT = "report.html"
_LAW_CLAIMS = ("law", "batch-norm-resnet", "batch-norm-convnet")
_COLORS: dict[Verdict, str] = {
    "confirmed": "#1f4e79",
    "contradicted": "#8a3400",
    "inconclusive": MUTED,
}
_MARKERS: dict[Verdict, str] = {"confirmed": "o", "contradicted": "X", "inconclusive": "o"}
_AXIS = (-1.0, 2.5)
_ROW_INCHES = 0.34
_CAPTIONS = {
    "accuracy-vs-noise-scale": "Test accuracy at late times against the normalized noise scale, "
    "a curve a width.",
    "optimum-vs-width": "The best noise scale against width; dashed: proportional, dotted: "
    "constant; open markers are bounds.",
    "collapse": "Settings of equal noise scale, set against the one of smallest learning rate.",
    "noise-resistance": "Accuracy of each width at its own best noise scale and at fixed ones.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What the page is made of.

    Attributes:
        findings: in the order of the table.
        size: of the presets.
        fields: preset → the fields that were run.
        directory: of the reproduction; studies are folders in it.
        command: what produced it.
        provenance: name → value, shown as given.
    """

    findings: Sequence[TrialResult]
    size: str
    fields: Mapping[PresetName, Mapping[str, Any]]
    directory: Path
    command: str
    provenance: Mapping[str, str]


def write_page(shown: Shown) -> Path:
    """Write the page into the directory; returns its path."""
    path = shown.directory / PAGE
    write_atomically(path, render(shown).encode())
    return path


def tally(findings: Sequence[TrialResult]) -> str:
    """How many came out how, in words.

    >>> tally([])
    'Nothing was tried.'
    """
    if not findings:
        return "Nothing was tried."
    counts = Counter(finding.judgement.verdict for finding in findings)
    parts = [f"{counts[v]} {v}" for v in ("confirmed", "contradicted", "inconclusive") if counts[v]]
    return f"Of {len(findings)} trials, {listing(parts)}."


def legend(findings: Sequence[TrialResult]) -> list[tuple[str, str]]:
    """Symbol and meaning of everything that was measured."""
    return list(dict.fromkeys((f.judgement.symbol, f.judgement.quantity) for f in findings))


def render(shown: Shown) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("widthwise.reproduce", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    runs, seconds = in_all(shown.findings)
    return environment.get_template("page.html.j2").render(
        title=f"The claims of Park et al. (2019), tried at size “{shown.size}”",
        lead=tally(shown.findings),
        report_style=report_style(),
        groups=_groups(shown),
        legend=legend(shown.findings),
        overview=_overview(shown.findings),
        total_runs=f"{runs:,}",
        total_minutes=f"{seconds / 60:.1f}",
        command=shown.command,
        provenance=shown.provenance,
        presets=_presets(shown),
    )


def report_style() -> Markup:
    """The style sheet of a study's report, so that both look alike."""
    loader = PackageLoader("widthwise.report", ".")
    sheet, _, _ = loader.get_source(Environment(autoescape=True), "page.css")
    return Markup(sheet)


def _groups(shown: Shown) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    seen: set[tuple[PresetName, str]] = set()
    for finding in shown.findings:
        claim = finding.trial.claim
        group = groups.setdefault(claim.key, {"key": claim.key, "words": claim.words, "rows": []})
        group["rows"].append(_row(finding, shown.directory, seen))
    return list(groups.values())


def _row(
    finding: TrialResult, directory: Path, seen: set[tuple[PresetName, str]]
) -> dict[str, Any]:
    judged, preset = finding.judgement, finding.trial.preset
    report = directory / str(preset) / _REPORT
    return {
        "family": str(preset),
        "report": f"{preset}/{_REPORT}"
        if finding.trial.claim.needs_study and report.exists()
        else None,
        "measured": judged.measured(),
        "verdict": judged.verdict,
        "sentence": judged.sentence,
        "would_decide": judged.would_decide,
        "runs": f"{finding.runs:,}",
        "minutes": f"{finding.seconds / 60:.1f}",
        "figures": [*_study_figures(finding, directory, seen), *_rate_figures(finding)],
    }


def _study_figures(
    finding: TrialResult, directory: Path, seen: set[tuple[PresetName, str]]
) -> list[dict[str, Any]]:
    """Figures of the study's own report, each shown once on the page."""
    figures = []
    for name in finding.trial.claim.figures:
        path = directory / str(finding.trial.preset) / "figures" / f"{name}.svg"
        if path.exists() and (finding.trial.preset, name) not in seen:
            seen.add((finding.trial.preset, name))
            figures.append({"image": _uri(path.read_bytes()), "caption": _CAPTIONS[name]})
    return figures


def _rate_figures(finding: TrialResult) -> list[dict[str, Any]]:
    evidence = finding.evidence
    found = find_stability(evidence.results, evidence.optima, evidence.rates)
    if found is None:
        return []
    caption = "Largest stable learning rate against width" + (
        "." if found.ceiling is None else "; below: the largest batch at the best noise scale."
    )
    return [{"image": _uri(_svg(stability_figure(found))), "caption": caption}]


def _overview(findings: Sequence[TrialResult]) -> dict[str, Any] | None:
    rows = exponents(findings)
    if not rows:
        return None
    values = "; ".join(f"{f.trial.preset}: {f.judgement.measured()}" for f in rows)
    return {
        "image": _uri(_svg(exponent_figure(findings))),
        "caption": "Exponent of the best noise scale with its 95 % interval; gray bands are the "
        "zones in which a whole interval makes the verdict “constant” or “proportional”. Open "
        f"markers: inconclusive; dotted: nothing is excluded. {values}.",
    }


def _presets(shown: Shown) -> list[dict[str, Any]]:
    rows = []
    for preset in dict.fromkeys(finding.trial.preset for finding in shown.findings):
        fields = shown.fields[preset]
        whose = provenance(preset, fields)
        rows.append(
            {
                "name": str(preset),
                "parts": [
                    (f"Fixed by the text of {PAPER}:", whose.fixed),
                    ("Chosen by us:", whose.chosen),
                    ("Not found in what could be read of the paper, hence ours:", whose.not_found),
                ],
                "text": dump(fields),
            }
        )
    return rows


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _uri(svg: bytes) -> Markup:
    return Markup("data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii"))


def exponents(findings: Sequence[TrialResult]) -> list[TrialResult]:
    """The findings that the figure has rows for, one a family."""
    rows = {f.trial.preset: f for f in findings if f.trial.claim.key in _LAW_CLAIMS}
    return list(rows.values())


def exponent_figure(findings: Sequence[TrialResult]) -> Figure:
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


def _draw(axes: Axes, place: int, finding: TrialResult) -> None:
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
