"""What a pack is asked to train, and what became of its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.late_times import late_mean, plateau_slope
from widthwise.sgd.batches import Sampling
from widthwise.sgd.evaluations import evaluation_steps
from widthwise.sgd.recipe import Recipe

Status = Literal["ok", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Replica:
    """What may differ between the runs of a pack."""

    learning_rate: float
    momentum: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class PackJob:
    """One pack: replicas × the training they share.

    Attributes:
        widening_factor: w, given to the family.
        batch_size: B.
        steps: number of updates.
        replicas: the runs.
        sampling: "epochs" (reshuffled) or "replacement".
        evaluations: number of evenly spaced evaluations after the one at initialization; the last
            is at the last step.
        late_fraction: evaluations in this last part of training are averaged.
        recipe: loss, schedule, augmentation and the like.
    """

    widening_factor: float
    batch_size: int
    steps: int
    replicas: tuple[Replica, ...]
    sampling: Sampling = "epochs"
    evaluations: int = 20
    late_fraction: float = 0.25
    recipe: Recipe = field(default_factory=Recipe)

    def evaluation_steps(self) -> list[int]:
        """Steps after which runs are evaluated, beginning with 0.

        >>> job = PackJob(widening_factor=1, batch_size=1, steps=10, replicas=(), evaluations=4)
        >>> job.evaluation_steps()
        [0, 2, 5, 8, 10]
        """
        return evaluation_steps(self.steps, self.evaluations)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of one run.

    Attributes:
        replica: the run.
        status: "diverged" if the loss left the finite numbers or ended above its initial value.
        diverged_at_step: the step at whose start the loss was not finite (the last step, if it
            only ended too high); None for a sound run.
        late: late-time mean of each evaluated quantity; NaN if diverged.
        plateau_slope: change of test accuracy over the late window, by a straight line; NaN if
            diverged.
        initial_train_loss, final_train_loss: on the training examples that are evaluated.
        curve_steps: evaluation steps reached, (E,).
        curves: quantity → values at those steps, each (E,).
        num_parameters: trained parameters.
        engine: which packing engine trained it.
    """

    replica: Replica
    status: Status
    diverged_at_step: int | None
    late: dict[str, float]
    plateau_slope: float
    initial_train_loss: float
    final_train_loss: float
    curve_steps: NDArray[np.int64]
    curves: dict[str, NDArray[np.float64]]
    num_parameters: int
    engine: str


def summarized(
    job: PackJob,
    index: int,
    curves: Mapping[str, NDArray[np.float64]],
    diverged_at_step: int | None,
    *,
    num_parameters: int,
    engine: str,
) -> RunResult:
    """The result of the run at this index of a job.

    Args:
        job, index: which run.
        curves: evaluated quantity → values at the job's evaluation steps, NaN where the run never
            came.
        diverged_at_step: None if its losses stayed finite.
        num_parameters, engine: as in :class:`RunResult`.
    """
    reached = np.isfinite(curves["train_loss"])
    steps = np.asarray(job.evaluation_steps())[reached]
    seen = {name: curve[reached] for name, curve in curves.items()}
    initial, final = seen["train_loss"][[0, -1]] if len(steps) else (np.nan, np.nan)
    if diverged_at_step is None and not final <= initial:
        diverged_at_step = job.steps
    sound, total, fraction = diverged_at_step is None, job.steps, job.late_fraction
    slope = plateau_slope(steps, seen["test_accuracy"], total, fraction) if sound else np.nan
    return RunResult(
        replica=job.replicas[index],
        status="ok" if sound else "diverged",
        diverged_at_step=diverged_at_step,
        late={
            name: float(late_mean(steps, curve, total, fraction)) if sound else float("nan")
            for name, curve in seen.items()
        },
        plateau_slope=float(slope),
        initial_train_loss=float(initial),
        final_train_loss=float(final),
        curve_steps=steps,
        curves=seen,
        num_parameters=num_parameters,
        engine=engine,
    )
