"""The comparison's results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cells import Cell
from benchmarks.peers import product
from benchmarks.summary import Spread, Times, against_best, fastest, overall, paired_ratios
from benchmarks.ways import OURS, PEAK, PEAK_ONE, Way

GROUP_TITLES = {"loops": "the loops", "ensembles": "torch.func and JAX"}


def markdown(
    results: Mapping[Cell, Times], ways: Sequence[Way], environment: Mapping[str, Any]
) -> str:
    """The whole page."""
    trained = [way.name for way in ways if way.group != "peak"]
    parts = [
        "# Training 32 MLPs: Widthwise and its peers",
        "Written by `" + environment["command"] + "`; see [performance.md](../performance.md) "
        "for what is compared and why. Every way starts from the same weights, sees the same "
        "batches and ends with the same losses (checked in each run).",
        _table(("", ""), [(name, str(value)) for name, value in environment.items()]),
        "## µs per step and run",
        f"Lower is better. Median of {environment['rounds']} rounds in which the ways take "
        "turns, smallest and largest in brackets.",
        _times_table(results, trained),
        "## Times as long as Widthwise",
        "Ratio of the times of the same round; median, smallest and largest.",
        _ratio_table(results, trained[1:]),
        "## Summary",
        _summary_table(results, ways),
        "## Distance from the machine's speed",
        f"Peak: float32 products of {product.SIZE}×{product.SIZE} matrices, timed in the same "
        "rounds. Bytes: the least that a step must move, weights and inputs, by formula.",
        _peak_table(results, next(way.processes for way in ways if way.name == PEAK)),
    ]
    return "\n\n".join(parts) + "\n"


def summary(results: Mapping[Cell, Times], ways: Sequence[Way]) -> dict[str, Spread]:
    """Geometric mean over cells against the best way of each group, by group."""
    means = {}
    for group in GROUP_TITLES:
        names = [way.name for way in ways if way.group == group]
        if names:
            means[group] = overall(against_best(list(results.values()), OURS, names))
    return means


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _name(cell: Cell) -> str:
    return f"{cell.width}, {cell.batch_size}"


def _times_table(results: Mapping[Cell, Times], names: Sequence[str]) -> str:
    rows = []
    for cell, times in results.items():
        best = fastest(times, names)
        row = [_name(cell)]
        for name in names:
            mark = "**" if name == best else ""
            spread = Spread.of(times[name])
            row.append(f"{mark}{spread.median:.0f}{mark} ({spread.low:.0f}–{spread.high:.0f})")
        rows.append(row)
    return _table(("width, batch", *names), rows)


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


def _ratio_table(results: Mapping[Cell, Times], names: Sequence[str]) -> str:
    rows = [
        [_name(cell)] + [_ratio(Spread.of(paired_ratios(times[n], times[OURS]))) for n in names]
        for cell, times in results.items()
    ]
    return _table(("width, batch", *names), rows)


def _summary_table(results: Mapping[Cell, Times], ways: Sequence[Way]) -> str:
    rows = []
    for group, mean in summary(results, ways).items():
        names = [way.name for way in ways if way.group == group]
        per_cell = against_best(list(results.values()), OURS, names)
        worst = min((Spread.of(cell) for cell in per_cell), key=lambda s: s.median)
        rows.append((f"best of {GROUP_TITLES[group]}", _ratio(mean), _ratio(worst)))
    return _table(
        (
            "against, in each cell,",
            "geometric mean over cells (smallest and largest over rounds)",
            "worst cell",
        ),
        rows,
    )


def _peak_table(results: Mapping[Cell, Times], num_processes: int) -> str:
    rows = []
    for cell, times in results.items():
        rate = [cell.flops / (1e3 * t) for t in times[OURS]]
        peak = [num_processes * product.FLOPS / (1e3 * t) for t in times[PEAK]]
        one = [product.FLOPS / (1e3 * t) for t in times[PEAK_ONE]]
        share = Spread.of([100 * r / p for r, p in zip(rate, peak, strict=True)])
        moved = Spread.of([cell.bytes_moved / (1e3 * t) for t in times[OURS]])
        rows.append(
            (
                _name(cell),
                f"{cell.flops / 1e6:.2f}",
                f"{cell.bytes_moved / 1e6:.2f}",
                f"{cell.flops / cell.bytes_moved:.1f}",
                f"{Spread.of(one).median:.0f}",
                f"{Spread.of(peak).median:.0f}",
                f"{Spread.of(rate).median:.1f}",
                f"{share.median:.0f} % ({share.low:.0f}–{share.high:.0f})",
                f"{moved.median:.1f}",
            )
        )
    return _table(
        (
            "width, batch",
            "MFLOP a step and run",
            "MB a step and run",
            "FLOP a byte",
            "peak, one core, GFLOP/s",
            "peak, all cores, GFLOP/s",
            "Widthwise, GFLOP/s",
            "of the peak of all cores",
            "Widthwise, GB/s",
        ),
        rows,
    )
