"""The comparison with other ways of training: its arithmetic, and that all ways train alike."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not part of the package

from benchmarks import mlp_peers, tables
from benchmarks.cells import Cell, dataset
from benchmarks.peers import functorch, loops, ours
from benchmarks.peers.base import Task
from benchmarks.summary import against_best, fastest, geometric_mean, overall, paired_ratios
from benchmarks.timing import WayFailedError, require_agreement
from benchmarks.ways import OURS, ways

FAKE = {"ours": [1.0, 2.0, 4.0], "slow": [3.0, 6.0, 12.0], "fast": [2.0, 4.0, 20.0]}


def test_a_disturbance_of_a_whole_round_cancels_in_its_ratio():
    assert paired_ratios(FAKE["slow"], FAKE["ours"]) == [3.0, 3.0, 3.0]


def test_ratios_refuse_unequal_rounds():
    with pytest.raises(ValueError, match="equally many rounds, got 2 and 3"):
        paired_ratios([1.0, 2.0], FAKE["ours"])


def test_the_fastest_way_is_chosen_by_median_and_kept_for_all_rounds():
    assert fastest(FAKE, ["slow", "fast"]) == "fast"
    assert against_best([FAKE], "ours", ["slow", "fast"]) == [[2.0, 2.0, 5.0]]


def test_geometric_mean_over_cells():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0, rel=1e-12)
    spread = overall([[2.0, 2.0, 5.0], [8.0, 8.0, 20.0]])
    assert spread.median == pytest.approx(4.0, rel=1e-12)
    assert spread.low == pytest.approx(4.0, rel=1e-12)
    assert spread.high == pytest.approx(10.0, rel=1e-12)


def test_operations_and_bytes_match_a_hand_count():
    # 64 wide, batch 16: 50,176 + 4,096 + 640 weights; 2 and twice 3 products of them.
    cell = Cell(64, 16)
    assert cell.flops == 2 * 16 * (2 * 50_176 + 3 * 4_736)
    # Four passes over 54,912 floats, less one over the first layer; the batch four times.
    assert cell.bytes_moved == 4 * (4 * 54_912 - 50_176) + 4 * 4 * 16 * 784


def test_all_ways_train_alike():
    cell = Cell(8, 16)
    task = Task(cell=cell, seeds=(0, 1, 2), steps=6, blocks=2)
    data = dataset()
    losses = {}
    for name, start, options in (
        ("ours", ours.start, {}),
        ("ours in two packs", ours.start, {"max_replicas": 2}),
        ("loops", loops.start, {}),
        ("fused", loops.start, {"fused": True}),
        ("functorch", functorch.start, {}),
    ):
        runner = start(task, data, **options)
        ended = []
        for _ in range(task.blocks):
            runner.block(lambda ended=ended: ended.append(True))
        assert len(ended) == task.blocks
        losses[name] = runner.losses()
    for name, values in losses.items():
        require_agreement(name, values, losses["ours"])
    # The check can fail: one step more is another loss.
    further = loops.start(Task(cell=cell, seeds=(0, 1, 2), steps=13, blocks=1), data)
    further.block(lambda: None)
    with pytest.raises(WayFailedError, match="further trains something else"):
        require_agreement("further", further.losses(), losses["ours"])


def test_ways_share_all_cores():
    for way in ways(4):
        if way.name != "product, one core":
            assert way.processes * way.threads == 4


def test_the_page_has_every_cell_and_the_means():
    selected = ways(2)
    results = {
        cell: {way.name: [100.0 if way.name == OURS else 300.0] * 3 for way in selected}
        for cell in (Cell(64, 16), Cell(256, 128))
    }
    page = tables.markdown(results, selected, {"command": "a command", "rounds": 3})
    assert "| 64, 16 | **100** (100–100) | 300 (300–300)" in page
    assert "| best of the loops | 3.00 (3.00–3.00) | 3.00 (3.00–3.00) |" in page
    # Share of the peak: 2 products of 2·1024³ in 300 µs against the cell's in 100 µs.
    cell = Cell(256, 128)
    share = 100 * (cell.flops / 100) / (2 * 2 * 1024**3 / 300)
    assert f"{share:.0f} % (" in page.splitlines()[-1]


def test_bad_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        mlp_peers.main(["--rounds", "0"])
    assert "must be positive" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        mlp_peers.main(["--without", "Width"])
    assert "cannot skip Widthwise" in capsys.readouterr().err


def test_the_script_writes_page_and_record(tmp_path, monkeypatch, capsys):
    def fake_times(teams, cell, *, rounds, seconds):
        return {way.name: [100.0] * rounds for way in ways(2)}

    monkeypatch.setattr(mlp_peers, "cores", lambda: [0, 1])
    monkeypatch.setattr(mlp_peers, "_available", lambda every: list(every))
    monkeypatch.setattr(mlp_peers, "assemble", lambda stack, selected: [])
    monkeypatch.setattr(mlp_peers, "time_cell", fake_times)
    output = tmp_path / "page.md"
    assert mlp_peers.main(["--quick", "--cells", "0", "1", "--output", str(output)]) == 0
    assert "1.00 times as fast as the best of the loops" in capsys.readouterr().out
    record = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert [cell["width"] for cell in record["cells"]] == [64, 256]
    assert record["geometric_means"]["ensembles"]["center"] == pytest.approx(1.0, rel=1e-12)
    assert str(tmp_path) not in json.dumps(record)
