"""Runs that kill their workers, or raise: tried again, then left out by name."""

from collections import Counter, deque

import pytest
from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable, fields, finished_study, in_this_process

from widthwise.errors import InputError, StudyError
from widthwise.execution import Failed, Progressed
from widthwise.execution.worker import perform
from widthwise.study import Study


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    in_this_process(monkeypatch)


class Failing:
    """An executor in this process, whose workers die of some packs.

    Args:
        dies: (pack, how often it was tried) → steps it came to before it killed its worker; None if
            it does not.
    """

    def __init__(self, dies, reason="died"):
        self.waiting, self.tried = deque(), Counter()
        self.dies, self.reason, self.closed = dies, reason, 0

    def __call__(self, workers):
        return self

    def submit(self, task):
        self.waiting.append(task)

    def events(self):
        while self.waiting:
            task = self.waiting.popleft()
            self.tried[task.key] += 1
            reached = self.dies(task.call.pack, self.tried[task.key])
            if reached is None:
                yield perform(task, lambda event: None)
                continue
            if reached:
                yield Progressed(task.key, reached, 0)
            yield Failed(task.key, "a worker process died (killed by SIGKILL)", self.reason)

    def close(self):
        self.closed += 1


def has(pack, width, seed):
    return pack.job.widening_factor == width and any(r.seed == seed for r in pack.job.replicas)


def run(directory, executor):
    study = Study.create(directory, fields(), data=clouds())
    study.run(1, progress=False, executor=executor)
    return study


class TestTriedAgain:
    @pytest.mark.slow
    def test_a_worker_that_dies_once_or_twice_costs_nothing(self, tmp_path):
        executor = Failing(lambda pack, times: 0 if times <= 2 else None)
        study = run(tmp_path / "s", executor)
        assert set(executor.tried.values()) == {3}
        assert executor.closed == 1
        assert_frame_equal(
            comparable(study.results()),
            comparable(finished_study(tmp_path / "undisturbed").results()),
            check_exact=True,
        )

    @pytest.mark.slow
    def test_one_that_comes_further_each_time_is_tried_on(self, tmp_path):
        study = run(tmp_path / "s", Failing(lambda pack, times: times if times <= 9 else None))
        assert len(study.results()) == 8

    @pytest.mark.slow
    @pytest.mark.parametrize("reason", ["died", "raised"])
    def test_what_fails_again_and_again_is_left_out_by_name(self, tmp_path, reason):
        executor = Failing(lambda pack, times: 0 if has(pack, 2.0, 1) else None, reason)
        with pytest.raises(StudyError) as caught:
            run(tmp_path / "s", executor)
        said = str(caught.value)
        assert said.startswith("2 runs failed 3 times and were left out (w = 2, ε = 0.05, B = 8")
        assert "w = 2, ε = 0.1, B = 8, m = 0, seed 1: a worker process died" in said
        assert "seed 0" not in said
        study = Study.open(tmp_path / "s")
        assert len(study.results()) == 6
        now = study.status()
        assert (now.runs_failed, now.runs_waiting) == (2, 0)
        # Three times in company, once alone.
        assert sorted(executor.tried.values()) == [1, 1, 1, 1, 1, 3]
        study.run(1, progress=False)
        assert len(study.results()) == 8
        assert study.status().runs_failed == 0
        assert list((tmp_path / "s" / "store" / "failed").iterdir()) == []

    def test_if_nothing_works_it_ends_soon(self, tmp_path):
        executor = Failing(lambda pack, times: 0)
        with pytest.raises(StudyError, match="3 runs failed 3 times"):
            run(tmp_path / "s", executor)

    def test_what_the_user_must_mend_ends_it_at_once(self, tmp_path):
        executor = Failing(lambda pack, times: 0, "bad input")
        with pytest.raises(InputError, match="died"):
            run(tmp_path / "s", executor)
        assert sum(executor.tried.values()) == 1
