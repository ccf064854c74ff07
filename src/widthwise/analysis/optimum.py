"""Where the test accuracy of one width peaks, with an interval that covers."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.analysis.doubts import doubts_about
from widthwise.analysis.flat_top import FLAT, FlatTop, draws_on, find_flat_top, level_span
from widthwise.analysis.proportion import wilson_interval
from widthwise.analysis.settings import Scatter, Settings, merge_settings, thinned
from widthwise.analysis.shape import fit_peaks
from widthwise.errors import FitError, InputError
from widthwise.text import MISSING, html_table, number, plain
from widthwise.text import interval as written

Censoring = Literal["none", "low", "high"]
FloatArray = NDArray[np.float64]
# Confidence of an interval of one standard error to both sides.
_ONE_ERROR = 0.6826894921370859


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """The noise scale at which the score of one width is highest, or a bound on it.

    It counts as found only if its interval is closed on both sides; otherwise it is censored on
    the open side, and the bound that holds at the stated confidence is the closed end.

    Attributes:
        noise_scale: the argmax; the edge setting if the best fit lies beyond that edge; the middle
            of a level top.
        interval: 0.0 or infinity marks an open end.
        score: mean score at the fitted peak (at the edge, if beyond it).
        score_interval: of `score`, over seeds; infinite where nothing tells of noise. Within 0 and
            1, as is `score`, where scores are known to be fractions, because `num_test` was given.
        censoring: "low": the optimum may lie below every setting that was run; "high": above.
        reason: what kept the settings from going on, if censored; "flat" if the best settings tie
            so that any noise scale among them is as good.
        best_index: the setting with the highest mean, in the input order.
        num_seeds: S.
        sampling_error: standard error of `score` from the finite test set, by Wilson's interval, so
            that it is not 0 where all examples are right; not in the interval.
        samples: draws of log(noise_scale), shape (num_bootstrap,); infinite beyond an edge, NaN
            for one seed whose noise nothing tells, and for a level top that goes on to an edge.
        measured: lowest and highest usable noise scale.
        cliff: if the interval reaches beyond the highest usable setting and is closed: the noise
            scale that closes it, at which noise makes training diverge. `noise_scale` is then
            never beyond the highest usable setting.
        num_test: test examples behind each score, if that was given.
        doubts: what the scores show that makes the interval mean less than it says: "the top may be
            a kink", another peak, a top that is level up to an edge; short sentences, mostly none.
    """

    noise_scale: float
    interval: tuple[float, float]
    score: float
    score_interval: tuple[float, float]
    censoring: Censoring
    reason: str | None
    best_index: int
    num_seeds: int
    sampling_error: float | None
    samples: FloatArray = field(repr=False)
    measured: tuple[float, float] = (0.0, np.inf)
    cliff: float | None = None
    num_test: int | None = None
    doubts: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        """Whether the best settings tie, so that any noise scale among them is as good."""
        return self.reason == FLAT

    @property
    def is_saturated(self) -> bool:
        """Whether at most one test example is left to get right: no setting can be seen to be
        better."""
        return self.num_test is not None and self.score >= 1.0 - (1.0 + 1e-9) / self.num_test

    @property
    def sampling_interval(self) -> tuple[float, float] | None:
        """Where `score` may lie with another test set of this size, at 95 %."""
        if self.num_test is None:
            return None
        return wilson_interval(min(max(self.score, 0.0), 1.0), self.num_test)

    def __str__(self) -> str:
        said = [self.reason] * (self.censoring != "none") + list(self.doubts)
        ends = written(*self.interval)
        shown = "unbounded" if ends == MISSING else ends
        return f"{number(self.noise_scale)} ({'; '.join(map(str, [shown, *said]))})"

    def _repr_html_(self) -> str:
        """In a notebook."""
        rows = [("noise scale", number(self.noise_scale)), ("interval", written(*self.interval))]
        rows += [("score", number(self.score, 4)), ("seeds", str(self.num_seeds))]
        rows += [("bound", str(self.reason))] if self.censoring != "none" else []
        return html_table("Optimum", [*rows, *(("doubt", doubt) for doubt in self.doubts[:1])])

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the draws are left out, and an open end is infinite."""
        content: dict[str, Any] = plain(self, without=("samples",), infinite=True)
        return content | {"is_flat": self.is_flat}


def locate_optimum(
    noise_scale: ArrayLike,
    scores: ArrayLike,
    *,
    limits: Sequence[str | None] | None = None,
    num_test: int | None = None,
    num_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    ran: ArrayLike | None = None,
    effective_rate: ArrayLike | None = None,
    late: ArrayLike | None = None,
    scatter: Scatter | None = None,
) -> Optimum:
    """Locate the argmax over log(noise_scale) of the mean score.

    A weighted local parabola, or one of a few lopsided relatives where they fit better; the
    interval is a smooth bootstrap over seeds that also draws the shape. The reasons, and what to
    doubt, are in docs/statistics.md; how well it covers, in validation/planted_coverage.md.

    Args:
        noise_scale: shape (K,), any order; equal ones are merged seed by seed.
        scores: shape (K, S), higher is better; NaN = diverged. A setting counts if at least 90 %
            of its runs survived, and at least two did (one if S = 1).
        limits: for each setting, what keeps anyone from going beyond it ("batch size 1").
        num_test: test examples behind each score, for `sampling_error`; scores are then fractions,
            and seeds that tie at a setting still spread by one example.
        num_bootstrap: draws.
        confidence: of the intervals.
        seed: of the draws; give all widths of one law the same.
        ran: shape (K, S), False where a run has not been made yet (and so did not diverge).
        effective_rate: shape (K,), ε/(1 − m). With it, a setting above all usable ones at which
            at least half of the runs, and two, diverged bounds the optimum from above, if a usable
            setting has as large a rate: then it is the noise that does not train. Without it,
            divergence leaves the optimum open, for a smaller rate might bear that noise scale.
        late: shape (K,), True where a setting had not arrived at late times
            (:func:`widthwise.analysis.late_times.catching_up`). One with less noise than the best
            then does not count: longer training might make it the best.
        scatter: the noise of one run, of settings that were run once or with few seeds
            (:func:`widthwise.analysis.scatter.measure_scatter`). The interval then rests on it
            alone: runs of one setting count as repetitions, and one is enough.

    Raises:
        InputError: if shapes disagree or values are out of range.
        FitError: if fewer than three distinct settings are stable.

    >>> x = np.arange(6.0)
    >>> scores = 0.78 - 0.01 * (x[:, None] - 2.5) ** 2 + np.array([-0.001, 0.0, 0.001])
    >>> optimum = locate_optimum(2.0**x, scores)
    >>> round(float(np.log2(optimum.noise_scale)), 6), optimum.censoring
    (2.5, 'none')
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}; the default is 0.95")
    if num_bootstrap < 100:
        raise InputError(f"num_bootstrap must be at least 100, got {num_bootstrap}; try 1000")
    settings = merge_settings(
        noise_scale,
        scores,
        limits=limits,
        ran=ran,
        effective_rate=effective_rate,
        num_test=num_test,
        late=late,
        scatter=scatter,
    )
    if settings.num_usable < 3:
        remedy = "run more settings, or smaller learning rates"
        if settings.late_below:
            remedy = f"{settings.late_below} more had not arrived at late times: train longer"
        raise FitError(
            "an optimum needs at least 3 distinct noise scales at which training is stable, got "
            f"{settings.num_usable}; {remedy}"
        )
    seed_rng, shape_rng = (np.random.default_rng([seed, stream]) for stream in range(2))
    estimate, peak = fit_peaks(settings, None, rng=None)
    top = find_flat_top(settings)
    if top is None:
        settings = thinned(settings)
    best = int(np.argmax(settings.means))
    closed_by: float | None = None
    doubts: tuple[str, ...] = ()
    if not settings.noise_known:
        samples = np.full(num_bootstrap, np.nan)
        interval = (0.0, np.inf)
        score_interval = (-np.inf, np.inf)
        beyond = (float(best == 0), float(best == settings.num_usable - 1))
    else:
        draws = settings.draw_means(num_bootstrap, seed_rng)
        samples, peaks = fit_peaks(settings, draws, rng=shape_rng)
        samples = _below_cliff(samples, settings, seed)
        if top is not None and top.level:
            peaks = draws[:, best]
        tail = (1.0 - confidence) / 2.0
        # Order statistics rather than interpolation: infinite draws must not yield NaN.
        low, high = np.quantile(samples, [tail, 1.0 - tail], method="inverted_cdf")
        # Draws beyond an edge say "at the edge or beyond": the closed end stays at the edge.
        low = min(low, settings.log_noise_scale[-1])
        high = max(high, settings.log_noise_scale[0])
        level = None
        if top is None and np.isinf(low) != np.isinf(high):
            level = level_span(settings)
        if level is not None:
            low, high = min(low, level[0]), max(high, level[1])
        if top is None:
            doubts = doubts_about(settings, samples, level, tail)
        if settings.cliff is not None and high > settings.log_noise_scale[-1]:
            high = closed_by = settings.cliff
        interval = (float(np.exp(low)), float(np.exp(high)))
        s_low, s_high = np.quantile(as_fractions(peaks, num_test), [tail, 1.0 - tail])
        score_interval = (float(s_low), float(s_high))
        beyond = (
            float(np.mean(np.isneginf(samples))) * (interval[0] == 0.0),
            float(np.mean(np.isposinf(samples))) * bool(np.isinf(interval[1])),
        )
    censoring: Censoring = "none"
    if max(beyond) > 0.0:
        censoring = "low" if beyond[0] >= beyond[1] else "high"
    log_scale = float(estimate[0])
    score = float(peak[0])
    if closed_by is not None and log_scale == np.inf:
        # What is known to train, rather than a guess between it and what is known not to.
        log_scale = float(settings.log_noise_scale[-1])
    elif np.isfinite(log_scale) and not interval[0] <= np.exp(log_scale) <= interval[1]:
        # The one shape that fits best disagrees with nearly all draws of all shapes.
        middle = float(np.median(samples))
        highest = settings.log_noise_scale[-1] if closed_by is not None else middle
        log_scale = min(middle, float(highest))
    if not np.isfinite(log_scale):
        log_scale = float(settings.log_noise_scale[0 if log_scale < 0 else -1])
        censoring = "low" if estimate[0] < 0 else "high"
        interval = (0.0, interval[1]) if censoring == "low" else (interval[0], float("inf"))
    found = Optimum(
        noise_scale=float(np.exp(log_scale)),
        interval=interval,
        score=float(as_fractions(score, num_test)),
        score_interval=score_interval,
        censoring=censoring,
        reason=None if censoring == "none" else settings.edge_reason(censoring),
        best_index=settings.best_member[best],
        num_seeds=settings.num_seeds,
        sampling_error=_sampling_error(float(settings.means[best]), num_test),
        samples=samples,
        measured=(
            float(np.exp(settings.log_noise_scale[0])),
            float(np.exp(settings.log_noise_scale[-1])),
        ),
        cliff=None if closed_by is None else float(np.exp(closed_by)),
        num_test=num_test,
        doubts=doubts,
    )
    return found if top is None else _on_flat_top(found, top, settings, confidence, seed)


def as_fractions(scores: FloatArray | float, num_test: int | None) -> FloatArray:
    """Scores that a fit or a draw took beyond what an accuracy can be, back within 0 and 1."""
    return np.asarray(scores if num_test is None else np.clip(scores, 0.0, 1.0))


def _on_flat_top(
    found: Optimum, top: FlatTop, settings: Settings, confidence: float, seed: int
) -> Optimum:
    """The same optimum, but anywhere among the settings that tie, and open where they go on to an
    edge.
    """
    open_below, open_above = (bool(np.isinf(end)) for end in top.reach)
    low, high, samples, cliff = -np.inf, np.inf, found.samples, found.cliff
    if settings.noise_known:
        samples = draws_on(top, samples, settings, seed)
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(samples, [tail, 1.0 - tail], method="inverted_cdf")
        low = -np.inf if open_below else min(float(low), top.hull[0])
        high = np.inf if open_above else max(float(high), top.hull[1])
        cliff = None
        if settings.cliff is not None and high > settings.log_noise_scale[-1]:
            high, cliff = settings.cliff, float(np.exp(settings.cliff))
        if open_below or open_above:
            samples = np.full(samples.shape, np.nan)
    censoring: Censoring = "low" if np.isinf(low) else "high" if np.isinf(high) else "none"
    found = replace(found, interval=(float(np.exp(low)), float(np.exp(high))), samples=samples)
    if not top.level:
        return found
    return replace(
        found,
        noise_scale=float(np.exp(top.middle)),
        score=float(np.max(settings.means)),
        censoring=censoring,
        reason=FLAT,
        cliff=cliff,
    )


def _below_cliff(samples: FloatArray, settings: Settings, seed: int) -> FloatArray:
    """Draws beyond the highest usable setting end where training diverges, if that is known.

    Accuracy drops somewhere between that setting and the lowest that diverges: anywhere, apart
    for each width.
    """
    if settings.cliff is None:
        return samples
    own = zlib.crc32(np.concatenate([settings.log_noise_scale, settings.means]).tobytes())
    rng = np.random.default_rng([seed, 3, own])
    place = rng.uniform(settings.log_noise_scale[-1], settings.cliff, size=samples.shape)
    return np.where(np.isposinf(samples), place, samples)


def _sampling_error(score: float, num_test: int | None) -> float | None:
    if num_test is None:
        return None
    if num_test < 1 or not 0.0 <= score <= 1.0:
        raise InputError(
            "num_test needs scores that are fractions in [0, 1] and at least one test example, "
            f"got score {score:g} and num_test {num_test}; divide percentages by 100"
        )
    low, high = wilson_interval(score, num_test, _ONE_ERROR)
    return (high - low) / 2.0
