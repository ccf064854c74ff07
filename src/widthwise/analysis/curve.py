"""Lines and bent curves over widths: their fit to draws of optima, and what may become of them
beyond the widths that were measured. Reasons are in docs/statistics.md.

log g = level + exponent·u − fall·u²/2 + drop·min(log w − corner, 0) with u = log(w / widest): the
local exponent is exponent − fall·u, and by `drop` larger up to the corner. A straight line has
neither fall nor drop, and a bent curve has one of them, of the sign of its exponent: over the
measured widths the local exponent nears zero and does not cross it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Numbers = float | FloatArray

# Widening factors closer than this (in log) are one width: an exponent from them would be noise.
SAME_WIDTH = 0.01
# Corners of two lines that are tried between two widths.
CORNERS_PER_GAP = 2
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One curve, or D draws of one.

    Attributes:
        level: log of the noise scale at the widest width that was measured; number or (D,).
        exponent: local exponent there.
        fall: by how much the local exponent falls with each factor e of width.
        start, end: log of the narrowest and of the widest widening factor.
        drop, corner: by how much the local exponent falls at once, and the log of the widening
            factor at which it does.
    """

    level: Numbers
    exponent: Numbers
    fall: Numbers
    start: float
    end: float
    drop: Numbers = 0.0
    corner: Numbers = 0.0

    def slope(self, log_factor: float) -> FloatArray:
        """Local exponent; that of the narrowest below it, falling on to zero beyond the widest."""
        at = max(log_factor, self.start)
        slope = self.exponent - self.fall * (at - self.end)
        before = at <= np.asarray(self.corner) + _ROUNDING
        return np.asarray(np.where(slope * self.fall < 0.0, 0.0, slope) + self.drop * before)

    def value(self, log_factor: float) -> FloatArray:
        """Log of the noise scale: the integral of :meth:`slope`."""
        bends = np.not_equal(self.fall, 0.0)
        until_flat = np.where(bends, self.exponent / np.where(bends, self.fall, 1.0), np.inf)
        at = max(log_factor, self.start)
        u = np.minimum(at - self.end, until_flat)
        inside = self.level + self.exponent * u - 0.5 * self.fall * u**2
        inside = inside + self.drop * np.minimum(at - self.corner, 0.0)
        return np.asarray(inside + self.slope(self.start) * min(log_factor - self.start, 0.0))

    def loss(self) -> FloatArray:
        """What the local exponent loses from the narrowest to the widest width."""
        return np.asarray(self.slope(self.start) - self.exponent)

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
        return replace(
            self,
            start=self.start - log_factor,
            end=self.end - log_factor,
            corner=self.corner - log_factor,
        )


def fit_parabolas(
    log_factors: FloatArray, draws: FloatArray, bounds: FloatArray, spread: FloatArray
) -> tuple[Curve, FloatArray]:
    """The best parabola of each draw, and its misfit (D,).

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
    free, free_misfit = least_squares(np.stack([one, u, bent], axis=1), *fit)
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
    curves = Curve(level=level, exponent=exponent, fall=fall, start=start, end=end)
    bounded = np.where(flat_at_end, late_misfit, line_misfit)
    return curves, np.where(nearing, free_misfit, bounded)


def fit_two_lines(
    log_factors: FloatArray, draws: FloatArray, bounds: FloatArray, spread: FloatArray
) -> tuple[Curve, FloatArray]:
    """The best two lines of each draw that meet at a corner, and their misfit (D,).

    The second is the less steep one, of the same sign, or flat. Two widths or more tell the slope
    of each, that at the corner among them; where fewer lie beyond the corner, the second line is
    flat. The arguments are those of :func:`fit_parabolas`.
    """
    start, end = float(log_factors.min()), float(log_factors.max())
    columns = np.stack([np.ones_like(log_factors), log_factors - end], axis=1)
    line, misfit = least_squares(columns, log_factors, draws, bounds, spread)
    zeros = np.zeros(len(draws))
    parts = np.stack([line[:, 0], line[:, 1], zeros, zeros + end])
    for corner in _corners(log_factors):
        for rows, offered, with_corner in _offers(corner, log_factors, draws, bounds, spread):
            better = offered < misfit[rows]
            parts[:, rows[better]] = with_corner[:, better]
            misfit[rows[better]] = offered[better]
    level, exponent, drop, corners = parts
    curves = Curve(
        level=level,
        exponent=exponent,
        fall=zeros,
        start=start,
        end=end,
        drop=drop,
        corner=corners,
    )
    return curves, misfit


def _offers(
    corner: float,
    log_factors: FloatArray,
    draws: FloatArray,
    bounds: FloatArray,
    spread: FloatArray,
) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
    """Flat beyond a corner, then sloped beyond it: the draws (n,) that can tell, the misfits (n,),
    and level, exponent, drop and corner (4, n)."""
    before, after = np.minimum(log_factors - corner, 0.0), np.maximum(log_factors - corner, 0.0)
    one, beyond = np.ones_like(log_factors), float(after.max())
    rows = np.flatnonzero(_tell_slope(log_factors, log_factors <= corner + _ROUNDING, draws))
    columns = np.stack([one, before], axis=1)
    flat, misfit = least_squares(columns, log_factors, draws[rows], bounds, spread)
    zeros = np.zeros(rows.size)
    yield rows, misfit, np.stack([flat[:, 0], zeros, flat[:, 1], zeros + corner])
    rows = rows[_tell_slope(log_factors, log_factors >= corner - _ROUNDING, draws[rows])]
    columns = np.stack([one, before, after], axis=1)
    lines, misfit = least_squares(columns, log_factors, draws[rows], bounds, spread)
    level, first, second = lines.T
    parts = np.stack([level + second * beyond, second, first - second, 0.0 * first + corner])
    nearing = (first * second >= 0.0) & (np.abs(second) <= np.abs(first))
    yield rows[nearing], misfit[nearing], parts[:, nearing]


def free_falls(
    log_factors: FloatArray, draws: FloatArray, bounds: FloatArray, spread: FloatArray
) -> FloatArray:
    """The fall (D,) of a parabola that may bend either way."""
    u = log_factors - float(log_factors.max())
    columns = np.stack([np.ones_like(u), u, -0.5 * u**2], axis=1)
    return least_squares(columns, log_factors, draws, bounds, spread)[0][:, 2]


def _corners(log_factors: FloatArray) -> FloatArray:
    """From the second width on, and before the widest."""
    ordered = np.sort(log_factors)
    knots = ordered[np.diff(ordered, prepend=-np.inf) > SAME_WIDTH][1:]
    between = np.arange(CORNERS_PER_GAP) / CORNERS_PER_GAP
    return (knots[:-1, None] + np.diff(knots)[:, None] * between).ravel()


def _tell_slope(
    log_factors: FloatArray, side: NDArray[np.bool_], draws: FloatArray
) -> NDArray[np.bool_]:
    """Which draws (D,) have an optimum at two of these widths or more."""
    return np.asarray(_num_different(log_factors[side], np.isfinite(draws[:, side])) > 1)


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
    weight, active = 1.0 / spread**2, found
    everywhere = _num_different(log_factors, np.ones((1, log_factors.size), dtype=np.bool_))[0]
    if np.all(found) and everywhere >= columns.shape[1]:
        # One matrix serves all draws, as it mostly does.
        weighted = columns * weight[:, None]
        coefficients = np.linalg.solve(columns.T @ weighted, (draws @ weighted).T).T
        misfit = (coefficients @ columns.T - draws) ** 2 @ weight
        return np.asarray(coefficients, dtype=np.float64), np.asarray(misfit, dtype=np.float64)
    enough = _num_different(log_factors, found) >= columns.shape[1]
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
