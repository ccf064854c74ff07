"""The section on the collapse: is the noise scale all that matters?"""

from collections.abc import Sequence

from widthwise.analysis import Collapse
from widthwise.analysis.collapse_result import CollapseFinding, CollapseLevel
from widthwise.report.collapse_figure import collapse_figure
from widthwise.report.content import ReportContent
from widthwise.report.parts import CaptionedFigure, Section, SectionTable
from widthwise.runs.analyses import SettingScores, find_collapse
from widthwise.runs.tables import SettingRow, selected_on
from widthwise.text import MISSING, count, exact, exact_list, in_points, number, points

# Fewer seeds than this leave the error of a difference itself in doubt.
_FEW_SEEDS = 4
_SAME_TIME = 1.05
_OUTCOMES = {"agrees": "agree", "differs": "differ", "undecided": "not decided"}


def collapse_section(
    content: ReportContent, table: SettingScores, settings: Sequence[SettingRow]
) -> Section | None:
    """None if the study has no two settings of one width at equal noise scale."""
    found = find_collapse(table)
    if found is None:
        return None
    counts = {
        finding.widening_factor: sum(level.num_comparisons for level in finding.levels)
        for finding in found.widths
    }
    shown = max(counts, key=lambda width: (counts[width], width or 0.0)) or 1.0
    return Section(
        title="Does only the noise scale matter?",
        question="",
        answers=(found.sentence(), *_unlike(found)),
        cautions=tuple(_cautions(found, table)),
        warning=_warning(found),
        figure=CaptionedFigure(
            name="collapse",
            title="Settings of equal noise scale",
            caption=_caption(found, shown),
            figure=collapse_figure(found, settings, selected_on(content.results), shown),
        ),
        table=_table(found),
    )


def _warning(found: Collapse) -> str | None:
    """What it means for everything else on the page."""
    limit = found.overall.differs_from
    if limit is None:
        return None
    return (
        f"From {found.rate_symbol} = {number(limit)} on, settings of equal ḡ differ in accuracy: "
        "there ḡ is not all that counts, and the optima, which take settings of equal ḡ as one, "
        "may not stand. A study at smaller ε would show it."
    )


def _unlike(found: Collapse) -> list[str]:
    """Widths that say something else than all together."""
    said = []
    for width in found.widths:
        if width.verdict in (found.verdict, "not tested"):
            continue
        reason = {
            "collapses": f"it holds up to {found.rate_symbol} = {number(width.agrees_up_to)}",
            "broken": f"it is broken from {found.rate_symbol} = {number(width.differs_from)} on",
            "inconclusive": "the runs do not decide it",
        }[width.verdict]
        said.append(f"At w = {exact(width.widening_factor)} alone, {reason}.")
    return said


def _cautions(found: Collapse, table: SettingScores) -> list[str]:
    said = []
    reference = found.overall.reference_rate
    said.append(
        f"What all rates do wrong alike cannot be seen (smallest: {found.rate_symbol} = "
        f"{number(reference)})."
    )
    untested = [x.widening_factor or 0.0 for x in found.widths if x.verdict == "not tested"]
    if untested:
        said.append(f"At w = {exact_list(untested)} no two settings could be compared.")
    if table.scores.shape[1] < _FEW_SEEDS:
        said.append(
            f"{count(table.scores.shape[1], 'seed')}: the error of each difference is itself "
            "uncertain."
        )
    ratios = [
        times.max() / times.min()
        for width in set(table.columns["widening_factor"])
        for times in [table.physical_times[(table.columns["widening_factor"] == width).to_numpy()]]
    ]
    if max(ratios) > _SAME_TIME:
        said.append(
            "The settings’ physical times ε·steps/(1 − m) differ by up to a factor "
            f"{number(max(ratios), 2)}: one that had not arrived differs for that reason."
        )
    return said


def _caption(found: Collapse, shown: float) -> str:
    crosses = (
        " Crosses: runs diverge that do not at smaller rates."
        if any(x.difference is None for x in found.comparisons)
        else ""
    )
    return (
        f"(a) w = {exact(shown)}, one standard error. (b) 95 % intervals; gray: within "
        f"{in_points(found.margin)}; black: weighted mean; open triangles: beyond the axis."
        f"{crosses}"
    )


def _table(found: Collapse) -> SectionTable:
    rows = [row for finding in (found.overall, *found.widths) for row in _rows(finding) if row]
    return SectionTable(
        name="collapse",
        label="Settings of equal noise scale",
        note=f"In points, 95 % intervals. “One by one”: intervals within {in_points(found.margin)};"
        " “missed”: the largest difference not excluded.",
        header=(
            "w",
            found.rate_symbol,
            "compared",
            "agree one by one",
            "mean difference",
            "interval",
            "missed",
            "outcome",
        ),
        rows=tuple(rows),
        text_columns=frozenset({7}),
    )


def _rows(finding: CollapseFinding) -> list[tuple[str, ...]]:
    width = "all" if finding.widening_factor is None else exact(finding.widening_factor)
    return [_row(width, finding.missed, level) for level in finding.levels]


def _row(width: str, missed: float, level: CollapseLevel) -> tuple[str, ...]:
    known = level.difference is not None
    return (
        width,
        number(level.effective_rate),
        str(level.num_comparisons),
        str(level.num_agreeing),
        points(level.difference),
        f"{points(level.interval[0])} to {points(level.interval[1])}" if known else MISSING,
        points(missed).lstrip("+") if missed < 1.0 else MISSING,
        _OUTCOMES[level.outcome],
    )
