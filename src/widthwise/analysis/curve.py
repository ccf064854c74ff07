"""Lines and bent curves over widths: their fit to draws of optima, and what may become of them
beyond the widths that were measured. Reasons are in docs/statistics.md.

log g = level + exponent·u − fall·u²/2 with u = log(w / widest): the local exponent is
exponent − fall·u. Exponent and fall never differ in sign, so that over the measured widths the
local exponent nears zero and does not cross it. A straight line has no fall.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Numbers = float | FloatArray

# Widening factors closer than this (in log) are one width: an exponent from them would be noise.
SAME_WIDTH = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One curve, or D draws of one.

    Attributes:
        level: log of the noise scale at the widest width that was measured; number or (D,).
        exponent: local exponent there.
        fall: by how much the local exponent falls with each factor e of width.
        start, end: log of the narrowest and of the widest widening factor.
    """

    level: Numbers
    exponent: Numbers
    fall: Numbers
    start: float
    end: float

    def slope(self, log_factor: float) -> FloatArray:
        """Local exponent; that of the narrowest below it, falling on to zero beyond the widest."""
        slope = self.exponent - self.fall * (max(log_factor, self.start) - self.end)
        return np.where(slope * self.fall < 0.0, 0.0, slope)

    def value(self, log_factor: float) -> FloatArray:
        """Log of the noise scale: the integral of :meth:`slope`."""
        bends = np.not_equal(self.fall, 0.0)
        until_flat = np.where(bends, self.exponent / np.where(bends, self.fall, 1.0), np.inf)
        u = np.minimum(max(log_factor, self.start) - self.end, until_flat)
        narrower = min(log_factor - self.start, 0.0)
        inside = self.level + self.exponent * u - 0.5 * self.fall * u**2
        return np.asarray(inside + self.slope(self.start) * narrower)

    def possible_slopes(self, log_factor: float) -> FloatArray:
        """Local exponents (2D,) that the measured widths leave open: beyond the widest, that of a
        curve which goes flat there and that of one which goes straight on."""
        slopes = self.slope(min(log_factor, self.end))
        return np.concatenate([slopes * (log_factor <= self.end), slopes])

    def possible_values(self, log_factor: float) -> FloatArray:
        """Logs of the noise scale (2D,), in the order of :meth:`possible_slopes`."""
        known = self.value(min(log_factor, self.end))
        return np.concatenate([known, known + self.exponent * max(log_factor - self.end, 0.0)])

    def relative_to(self, log_factor: float) -> "Curve":
        """The same curve over widening factors relative to this one."""
        return replace(self, start=self.start - log_factor, end=self.end - log_factor)


def fit_curves(
    log_factors: FloatArray, draws: FloatArray, bounds: FloatArray, spread: FloatArray
) -> tuple[Curve, FloatArray]:
    """The best curve of each draw, and the fall (D,) of a parabola that may bend either way.

    Of all parabolas whose slope nears zero and does not cross it, the best is either the best of
    all parabolas or, if that is none of them, a straight line or one that is just flat at the
    widest: the better of the two.

    Args:
        log_factors: (W,); at least 3 different ones.
        draws: (D, W); infinite where an optimum lies beyond what was measured.
        bounds: (W, 2), lowest and highest that were measured, in log.
        spread: (W,), standard deviations.
    """
    start, end = float(log_factors.min()), float(log_factors.max())
    u = log_factors - end
    one, bent = np.ones_like(u), -0.5 * u**2
    fit = (log_factors, draws, bounds, spread)
    line, line_misfit = least_squares(np.stack([one, u], axis=1), *fit)
    late, late_misfit = least_squares(np.stack([one, bent], axis=1), *fit)
    free, _ = least_squares(np.stack([one, u, bent], axis=1), *fit)
    nearing = free[:, 1] * free[:, 2] >= 0.0
    flat_at_end = ~nearing & np.isfinite(free[:, 2]) & (late_misfit < line_misfit)
    nothing = np.zeros(len(draws))
    level, exponent, fall = np.where(
        nearing,
        free.T,
        np.where(
            flat_at_end,
            np.stack([late[:, 0], nothing, late[:, 1]]),
            np.stack([line[:, 0], line[:, 1], nothing]),
        ),
    )
    return Curve(level=level, exponent=exponent, fall=fall, start=start, end=end), free[:, 2]


def least_squares(
    columns: FloatArray,
    log_factors: FloatArray,
    draws: FloatArray,
    bounds: FloatArray,
    spread: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Weighted fit of `columns` (W, k) to each draw (D, W): coefficients (D, k), misfits (D,).

    An infinite draw says only that the optimum lies beyond the measured range: it pulls on the
    fit only where the fit would contradict it. Draws with fewer than k finite widths are NaN.
    """
    found = np.isfinite(draws)
    target = np.where(found, draws, np.where(draws < 0, bounds[:, 0], bounds[:, 1]))
    enough = _num_different(log_factors, found) >= columns.shape[1]
    weight, active = 1.0 / spread**2, found
    products = (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)
    for _ in range(2 * draws.shape[1] + 2):
        used = weight * active
        normal = (used @ products).reshape(-1, columns.shape[1], columns.shape[1])
        normal[~enough] = np.eye(columns.shape[1])
        right = (used * target) @ columns
        coefficients = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        excess = coefficients @ columns.T - target
        contradicts = ~found & np.where(draws < 0, excess > 0.0, excess < 0.0)
        previous, active = active, found | contradicts
        if np.array_equal(active, previous):
            break
    coefficients[~enough] = np.nan
    misfit = np.sum(weight * active * excess**2, axis=1)
    return np.asarray(coefficients, dtype=np.float64), np.asarray(misfit, dtype=np.float64)


def _num_different(log_factors: FloatArray, found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many different widths of each draw are found (D,)."""
    order = np.argsort(log_factors)
    group = np.cumsum(np.diff(log_factors[order], prepend=-np.inf) > SAME_WIDTH)
    member = np.zeros((log_factors.size, int(group[-1])))
    member[order, group - 1] = 1.0
    return np.asarray(np.sum(found @ member > 0.0, axis=1))
