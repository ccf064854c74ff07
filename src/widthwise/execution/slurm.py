"""Workers as one array of Slurm jobs, through submitit."""

import io
import math
import re
import subprocess
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from widthwise.errors import InputError, seconds_of
from widthwise.execution.crew import Work

_SECONDS_BETWEEN_QUESTIONS = 30.0
_SECONDS_OF_PATIENCE = 30.0
_NO_SUCH_JOB = "Invalid job id"
_JOB_NAME = "widthwise"


class SlurmOptions(BaseModel):
    """What a worker is given; the table ``[slurm]`` of a cluster file.

    Attributes:
        partition: None takes Slurm's default.
        time: of one worker, as 90s, 30m or 4h; whole minutes, rounded up. A worker whose time is
            over is queued again.
        cores: each trains a pack of its own, but with a GPU.
        gpus: a worker uses one at most.
        memory_gb: None takes Slurm's default.
        requeues: how often a worker is queued again because its time is over; preemption does not
            count.
        extra: further parameters of submitit's ``SlurmExecutor``: ``account``, ``qos``,
            ``constraint``, ``setup``, ``additional_parameters``, …
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str | None = None
    time: str = "4h"
    cores: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0, le=1)
    memory_gb: float | None = Field(default=None, gt=0.0)
    requeues: int = Field(default=3, ge=0)
    extra: dict[str, Any] = {}

    @field_validator("time")
    @classmethod
    def _is_time(cls, time: str) -> str:
        seconds_of("time", time)
        return time

    @property
    def processes(self) -> int:
        """Of a worker."""
        return 1 if self.gpus else self.cores

    def parameters(self) -> dict[str, Any]:
        """For submitit's ``AutoExecutor``."""
        extra = dict(self.extra)
        more = {"requeue": True, **dict(extra.pop("additional_parameters", {}))}
        return {
            "name": _JOB_NAME,
            "timeout_min": math.ceil(seconds_of("time", self.time) / 60),
            "cpus_per_task": self.cores,
            "mem_gb": self.memory_gb,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            "slurm_partition": self.partition,
            "slurm_additional_parameters": more,
            **{f"slurm_{name}": value for name, value in extra.items()},
        }


@dataclass(frozen=True)
class Requeued:
    """Work that is queued again when Slurm wants its place back."""

    work: Work

    def __call__(self) -> str | None:
        return self.work()

    def checkpoint(self) -> Any:
        """submitit calls this by its name when USR2 comes. Nothing needs saving: what was trained
        has landed, or has a checkpoint in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def start(work: Work, workers: int, options: SlurmOptions, folder: Path) -> "SlurmCrew":
    """Submit an array of workers.

    Args:
        work: what each does.
        workers: how many.
        options: what each is given.
        folder: for submitit's files and the logs; every node must reach it.

    Raises:
        InputError: if Slurm is not here, or refuses an option.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        executor = submitit.AutoExecutor(
            folder, cluster="slurm", slurm_max_num_timeout=options.requeues
        )
        executor.update_parameters(**options.parameters())
        with redirect_stderr(io.StringIO()):  # what sbatch says comes with the error
            jobs = executor.submit_array([Requeued(work)] * workers)
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"Slurm took no job: {_line(error)}; see `sinfo`, and mend the table [slurm]"
        ) from None
    except (NameError, ValueError, TypeError, AssertionError) as error:
        said, _, _ = str(error).partition("\n")  # then all that there is
        raise InputError(f"slurm.extra: {said}") from None
    except RuntimeError as error:
        raise InputError(
            f"this machine has no Slurm: {_line(error)}; run it on a login node", fields=("on",)
        ) from None
    return SlurmCrew(jobs)


class SlurmCrew:
    """See :class:`widthwise.execution.crew.Crew`."""

    def __init__(self, jobs: list[Any]) -> None:
        self._jobs = jobs
        self._array = str(jobs[0].job_id).partition("_")[0]
        self._answers: dict[str, str | None] = {}
        self._asked = monotonic()
        # Job → since when Slurm has not known it.
        self._missed: dict[str, float] = {}

    @property
    def name(self) -> str:
        return f"Slurm job {self._array}"

    @property
    def size(self) -> int:
        return len(self._jobs)

    def answers(self) -> list[str | None]:
        # What a worker answers is a file, and needs no accounting of Slurm's.
        for job in self._open():
            if job.paths.result_pickle.exists():
                error = job.exception()
                self._answers[job.job_id] = job.result() if error is None else _line(error)
        if monotonic() - self._asked >= _SECONDS_BETWEEN_QUESTIONS:
            self._asked = monotonic()
            self._note_the_lost()
        return list(self._answers.values())

    def stop(self) -> None:
        if self._open():
            subprocess.run(["scancel", self._array], capture_output=True, check=False)

    def _open(self) -> list[Any]:
        return [job for job in self._jobs if job.job_id not in self._answers]

    def _note_the_lost(self) -> None:
        """A worker that was cancelled, or ended by force, leaves no file."""
        queued = _queued(self._array)
        if queued is None:
            return
        for job in self._open():
            if job.job_id in queued:
                self._missed.pop(job.job_id, None)
            # Its file may take a moment to be seen from here.
            elif monotonic() - self._missed.setdefault(job.job_id, monotonic()) > (
                _SECONDS_OF_PATIENCE
            ):
                self._answers[job.job_id] = (
                    "its job ended without an answer: it was cancelled, or lacked time or memory; "
                    f"see the logs in {job.paths.folder}"
                )


def _queued(array: str) -> set[str] | None:
    """Jobs of an array that run or wait; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if said.returncode == 0:
        return set(said.stdout.split())
    return set() if _NO_SUCH_JOB in said.stderr else None


def _line(error: BaseException) -> str:
    """The last line of an error: submitit puts whole logs and tracebacks into them."""
    said = error.output if isinstance(error, subprocess.CalledProcessError) else None
    text = said.decode(errors="replace") if isinstance(said, bytes) else (said or str(error))
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1] if lines else type(error).__name__
