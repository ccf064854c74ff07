"""What Slurm and Ray are told, and what is made of what they say; on real ones: tests/cluster."""

from types import SimpleNamespace

import pytest

from widthwise.execution import slurm
from widthwise.execution.ray import RayOptions
from widthwise.execution.slurm import Requeued, SlurmCrew, SlurmOptions


class TestSlurm:
    def test_parameters(self):
        options = SlurmOptions(
            partition="gpu",
            time="90s",
            cores=8,
            gpus=1,
            memory_gb=16,
            extra={"qos": "low", "additional_parameters": {"licenses": "a"}},
        )
        assert options.processes == 1
        assert options.parameters() == {
            "name": "widthwise",
            "timeout_min": 2,
            "cpus_per_task": 8,
            "mem_gb": 16,
            "gpus_per_node": 1,
            "slurm_partition": "gpu",
            "slurm_additional_parameters": {"requeue": True, "licenses": "a"},
            "slurm_qos": "low",
        }

    def test_without_a_card_every_core_trains(self):
        options = SlurmOptions(cores=8)
        assert options.processes == 8
        assert "gpus_per_node" not in options.parameters()

    def test_work_that_is_queued_again_is_the_same_work(self):
        pytest.importorskip("submitit")
        work = Requeued(str)
        assert work.checkpoint().function is work
        assert work() == ""


class Job:
    """As submitit's, of which a file tells that it has ended."""

    def __init__(self, number, folder, answer=None, error=None):
        self.job_id, self._answer, self._error = f"7_{number}", answer, error
        self.paths = SimpleNamespace(result_pickle=folder / self.job_id, folder=folder)

    def ends(self):
        self.paths.result_pickle.touch()

    def result(self):
        return self._answer

    def exception(self):
        return None if self._error is None else RuntimeError(self._error)


class TestSlurmCrew:
    @pytest.fixture(autouse=True)
    def queue(self, monkeypatch):
        """What Slurm says it has; None if it does not answer."""
        said = SimpleNamespace(jobs=None)
        monkeypatch.setattr(slurm, "_queued", lambda array: said.jobs)
        monkeypatch.setattr(slurm, "_SECONDS_BETWEEN_QUESTIONS", 0.0)
        monkeypatch.setattr(slurm, "_SECONDS_OF_PATIENCE", 0.0)
        return said

    def test_answers_are_files(self, tmp_path):
        jobs = [
            Job(0, tmp_path),
            Job(1, tmp_path, "refused"),
            Job(2, tmp_path, error="log\n\nKeyError: 'x'\n"),
        ]
        crew = SlurmCrew(jobs)
        assert (crew.name, crew.size, crew.answers()) == ("Slurm job 7", 3, [])
        for job in jobs:
            job.ends()
        assert crew.answers() == [None, "refused", "KeyError: 'x'"]

    def test_what_is_queued_has_not_ended_and_what_is_lost_has(self, tmp_path, queue):
        crew = SlurmCrew([Job(0, tmp_path), Job(1, tmp_path)])
        queue.jobs = {"7_0", "7_1"}
        assert crew.answers() == []
        queue.jobs = {"7_1"}
        crew.answers()  # it may be that its file is not seen yet
        (answer,) = crew.answers()
        assert "ended without an answer" in answer
        assert str(tmp_path) in answer

    def test_without_slurms_word_nothing_is_concluded(self, tmp_path, queue):
        crew = SlurmCrew([Job(0, tmp_path)])
        assert crew.answers() == crew.answers() == []


def test_what_ray_is_told():
    options = RayOptions(cores=2, memory_gb=0.5, labels={"kind": "large"})
    assert options.task() == {
        "num_cpus": 2,
        "num_gpus": 0,
        "max_retries": -1,
        "retry_exceptions": False,
        "scheduling_strategy": "SPREAD",
        "memory": 500_000_000,
        "label_selector": {"kind": "large"},
    }
    assert options.processes == 2
    assert RayOptions(cores=2, gpus=1).processes == 1
