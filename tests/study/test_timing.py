"""How many runs share a pack: measured, kept with the study, or as the specification says."""

import json

import pytest
from engines.training_alone import dense_engine
from hypothesis import given
from hypothesis import strategies as st
from tiny_studies import clouds, fields, in_this_process

from widthwise.families import mlp
from widthwise.sgd.recipe import Recipe
from widthwise.study import Study
from widthwise.study.timing import Speed, best_size, measure_speed, measured_sizes, time_step

SHAPES = {
    "overhead only": (lambda n: 1.0 + 1e-3 * n, 16),
    "no overhead": (lambda n: float(n), 1),
    "cache of four": (lambda n: 0.5 + n * (1.0 if n <= 4 else 1.6), 4),
    "hardly better": (lambda n: n * (1.0 if n < 16 else 0.98), 1),
    "better only far out": (lambda n: n * (1.0 if n < 8 else 0.5), 8),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_least_time_a_run(shape):
    seconds, best = SHAPES[shape]
    assert best_size(16, seconds) == best


def test_hopeless_sizes_are_not_timed():
    timed = []

    def seconds(size):
        timed.append(size)
        return size**2

    assert best_size(64, seconds) == 1
    assert timed == [1, 2, 4] * 2


def test_a_slow_moment_does_not_decide():
    times = iter([9.0, 2.0, 4.5, 1.0, 2.0, 4.5])  # sizes 1, 2, 4, and once more

    assert best_size(4, lambda size: next(times)) == 1


def test_a_slow_moment_does_not_end_the_search():
    times = iter([10.0, 50.0, 20.0, 30.0, 10.0, 10.0, 20.0, 30.0])  # sizes 1, 2, 4, 8 twice

    assert best_size(8, lambda size: next(times)) == 8


@given(
    largest=st.integers(1, 100),
    times=st.lists(st.floats(1e-6, 1e3), min_size=8, max_size=8),
)
def test_never_more_than_allowed_and_never_worse_than_one(largest, times):
    each = {size: times[size.bit_length() - 1] for size in range(1, largest + 1)}
    best = best_size(largest, lambda size: each[size] * size)
    assert 1 <= best <= largest
    assert each[best] <= each[1]


def test_batch_sizes_between_take_the_nearest(monkeypatch):
    asked = []

    def fake(family, dataset, recipe, width, batch, replicas, momentum, device, engine):
        asked.append((width, batch))
        return replicas + (8.0 if batch < 8 else 0.0)  # small batches have overhead to share

    monkeypatch.setattr("widthwise.study.timing.time_step", fake)
    largest = {(1.0, b): 16 for b in (1, 2, 4, 8, 16)} | {(1.0, 3): 2, (4.0, 64): 4}
    found = measured_sizes(None, None, Recipe(), largest, momentum=0.0)
    assert {batch for width, batch in asked if width == 1.0} == {1, 3, 16}
    assert found == {
        (1.0, 1): 16, (1.0, 2): 2, (1.0, 3): 2, (1.0, 4): 2, (1.0, 8): 1, (1.0, 16): 1,
        (4.0, 64): 1,
    }  # fmt: skip


def test_steps_are_timed_as_they_are_trained():
    family = mlp(input_shape=(1, 2, 3), num_classes=3, base_width=4)
    small = time_step(family, clouds(), Recipe(), 1.0, 4, 1, 0.0)
    large = time_step(family, clouds(num_train=2048), Recipe(), 64.0, 1024, 4, 0.0)
    assert 0 < small < large


def test_runs_that_are_trained_one_by_one_share_no_overhead(tmp_path):
    study = Study.create(tmp_path / "study", fields(), data=clouds())
    pack = study.schedule.packs[0]
    assert len(pack.runs) > 1
    assert Speed(1.0, 0.0).seconds(pack) == pack.job.steps
    assert Speed(1.0, 0.0, shared=False).seconds(pack) == pack.job.steps * len(pack.runs)


@pytest.mark.parametrize("engine", ["chain", "auto"])
def test_whose_overhead_is_shared_is_seen_from_the_engine(engine, tmp_path):
    packing = {"size": 16, "engine": engine}
    study = Study.create(tmp_path / "study", fields(packing=packing), data=clouds())
    speed = measure_speed(study._context, study.schedule)
    assert speed.shared == (engine == "chain" or dense_engine() == "chain")
    assert min(speed.seconds_per_step, speed.seconds_per_flop) >= 0.0
    assert speed.seconds(study.schedule.packs[0]) > 0.0


class TestStudies:
    def run(self, path, engine="chain", **packing):
        packing = {"engine": engine, **packing}
        study = Study.create(path, fields(packing=packing), data=clouds())
        study.run(1, progress=False)
        return study

    def sizes(self, study):
        return {len(pack.job.replicas) for pack in study.schedule.packs}

    @pytest.mark.slow
    def test_what_was_measured_is_kept(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        monkeypatch.setattr("widthwise.study.timing.time_step", lambda *args: float(args[5]))
        study = self.run(tmp_path / "s")
        assert self.sizes(study) == {1}
        (path,) = (tmp_path / "s").glob("pack-sizes-*.json")
        assert json.loads(path.read_text()) == {"w=1 B=8 of 4": 1, "w=2 B=8 of 4": 1}
        monkeypatch.setattr("widthwise.study.timing.time_step", lambda *args: 1.0)
        again = Study.open(tmp_path / "s")
        assert again.schedule == study.schedule

    @pytest.mark.slow
    def test_every_kind_of_machine_has_its_own(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        monkeypatch.setattr("widthwise.study.timing.time_step", lambda *args: float(args[5]))
        study = self.run(tmp_path / "s")
        monkeypatch.setattr("widthwise.study.timing.time_step", lambda *args: 1.0)
        other = ("Another processor", "and its instructions")
        monkeypatch.setattr("widthwise.study.scheduling.describe_processor", lambda: other)
        again = Study.open(study.directory)
        assert self.sizes(again) == {4}
        assert len(list(study.directory.glob("pack-sizes-*.json"))) == 2
        assert len(again.results()) == 8

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"w=1 B=8 of 4": "many"}'])
    def test_what_is_damaged_is_measured_again(self, tmp_path, monkeypatch, content):
        monkeypatch.setattr("widthwise.study.timing.time_step", lambda *args: float(args[5]))
        spec = fields(packing={"engine": "chain"})
        study = Study.create(tmp_path / "s", spec, data=clouds())
        assert self.sizes(study) == {1}
        (path,) = study.directory.glob("pack-sizes-*.json")
        whole = path.read_bytes()
        path.write_bytes(content)
        assert self.sizes(Study.open(study.directory)) == {1}
        assert path.read_bytes() == whole

    @pytest.mark.slow
    @pytest.mark.skipif(dense_engine() != "compiled", reason="the compiled library is not built")
    def test_an_engine_that_trains_one_at_a_time_needs_none(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        monkeypatch.delattr("widthwise.study.scheduling.measured_sizes")
        study = self.run(tmp_path / "s", engine="auto")
        assert set(study.results()["engine"]) == {"compiled"}
        assert not list((tmp_path / "s").glob("pack-sizes*"))

    @pytest.mark.slow
    def test_a_stated_size_is_not_measured(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        monkeypatch.delattr("widthwise.study.scheduling.measured_sizes")
        assert self.sizes(self.run(tmp_path / "s", size=2)) == {2}
        assert not list((tmp_path / "s").glob("pack-sizes*"))

    def test_memory_limits_what_is_stated(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        study = Study.create(
            tmp_path / "s", fields(packing={"size": 4, "memory_mb": 0.07}), data=clouds()
        )
        assert max(self.sizes(study)) < 4
