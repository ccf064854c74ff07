"""The comparison on a card, without one: all of it but the calls of CUDA runs on the CPU."""

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are not part of the package

from engines.tape import TapeRecorder

from benchmarks import agreement, card_tables, gpu_peers, memory, planning, server, timing
from benchmarks.card_ways import ENSEMBLE, LOOPS, PRODUCT, card_ways, fits, peak_size
from benchmarks.cells import CARD_CELLS, CARD_REPLICAS, Cell
from benchmarks.peers import graph_loops, loops
from benchmarks.peers.base import Task
from benchmarks.timing import Measurement, Team, WayFailedError
from benchmarks.ways import OURS
from widthwise.engines.captured import CudaRecorder

CELLS = gpu_peers.TINY_CELLS
WAYS = card_ways(2, "cpu")
TRAINED = [way.name for way in WAYS if way.trains]


class ThreadTeam(Team):
    """Threads instead of processes, which would take longer to start than to train."""

    def __init__(self, way):
        self.way, self._members = way, []
        for _ in range(way.processes):
            here, there = multiprocessing.Pipe()
            # Settings of a process are this one's here: its memory is left alone.
            member = Thread(target=server.serve, args=(there, replace(way, prepared=False), None))
            member.start()
            self._members.append((member, here))


@pytest.fixture(autouse=True)
def settings_put_back():
    """Threads that set and restore them take turns in no order."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture
def in_threads(monkeypatch):
    def assemble(stack, ways):
        return [stack.enter_context(ThreadTeam(way)) for way in ways]

    monkeypatch.setattr(gpu_peers, "assemble", assemble)
    # One at a time: torch.fx, which reads a module, changes how all modules are called meanwhile.
    taking_turns = Lock()

    def alone(method):
        def locked(*arguments):
            with taking_turns:
                return method(*arguments)

        return locked

    for name in ("_build", "_block", "_losses"):
        monkeypatch.setattr(server._Server, name, alone(getattr(server._Server, name)))
    # Threads have no memory of their own; and collecting garbage takes longer than all the rest.
    monkeypatch.setattr(memory, "settle", lambda device: 1_000_000)
    monkeypatch.setattr(memory, "peak", lambda device: 3_000_000)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_refuses(capsys):
    with pytest.raises(SystemExit) as stopped:
        gpu_peers.main([])
    assert stopped.value.code == 2
    assert "device 'cuda' needs a CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cpu"], "add --quick"),
        (["--device", "cpu", "--quick", "--cells", "2"], "--cells must lie in 0 … 1"),
        (["--device", "cpu", "--quick", "--processes", "3"], "--processes must lie between 2"),
        (["--device", "cpu", "--quick", "--pack-size", "0"], "--pack-size must be positive"),
        (["--device", "tpu", "--quick"], "device must be"),
    ],
)
def test_bad_options_are_refused(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        gpu_peers.main(options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.cluster
def test_the_script_runs_on_the_cpu_and_its_page_says_so(in_threads, tmp_path, capsys):
    output = tmp_path / "page.md"
    options = ["--device", "cpu", "--quick", "--pack-size", "3", "--cells", "0"]
    assert gpu_peers.main([*options, "--output", str(output)]) == 0
    assert "times as fast as loops" in capsys.readouterr().out
    page = output.read_text(encoding="utf-8")
    assert "**Not a measurement.**" in page
    assert "| mlp, width 8, B = 16 | 4 | 3 |" in page
    record = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert [cell["num_replicas"] for cell in record["cells"]] == [2, 4]
    for cell in record["cells"]:
        assert set(cell["times"]) == {*TRAINED, PRODUCT}
        assert cell["memory_bytes"] == {w.name: 2_000_000 * w.processes for w in WAYS if w.trains}
        assert cell["remarks"].keys() == {OURS, f"{OURS}, 2 processes"}
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.slow
def test_without_output_the_page_is_printed(in_threads, capsys):
    options = ["--device", "cpu", "--quick", "--pack-size", "2", "--cells", "0", "--replicas", "2"]
    assert gpu_peers.main(options) == 0
    assert "# Many runs on one card" in capsys.readouterr().out


@pytest.mark.slow
def test_a_way_that_trains_something_else_makes_it_fail_before_anything_is_timed(
    in_threads, tmp_path, monkeypatch
):
    class Forgetful(graph_loops.Anew):
        """Repeats nothing."""

        def record(self, run):
            return lambda: None

    monkeypatch.setattr(graph_loops, "_recorder", lambda device: Forgetful())
    monkeypatch.setattr(gpu_peers, "time_cell", lambda *_, **__: pytest.fail("something was timed"))
    output = tmp_path / "page.md"
    with pytest.raises(WayFailedError, match="CUDA graphs trains something else than loops on the"):
        gpu_peers.main(["--device", "cpu", "--quick", "--pack-size", "2", "--output", str(output)])
    assert not output.exists()


@pytest.mark.slow
def test_agreement_with_the_cpu_is_finer_than_a_step():
    """A way that makes one step less than it is asked for is noticed."""
    for cell in (Cell("mlp", 64, 16), Cell("cnn", 8, 32)):
        one_less, right = (
            _losses(loops.start, Task(cell=cell, seeds=(0, 1), steps=steps, blocks=1))
            for steps in (agreement.STEPS - 1, agreement.STEPS)
        )
        apart = np.abs(np.array(one_less) / right - 1)
        assert (apart > agreement.TOLERANCES[cell.network]).all()


def _losses(start, task, **options):
    runner = start(task, task.cell.dataset(), **options)
    for _ in range(task.blocks):
        runner.block()
    return runner.losses()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.network)
def test_recorded_steps_train_like_loops(cell):
    """With a tape in place of CUDA's graphs: no Python of the step runs when it is replayed."""
    task = Task(cell=cell, seeds=(0, 1, 2), steps=4, blocks=2)
    expected = _losses(loops.start, task)
    assert _losses(graph_loops.start, task) == expected
    recorder = TapeRecorder()
    assert _losses(graph_loops.start, task, recorder=recorder) == expected
    assert recorder.recordings == len(task.seeds)


def test_on_a_card_graphs_are_recorded_by_cuda_and_share_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    recorder = graph_loops._recorder(torch.device("cuda", 0))
    assert isinstance(recorder, CudaRecorder)
    assert recorder._pool == (0, 1)
    assert CudaRecorder(torch.device("cuda", 0))._pool is None


@pytest.mark.slow
def test_on_a_card_answers_wait_for_it_and_memory_is_its_own(monkeypatch):
    """The calls of CUDA that the processes make, in their order."""
    calls = []

    def call(name, value=None):
        return lambda *arguments: calls.append(name) or value

    for name, value in {
        "init": None,
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 100,
        "max_memory_allocated": 350,
    }.items():
        monkeypatch.setattr(torch.cuda, name, call(name, value))
    way = replace(WAYS[2], device="cuda:0", prepared=False)
    runner = SimpleNamespace(block=call("block"), losses=list)
    serving = server._Server(None, way, lambda task, data: calls.append("start") or runner)
    serving._build(Task(cell=CELLS[0], seeds=(0,), steps=1, blocks=1, device="cuda:0"))
    settled = ["empty_cache", "reset_peak_memory_stats", "memory_allocated"]
    built = ["start", "synchronize", "max_memory_allocated"]
    assert calls == ["init", *settled, *built, *settled]
    calls.clear()
    assert serving._block() == "trained"
    assert calls == ["block", "synchronize"]
    assert serving._memory() == 250
    assert memory.peak("cuda:0") == 350


def test_on_a_card_packs_are_as_large_as_a_study_would_have_them(monkeypatch):
    asked = {}

    def sizes(family, dataset, recipe, largest, *, momentum, device):
        asked.update(largest=largest, device=device)
        return largest

    monkeypatch.setattr(planning, "card_memory", lambda device: 80 * 10**9)
    monkeypatch.setattr(planning, "measured_sizes", sizes)
    cell = Cell("mlp", 64, 16, num_replicas=1000)
    assert planning.measured_pack_size(cell, 1, "cuda:0") == 512
    assert asked == {"largest": {(1.0, 16): 512}, "device": torch.device("cuda", 0)}


def test_cells_that_would_not_fit_are_left_out():
    cell, card = replace(CARD_CELLS[-1], num_replicas=512), 80 * 10**9
    assert not fits(cell, WAYS, card)
    assert fits(cell, WAYS, None)
    assert fits(replace(cell, num_replicas=16), WAYS, card)
    # One network at a time, a loop needs much less than a pack.
    few = [way for way in WAYS if "loops" in way.groups]
    assert fits(cell, few, card)


def test_cells_and_ways_are_those_asked_for():
    assert {c.width for c in CARD_CELLS if c.network == "mlp"} == {64, 256, 1024}
    assert {c.width for c in CARD_CELLS if c.network == "cnn"} == {8, 16, 32, 64}
    assert (min(CARD_REPLICAS), max(CARD_REPLICAS)) == (16, 512)
    on_card = card_ways(4, "cuda:0")
    assert {way.device for way in on_card} == {"cuda:0"}
    assert {way.processes for way in on_card} == {1, 4}
    assert len({way.name for way in on_card}) == len(on_card)
    assert peak_size("cuda:0") > peak_size("cpu")


def test_on_a_card_every_way_warms_up(monkeypatch):
    """Steps are recorded in the first block, however long that takes."""
    blocks = []

    class Slow:
        way = replace(WAYS[4], device="cuda:0")

        def start(self, cell, steps, blocks):
            pass

        def block(self):
            blocks.append(1)
            return 100.0

        def losses(self):
            return [1.0]

        memory = remark = stop = lambda self: 0

    timing.time_cell([Slow()], CELLS[0], rounds=5, seconds=0.1)
    assert len(blocks) == 2 + 1 + 2  # to size them, to warm up, timed


def _measured(cell, ours, **others):
    times = {way.name: [300.0, 300.0, 300.0] for way in WAYS}
    times |= {OURS: [ours] * 3, PRODUCT: [1000.0] * 3, **others}
    return Measurement(times, dict.fromkeys(TRAINED, 2_000_000), {OURS: "a chain; replayed"})


def _page(results, left_out=(), device="cuda:0"):
    labels = {"command": "a command", "rounds": 3}
    return card_tables.markdown(results, WAYS, left_out, labels, device)


def test_the_page_has_ratios_shares_growth_and_memory():
    few, many = (Cell("mlp", 64, 16, num_replicas=n, pack_size=n) for n in (16, 512))
    wide = Cell("mlp", 1024, 16, num_replicas=16)
    graphs = {"loops with CUDA graphs": [150.0, 150.0]}
    results = {
        few: _measured(few, 10.0, **graphs),
        many: _measured(many, 20.0, **graphs),
        wide: _measured(wide, 250.0),
    }
    left_out = [Cell("mlp", 1024, 16, num_replicas=512)]
    page = _page(results, left_out)
    assert "Not a measurement" not in page
    name = "mlp, width 64, B = 16"
    ratios = "30.0 (30.0–30.0) | 15.0 (15.0–15.0) | loops with CUDA graphs | 30.0 (30.0–30.0)"
    assert f"| {name} | 16 | 16 | {ratios} |" in page
    assert "Reached in 1 of 2 cells" in page  # 30 and 15 times; the wide one does not count
    # Operations in 10 µs over those of a product of 8192×8192 in 1000 µs.
    peak = 2 * 8192**3 / 1000
    share = 100 * (few.flops / 10) / peak
    assert f"| {name} | 16 | {few.flops / 1e6:.2f} | {peak / 1e6:.0f} | {share:.2f} |" in page
    assert f"| {name} | 10.0 | 20.0 | 2.00 |" in page
    assert "| mlp, width 1024, B = 16 | 250 | – | 1.00 |" in page
    assert f"| {name} | 512 | 2 | 2 |" in page  # MB
    assert f"| {name} | 16 | a chain; replayed |" in page
    assert "would not fit: mlp, width 1024, B = 16: 512 runs." in page


def test_the_goal_is_judged_by_the_narrowest_of_each_kind():
    cells = [Cell("mlp", 64, 16), Cell("mlp", 64, 128), Cell("mlp", 256, 16), Cell("cnn", 8, 32)]
    ratios = card_tables.against_loops({cell: _measured(cell, 100.0) for cell in cells})
    assert list(ratios) == [cells[0], cells[1], cells[3]]
    assert {ratio.median for ratio in ratios.values()} == {3.0}


def test_ensembling_and_loops_are_among_the_ways():
    assert {OURS, LOOPS, ENSEMBLE, PRODUCT} <= {way.name for way in WAYS}
