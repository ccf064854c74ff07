"""Shapes that are no single smooth peak: kinks, two peaks, peaks lower than the noise."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from widthwise.analysis import locate_optimum, shape
from widthwise.analysis.doubts import KINK

OCTAVES = np.arange(10.0)
NOISE = 0.004  # of one seed


def parabola(u):
    return 0.015 * u**2


def tent(u):
    """Half a point an octave below the kink, three above."""
    return np.where(u < 0.0, -0.005, 0.03) * u


def two_humps(u, lower=0.003):
    """The second, four octaves above, is lower."""
    return 0.05 - np.maximum(
        0.05 * np.exp(-0.5 * (u / 0.8) ** 2), (0.05 - lower) * np.exp(-0.5 * ((u - 4) / 0.8) ** 2)
    )


def hidden_peak(u):
    """A seventh of a point above a plateau that goes on to little noise; then a cliff."""
    low, high = np.minimum(u, 0.0), np.maximum(u, 0.0)
    return 0.0015 * (1 - np.exp(-0.5 * (low / 1.5) ** 2)) + 0.012 * high**2 + 0.006 * high**4


def scores(drop, optimum, num_seeds, seed):
    rng = np.random.default_rng(seed)
    common = 0.7 * NOISE * rng.standard_normal(num_seeds)
    own = NOISE * rng.standard_normal((OCTAVES.size, num_seeds))
    return 0.78 - drop(OCTAVES - optimum)[:, None] + common + own


def locate(drop, optimum, num_seeds=8, seed=0):
    return locate_optimum(2.0**OCTAVES, scores(drop, optimum, num_seeds, seed), seed=seed)


def covers(found, optimum):
    return found.interval[0] <= 2.0**optimum <= found.interval[1]


class TestKink:
    def test_its_place_is_in_the_interval_and_the_doubt_beside_it(self):
        found = locate(tent, 4.45)
        assert covers(found, 4.45)
        assert KINK in found.doubts
        # Not by width: the interval is shorter than a setting and a half.
        assert found.interval[1] / found.interval[0] < 2.0**1.5

    def test_curved_shapes_alone_put_it_where_the_curve_is_gentle(self, monkeypatch):
        monkeypatch.setattr(shape, "PIECES", (shape.HALVES,))
        assert locate(tent, 4.45).interval[1] < 2.0**4.45

    def test_a_steep_parabola_has_none(self):
        assert locate(parabola, 4.45).doubts == ()

    def test_one_beyond_the_grid_is_a_bound_and_no_kink(self):
        found = locate(tent, 10.5)
        assert found.censoring == "high"
        assert KINK not in found.doubts

    def test_a_tent_has_at_most_half_of_the_draws(self):
        """Straight flanks are no proof of a kink: a narrow bump has them too."""
        exact = np.repeat(0.78 - tent(OCTAVES - 4.0)[:, None], 2, axis=1)
        exact += np.array([-1e-4, 1e-4])
        places = locate_optimum(2.0**OCTAVES, exact).samples / math.log(2.0)
        assert places.min() < 3.9  # curved shapes, which put it lower
        assert places.max() >= 4.0


class TestTwoPeaks:
    def test_the_interval_holds_both_if_either_may_be_higher(self):
        found = locate(lambda u: two_humps(u, lower=0.0), 2.6)
        assert covers(found, 2.6)
        assert covers(found, 6.6)
        (doubt,) = [text for text in found.doubts if "another peak" in text]
        best = round(math.log2(found.noise_scale))
        assert doubt == (f"another peak, near {'128' if best == 3 else '8'}, may be the higher one")

    def test_a_second_that_is_clearly_lower_is_none(self):
        found = locate(lambda u: two_humps(u, lower=0.02), 2.6)
        assert covers(found, 2.6)
        assert not any("another peak" in text for text in found.doubts)
        assert found.interval[1] < 2.0**4

    def test_the_law_gets_draws_at_both(self):
        samples = locate(lambda u: two_humps(u, lower=0.0), 2.6).samples / math.log(2.0)
        assert 0.025 < np.mean(samples < 4.5) < 0.975


class TestLevel:
    SCORES = np.array([0.78, 0.781, 0.78, 0.779, 0.78, 0.6, 0.3])[:, None]
    SCORES = SCORES + NOISE * np.random.default_rng(0).standard_normal((7, 5))

    def test_the_interval_ends_at_the_first_setting_that_is_clearly_worse(self):
        found = locate_optimum(2.0 ** np.arange(7), self.SCORES)
        assert found.interval == (0.0, pytest.approx(2.0**5))
        assert found.censoring == "low"
        assert "scores below 32 are level as far as their seeds can tell" in found.doubts

    def test_so_it_does_where_the_scores_are_level_up_to_the_highest(self):
        found = locate_optimum(2.0 ** np.arange(7), self.SCORES[::-1])
        assert found.interval == (pytest.approx(2.0), math.inf)
        assert "scores above 2 are level as far as their seeds can tell" in found.doubts

    def test_a_decline_up_to_the_edge_is_not_level(self):
        found = locate(lambda u: np.where(u < 0.0, -0.006 * u, 0.05 * u**2), 3.0)
        assert not any("level" in text for text in found.doubts)


class TestShown:
    def test_beside_the_interval(self):
        found = locate(tent, 4.45)
        assert str(found).endswith("; the top may be a kink)")
        assert str(locate(parabola, 4.45)).count(";") == 0
        bound = locate(parabola, 11.0)
        assert str(bound) == f"512 (above {bound.interval[0]:.0f}; edge of the grid)"

    @pytest.mark.parametrize("optimum", [4.45, 11.0])
    def test_as_json_and_back(self, optimum):
        found = locate(tent, optimum)
        back = json.loads(json.dumps(found.to_dict()))
        assert back == found.to_dict()
        assert back["doubts"] == list(found.doubts)
        assert back["interval"] == list(found.interval)
        assert back["is_flat"] is False
        assert "samples" not in back


CASES = 40
# Were the true coverage 95 %, fewer hits than this would have a chance below 1 in 10,000.
LEAST_HITS = int(stats.binom.ppf(1e-4, CASES, 0.95))


def planted(drop, low, high, num_seeds=8):
    rng = np.random.default_rng(17)
    places = rng.uniform(low, high, CASES)
    return [(place, locate(drop, place, num_seeds, case)) for case, place in enumerate(places)]


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [5, 8])
def test_intervals_cover_planted_kinks(num_seeds):
    found = planted(tent, 2.5, 7.5, num_seeds)
    assert sum(covers(optimum, place) for place, optimum in found) >= LEAST_HITS


@pytest.mark.slow
def test_that_check_rejects_curved_shapes_alone(monkeypatch):
    monkeypatch.setattr(shape, "PIECES", (shape.HALVES,))
    found = planted(tent, 2.5, 7.5)
    assert sum(covers(optimum, place) for place, optimum in found) < LEAST_HITS


@pytest.mark.slow
def test_intervals_cover_the_higher_of_two_planted_peaks():
    found = planted(two_humps, 1.5, 4.0)
    assert sum(covers(optimum, place) for place, optimum in found) >= LEAST_HITS


@pytest.mark.slow
def test_intervals_cover_planted_peaks_lower_than_the_noise():
    found = planted(hidden_peak, 3.0, 7.0)
    assert sum(covers(optimum, place) for place, optimum in found) >= LEAST_HITS
    assert sum(any("level" in text for text in o.doubts) for _, o in found) > CASES / 4


@pytest.mark.slow
def test_a_doubt_is_rare_where_there_is_no_reason_for_it():
    """A doubt that always shows says nothing."""
    kinks = sum(KINK in found.doubts for _, found in planted(tent, 2.5, 7.5))
    parabolas = sum(bool(found.doubts) for _, found in planted(parabola, 2.5, 7.5))
    assert kinks >= 0.4 * CASES
    assert parabolas <= 0.15 * CASES
    assert kinks >= 5 * parabolas
