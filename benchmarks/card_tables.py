"""The comparison on a card as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.agreement import STEPS, TOLERANCES
from benchmarks.card_ways import ENSEMBLE, LOOPS, PRODUCT, peak_size
from benchmarks.cells import NETWORKS, Cell
from benchmarks.peers import product
from benchmarks.summary import Spread, fastest, paired_ratios
from benchmarks.tables import Results, share_of_peak, table
from benchmarks.timing import Measurement
from benchmarks.ways import OURS, Way

# A run of Widthwise against one of plain loops, where networks are narrowest.
WANTED = 20.0
_HEADS = ("network", "runs")


def markdown(
    results: Results,
    ways: Sequence[Way],
    left_out: Sequence[Cell],
    environment: Mapping[str, Any],
    device: str,
) -> str:
    """The whole page.

    Args:
        results: what was measured.
        ways: that were compared.
        left_out: cells that would not have fitted on the card.
        environment: label → value.
        device: "cpu" or a card.
    """
    trained = [way.name for way in ways if way.trains]
    loops = [way.name for way in ways if "loops" in way.groups]
    size = peak_size(device)
    rounds = environment["rounds"]
    tolerances = ", ".join(f"{NETWORKS[n].label}: {t:g}" for n, t in TOLERANCES.items())
    parts = [
        "# Many runs on one card: Widthwise and its peers",
        *_warning(device),
        f"Written by `{environment['command']}`; see [hardware.md](../hardware.md). Every way "
        "starts from the same weights and sees the same batches. Before anything was timed, each "
        f"trained a few runs of each network for {STEPS} steps, and every loss agreed with that of "
        f"ordinary loops on the CPU (largest relative difference allowed: {tolerances}). Products "
        "are full float32: TF32 is off. Drawing batches is part of every time.",
        table(("", ""), [(name, str(value)) for name, value in environment.items()]),
        "## Times as fast as the others",
        "Time of another way over that of Widthwise in one process, in the same round; median, "
        f"smallest and largest of {rounds} rounds at most. The best is chosen by its median, cell "
        f"by cell. Wanted: at least {WANTED:g} against {LOOPS} where networks are narrowest.",
        _ratio_table(results, loops),
        _verdict(results),
        "## µs per step and run",
        f"Lower is better. Median of {rounds} rounds in which the ways take turns, smallest and "
        "largest in brackets; slow ways take part in the first rounds only.",
        _times_table(results, trained),
        "## Share of the peak",
        "Operations of the layers' products in a step, by formula, over those of float32 products "
        f"of {size}×{size} matrices in the same time, in %; the products were timed in the same "
        "rounds.",
        _share_table(results, trained, size),
        "## Growth with the number of runs",
        "µs per step and run of Widthwise in one process, medians; last, with the most runs over "
        "with the fewest.",
        _growth_table(results),
        "## Memory",
        _memory_words(device),
        _memory_table(results, trained),
        "## How Widthwise made its steps",
        _remark_table(results),
        *_left_out(left_out),
    ]
    return "\n\n".join(parts) + "\n"


def against_loops(results: Results) -> dict[Cell, Spread]:
    """Time of plain loops over that of Widthwise, where networks are the narrowest of their
    kind."""
    narrowest: dict[str, int] = {}
    for cell in results:
        narrowest[cell.network] = min(cell.width, narrowest.get(cell.network, cell.width))
    return {
        cell: _ratio(measured, LOOPS)
        for cell, measured in results.items()
        if cell.width == narrowest[cell.network]
    }


def name(cell: Cell) -> str:
    """Of a cell, without its number of runs."""
    width = NETWORKS[cell.network].width_label
    return f"{cell.network}, {width} {cell.width}, B = {cell.batch_size}"


def _warning(device: str) -> list[str]:
    if device != "cpu":
        return []
    return [
        "**Not a measurement.** The script was tried on a CPU with tiny networks; nothing here was "
        "computed on a card, no step was replayed as a CUDA graph, and no number means anything."
    ]


def _verdict(results: Results) -> str:
    spreads = against_loops(results).values()
    reached = sum(spread.median >= WANTED for spread in spreads)
    return f"Reached in {reached} of {len(spreads)} cells of the narrowest networks."


def _ratio(measured: Measurement, other: str) -> Spread:
    return Spread.of(paired_ratios(measured.times[other], measured.times[OURS]))


def _row(cell: Cell) -> list[str]:
    return [name(cell), str(cell.num_replicas)]


def _with_range(spread: Spread) -> str:
    return f"{_digits(spread.median)} ({_digits(spread.low)}–{_digits(spread.high)})"


def _digits(value: float) -> str:
    """
    >>> _digits(0.1234), _digits(12.34), _digits(1234.5)
    ('0.12', '12.3', '1234')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio_table(results: Results, loops: Sequence[str]) -> str:
    heads = (*_HEADS, "in a pack, at most", LOOPS, "best of the loops", "which", ENSEMBLE)
    rows = []
    for cell, measured in results.items():
        best = fastest(measured.times, loops)
        ratios = [_with_range(_ratio(measured, other)) for other in (LOOPS, best, ENSEMBLE)]
        rows.append([*_row(cell), str(cell.pack_size), *ratios[:2], best, ratios[2]])
    return table(heads, rows)


def _times_table(results: Results, names: Sequence[str]) -> str:
    rows = [
        _row(cell) + [_with_range(Spread.of(measured.times[n])) for n in names]
        for cell, measured in results.items()
    ]
    return table((*_HEADS, *names), rows)


def _share_table(results: Results, names: Sequence[str], size: int) -> str:
    rows = []
    for cell, measured in results.items():
        peak = measured.times[PRODUCT]
        speed = Spread.of([product.flops(size) / (1e6 * time) for time in peak])
        shares = [share_of_peak(cell, measured.times[n], peak, 1, size) for n in names]
        rows.append(
            [*_row(cell), f"{cell.flops / 1e6:.2f}", _digits(speed.median)]
            + [_digits(share.median) for share in shares]
        )
    return table((*_HEADS, "MFLOP a step and run", "peak, TFLOP/s", *names), rows)


def _growth_table(results: Results) -> str:
    times: dict[Cell, dict[int, float]] = {}
    for cell, measured in results.items():
        kind = replace(cell, num_replicas=1, pack_size=1)
        median = Spread.of(measured.times[OURS]).median
        times.setdefault(kind, {})[cell.num_replicas] = median
    numbers = sorted({cell.num_replicas for cell in results})
    rows = []
    for kind, each in times.items():
        row = [_digits(each[n]) if n in each else "–" for n in numbers]
        rows.append([name(kind), *row, f"{each[max(each)] / each[min(each)]:.2f}"])
    return table(("network", *(f"{n} runs" for n in numbers), "most over fewest"), rows)


def _memory_words(device: str) -> str:
    if device == "cpu":
        return "MB of the machine's memory, at most, beyond what the processes held before."
    return (
        "MB that PyTorch had given out on the card at most (`torch.cuda.max_memory_allocated`), "
        "all processes of a way together, data and recording of graphs included. What CUDA needs "
        "for itself in each process, and memory kept for later, are not in it."
    )


def _memory_table(results: Results, names: Sequence[str]) -> str:
    rows = [
        _row(cell) + [f"{measured.memory[n] / 1e6:.0f}" for n in names]
        for cell, measured in results.items()
    ]
    return table((*_HEADS, *names), rows)


def _remark_table(results: Results) -> str:
    rows = [[*_row(cell), m.remarks.get(OURS, "")] for cell, m in results.items()]
    return table((*_HEADS, "engine, and steps"), rows)


def _left_out(cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return []
    listed = "; ".join(f"{name(cell)}: {cell.num_replicas} runs" for cell in cells)
    return [
        "## Left out",
        f"Replicas of all ways lie on the card at once; by a rough count these would not fit: "
        f"{listed}.",
    ]
