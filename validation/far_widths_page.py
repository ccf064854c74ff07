"""far_widths.md and its figure, from the two committed tables."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import committed_runs
import numpy as np
import polars as pl
from far_widths_design import BASE_UNITS, LATE_FRACTION, NUM_TEST, NUM_TRAIN, UNITS, WITHOUT
from far_widths_findings import (
    Answer,
    CaseFound,
    WidthFound,
    below,
    both,
    find,
    find_limit,
    outcome,
    within,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widthwise.analysis import Law
from widthwise.report.style import WIDTH_INCHES, house_style
from widthwise.text import estimate

HERE = Path(__file__).parent
NOTHING = "—"
_INK = {"ntk": "#1f4e79", "standard": "#a3502b"}
_REMARKS = "## Remarks"


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """Networks, and function space: NTK's limit, standard by units.

    `without` are NTK networks that have no biases, `without_limit` their limit. None is what has
    not been run.
    """

    ntk: CaseFound
    standard: CaseFound
    without: CaseFound | None
    limit: WidthFound | None
    without_limit: WidthFound | None
    process: Mapping[float, WidthFound]
    runs: Mapping[str, pl.DataFrame]


def findings() -> Findings:
    """From far_widths.csv and far_widths_limit.csv."""
    runs = committed_runs.read(HERE / "far_widths.csv")
    cases = {
        name: find(
            own,
            base_units=BASE_UNITS,
            num_train=NUM_TRAIN,
            num_test=NUM_TEST,
            late_fraction=LATE_FRACTION,
        )
        for name, own in runs.items()
    }
    process = {
        str(name): find_limit(own, num_train=NUM_TRAIN, num_test=NUM_TEST)
        for (name,), own in _in_function_space().group_by("parameterization", maintain_order=True)
    }
    return Findings(
        ntk=cases["ntk"],
        standard=cases["standard"],
        without=cases.get(WITHOUT),
        limit=process.get("ntk", {}).get(math.inf),
        without_limit=process.get(WITHOUT, {}).get(math.inf),
        process=dict(sorted(process.get("standard", {}).items())),
        runs=runs,
    )


def _in_function_space() -> pl.DataFrame:
    path = HERE / "far_widths_limit.csv"
    if not path.exists():
        return pl.DataFrame(schema={"parameterization": pl.String})
    return pl.read_csv(path, infer_schema_length=None)


def exponent(law: Law | None) -> str:
    return NOTHING if law is None else estimate(law.exponent, law.interval)


def _interval(law: Law | None) -> tuple[float, float] | None:
    return None if law is None else law.interval


def answers(f: Findings) -> dict[str, list[tuple[str, str, Answer]]]:
    """Conjecture → its questions: what is asked, what was found, the answer. By the rules."""
    ntk, standard = f.ntk, f.standard
    first, second = ntk.tolerance_law(4, 64), ntk.tolerance_law(64, 1024)
    end = ntk.tolerance_law(256, 1024)
    widest, middle = ntk.at(1024), ntk.at(64)
    bears = widest.bears()
    no_more: Answer = "open"
    if f.limit is not None:
        no_more = "no" if bears[1][0] > f.limit.bears()[1][1] else "yes"
    nearer = below(middle.bears()[1], bears[1])
    o_first, o_second = ntk.optimum_law(4, 64), ntk.optimum_law(64, 1024)
    wide_gain, narrow_gain = widest.gain_interval, ntk.at(16).gain_interval
    limit_gain = None if f.limit is None else f.limit.gain_interval
    none_left = within(limit_gain, -1.0, 0.002)
    narrow, s_end = standard.tolerance_law(32, 256), standard.tolerance_law(256, 1024)
    asked: dict[str, list[tuple[str, str, Answer]]] = {
        "NTK, tolerated noise": [
            (
                "1 bends",
                f"4 to 64 units {exponent(first)}, 64 to 1,024 {exponent(second)}",
                below(_interval(second), _interval(first)),
            ),
            ("2 flattens", f"256 to 1,024 units {exponent(end)}", within(_interval(end), -9, 0.5)),
            (
                "3 approaches the limit",
                f"ε/B: 64 units {place(middle.bears())}, 1,024 {place(bears)}, "
                f"limit {NOTHING if f.limit is None else place(f.limit.bears())}",
                both(no_more, nearer),
            ),
        ],
        "NTK, optimum": [
            (
                "4 bends",
                f"4 to 64 units {exponent(o_first)}, 64 to 1,024 {exponent(o_second)}",
                below(_interval(o_second), _interval(o_first)),
            ),
            (
                "5 dissolves",
                f"gain at 16 units {points(ntk.at(16))}, at 1,024 {points(widest)}, "
                f"limit {NOTHING if f.limit is None else points(f.limit)}",
                both(below(wide_gain, narrow_gain), none_left),
            ),
        ],
        "standard": [
            (
                "6 proportional while narrow",
                f"32 to {min(256, standard.widths[-1].units):.0f} units {exponent(narrow)}",
                within(_interval(narrow), 0.75, 1.25),
            ),
            ("7 bends, too", f"256 to 1,024 units {exponent(s_end)}", _less(s_end, 1.0)),
        ],
    }
    if f.without is not None:
        bare = f.without.at(1024).bears()
        answer: Answer = "yes" if bare[1][0] > 2.0 * bears[1][1] else "open"
        if bare[1][1] < 1.25 * bears[1][0]:
            answer = "no"
        found = (
            f"1,024 units with biases {place(bears)}, without {place(bare)}; exponent without, "
            f"16 to 1,024 units: {exponent(f.without.tolerance_law(16, 1024))}"
        )
        asked["NTK, biases"] = [("8 it is the biases", found, answer)]
    return asked


def _less(law: Law | None, value: float) -> Answer:
    return within(_interval(law), -9.0, value)


def place(found: tuple[float, tuple[float, float]]) -> str:
    """A noise scale with its interval, or the bound that holds."""
    value, (low, high) = found
    if not math.isfinite(high):
        return f"above {low:.2g}"
    if low <= 0.0:
        return f"below {high:.2g}"
    return f"{value:.2g} ({low:.2g}–{high:.2g})"


def points(width: WidthFound) -> str:
    """The gain of noise with its interval, in points of accuracy."""
    low, high = width.gain_interval
    if not math.isfinite(width.gain):
        return NOTHING
    return f"{100 * width.gain:.2f} ({100 * low:.2f} to {100 * high:.2f})".replace("-", "−")


def _rows(case: CaseFound) -> Iterator[str]:
    for index, width in enumerate(case.widths):
        units = width.units
        after = case.widths[index + 1].units if index + 1 < len(case.widths) else None
        local = [NOTHING, NOTHING]
        if after is not None:
            laws = (case.optimum_law(units, after), case.tolerance_law(units, after))
            local = [exponent(law) for law in laws]
        yield (
            f"| {units:,.0f} | {place(width.best())} | {local[0]} | {place(width.bears())} "
            f"| {local[1]} | {100 * width.optimum.score:.2f} | {points(width)} |"
        )


def _table(case: CaseFound) -> list[str]:
    return [
        "| units | best ε/B | s to the next octave | tolerated ε/B | p to the next octave "
        "| accuracy at the best, % | gain of noise, points |",
        "|---" * 7 + "|",
        *_rows(case),
        *(f"\n{units:,.0f} units: {why}." for units, why in case.problems.items()),
        "",
    ]


def page(f: Findings) -> str:
    """Everything but the remarks."""
    lines = [
        "# From 4 to 1,024 units: how the best noise and the tolerated noise grow",
        "",
        "Written by `python validation/far_widths.py page` from far_widths.csv and",
        "far_widths_limit.csv, but for the remarks at the end; the runs by the same script (`run`,",
        "`limit`). Design, settings, power and the rules that decide, made before the runs:",
        "[far_widths_design.md](far_widths_design.md). One hidden layer, 1,024 images of the",
        "bundled part of Fashion-MNIST, 8,000 test images, cross-entropy. 95 % intervals in",
        "brackets. s: exponent of ḡ_opt ∝ w^s; p: that of the tolerated ḡ, at which accuracy has",
        "fallen 2 points below the width's own best. σ_init² is 2 in NTK and 2/w in standard",
        "parameterization, so that ε/B goes as ḡ in NTK and as ḡ/w in standard.",
        "",
    ]
    for conjecture, asked in answers(f).items():
        result = outcome([answer for _, _, answer in asked])
        lines += [
            f"**{conjecture}: {result}.**",
            "",
            "| question | found | answer |",
            "|---|---|---|",
            *(f"| {name} | {found} | {answer} |" for name, found, answer in asked),
            "",
        ]
    cases = {"ntk": ("NTK", f.ntk), "standard": ("Standard", f.standard)}
    if f.without is not None:
        cases[WITHOUT] = ("Without biases: NTK", f.without)
    for key, (name, case) in cases.items():
        runs = f.runs[key]
        lost = runs.filter(pl.col("status") != "ok").height
        lines += [
            f"## {name} parameterization",
            "",
            f"{runs.height:,} runs, {lost:,} of which diverged, "
            f"{runs['seconds'].sum() / 60:.0f} minutes of a shared core.",
            "",
            *_table(case),
            _whole(case),
            *_not_run(case),
        ]
    if f.limit is None:
        lines.append("The same SGD in function space has not been run for want of time.\n")
    lines += (
        []
        if f.limit is None
        else [
            "## Function space",
            "",
            "SGD of the outputs alone, with the kernel of the network at infinite width (NTK) or",
            "at the width named (standard: 784·K₁ + h·K₂ + K_b). The same images and batches.",
            "",
            "| | tolerated ε/B | accuracy at the best, % | gain of noise, points |",
            "|---|---|---|---|",
            *_limit("NTK, infinitely wide", f.limit),
            *_limit("the same without biases", f.without_limit),
            *(
                f"| standard, {units:,.0f} units | {place(width.bears())} "
                f"| {100 * width.optimum.score:.2f} | {points(width)} |"
                for units, width in f.process.items()
            ),
            "",
        ]
    )
    lines += [
        "![Best and tolerated noise, local exponents and gain](figures/far_widths.svg)",
        "",
        "*Blue: NTK; brown: standard. Left: best ḡ (filled) and tolerated ḡ (open) against units;*",
        "*dashed: in proportion to w; dotted: what the infinitely wide NTK network tolerates.*",
        "*Middle: exponent of the tolerated noise from a width to the next. Right: what the best*",
        "*noise gains over little noise.*",
        "",
    ]
    return "\n".join(lines)


def _whole(case: CaseFound) -> str:
    """The laws of all its widths."""
    low, high = case.widths[0].units, case.widths[-1].units
    s, p = case.optimum_law(low, high), case.tolerance_law(low, high)
    return (
        f"All of them, {low:,.0f} to {high:,.0f} units, by one power: s = {exponent(s)}, "
        f"p = {exponent(p)}.\n"
    )


def _not_run(case: CaseFound) -> Iterator[str]:
    """Widths of the design that the machine gave no time for."""
    missing = [u for u in UNITS if u > case.widths[-1].units]
    if missing:
        yield f"Not run for want of time, from the top: {missing[0]:,} units and more.\n"


def _limit(name: str, width: WidthFound | None) -> Iterator[str]:
    if width is not None:
        yield (
            f"| {name} | {place(width.bears())} | {100 * width.optimum.score:.2f} "
            f"| {points(width)} |"
        )


def figure(f: Findings) -> Figure:
    """Scales, local exponents, gain; against units."""
    with house_style():
        drawn = Figure(figsize=(2.2 * WIDTH_INCHES, 3.4), layout="constrained")
        scales, local, gain = drawn.subplots(1, 3)
        for name, case in (("ntk", f.ntk), ("standard", f.standard)):
            ink = _INK[name]
            _draw_scales(scales, case, ink)
            _draw_local(local, case, ink)
            units = [w.units for w in case.widths]
            values = np.array([w.gain for w in case.widths])
            ends = np.array([w.gain_interval for w in case.widths])
            gain.errorbar(
                units,
                100 * values,
                100 * np.abs(ends.T - values),
                color=ink,
                marker="o",
                linestyle="none",
            )
        if f.limit is not None:
            bears = f.limit.bears()[0] / f.ntk.widths[0].unit_scale
            scales.axhline(bears, color=_INK["ntk"], linewidth=0.9, linestyle=":")
        local.axhline(1.0, color="0.5", linewidth=0.8, linestyle="--")
        local.axhline(0.0, color="0.5", linewidth=0.8, linestyle=":")
        gain.axhline(0.0, color="0.5", linewidth=0.8, linestyle=":")
        gain.set_ylim(-0.5, 3.0)
        for axes, label in (
            (scales, r"$\bar{g}$"),
            (local, "exponent $p$"),
            (gain, "gain of noise, points"),
        ):
            axes.set_xscale("log", base=2)
            axes.set_xlabel("units")
            axes.set_ylabel(label)
    return drawn


def _draw_scales(axes: Axes, case: CaseFound, ink: str) -> None:
    axes.set_yscale("log")
    for width in case.widths:
        low, high = (float(np.clip(e, *width.optimum.measured)) for e in width.optimum.interval)
        axes.plot([width.units] * 2, [low, high], color=ink, linewidth=1.6)
    units = [w.units for w in case.widths]
    axes.plot(units, [w.optimum.noise_scale for w in case.widths], "o", color=ink)
    bears = [w.tolerated.noise_scale for w in case.widths]
    axes.plot(units, bears, "s", color=ink, markerfacecolor="white")
    axes.plot(units, [bears[0] * u / units[0] for u in units], color="0.5", lw=0.8, ls="--")


def _draw_local(axes: Axes, case: CaseFound, ink: str) -> None:
    for narrow, wide in case.octaves():
        law = case.tolerance_law(narrow.units, wide.units)
        if law is not None and np.isfinite(law.interval).all():
            middle = math.sqrt(narrow.units * wide.units)
            axes.plot([middle] * 2, law.interval, color=ink, linewidth=1.6)
            axes.plot([middle], [law.exponent], "o", color=ink)


def write(text: str, path: Path) -> None:
    """The page, with the remarks that are there."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    remarks = re.search(rf"^{_REMARKS}$.*", old, flags=re.M | re.S)
    kept = f"\n{remarks[0]}" if remarks else f"\n{_REMARKS}\n"
    path.write_text(text.rstrip("\n") + "\n" + kept, encoding="utf-8")


def make() -> Sequence[Path]:
    """Page and figure."""
    f = findings()
    targets = [HERE / "far_widths.md", HERE / "figures" / "far_widths.svg"]
    write(page(f), targets[0])
    figure(f).savefig(targets[1])
    return targets
