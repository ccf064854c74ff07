"""What a user is told while a study runs."""

import io
import re
from dataclasses import replace

import pytest
from engines.training_alone import dense_engine
from rich.console import Console
from tiny_studies import clouds, fields, in_this_process, landed_files

from widthwise.engines.compiled import library
from widthwise.execution import Finished, Progressed
from widthwise.study import Study, progress
from widthwise.study.timing import Speed
from widthwise.text import clock

LINE = re.compile(r"(\d+)/(\d+) runs(?: · (\d+) runs/min)? · \d+:\d\d left · (\d+) diverged")

# Of compiled code nothing is said, whether this machine has it or not.
PACKED = {"size": 16, "engine": "chain"}


@pytest.fixture
def study(tmp_path, monkeypatch):
    in_this_process(monkeypatch)
    grid = {"learning_rate": [0.1, 1e30]}
    return Study.create(tmp_path / "s", fields(grid=grid, packing=PACKED), data=clouds())


SLOWER = "training without compiled code, which is slower: "
BUILD = (
    "there is no compiled library; with a C compiler: python -m widthwise.engines.compiled.build"
)


NORMALIZED = """
from torch import nn

def build(w):
    width = 4 * int(w)
    layers = nn.Linear(6, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 3)
    return nn.Sequential(nn.Flatten(), *layers)
"""


def test_speed_is_measured_only_where_it_is_told(study, monkeypatch):
    asked = []

    def measured(context, schedule):
        asked.append(schedule.num_runs)
        return Speed(1e-4, 0.0)

    monkeypatch.setattr("widthwise.study.running.measure_speed", measured)
    study.run(1, progress=False)
    assert len(study.results()) == 8
    assert asked == []
    Study.create(study.directory.with_name("t"), study.spec, data=clouds()).run(1)
    assert asked == [8]


class TestWithoutCompiledCode:
    @pytest.fixture
    def no_library(self, monkeypatch, tmp_path):
        monkeypatch.setattr(library, "_library", library._library.__wrapped__)
        monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")

    def lines(self, tmp_path, monkeypatch, capsys, **changes):
        in_this_process(monkeypatch)
        study = Study.create(tmp_path / "s", fields(**changes), data=clouds())
        study.run(1)
        said = capsys.readouterr().err.splitlines()
        study.run(1)
        assert SLOWER not in capsys.readouterr().err  # nothing was left to train
        return [line for line in said if line.startswith(SLOWER)]

    @pytest.mark.slow
    def test_dense_networks_are_slower_and_a_line_says_why(
        self, no_library, tmp_path, monkeypatch, capsys
    ):
        assert self.lines(tmp_path, monkeypatch, capsys) == [SLOWER + BUILD]

    @pytest.mark.slow
    @pytest.mark.parametrize("why", ["another engine", "other networks", "not wanted"])
    def test_others_are_not(self, why, no_library, tmp_path, monkeypatch, capsys):
        changes = {}
        if why == "another engine":
            changes = {"packing": PACKED}
        elif why == "other networks":
            path = tmp_path / "net.py"
            path.write_text(NORMALIZED)
            changes = {"family": {"kind": f"{path}:build", "parameterization": "standard"}}
        else:
            monkeypatch.setenv(library.VARIABLE, "none")
        assert self.lines(tmp_path, monkeypatch, capsys, **changes) == []

    @pytest.mark.slow
    @pytest.mark.skipif(dense_engine() != "compiled", reason="the compiled library is not built")
    def test_nothing_is_said_where_it_is(self, tmp_path, monkeypatch, capsys):
        assert self.lines(tmp_path, monkeypatch, capsys) == []


class TestLines:
    @pytest.mark.slow
    def test_cost_first_then_how_far(self, study, capsys, monkeypatch):
        monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
        study.run(1)
        said = capsys.readouterr()
        first, *lines = said.err.splitlines()
        assert said.out == ""
        assert re.fullmatch(
            r"to train: 8 runs in 2 packs, 192 steps, \S+ FLOP, about \d+:\d\d on 1 process", first
        )
        found = [LINE.fullmatch(line) for line in lines]
        assert all(found)
        done = [int(match[1]) for match in found]
        assert done == sorted(done)
        assert (done[-1], found[-1][2], found[-1][4]) == (8, "8", "4")

    @pytest.mark.slow
    def test_not_more_often_than_anyone_reads(self, study, capsys):
        study.run(1)
        assert len(capsys.readouterr().err.splitlines()) <= 4  # cost, first, last

    @pytest.mark.slow
    def test_resumed_studies_count_what_was_there(self, study, capsys):
        study.run(1)
        for path in landed_files(study.directory)[:3]:
            path.unlink()
        capsys.readouterr()
        study.run(1)
        first, *lines = capsys.readouterr().err.splitlines()
        assert first.startswith("to train: 3 of 8 runs in ")
        assert LINE.fullmatch(lines[-1])[1] == "8"

    @pytest.mark.slow
    def test_a_changed_question_is_told_first(self, study, capsys):
        study.run(1)
        capsys.readouterr()
        grid = {"learning_rate": [0.1, 1e30], "seeds": 3}
        Study.create(study.directory, fields(grid=grid, packing=PACKED)).run(1)
        first, second, *lines = capsys.readouterr().err.splitlines()
        assert first == (
            "the study changes (grid[0].seeds: [0, 1] became [0, 1, 2]): 8 runs of it are there, "
            "4 to train"
        )
        assert second.startswith("to train: 4 of 12 runs in 2 packs")
        assert LINE.fullmatch(lines[-1])[1] == "12"

    @pytest.mark.slow
    def test_quiet_is_quiet(self, study, capsys):
        study.run(1, progress=False)
        assert capsys.readouterr() == ("", "")

    def test_unreachable_scales_are_named(self, tmp_path, monkeypatch, capsys):
        in_this_process(monkeypatch)
        grid = [
            {
                "widening_factor": 1,
                "normalized_noise_scale": [0.01, 50],
                "max_stable_learning_rate": 0.4,
            }
        ]
        Study.create(tmp_path / "s", fields(grid=grid), data=clouds()).run(1)
        said = capsys.readouterr().err
        assert (
            "not reachable with a stable learning rate and a whole batch: ḡ = 50 at w = 1" in said
        )

    def test_they_are_named_once_in_a_search(self, study, capsys):
        lines = progress.make_reporter(True)
        for unreachable in ([(1.0, 50.0)], [(1.0, 50.0)], [(1.0, 50.0), (2.0, 50.0)]):
            lines.begin(
                replace(study.schedule, unreachable=tuple(unreachable)),
                lambda: Speed(1e-4, 0.0),
                1,
                8,
                frozenset,
            )
        assert capsys.readouterr().err.count("not reachable") == 2


class TestBar:
    @pytest.mark.slow
    def test_on_a_terminal(self, study, monkeypatch):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=200, highlight=False)
        monkeypatch.setattr("rich.console.Console", lambda **options: console)
        study.run(1)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
        assert "to train: 8 runs" in text
        last = LINE.findall(text)[-1]
        assert (last[0], last[1], last[3]) == ("8", "8", "4")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class TestTally:
    landed = frozenset()

    @pytest.fixture
    def clock(self, monkeypatch):
        clock = Clock()
        monkeypatch.setattr(progress, "monotonic", clock)
        return clock

    def tally(self, study, workers=1):
        # A second for each of the two packs.
        self.packs = list(study.schedule.packs)
        assert len(self.packs) == 2
        return progress._Tally(study.schedule, Speed(1 / 24, 0.0), workers, 8, lambda: self.landed)

    def test_by_hand(self, study, clock):
        tally = self.tally(study)
        assert tally.total == pytest.approx(2.0)
        assert tally.line() == "0/8 runs · 0:02 left · 0 diverged"
        clock.now = 30.0
        tally.update(Progressed(self.packs[0].name, 12, 1))
        # Half of one pack of four runs in half a minute; three times as much is left.
        assert tally.rate == pytest.approx(4.0)
        assert tally.seconds_left == pytest.approx(90.0)
        assert tally.runs_done == 0
        clock.now = 60.0
        tally.update(Finished(self.packs[0].name, "landed", 2))
        assert tally.line() == "4/8 runs · 4 runs/min · 1:00 left · 2 diverged"

    def test_a_pack_that_was_put_together_anew_does_no_harm(self, study, clock):
        tally = self.tally(study)
        tally.update(Finished("another", "landed", 1))
        assert (tally.runs_done, tally.num_diverged) == (0, 0)

    def test_what_others_land_counts(self, study, clock):
        tally = self.tally(study)
        first, second = (pack.keys for pack in self.packs)
        self.landed = {*first, second[0]}
        clock.now = 1.0
        tally.update(Progressed(self.packs[1].name, 6, 0))
        assert tally.runs_done == 0  # looked at every few seconds
        clock.now = 10.0
        tally.update(Progressed(self.packs[1].name, 12, 0))
        assert tally.runs_done == len(first)  # half of the second pack is no pack
        assert tally.seconds_left == pytest.approx(10.0 / 3)  # three quarters took ten seconds

    def test_two_workers_take_half_as_long(self, study, clock):
        assert self.tally(study, workers=2).seconds_left == pytest.approx(1.0)

    def test_busy_is_not_done(self, study, clock):
        tally = self.tally(study)
        tally.update(Finished(self.packs[0].name, "busy"))
        assert tally.runs_done == 0
        tally.update(Finished(self.packs[0].name, "already landed"))
        assert tally.runs_done == 4


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3661, "1:01:01")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
