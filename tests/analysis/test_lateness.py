"""Settings that lose only because they had not arrived are no evidence of where the optimum is."""

import contextlib

import numpy as np
import pytest

from widthwise.analysis import fit_law, locate_optimum
from widthwise.analysis.late_times import catching_up, late_mean, plateau_slope
from widthwise.analysis.settings import NOT_ARRIVED
from widthwise.errors import FitError, InputError

TOTAL, EVALUATIONS, SEEDS = 1000, 40, 8
STEPS = np.arange(1, EVALUATIONS + 1) * (TOTAL // EVALUATIONS)
SCALE = 2.0 ** np.arange(-5, 6)


def curves(times, *, peak=-2.0, seed=0):
    """Accuracy (K, S, E) that approaches, each setting with its own time, a parabola in octaves."""
    rng = np.random.default_rng(seed)
    final = 0.8 - 0.002 * (np.log2(SCALE) - peak) ** 2
    approached = 1.0 - np.exp(-STEPS / np.asarray(times)[:, None])
    shape = (SCALE.size, SEEDS, 1)
    return (
        (final[:, None] * approached)[:, None, :]
        + 0.001 * rng.standard_normal(shape)
        + 0.001 * rng.standard_normal((SCALE.size, SEEDS, EVALUATIONS))
    )


def measured(times, **options):
    table = curves(times, **options)
    return late_mean(STEPS, table, TOTAL), plateau_slope(STEPS, table, TOTAL)


SLOW = TOTAL / SCALE / 2.0  # little noise learns slowly: 8 of 11 settings have not arrived
QUICK = np.full(SCALE.size, TOTAL / 20)


class TestCatchingUp:
    def test_slow_settings_are_found_and_quick_ones_are_not(self):
        late = catching_up(*measured(SLOW))
        assert late[:4].all()
        assert not late[-3:].any()
        assert not catching_up(*measured(QUICK)).any()

    def test_chance_is_kept(self):
        found = [catching_up(*measured(QUICK, seed=seed)).any() for seed in range(200)]
        assert np.mean(found) <= 0.1

    def test_a_pace_that_would_not_reach_the_best_is_no_reason(self):
        scores = np.array([[0.5] * 4, [0.8, 0.81, 0.8, 0.79]])
        slopes = np.array([[0.01, 0.0101, 0.01, 0.0099], [0.0] * 4])
        assert not catching_up(scores, slopes).any()
        assert catching_up(scores, 10 * slopes).tolist() == [True, False]

    def test_one_seed_tells_nothing(self):
        assert not catching_up([[0.5], [0.6]], [[0.2], [0.0]]).any()

    def test_below_one_that_is_late_whatever_rises_is_late(self):
        """At chance level a run has hardly begun, and its score hardly moves."""
        scores = np.array([[0.11, 0.111], [0.2, 0.201], [0.7, 0.701], [0.76, 0.761], [0.6, 0.601]])
        slopes = np.array([[2e-3] * 2, [0.04] * 2, [0.05] * 2, [0.0] * 2, [1e-3] * 2])
        slopes += [-1e-5, 1e-5]
        assert catching_up(scores, slopes).tolist() == [False, True, True, False, False]
        late = catching_up(scores, slopes, noise_scale=2.0 ** np.arange(5))
        assert late.tolist() == [True, True, True, False, False]
        # Without one that is late above it, nothing is added.
        arrived = catching_up(
            scores, slopes * [[1], [0], [0], [0], [1]], noise_scale=np.arange(5.0)
        )
        assert not arrived.any()


class TestOptimum:
    def test_lateness_leaves_it_open_below(self):
        scores, slopes = measured(SLOW)
        # By itself the table has a sharp peak, far above the true one.
        believed = locate_optimum(SCALE, scores)
        assert believed.censoring == "none"
        assert believed.interval[0] > 2.0**-2.0
        honest = locate_optimum(SCALE, scores, late=catching_up(scores, slopes))
        assert honest.censoring == "low"
        assert honest.interval[0] == 0.0
        assert honest.reason == NOT_ARRIVED

    def test_a_best_that_has_not_arrived_either_bounds_nothing_from_below(self):
        scores, _ = measured(QUICK)
        best = int(np.argmax(scores.mean(axis=1)))
        late = np.arange(SCALE.size) <= best
        found = locate_optimum(SCALE, scores, late=late)
        assert (found.censoring, found.reason) == ("low", NOT_ARRIVED)
        assert found.interval[0] == 0.0
        assert found.best_index == best + 1
        # Alone it stays: nothing with less noise could overtake it.
        alone = locate_optimum(SCALE, scores, late=np.arange(SCALE.size) == best)
        assert alone.interval == pytest.approx(locate_optimum(SCALE, scores).interval)

    def test_where_all_have_arrived_nothing_changes(self):
        scores, slopes = measured(QUICK)
        plain = locate_optimum(SCALE, scores)
        again = locate_optimum(SCALE, scores, late=catching_up(scores, slopes))
        assert again.interval == plain.interval
        assert again.censoring == "none"
        assert again.interval[0] <= 2.0**-2.0 <= again.interval[1]

    def test_late_settings_that_others_rule_out_do_no_harm(self):
        scores, _ = measured(QUICK, peak=2.0)
        late = np.zeros(SCALE.size, dtype=bool)
        late[:3] = True
        found = locate_optimum(SCALE, scores, late=late)
        assert found.censoring == "none"
        assert found.interval[0] <= 4.0 <= found.interval[1]

    def test_lateness_above_the_best_does_not_count(self):
        scores, _ = measured(QUICK)
        late = SCALE > 1.0
        assert locate_optimum(SCALE, scores, late=late).interval == pytest.approx(
            locate_optimum(SCALE, scores).interval
        )

    def test_too_few_that_have_arrived(self):
        scores, _ = measured(QUICK, peak=4.0)
        late = SCALE < 16.0
        with pytest.raises(FitError, match="more had not arrived at late times: train longer"):
            locate_optimum(SCALE[:10], scores[:10], late=late[:10])

    def test_the_shape_is_checked(self):
        with pytest.raises(InputError, match="late must give one truth value"):
            locate_optimum(SCALE, measured(QUICK)[0], late=[True])


class TestLaw:
    """Where settings begin to arrive goes with width, and the optimum stays where it is."""

    FACTORS = (1.0, 2.0, 4.0, 8.0)

    def verdict(self, seed, *, heeded):
        optima = {}
        for factor in self.FACTORS:
            scores, slopes = measured(SLOW * factor / 8.0, seed=seed * 10 + int(factor))
            late = catching_up(scores, slopes, noise_scale=SCALE) if heeded else None
            with contextlib.suppress(FitError):
                optima[factor] = locate_optimum(SCALE, scores, late=late, seed=seed)
        try:
            return fit_law(list(optima), list(optima.values())).verdict
        except FitError:
            return "none"

    @pytest.mark.slow
    def test_lateness_makes_no_law(self):
        heeded = {self.verdict(seed, heeded=True) for seed in range(6)}
        assert heeded <= {"none", "constant", "inconclusive"}
        # Unheeded it makes one.
        assert "proportional" in {self.verdict(seed, heeded=False) for seed in range(3)}
