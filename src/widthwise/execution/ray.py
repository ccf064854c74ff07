"""Workers as tasks of a Ray cluster."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from widthwise.errors import InputError
from widthwise.execution.crew import Work

_BYTES_IN_A_GB = 1e9


class RayOptions(BaseModel):
    """What a worker is given; the table ``[ray]`` of a cluster file.

    Attributes:
        address: of the cluster, as ``ray.init`` takes it.
        cores: each trains a pack of its own, but with a GPU.
        gpus: a worker uses one at most.
        memory_gb: None asks for no more than Ray gives anyway.
        labels: of the nodes that may be taken, as in ``{"ray.io/accelerator-type" = "H100"}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = "auto"
    cores: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0, le=1)
    memory_gb: float | None = Field(default=None, gt=0.0)
    labels: dict[str, str] = {}

    @property
    def processes(self) -> int:
        """Of a worker."""
        return 1 if self.gpus else self.cores

    def task(self) -> dict[str, Any]:
        """For ``ray.remote``."""
        asked: dict[str, Any] = {
            "num_cpus": self.cores,
            "num_gpus": self.gpus,
            # A lost node costs its runs in flight; what a worker says is wrong stays wrong.
            "max_retries": -1,
            "retry_exceptions": False,
            "scheduling_strategy": "SPREAD",
        }
        if self.memory_gb is not None:
            asked["memory"] = int(self.memory_gb * _BYTES_IN_A_GB)
        if self.labels:
            asked["label_selector"] = self.labels
        return asked


def start(work: Work, workers: int, options: RayOptions, folder: Path) -> "RayCrew":
    """Start workers on a cluster that is there.

    Args:
        work: what each does.
        workers: how many, which are all that are ever in flight.
        options: where, and what each is given.
        folder: not used: Ray has its own logs.

    Raises:
        InputError: if there is no cluster, or it refuses an option.
    """
    import ray

    ours = not ray.is_initialized()
    try:
        if ours:
            with _own_handlers():
                ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster answers at address={options.address!r}: {_line(error)}; start one "
            "with `ray start`, or give address",
            fields=("address",),
        ) from None
    try:
        task = ray.remote(**options.task())(_call)
        tasks = [task.remote(work) for _ in range(workers)]
    except ValueError as error:
        if ours:
            ray.shutdown()
        raise InputError(f"Ray took no task: {_line(error)}; mend the table [ray]") from None
    return RayCrew(tasks, ours)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """What SIGTERM means is for the program to say; Ray's handler ends it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError, TypeError):  # not the main thread, in which Ray sets none either
            signal.signal(signal.SIGTERM, before)


def _call(work: Work) -> str | None:
    return work()


class RayCrew:
    """See :class:`widthwise.execution.crew.Crew`."""

    name = "Ray"

    def __init__(self, tasks: list[Any], ours: bool) -> None:
        """
        Args:
            tasks: one a worker.
            ours: whether the connection to the cluster ends with them.
        """
        self._tasks, self._ours, self._stopped = tasks, ours, False
        self._answers: list[str | None] = []

    @property
    def size(self) -> int:
        return len(self._answers) + len(self._tasks)

    def answers(self) -> list[str | None]:
        import ray

        if self._tasks:
            ended, self._tasks = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)
            for task in ended:
                try:
                    self._answers.append(ray.get(task))
                except ray.exceptions.RayError as error:
                    self._answers.append(_line(error))
        return list(self._answers)

    def stop(self) -> None:
        import ray

        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            ray.cancel(task, force=True)
        if self._ours:
            ray.shutdown()


def _line(error: BaseException) -> str:
    """The last line of an error: Ray puts whole tracebacks into them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
