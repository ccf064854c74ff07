"""How the largest stable learning rate falls with width: a power law with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import FitError, InputError
from widthwise.probes.stable_rate import StableLearningRate
from widthwise.text import plain
from widthwise.theory.power_law import LACK_OF_FIT, stretch_for_scatter

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class StabilityLaw:
    """Largest stable learning rate = exp(intercept) · widening_factor^(−exponent).

    Attributes:
        exponent: q; 1 where ε_max falls in proportion to width, 0 where it does not change.
        interval: of q at ``confidence``.
        intercept: log ε_max at widening factor 1.
        confidence: of the intervals.
        widening_factors: of the widths it rests on.
        num_censored: widths left out because nothing was unstable there.
        lack_of_fit: chance of so large a scatter under the law; None for two widths.
        samples, intercept_samples: draws of exponent and intercept, (D,).
    """

    exponent: float
    interval: tuple[float, float]
    intercept: float
    confidence: float
    widening_factors: tuple[float, ...]
    num_censored: int
    lack_of_fit: float | None
    samples: FloatArray = field(repr=False)
    intercept_samples: FloatArray = field(repr=False)

    def predict(self, widening_factor: float) -> tuple[float, tuple[float, float]]:
        """ε_max at a widening factor, with its band at ``confidence``."""
        if not (np.isfinite(widening_factor) and widening_factor > 0):
            raise InputError(f"widening_factor must be positive, got {widening_factor}; try 2")
        log_factor = float(np.log(widening_factor))
        draws = self.intercept_samples - self.samples * log_factor
        low, high = np.exp(_quantiles(draws, self.confidence))
        value = float(np.exp(self.intercept - self.exponent * log_factor))
        return value, (float(low), float(high))

    def sentence(self) -> str:
        """The finding in one sentence."""
        low, high = self.interval
        widths = sorted(self.widening_factors)
        left_out = (
            f"; {self.num_censored} more left out, where nothing was unstable"
            if self.num_censored
            else ""
        )
        unlike = (
            f"; the widths scatter about the line more than their intervals allow "
            f"(chance {self.lack_of_fit:.2g}), and the interval is widened for it"
            if self.lack_of_fit is not None and self.lack_of_fit < LACK_OF_FIT
            else ""
        )
        return (
            f"The largest stable learning rate goes as w^−q with q = {self.exponent:z.2f} "
            f"({100 * self.confidence:g} % interval {low:z.2f} to {high:z.2f}), from {len(widths)} "
            f"widths, w = {widths[0]:g} to {widths[-1]:g}{left_out}{unlike}."
        )

    def __str__(self) -> str:
        return self.sentence()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the draws are left out."""
        content: dict[str, Any] = plain(
            self, without=("samples", "intercept_samples"), infinite=True
        )
        return content


def fit_stability_law(
    widening_factors: ArrayLike,
    stable_learning_rates: Sequence[StableLearningRate],
    *,
    confidence: float = 0.95,
) -> StabilityLaw:
    """Fit log ε_max = intercept − q · log w, one weighted line per draw.

    Widths where nothing failed are left out. Scatter about the line beyond what the draws allow
    widens the interval: a power law is a summary, not exact.

    Args:
        widening_factors: shape (W,).
        stable_learning_rates: one per widening factor, measured alike (momentum, batch size).
        confidence: of the interval of q and of the bands of ``predict``.

    Raises:
        InputError: if lengths disagree, a factor is not positive, or momentum or batch size differ.
        FitError: if fewer than two widths are left.
    """
    factors = np.asarray(widening_factors, dtype=np.float64)
    if factors.shape != (len(stable_learning_rates),):
        raise InputError(
            "widening_factors must name one factor for each learning rate, got shape "
            f"{factors.shape} for {len(stable_learning_rates)}; give two lists of equal length"
        )
    if not np.all(np.isfinite(factors) & (factors > 0)):
        raise InputError(f"widening factors must be positive, got {factors.tolist()}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    alike = {(r.batch_size, r.momentum, r.nesterov, r.steps) for r in stable_learning_rates}
    if len(alike) > 1:
        raise InputError(
            "a law compares widths alone: batch size, momentum and steps must agree, got "
            f"{sorted(alike)}; probe all widths alike"
        )
    used = np.array([not rate.censored for rate in stable_learning_rates], dtype=np.bool_)
    if len(set(factors[used].tolist())) < 2:
        raise FitError(
            "a law needs the largest stable learning rate of at least 2 widths, got "
            f"{int(used.sum())} of {len(factors)}; probe more widths"
        )
    found = [rate for rate in stable_learning_rates if not rate.censored]
    num_draws = min(rate.samples.size for rate in found)
    # Widths are independent measurements, but their draws come from one generator's seed.
    draws = np.stack(
        [
            np.random.default_rng([width, 0]).permutation(rate.samples)[:num_draws]
            for width, rate in enumerate(found)
        ],
        axis=1,
    )
    x = np.log(factors[used])
    spread = np.maximum(draws.std(axis=0), 1e-6)
    weight = 1.0 / spread**2
    center = float(np.sum(weight * x) / np.sum(weight))
    leverage = weight * (x - center) / np.sum(weight * (x - center) ** 2)
    slopes, levels = draws @ leverage, draws @ weight / np.sum(weight)
    slope, level = float(np.median(slopes)), float(np.median(levels))
    typical = np.median(draws, axis=0)
    residual = (typical - level - slope * (x - center)) / spread
    stretch, chance = stretch_for_scatter(float(residual @ residual), len(found) - 2)
    slopes = slope + stretch * (slopes - slope)
    levels = level + stretch * (levels - level)
    low, high = _quantiles(-slopes, confidence)
    return StabilityLaw(
        exponent=-slope,
        interval=(float(low), float(high)),
        intercept=level - slope * center,
        confidence=confidence,
        widening_factors=tuple(factors[used].tolist()),
        num_censored=int((~used).sum()),
        lack_of_fit=chance,
        samples=-slopes,
        intercept_samples=levels - slopes * center,
    )


def _quantiles(draws: FloatArray, confidence: float) -> FloatArray:
    tail = (1.0 - confidence) / 2.0
    return np.asarray(np.quantile(draws, [tail, 1.0 - tail]))
