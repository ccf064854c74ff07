"""The largest stable learning rate of one width, as it was measured."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import InputError
from widthwise.text import plain

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StableLearningRate:
    """The largest learning rate ε at which a share of seeds end a short run below their initial
    loss, with an interval for what infinitely many seeds would give.

    Attributes:
        value: the largest ε that was tried at which at least ``share`` of the seeds were stable
            (shares made non-increasing in ε); the largest of all if none failed.
        interval: (low, high) at ``confidence``; high is infinite if nothing failed.
        confidence: of the interval.
        widening_factor: w.
        batch_size: B.
        momentum: m.
        steps: length of a run. A longer one can only find less stable.
        seeds: runs at each ε.
        share: of seeds that must be stable.
        curvature: λ, the top eigenvalue of the loss Hessian at initialization (weight decay
            added); None if it was not measured or is not positive.
        learning_rates: ε tried, ascending.
        shares: share of stable seeds at each of them.
        nesterov: whether momentum was Nesterov's.
        samples: draws of log ε_max behind the interval, (D,); NaN if nothing failed.
    """

    value: float
    interval: tuple[float, float]
    confidence: float
    widening_factor: float
    batch_size: int
    momentum: float
    steps: int
    seeds: int
    share: float
    curvature: float | None
    learning_rates: tuple[float, ...]
    shares: tuple[float, ...]
    nesterov: bool = False
    samples: FloatArray = field(repr=False)

    @property
    def censored(self) -> bool:
        """Whether no learning rate failed, so that the value is only a lower bound."""
        return bool(np.isinf(self.interval[1]))

    @property
    def curvature_bound(self) -> float | None:
        """2(1+m)/λ: where full-batch descent on a quadratic of curvature λ diverges.

        With Nesterov's momentum 2(1+m)/((1+2m)λ): the step at which a root of
        z² − (1+m)(1−ελ)z + m(1−ελ) reaches −1.
        """
        if self.curvature is None:
            return None
        ahead = 1.0 + 2.0 * self.momentum if self.nesterov else 1.0
        return 2.0 * (1.0 + self.momentum) / (ahead * self.curvature)

    def safe(self, fraction: float = 0.25) -> float:
        """A learning rate safely below the limit: this part of the value, and not above the lower
        end of the interval.

        Raises:
            InputError: if fraction is not in (0, 1].
        """
        if not 0.0 < fraction <= 1.0:
            raise InputError(f"fraction must lie in (0, 1], got {fraction}; the default is 0.25")
        return min(fraction * self.value, self.interval[0])

    def sentence(self) -> str:
        """The finding in one sentence."""
        low, high = self.interval
        at = f"{100 * self.confidence:g} %"
        said = (
            f"at least {self.value:.3g}; nothing that was tried failed"
            if self.censored
            else f"{self.value:.3g} ({at} interval {low:.3g} to {high:.3g})"
        )
        bound = "" if self.curvature_bound is None else f"; curvature alone: {self._bound()}"
        return (
            f"Largest stable learning rate at widening factor {self.widening_factor:g}, batch size "
            f"{self.batch_size}, momentum {self.momentum:g}: {said}, from {self.seeds} seeds of "
            f"{self.steps} steps{bound}."
        )

    def __str__(self) -> str:
        return self.sentence()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the draws are left out, and an open end is infinite."""
        content: dict[str, Any] = plain(self, without=("samples",), infinite=True)
        return content | {"censored": self.censored, "curvature_bound": self.curvature_bound}

    def _bound(self) -> str:
        formula = "2(1+m)/((1+2m)λ)" if self.nesterov and self.momentum else "2(1+m)/λ"
        return f"{formula} = {self.curvature_bound:.3g}"
