"""The paper's claims at the size of minutes, twice, on different seeds.

    python validation/reproduction.py run [--directory DIRECTORY]    trains, resumes if interrupted
    python validation/reproduction.py page                           writes reproduction.md

A repetition takes about an hour of one core. reproduction.csv holds every training run,
reproduction.json what was judged of them; the page and its figure are made from the latter alone.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from benchmarks.tables import table
from widthwise.analysis import Optimum
from widthwise.analysis.law import ZONES
from widthwise.hardware import describe_hardware
from widthwise.report.style import WIDTH_INCHES, house_style
from widthwise.reproduce import CLAIMS, judge_all, run_needed, specifications, trials
from widthwise.reproduce.running import TrialResult, in_all
from widthwise.study import Study
from widthwise.text import listing, number

HERE = Path(__file__).parent
FIRST_SEEDS = (0, 1000)
SIZE = "minutes"
_COLUMNS = (
    "widening_factor",
    "learning_rate",
    "batch_size",
    "momentum",
    "steps",
    "seed",
    "normalized_noise_scale",
    "test_accuracy",
    "status",
)
_INKS = ("#1f4e79", "#8a3400")
_AXIS = (-1.0, 2.5)
# Claim → under which conditions the paper and what was found agree.
CONDITIONS = {
    "law": "in the standard parameterization, where divergence ends what a width tolerates; in NTK "
    "for the narrowest networks only ([when the law holds](../docs/law.md)). ConvNets and ResNets: "
    "see [larger studies](convolutional_evidence.md)",
    "batch-norm-resnet": "not known",
    "batch-norm-convnet": "not known",
    "collapse": "while ε/(1 − m) is below the value in the table; above it ε counts by itself",
    "stable-rate": "in the standard parameterization. In NTK ε_max of short probes grows with "
    "width, with cross-entropy; with mean squared error it does not "
    "([stability](stability_exponents.md))",
    "batch-size": "in the standard parameterization if ε_max falls as 1/w, which it does with mean "
    "squared error and not with cross-entropy ([stability](stability_exponents.md)); in NTK if the "
    "best noise grows in proportion, which it does not here",
    "resistance": "in both parameterizations, as far as the optima are known",
}


def run(directory: Path) -> None:
    """Both repetitions, then the tables."""
    wanted, repetitions, runs = trials([], SIZE), [], []
    for first in FIRST_SEEDS:
        place = directory / f"seeds_{first}"
        specs = specifications(wanted, size=SIZE, first_seed=first)
        run_needed(
            wanted,
            specs,
            place,
            workers=None,
            progress=True,
            tell=print,
            command=f"widthwise reproduce --first-seed {first}",
            first_seed=first,
        )
        found = judge_all(wanted, specs, place, first_seed=first)
        repetitions.append(_plain(found, first))
        runs += [
            Study.open(place / str(preset)).results().select(pl.lit(str(preset)).alias("study"),
                                                              *_COLUMNS)
            for preset in specs
            if (place / str(preset) / "study.json").exists()
        ]  # fmt: skip
        text = json.dumps(repetitions, indent=1, ensure_ascii=False, allow_nan=True)
        (HERE / "reproduction.json").write_text(text + "\n", encoding="utf-8")
        pl.concat(runs).write_csv(HERE / "reproduction.csv", float_precision=6)


def _plain(found: Sequence[TrialResult], first: int) -> dict[str, Any]:
    runs, seconds = in_all(found)
    optima = {
        str(f.trial.preset): {f"{w:g}": _optimum(o) for w, o in sorted(f.evidence.optima.items())}
        for f in found
        if f.trial.claim.key in ("law", "batch-norm-resnet", "batch-norm-convnet")
    }
    return {
        "first_seed": first,
        "hardware": describe_hardware(),
        "runs": runs,
        "core_minutes": round(seconds / 60.0, 1),
        "findings": [
            {
                "claim": f.trial.claim.key,
                "family": str(f.trial.preset),
                "symbol": f.judgement.symbol,
                "value": f.judgement.value,
                "interval": f.judgement.interval,
                "verdict": f.judgement.verdict,
                "measured": f.judgement.measured(),
                "sentence": f.judgement.sentence,
                "would_decide": f.judgement.would_decide,
                "runs": f.runs,
            }
            for f in found
        ],
        "optima": optima,
    }


def _optimum(found: Optimum) -> str:
    low, high = found.interval
    if low == 0.0 and math.isinf(high):
        return "anything"
    if low == 0.0:
        return f"below {number(high)}"
    if math.isinf(high):
        return f"above {number(low)}"
    return f"{number(found.noise_scale)} ({number(low)}–{number(high)})"


def read() -> list[dict[str, Any]]:
    """The repetitions, as they were judged."""
    content: list[dict[str, Any]] = json.loads(
        (HERE / "reproduction.json").read_text(encoding="utf-8")
    )
    return content


def paired(repetitions: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], ...]]:
    """What each repetition found, trial by trial."""
    return list(zip(*(r["findings"] for r in repetitions), strict=True))


def tally(repetitions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many trials there are, were decided in each repetition, in all of them alike, and in all
    but not alike."""
    rows = paired(repetitions)
    decided = [[f["verdict"] != "inconclusive" for f in row] for row in rows]
    verdicts = [{f["verdict"] for f in row} for row in rows]
    counts = {"trials": len(rows)}
    for i, repetition in enumerate(repetitions):
        counts[f"seeds {repetition['first_seed']}"] = sum(row[i] for row in decided)
    counts["alike"] = sum(all(d) and len(v) == 1 for d, v in zip(decided, verdicts, strict=True))
    counts["opposite"] = sum({"confirmed", "contradicted"} <= v for v in verdicts)
    return counts


def page(repetitions: Sequence[Mapping[str, Any]]) -> str:
    """The page as Markdown."""
    counts, rows = tally(repetitions), paired(repetitions)
    each = listing([str(counts[f"seeds {r['first_seed']}"]) for r in repetitions])
    costs = listing(
        [f"{r['runs']:,} runs in {r['core_minutes']:.0f} core minutes" for r in repetitions]
    )
    machines = list(dict.fromkeys(str(r["hardware"]) for r in repetitions))
    lines = [
        "# The paper's claims at the size of minutes, twice",
        "",
        "Written by `python validation/reproduction.py page` from reproduction.json; every",
        "training run is in [reproduction.csv](reproduction.csv). The commands:",
        "",
        *(
            f"    widthwise reproduce --first-seed {r['first_seed']} -o seeds_{r['first_seed']}"
            for r in repetitions
        ),
        "",
        f"**Of {counts['trials']} trials {each} were decided, {counts['alike']} in both "
        f"repetitions and alike, {counts['opposite']} in opposite ways.** Verdicts are said only "
        "where the whole 95 % interval says so ([how](../docs/reproduce.md)).",
        "",
        f"Bundled part of Fashion-MNIST; {costs}, beside other work, on {listing(machines)}.",
        "",
        *_verdicts(repetitions, rows),
        "",
        "![Exponents](figures/reproduction.svg)",
        "",
        "*Exponent of the best noise, 95 % intervals of both repetitions (blue: seeds 0, …); gray: "
        "the zones of "
        "“constant” and “proportional”. A line across the figure: nothing is excluded.*",
        "",
        "## What the paper says, and when it agrees with what was found",
        "",
        *_conditions(rows),
        "",
        "## What is open, why, and what would decide it",
        "",
        *_open(repetitions, rows),
        "",
        "## Best ḡ of every width",
        "",
        *_optima(repetitions),
        "",
    ]
    return "\n".join(lines)


def _verdicts(
    repetitions: Sequence[Mapping[str, Any]], rows: Sequence[tuple[dict[str, Any], ...]]
) -> Iterator[str]:
    header = ["claim", "family"]
    for r in repetitions:
        header += [f"seeds {r['first_seed']}, …", "verdict"]
    cells, previous = [], ""
    for row in rows:
        claim = row[0]["claim"]
        cells.append(
            [f"`{claim}`" if claim != previous else "", row[0]["family"]]
            + [cell for f in row for cell in (f["measured"], _bold(f["verdict"]))]
        )
        previous = claim
    yield table(header, cells)


def _bold(verdict: str) -> str:
    return verdict if verdict == "inconclusive" else f"**{verdict}**"


def _conditions(rows: Sequence[tuple[dict[str, Any], ...]]) -> Iterator[str]:
    cells = []
    for claim in CLAIMS.values():
        own = [row for row in rows if row[0]["claim"] == claim.key]
        if not own:
            continue
        said = []
        for verdict in ("confirmed", "contradicted"):
            families = [
                row[0]["family"] for row in own if all(f["verdict"] == verdict for f in row)
            ]
            said += [f"{verdict} twice: {', '.join(families)}"] if families else []
        cells.append([claim.words, "; ".join(said) or "no verdict twice", CONDITIONS[claim.key]])
    yield table(["the paper", "found here", "they agree"], cells)


def _open(
    repetitions: Sequence[Mapping[str, Any]], rows: Sequence[tuple[dict[str, Any], ...]]
) -> Iterator[str]:
    for row in rows:
        for repetition, f in zip(repetitions, row, strict=True):
            if f["verdict"] == "inconclusive":
                yield (
                    f"- `{f['claim']}`, {f['family']}, seeds {repetition['first_seed']}: "
                    f"{f['sentence']} It would take: {f['would_decide']}."
                )


def _optima(repetitions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    widths = sorted({w for r in repetitions for o in r["optima"].values() for w in o}, key=float)
    cells = [
        [family if i == 0 else "", str(r["first_seed"])]
        + [r["optima"].get(family, {}).get(w, "") for w in widths]
        for family in repetitions[0]["optima"]
        for i, r in enumerate(repetitions)
    ]
    yield table(["family", "seeds", *(f"w = {w}" for w in widths)], cells)


def figure(repetitions: Sequence[Mapping[str, Any]]) -> Figure:
    """Exponents of ḡ_opt ∝ w^s, a row a family, an interval a repetition."""
    families = list(repetitions[0]["optima"])
    with house_style():
        drawn = Figure(figsize=(WIDTH_INCHES, 0.9 + 0.34 * len(families)), layout="constrained")
        axes = drawn.subplots()
        for low, high in ZONES.values():
            axes.axvspan(low, high, color="#000000", alpha=0.07, linewidth=0.0)
        for number_of, repetition in enumerate(repetitions):
            found = {
                f["family"]: f for f in repetition["findings"] if f["family"] in families
                and f["claim"] in ("law", "batch-norm-resnet", "batch-norm-convnet")
            }  # fmt: skip
            for row, family in enumerate(reversed(families)):
                f, y = found[family], row + 0.16 - 0.32 * number_of
                ends = f["interval"] or (-math.inf, math.inf)
                low, high = (min(max(float(end), _AXIS[0]), _AXIS[1]) for end in ends)
                known = any(math.isfinite(float(end)) for end in ends)
                axes.plot([low, high], [y, y], color=_INKS[number_of], lw=1.8 if known else 0.6,
                          ls="-" if known else ":")  # fmt: skip
                if f["value"] is not None and _AXIS[0] < f["value"] < _AXIS[1]:
                    axes.plot([f["value"]], [y], "o", color=_INKS[number_of], ms=4.0)
        axes.set_yticks(range(len(families)), list(reversed(families)))
        axes.set_xlim(*_AXIS)
        axes.set_xlabel("exponent $s$ of the best noise, $w^s$")
    return drawn


def make() -> None:
    """Page and figure."""
    repetitions = read()
    (HERE / "reproduction.md").write_text(page(repetitions), encoding="utf-8")
    figure(repetitions).savefig(HERE / "figures" / "reproduction.svg", metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "page"])
    parser.add_argument("--directory", type=Path, default=Path("studies") / "reproduction")
    options = parser.parse_args()
    if options.what == "run":
        run(options.directory)
    else:
        make()
