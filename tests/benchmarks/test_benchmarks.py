"""The comparison with other ways of training: its arithmetic, its pages, its options."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are not part of the package

from benchmarks import cnn_peers, comparison, memory, mlp_peers, precision, scaling, tables
from benchmarks import pooling as bench_pooling
from benchmarks.cells import CNN_CELLS, MLP_CELLS, Cell
from benchmarks.planning import largest_pack, measured_pack_size
from benchmarks.summary import against_best, fastest, geometric_mean, overall, paired_ratios
from benchmarks.timing import Measurement, WayFailedError, num_turns, require_agreement
from benchmarks.ways import GROUP_TITLES, OURS, PEAK_ONE, Way, cnn_ways, mlp_ways, small_mlp_ways
from widthwise import hardware
from widthwise.engines import pooling
from widthwise.engines.compiled.library import VARIABLE
from widthwise.study.spec import PackingSpec

FAKE = {"ours": [1.0, 2.0, 4.0], "slow": [3.0, 6.0, 12.0], "fast": [2.0, 4.0, 20.0]}


def test_a_disturbance_of_a_whole_round_cancels_in_its_ratio():
    assert paired_ratios(FAKE["slow"], FAKE["ours"]) == [3.0, 3.0, 3.0]


def test_a_slow_way_is_paired_with_the_first_rounds():
    assert paired_ratios([3.0, 8.0], FAKE["ours"]) == [3.0, 4.0]


def test_ratios_refuse_rounds_without_a_reference():
    with pytest.raises(ValueError, match="got 3 rounds and 2 of the reference"):
        paired_ratios(FAKE["ours"], [1.0, 2.0])


def test_the_fastest_way_is_chosen_by_median_and_kept_for_all_rounds():
    assert fastest(FAKE, ["slow", "fast"]) == "fast"
    assert against_best([FAKE], "ours", ["slow", "fast"]) == [[2.0, 2.0, 5.0]]


def test_geometric_mean_over_cells():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0, rel=1e-12)
    spread = overall([[2.0, 2.0, 5.0], [8.0, 8.0, 20.0]])
    assert spread.median == pytest.approx(4.0, rel=1e-12)
    assert spread.low == pytest.approx(4.0, rel=1e-12)
    assert spread.high == pytest.approx(10.0, rel=1e-12)


def test_spread_over_rounds_takes_the_rounds_that_all_cells_have():
    spread = overall([[2.0, 2.0, 2.0], [8.0, 2.0]])
    assert (spread.low, spread.high) == pytest.approx((2.0, 4.0), rel=1e-12)


def test_slow_ways_take_part_in_fewer_rounds():
    assert num_turns(0.5, rounds=7, seconds=0.5) == 7
    assert num_turns(2.5, rounds=7, seconds=0.5) == 4
    assert num_turns(100.0, rounds=7, seconds=0.5) == 2
    assert num_turns(100.0, rounds=1, seconds=0.5) == 1


@pytest.mark.parametrize(
    "cell", [*MLP_CELLS[:3], *CNN_CELLS[:3]], ids=lambda c: f"{c.network}-{c.width}-{c.batch_size}"
)
def test_operations_are_those_that_torch_counts(cell):
    module = cell.family().build(1.0, 0)
    inputs = torch.zeros(cell.batch_size, *cell.dataset().input_shape)
    labels = torch.zeros(cell.batch_size, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(module(inputs), labels).backward()
    assert cell.flops == counter.get_total_flops()


def test_operations_and_bytes_match_a_hand_count():
    # 64 wide, batch 16: 50,176 + 4,096 + 640 weights; 2 and twice 3 products of them.
    dense = Cell("mlp", 64, 16)
    assert dense.flops == 2 * 16 * (2 * 50_176 + 3 * 4_736)
    # Four passes over 54,912 floats, less one over the first layer; the batch four times.
    assert dense.bytes_moved == 4 * (4 * 54_912 - 50_176) + 4 * 4 * 16 * 784
    # 8, 16 and 32 channels on 32², 16² and 8² positions, 512 features in the readout.
    convolutions = 2 * 27 * 8 * 1024 + 3 * (72 * 16 * 256 + 144 * 32 * 64)
    cell = Cell("cnn", 8, 32)
    assert cell.flops == 2 * 32 * (convolutions + 3 * 512 * 10)


def test_images_of_different_classes_have_different_means():
    data = Cell("cnn", 8, 32).dataset()
    assert data.input_shape == (3, 32, 32)
    first, second = (data.train_inputs[data.train_labels == c].mean(0) for c in (0, 1))
    # Mean images are N(0, ½²) each; twelve or more noisy images a class blur them by a tenth.
    assert np.std(first - second) == pytest.approx(0.5 * 2**0.5, rel=0.2)


def test_losses_that_differ_are_caught():
    require_agreement("few of them", [1.0, 2.0], [1.001, 2.0, 3.0])
    with pytest.raises(WayFailedError, match="other trains something else"):
        require_agreement("other", [1.0, 2.02], [1.0, 2.0, 3.0])
    with pytest.raises(WayFailedError, match="more trains something else"):
        require_agreement("more", [1.0, 2.0], [1.0])
    with pytest.raises(WayFailedError, match="burst trains something else"):
        require_agreement("burst", [float("nan")], [1.0])


@pytest.mark.parametrize("ways", [mlp_ways, small_mlp_ways, cnn_ways])
def test_ways_share_all_cores_and_count_in_groups_that_have_a_title(ways):
    for way in ways(4):
        if way.name != PEAK_ONE:
            assert way.processes * way.threads == 4
        if way.trains and way.name != OURS:
            assert set(way.groups) <= set(GROUP_TITLES)
    assert len({way.name for way in ways(4)}) == len(ways(4))


def test_what_a_way_lacks_is_named(monkeypatch, capsys):
    def way(**needs):
        return Way(name="one", groups=("loops",), module="loops", processes=1, threads=1, **needs)

    monkeypatch.setenv("CXX", "no-such-compiler")
    ways = [way(), way(requires="no_such_package"), way(compiler=True)]
    assert comparison.available(ways) == ways[:1]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "one: skipped, no_such_package is not installed",
        "one: skipped, a C++ compiler is not installed",
    ]


@pytest.mark.slow
def test_peak_memory_is_seen_and_starts_anew():
    before = memory.settle()
    torch.ones(25_000_000).sum()  # 100 MB, gone at once
    assert 90e6 < memory.peak() - before < 150e6
    memory.settle()
    assert memory.peak() - before < 10e6


@pytest.mark.slow
def test_the_planner_stays_within_runs_and_memory():
    cell = Cell("cnn", 8, 4, num_replicas=4)
    assert 1 <= measured_pack_size(cell, 2) <= 2
    assert largest_pack(cell, PackingSpec(memory_mb=1.0)) == 0
    assert largest_pack(cell, PackingSpec(max_replicas=9)) <= 9


def _measured(ways, ours=100.0, others=300.0):
    times = {way.name: [ours if way.name == OURS else others] * 3 for way in ways}
    return Measurement(times, {way.name: 2_000_000 for way in ways if way.trains})


def test_the_page_has_every_cell_and_the_means():
    selected = mlp_ways(2)
    cells = (Cell("mlp", 64, 16), Cell("mlp", 256, 128))
    results = {cell: _measured(selected) for cell in cells}
    page = tables.markdown("Title", results, selected, {"command": "a command", "rounds": 3})
    assert "| 64, 16 | 32 | 16 | **100** (100–100) | 300 (300–300)" in page
    assert "| best of the loops | 3.00 (3.00–3.00) | 3.00 (3.00–3.00) |" in page
    assert "| 64, 16 | 2 | 2 |" in page  # MB
    # Share of the peak: 2 products of 2·1024³ in 300 µs against the cell's in 100 µs.
    share = 100 * (cells[1].flops / 100) / (2 * 2 * 1024**3 / 300)
    assert f"| {share:.0f} % (" in page
    assert f"| 256, 128 | {share:.1f} | {share / 3:.1f} |" in page


def test_convolutions_are_compared_with_each_memory_format():
    selected = cnn_ways(2)
    times = {**_measured(selected).times, "loops, channels-last, 2 processes": [150.0] * 3}
    times["JAX vmap+scan, 2 threads"] = [900.0, 900.0]
    results = {CNN_CELLS[0]: Measurement(times, _measured(selected).memory)}
    means = tables.summary(results, selected)
    assert means["loops"].median == pytest.approx(1.5, rel=1e-12)
    assert means["channels-last loops"].median == pytest.approx(1.5, rel=1e-12)
    assert means["default-layout loops"].median == pytest.approx(3.0, rel=1e-12)
    page = tables.markdown("Title", results, selected, {"command": "a command", "rounds": 3})
    assert "9.00 (9.00–9.00)" in page
    assert "JAX vmap+scan, 2 threads: the first 2 runs only" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "must be positive"),
        (["--pack-size", "0"], "--pack-size must be positive"),
        (["--cells", "9"], "--cells must lie in 0"),
        (["--without", "Width"], "cannot skip Widthwise"),
    ],
)
@pytest.mark.parametrize("script", [mlp_peers, cnn_peers])
def test_bad_options_are_refused(script, options, message, capsys):
    with pytest.raises(SystemExit):
        script.main(options)
    assert message in capsys.readouterr().err


def test_the_script_writes_page_and_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "cores", lambda: [0, 1])
    monkeypatch.setattr(comparison, "available", list)
    monkeypatch.setattr(comparison, "assemble", lambda stack, selected: [])
    monkeypatch.setattr(
        comparison, "time_cell", lambda teams, cell, **_: _measured(mlp_ways(2), others=100.0)
    )
    output = tmp_path / "page.md"
    options = ["--quick", "--pack-size", "3", "--cells", "0", "1", "--output", str(output)]
    assert mlp_peers.main(options) == 0
    assert "1.00 times as fast as the best of the loops" in capsys.readouterr().out
    record = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert [cell["width"] for cell in record["cells"]] == [64, 256]
    assert {cell["pack_size"] for cell in record["cells"]} == {3}
    assert record["geometric_means"]["ensembles"]["center"] == pytest.approx(1.0, rel=1e-12)
    assert str(tmp_path) not in json.dumps(record)


def test_the_page_on_scaling_says_what_grew():
    cell = replace(scaling.RUNS_CELLS[0], pack_size=8)
    times = {f"{n} runs": [10.0, 20.0, 30.0] for n in scaling.NUM_RUNS}
    times |= {"1 run": [90.0] * 3, "256 runs": [11.0, 22.0, 36.0]}
    runs = {cell: Measurement(times, {})}
    assert scaling.growths(runs)[cell].median == pytest.approx(1.1, rel=1e-12)
    curve = {cell: Measurement({OURS: [100.0], "product, all cores": [300.0]}, {})}
    held = [scaling.Held(cell, 64.0, 63_000_000), scaling.Held(cell, 64.0, 65_000_000)]
    page = scaling.markdown(runs, curve, held, {"command": "a command", "rounds": 3})
    assert "| mlp, width 64, B = 16 | 8 | 90 (90–90) |" in page
    assert "| 1.10 (1.10–1.20) |" in page
    assert "| 63 | yes |" in page
    assert "| 65 | **no** |" in page


def _precision_times(bf16):
    return Measurement(
        {
            precision.FLOAT32: [100.0, 200.0, 300.0],
            precision.BF16: bf16,
            precision.FLOAT32_PEAK: [300.0] * 3,
            precision.BF16_PEAK: [100.0] * 3,
        },
        {},
    )


def test_the_page_on_precision_judges_the_compute_bound_cells():
    slow, dense, image = Cell("mlp", 256, 16), Cell("mlp", 256, 128), Cell("cnn", 8, 32)
    assert [precision.is_compute_bound(cell) for cell in (slow, dense, image)] == [
        False, True, False,
    ]  # fmt: skip
    results = {slow: _precision_times([200.0, 400.0, 600.0]), image: _precision_times([1.0] * 3)}
    results[dense] = _precision_times([50.0, 125.0, 150.0])
    assert "B = 128: 2.00 (1.60–2.00); wanted: 1.4; met" in precision.verdict(results)
    page = precision.markdown(
        results, dict.fromkeys(results, 7), {"command": "a command", "rounds": 3}, 2
    )
    assert "| MLP, width 256, B = 128 | 30 | 16, 7 | 200 (100–300) | 125 (50–150) | 2.00" in page
    # Shares of each precision's own peak: 2 products of 2·1024³ in 300 and in 100 µs.
    share = 100 * (dense.flops / 200) / (2 * 2 * 1024**3 / 300)
    assert f"| {share:.0f} % | {share * 200 / 125 / 3:.0f} % |" in page
    results[dense] = _precision_times([100.0, 160.0, 240.0])
    assert "1.25 (1.00–1.25); wanted: 1.4; not met" in precision.verdict(results)


def test_the_benchmark_of_precision_needs_units_for_bf16(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "bf16_units", lambda: ())
    assert precision.main([]) == 2
    assert "needs a CPU with AMX-BF16 or AVX512-BF16" in capsys.readouterr().err


@pytest.mark.skipif(
    pooling.passes_of(torch.float32) is None, reason="the compiled library is not built"
)
def test_pooling_is_timed_both_ways():
    times = bench_pooling.time_shape((2, 8, 4), rounds=2, seconds=0.001)
    assert set(times) == {"forward", "backward"}
    for ways in times.values():
        assert set(ways) == {bench_pooling.COMPILED, bench_pooling.OPERATIONS}
        assert all(len(each) == 2 and min(each) > 0 for each in ways.values())
    fake = {d: {bench_pooling.COMPILED: [50.0], bench_pooling.OPERATIONS: [200.0]} for d in times}
    # 5¼ bytes for each of 32·64·16·16 numbers in 50 µs.
    row = bench_pooling._row((32, 64, 16), fake)
    assert row == ["32, 64, 16×16", *(["200", "50", "4.00 (4.00–4.00)", "55"] * 2)]


def test_the_benchmark_of_pooling_needs_the_library(monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "none")
    assert bench_pooling.main([]) == 2
    assert "needs the compiled library" in capsys.readouterr().err
