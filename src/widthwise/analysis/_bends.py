"""Does a law bend, and how? Two shapes of a bend, weighed by their fit.

They are the two ends of what may be: a local exponent that falls evenly over all widths (a
parabola), and one that falls at once (two lines). Reasons are in docs/statistics.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis._draws import stretch_of
from widthwise.analysis.curve import Curve, fit_parabolas, fit_two_lines, free_falls
from widthwise.analysis.optimum import Optimum

FloatArray = NDArray[np.float64]
Fit = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], tuple[Curve, FloatArray]]

# So often is a straight law called bent.
FALSE_BENDS = 0.05
# Less than this, lost with each factor e of width, is rounding.
LEAST_FALL = 1e-6
# Numbers of a parabola, and of two lines.
_PARABOLA, _TWO_LINES = 3, 4
_GOLDEN = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Bend:
    """Curves of the draws (D,), the curve of their middle, whether the evidence is for a bend, and
    the chance of so large a scatter about the curve (None: too few widths to judge)."""

    curves: Curve
    middle: Curve
    seen: bool
    lack_of_fit: float | None


def bend_of(
    log_factors: FloatArray,
    optima: Sequence[Optimum],
    draws: FloatArray,
    bounds: FloatArray,
    spread: FloatArray,
    exponent: float,
) -> Bend:
    """Bent curves through the optima of at least three widths.

    Args:
        log_factors: (W,).
        optima: one for each width.
        draws: (D, W); infinite where an optimum lies beyond what was measured.
        bounds: (W, 2), lowest and highest that were measured, in log.
        spread: (W,), standard deviations.
        exponent: of the straight line.
    """
    center = np.quantile(draws, 0.5, axis=0, method="inverted_cdf")

    def fitted(fit: Fit, numbers: int) -> tuple[Curve, Curve, float, float | None, FloatArray]:
        """The middle, the draws' curves, the middle's misfit, the chance of its scatter, and the
        draws, widened by that scatter."""
        middle, misfit = fit(log_factors, center[None], bounds, spread)
        about = np.array([float(middle.value(x)[0]) for x in log_factors])
        stretch, chance = stretch_of(optima, spread, about, numbers)
        known = np.isfinite(draws) & np.isfinite(center)
        with np.errstate(invalid="ignore"):
            wider = np.where(known, center + stretch * (draws - center), draws)
        curves, _ = fit(log_factors, wider, bounds, spread)
        return middle, curves, float(misfit[0]), chance, wider

    parabola, parabolas, misfit, chance, wider = fitted(fit_parabolas, _PARABOLA)
    two, twos, two_misfit, two_chance, _ = fitted(fit_two_lines, _TWO_LINES)
    # Akaike's log-odds of two lines against a parabola.
    odds = 0.5 * (misfit - two_misfit) + _PARABOLA - _TWO_LINES
    # Spread evenly over the draws, which are in no order.
    take = np.modf(np.arange(len(draws)) * _GOLDEN)[0] < 0.5 * (1.0 + np.tanh(0.5 * odds))
    # Of a parabola free to bend either way: does it bend so that the exponent nears zero?
    falls = free_falls(log_factors, wider, bounds, spread) * np.sign(exponent)
    return Bend(
        curves=_mixed(take, twos, parabolas),
        middle=_single(two if odds > 0.0 else parabola),
        seen=float(np.mean(falls > LEAST_FALL)) >= 1.0 - FALSE_BENDS,
        lack_of_fit=two_chance if odds > 0.0 else chance,
    )


_PARTS = ("level", "exponent", "fall", "drop", "corner")


def _mixed(take: NDArray[np.bool_], some: Curve, others: Curve) -> Curve:
    """Curves of which `take` (D,) says whose each is."""
    mixed = {part: np.where(take, getattr(some, part), getattr(others, part)) for part in _PARTS}
    return replace(others, **mixed)


def _single(curve: Curve) -> Curve:
    """One draw as a curve of numbers."""
    return replace(curve, **{part: float(np.ravel(getattr(curve, part))[0]) for part in _PARTS})
