"""The comparison's results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cells import NETWORKS, Cell
from benchmarks.peers import product
from benchmarks.summary import Spread, Times, against_best, fastest, overall, paired_ratios
from benchmarks.timing import Measurement
from benchmarks.ways import GROUP_TITLES, OURS, PEAK, PEAK_ONE, Way

Results = Mapping[Cell, Measurement]


def markdown(
    title: str, results: Results, ways: Sequence[Way], environment: Mapping[str, Any]
) -> str:
    """The whole page."""
    trained = [way.name for way in ways if way.trains]
    num_processes = next(way.processes for way in ways if way.name == PEAK)
    parts = [
        f"# {title}",
        "Written by `" + environment["command"] + "`; see [performance.md](../performance.md) "
        "for what is compared and why. Every way starts from the same weights, sees the same "
        "batches and ends with the same losses (checked in each run)." + _exceptions(ways),
        table(("", ""), [(name, str(value)) for name, value in environment.items()]),
        "## µs per step and run",
        f"Lower is better. Median of {environment['rounds']} rounds in which the ways take "
        "turns, smallest and largest in brackets. A way that is much slower than the others takes "
        "part in the first rounds only.",
        _times_table(results, trained),
        "## Times as long as Widthwise",
        "Ratio of the times of the same round; median, smallest and largest.",
        _ratio_table(results, trained[1:]),
        "## Summary",
        _summary_table(results, ways),
        "## Share of the machine's speed",
        f"Operations of the layers' products in a step, by formula, over those of float32 products "
        f"of {product.SIZE}×{product.SIZE} matrices on all cores in the same time, in %; the "
        "products were timed in the same rounds.",
        _share_table(results, trained, num_processes),
        "For Widthwise in detail. Bytes: the least that a step must move, weights and inputs, "
        "by formula; activations are not counted.",
        _peak_table(results, num_processes),
        "## Memory",
        "MB that all processes of a way held at most in training, beyond what they held "
        "before they built the networks: weights, gradients, activations, compiled programs. "
        "The data are not in it, nor are the libraries.",
        _memory_table(results, trained),
    ]
    return "\n\n".join(parts) + "\n"


def summary(results: Results, ways: Sequence[Way]) -> dict[str, Spread]:
    """Geometric mean over cells against the best way of each group, by group."""
    times = _times(results)
    return {
        group: overall(against_best(times, OURS, names)) for group, names in _groups(ways).items()
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share_of_peak(
    cell: Cell,
    times: Sequence[float],
    peak: Sequence[float],
    number: int,
    size: int = product.SIZE,
) -> Spread:
    """Operations a second over those of the products, in %.

    Args:
        cell: what was trained.
        times: µs a step and run, in each round.
        peak: µs a product, in each round.
        number: processes, each of which took one product in that time.
        size: of the matrices that were multiplied.
    """
    rates = [cell.flops / time for time in times]
    peaks = [number * product.flops(size) / time for time in peak]
    return Spread.of([100 * r / p for r, p in zip(rates, peaks, strict=False)])


def _times(results: Results) -> list[Times]:
    return [measured.times for measured in results.values()]


def _groups(ways: Sequence[Way]) -> dict[str, list[str]]:
    """Group → names of its ways, for the groups that have any."""
    named = {group: [way.name for way in ways if group in way.groups] for group in GROUP_TITLES}
    return {group: names for group, names in named.items() if names}


def _exceptions(ways: Sequence[Way]) -> str:
    return "".join(
        f" {way.name}: the first {way.replicas} runs only, for it is slow."
        for way in ways
        if way.replicas is not None
    )


def _heading(results: Results) -> str:
    networks = {NETWORKS[cell.network].width_label: None for cell in results}
    return f"{' or '.join(networks)}, batch"


def _name(cell: Cell) -> str:
    return f"{cell.width}, {cell.batch_size}"


def _times_table(results: Results, names: Sequence[str]) -> str:
    rows = []
    for cell, measured in results.items():
        best = fastest(measured.times, names)
        row = [_name(cell), str(cell.num_replicas), str(cell.pack_size)]
        for name in names:
            mark = "**" if name == best else ""
            spread = Spread.of(measured.times[name])
            row.append(f"{mark}{spread.median:.0f}{mark} ({spread.low:.0f}–{spread.high:.0f})")
        rows.append(row)
    return table((_heading(results), "runs", "in a pack, at most", *names), rows)


def ratio(spread: Spread) -> str:
    """As in "2.00 (1.90–2.10)"."""
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


def _ratio_table(results: Results, names: Sequence[str]) -> str:
    rows = [
        [_name(cell)] + [ratio(Spread.of(paired_ratios(m.times[n], m.times[OURS]))) for n in names]
        for cell, m in results.items()
    ]
    return table((_heading(results), *names), rows)


def _summary_table(results: Results, ways: Sequence[Way]) -> str:
    means, rows = summary(results, ways), []
    for group, names in _groups(ways).items():
        per_cell = against_best(_times(results), OURS, names)
        worst = min((Spread.of(cell) for cell in per_cell), key=lambda s: s.median)
        rows.append((f"best of {GROUP_TITLES[group]}", ratio(means[group]), ratio(worst)))
    return table(
        (
            "against, in each cell,",
            "geometric mean over cells (smallest and largest over rounds)",
            "worst cell",
        ),
        rows,
    )


def _share_table(results: Results, names: Sequence[str], num_processes: int) -> str:
    rows = []
    for cell, measured in results.items():
        peak = measured.times[PEAK]
        shares = [share_of_peak(cell, measured.times[n], peak, num_processes) for n in names]
        rows.append([_name(cell), *(f"{share.median:.1f}" for share in shares)])
    return table((_heading(results), *names), rows)


def _peak_table(results: Results, num_processes: int) -> str:
    rows = []
    for cell, measured in results.items():
        times = measured.times
        rate = [cell.flops / (1e3 * t) for t in times[OURS]]
        peak = [num_processes * product.flops() / (1e3 * t) for t in times[PEAK]]
        one = [product.flops() / (1e3 * t) for t in times[PEAK_ONE]]
        share = share_of_peak(cell, times[OURS], times[PEAK], num_processes)
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
    return table(
        (
            _heading(results),
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


def _memory_table(results: Results, names: Sequence[str]) -> str:
    rows = [
        [_name(cell), *(f"{measured.memory[name] / 1e6:.0f}" for name in names)]
        for cell, measured in results.items()
    ]
    return table((_heading(results), *names), rows)
