"""Is wider better, or does wider resist noise? Scores at fixed noise scales and at the optimum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis._between import first_fall, value_at
from widthwise.analysis.flat_top import find_flat_top
from widthwise.analysis.law import Law, fit_law
from widthwise.analysis.optimum import Optimum, as_fractions
from widthwise.analysis.resistance_result import (
    FixedScore,
    Gain,
    Resistance,
    ToleratedNoise,
    WidthResistance,
)
from widthwise.analysis.settings import STABLE_SHARE, Settings, merge_settings, thinned
from widthwise.analysis.shape import fit_peaks
from widthwise.errors import FitError, InputError

FloatArray = NDArray[np.float64]

# In units of the scores: two points and half a point of accuracy. The first is large beside the
# error of a setting, so that noise does not cross it; the second is small beside what width gives.
DROP = 0.02
MARGIN = 0.005
_MIDDLE = np.array([0.5])


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthCurve:
    """Scores of one width against the noise scale, and the optimum located in them.

    Attributes:
        widening_factor: w, positive.
        noise_scale: shape (K,).
        scores: shape (K, S); NaN = diverged.
        optimum: of :func:`widthwise.analysis.locate_optimum` on the same scores.
        ran: shape (K, S), False where a run was not made; None if all were.
    """

    widening_factor: float
    noise_scale: FloatArray
    scores: FloatArray
    optimum: Optimum
    ran: NDArray[np.bool_] | None = None


def measure_resistance(
    curves: Sequence[WidthCurve],
    *,
    fixed_scales: Sequence[float] | None = None,
    drop: float = DROP,
    margin: float = MARGIN,
    confidence: float = 0.95,
    seed: int = 0,
) -> Resistance:
    """Separate "wider is better" from "wider resists noise".

    Draws are those of the optima: over seeds, the same seeds weighed alike at every width. The
    rules, and what to doubt, are in docs/statistics.md.

    Args:
        curves: one a width. Those with one seed are left out.
        fixed_scales: noise scales at which all widths are compared; None takes the optima of the
            narrowest, the middle and the widest.
        drop: by which the score may fall while noise counts as tolerated, positive.
        margin: gains up to this count as none, positive.
        confidence: of the intervals.
        seed: of the draws; give the one that located the optima.

    Raises:
        InputError: if a number is out of range, or a width comes twice.
        FitError: if fewer than two widths have two seeds.
    """
    for name, value in (("drop", drop), ("margin", margin)):
        if not 0.0 < value < np.inf:
            raise InputError(f"{name} must be positive, got {value}; try {DROP}")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    factors = [curve.widening_factor for curve in curves]
    if len(set(factors)) < len(factors) or not all(0.0 < w < np.inf for w in factors):
        raise InputError(
            f"curves must be of different, positive widening factors, got {factors}; give one each"
        )
    usable = [c for c in sorted(curves, key=lambda c: c.widening_factor) if c.optimum.num_seeds > 1]
    if len(usable) < 2:
        raise FitError(
            f"noise resistance compares at least 2 widths with 2 seeds each, got {len(usable)} of "
            f"{len(curves)}; run more widths or seeds"
        )
    drawn = [_draw(curve, seed, rank) for rank, curve in enumerate(usable)]
    scales = _common_scales(usable) if fixed_scales is None else tuple(fixed_scales)
    if not all(0.0 < scale < np.inf for scale in scales):
        raise InputError(f"fixed_scales must be positive, got {list(scales)}; leave out the rest")
    tail = (1.0 - confidence) / 2.0
    narrowest = drawn[0]
    widths = []
    for curve, draws in zip(usable, drawn, strict=True):
        reached = curve.optimum.score >= narrowest.best - drop
        widths.append(
            WidthResistance(
                widening_factor=curve.widening_factor,
                noise_scale=curve.optimum.noise_scale,
                score=curve.optimum.score,
                score_interval=curve.optimum.score_interval,
                fixed=tuple(_fixed(draws, scale, tail) for scale in scales),
                own=_tolerated(draws, draws.best - drop, draws.best_draws - drop, tail),
                common=_tolerated(draws, narrowest.best - drop, narrowest.best_draws - drop, tail)
                if reached
                else None,
            )
        )
    fixed_gain, resisted_gain = _fixed_gains(usable, drawn, tail)
    return Resistance(
        widths=tuple(widths),
        fixed_scales=scales,
        drop=drop,
        margin=margin,
        confidence=confidence,
        gain=_gain(usable, drawn, tail),
        fixed_gain=fixed_gain,
        resisted_gain=resisted_gain,
        optimum_law=_law([(c.widening_factor, c.optimum) for c in usable], confidence),
        own_law=_tolerance_law([(c, w.own) for c, w in zip(usable, widths, strict=True)], tail),
        common_law=_tolerance_law(
            [(c, w.common) for c, w in zip(usable, widths, strict=True)], tail
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """One width with its draws."""

    settings: Settings
    draws: FloatArray  # (D, K) of the settings' means
    best: float
    best_draws: FloatArray  # (D,) of the score at the fitted peak
    diverged_above: float | None  # lowest log noise scale above the usable ones that diverges
    lean: FloatArray  # (D,) what the settings leave open between them, see _between

    def at(self, log_scale: float) -> tuple[float, FloatArray] | None:
        """Mean and draws at a noise scale; None if the settings do not cover it.

        No higher than the fitted peak or, if that is higher, the best setting.
        """
        places, means = self.settings.log_noise_scale, self.settings.means[None]
        value = value_at(places, means, log_scale, _MIDDLE)
        draws = value_at(places, self.draws, log_scale, self.lean)
        if value is None or draws is None:
            return None
        highest = max(self.best, float(means.max()))
        draws = np.minimum(draws, np.maximum(self.best_draws, self.draws.max(axis=1)))
        return min(float(value[0]), highest), draws


def _draw(curve: WidthCurve, seed: int, rank: int) -> _Drawn:
    num_test = curve.optimum.num_test
    settings = merge_settings(
        curve.noise_scale, curve.scores, limits=None, ran=curve.ran, num_test=num_test
    )
    top = find_flat_top(settings)
    if top is None:
        settings = thinned(settings)
    num_draws = curve.optimum.samples.size
    # The streams of locate_optimum: what is said here rests on the draws of its intervals.
    seed_rng, shape_rng = (np.random.default_rng([seed, stream]) for stream in range(2))
    draws = settings.draw_means(num_draws, seed_rng)
    _, peaks = fit_peaks(settings, draws, rng=shape_rng)
    if top is not None and top.level:
        peaks = draws[:, int(np.argmax(settings.means))]
    ran = np.ones(curve.scores.shape, bool) if curve.ran is None else np.asarray(curve.ran)
    lost = np.sum(np.isfinite(curve.scores) & ran, axis=1) < STABLE_SHARE * np.sum(ran, axis=1)
    beyond = np.log(curve.noise_scale[lost])
    beyond = beyond[beyond > settings.log_noise_scale[-1]]
    return _Drawn(
        settings=settings,
        draws=as_fractions(draws, num_test),
        best=curve.optimum.score,
        best_draws=as_fractions(peaks, num_test),
        diverged_above=float(beyond.min()) if beyond.size else None,
        # Apart for each width: where in a gap a curve ends says nothing of the next width.
        lean=np.random.default_rng([seed, 2, rank]).random(num_draws),
    )


def _common_scales(curves: Sequence[WidthCurve]) -> tuple[float, ...]:
    chosen = [curves[i].optimum.noise_scale for i in (0, len(curves) // 2, -1)]
    kept: list[float] = []
    for scale in sorted(chosen):
        if not kept or np.log(scale / kept[-1]) > 0.01:
            kept.append(scale)
    return tuple(kept)


def _fixed(drawn: _Drawn, noise_scale: float, tail: float) -> FixedScore:
    found = drawn.at(float(np.log(noise_scale)))
    if found is None:
        above = drawn.diverged_above
        problem = "not run"
        if above is not None and np.log(noise_scale) > drawn.settings.log_noise_scale[-1]:
            problem = "diverges" if np.log(noise_scale) >= above - 1e-6 else "not known"
        return FixedScore(
            noise_scale=noise_scale, score=None, interval=(-np.inf, np.inf), problem=problem
        )
    low, high = np.quantile(found[1], [tail, 1.0 - tail])
    return FixedScore(noise_scale=noise_scale, score=found[0], interval=(float(low), float(high)))


def _tolerated(
    drawn: _Drawn, threshold: float, threshold_draws: FloatArray, tail: float
) -> ToleratedNoise:
    """Where the score first falls below the threshold above the best setting."""
    places, means = drawn.settings.log_noise_scale, drawn.settings.means[None]
    best, beyond = int(np.argmax(means)), drawn.diverged_above
    estimate = float(first_fall(places, means - threshold, best, _MIDDLE, beyond)[0])
    above = drawn.draws - threshold_draws[:, None]
    samples = first_fall(places, above, best, drawn.lean, beyond)
    low, high = np.quantile(samples, [tail, 1.0 - tail], method="inverted_cdf")
    low = min(float(low), float(places[-1]))
    open_above = bool(np.isinf(high) or np.isinf(estimate))
    return ToleratedNoise(
        noise_scale=float(np.exp(estimate if np.isfinite(estimate) else places[-1])),
        interval=(float(np.exp(low)), np.inf if open_above else float(np.exp(high))),
        reason=drawn.settings.edge_reason("high") if open_above else None,
        samples=samples,
        measured=(float(np.exp(places[0])), float(np.exp(places[-1]))),
    )


def _gain(curves: Sequence[WidthCurve], drawn: Sequence[_Drawn], tail: float) -> Gain:
    value = drawn[-1].best - drawn[0].best
    low, high = _centered(value, drawn[-1].best_draws - drawn[0].best_draws, tail)
    # A best score at the edge of what was run is only a lower bound.
    return Gain(
        value=value,
        interval=(
            -np.inf if _at_edge(curves[0].optimum) else low,
            np.inf if _at_edge(curves[-1].optimum) else high,
        ),
    )


def _fixed_gains(
    curves: Sequence[WidthCurve], drawn: Sequence[_Drawn], tail: float
) -> tuple[Gain | None, Gain | None]:
    """Widest minus narrowest at the narrowest's optimum, and what the widest gains beyond that."""
    place = float(np.log(curves[0].optimum.noise_scale))
    narrow, wide = drawn[0].at(place), drawn[-1].at(place)
    if narrow is None or wide is None:
        return None, None
    value, draws = wide[0] - narrow[0], wide[1] - narrow[1]
    total = drawn[-1].best - drawn[0].best
    rest = drawn[-1].best_draws - drawn[0].best_draws - draws
    fixed = Gain(value=value, interval=_centered(value, draws, tail))
    low, high = _centered(total - value, rest, tail)
    high = np.inf if _at_edge(curves[-1].optimum) else high
    return fixed, Gain(value=total - value, interval=(low, high))


def _centered(value: float, draws: FloatArray, tail: float) -> tuple[float, float]:
    """Percentiles about the estimate: the peaks of draws lie above the peak of their mean."""
    low, high = np.quantile(draws - np.median(draws), [tail, 1.0 - tail])
    return value + float(low), value + float(high)


def _at_edge(optimum: Optimum) -> bool:
    """Whether the score at the optimum is that of a setting with nothing measured beyond."""
    edges = optimum.measured
    bounded = optimum.censoring != "none" or optimum.cliff is not None
    return bounded and any(np.isclose(optimum.noise_scale, edge, rtol=1e-6) for edge in edges)


def _tolerance_law(
    tolerated: Sequence[tuple[WidthCurve, ToleratedNoise | None]], tail: float
) -> Law | None:
    """The law of the tolerated noise; the fit is that of the optima, bounds included."""
    places = [
        (
            curve.widening_factor,
            replace(
                curve.optimum,
                noise_scale=found.noise_scale,
                interval=found.interval,
                censoring="none" if np.isfinite(found.interval[1]) else "high",
                reason=found.reason,
                samples=found.samples,
                measured=found.measured,
                cliff=None,
            ),
        )
        for curve, found in tolerated
        if found is not None
    ]
    return _law(places, 1.0 - 2.0 * tail)


def _law(places: Sequence[tuple[float, Optimum]], confidence: float) -> Law | None:
    try:
        return fit_law([w for w, _ in places], [o for _, o in places], confidence=confidence)
    except FitError:
        return None
