"""compare_optima: exact values, verdicts, censoring, and planted shifts."""

import math

import numpy as np
import pytest

from widthwise.analysis import Optimum, locate_optimum
from widthwise.analysis.comparison import OptimumShift, compare_optima, summarize_shifts
from widthwise.errors import InputError

OCTAVES = np.arange(8.0)
NOISE = 0.004  # of one seed, in accuracy


def optimum(draws, *, at=None, censoring="none", measured=(0.0, 7.0)):
    """An optimum with given draws, in octaves."""
    draws = np.asarray(draws, dtype=float)
    return Optimum(
        noise_scale=2.0 ** float(np.median(draws) if at is None else at),
        interval=(0.0, np.inf),
        score=0.78,
        score_interval=(0.77, 0.79),
        censoring=censoring,
        reason=None if censoring == "none" else "edge of the grid",
        best_index=0,
        num_seeds=5,
        sampling_error=None,
        samples=draws * math.log(2.0),
        measured=(2.0 ** measured[0], 2.0 ** measured[1]),
    )


def normal(center, spread, seed=0, size=400):
    return center + spread * np.random.default_rng(seed).standard_normal(size)


def planted(at, rng, num_seeds=5, curvature=0.005):
    """What is located in noisy scores whose optimum lies at so many octaves."""
    means = 0.78 - curvature * (OCTAVES - at) ** 2
    common = 0.7 * NOISE * rng.standard_normal(num_seeds)
    scores = means[:, None] + common + NOISE * rng.standard_normal((OCTAVES.size, num_seeds))
    return locate_optimum(2.0**OCTAVES, scores, num_bootstrap=200)


def one(first, second, **options):
    [shift] = compare_optima({2.0: first}, {2.0: second}, **options)
    return shift


class TestInterval:
    def test_of_all_pairs_of_draws(self):
        # Differences of {0, 1} and {2, 4}: 1, 2, 3, 4, each a quarter.
        first, second = optimum([0, 1], at=0.5), optimum([2, 4], at=3)
        assert one(first, second, confidence=0.4).interval == pytest.approx((2.0, 3.0))
        assert one(first, second, confidence=0.9).interval == pytest.approx((1.0, 4.0))
        assert one(first, second).octaves == pytest.approx(2.5)

    def test_spreads_add_in_squares_whatever_the_order_of_the_draws(self):
        draws = normal(3.0, 0.3)
        alike = one(optimum(draws), optimum(draws)).interval  # not 0 ± 0: independent runs
        mixed = one(optimum(draws), optimum(draws[::-1])).interval
        assert alike == mixed
        # 95 % of a normal difference; 400 draws tell its spread to some 4 %: three times that.
        assert (alike[1] - alike[0]) / 2 == pytest.approx(1.96 * math.hypot(0.3, 0.3), rel=0.12)

    def test_exchanging_the_studies_turns_the_sign(self):
        first, second = optimum(normal(2, 0.2, 1)), optimum(normal(3, 0.4, 2))
        there, back = one(first, second), one(second, first)
        assert there.octaves == pytest.approx(-back.octaves)
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=0.01)
        assert (there.first, there.second) == (back.second, back.first)

    def test_confidence_widens_it(self):
        pair = optimum(normal(2, 0.3, 1)), optimum(normal(2, 0.3, 2))
        (low, high), (wide_low, wide_high) = (
            one(*pair, confidence=c).interval for c in (0.8, 0.99)
        )
        assert wide_low < low < high < wide_high


class TestVerdict:
    @pytest.mark.parametrize(
        ("shift", "spread", "verdict"),
        [
            (0.0, 0.1, "did not move"),
            (0.2, 0.05, "did not move"),  # excludes 0, but by less than what counts
            (-0.2, 0.05, "did not move"),
            (1.0, 0.1, "moved"),
            (-1.0, 0.1, "moved"),
            (0.4, 0.1, "moved"),
            (0.0, 0.5, "inconclusive"),
            (0.5, 0.5, "inconclusive"),
        ],
    )
    def test_by_equivalence(self, shift, spread, verdict):
        first, second = optimum(normal(3, spread, 1)), optimum(normal(3 + shift, spread, 2))
        assert one(first, second).verdict == verdict

    def test_depends_on_the_tolerance(self):
        pair = optimum(normal(3, 0.05, 1)), optimum(normal(3.3, 0.05, 2))
        assert one(*pair, tolerance=0.5).verdict == "did not move"
        assert one(*pair, tolerance=0.1).verdict == "moved"


class TestCensored:
    """Grid from 0 to 7 octaves."""

    def high(self, beyond=200):
        draws = np.sort(normal(6.5, 0.3))
        draws[draws.size - beyond :] = np.inf
        return optimum(draws, at=7, censoring="high")

    def low(self, beyond=200):
        draws = np.sort(normal(0.5, 0.3))
        draws[:beyond] = -np.inf
        return optimum(draws, at=0, censoring="low")

    @pytest.mark.parametrize(
        ("kinds", "open_ends"),
        [
            (("found", "high"), (False, True)),
            (("found", "low"), (True, False)),
            (("high", "found"), (True, False)),
            (("low", "found"), (False, True)),
            (("high", "high"), (True, True)),
            (("low", "low"), (True, True)),
            (("low", "high"), (False, True)),
        ],
    )
    @pytest.mark.parametrize("beyond", [0, 100, 400])
    def test_opens_the_interval_and_is_not_reported_as_found(self, kinds, open_ends, beyond):
        make = {
            "found": lambda: optimum(normal(3.5, 0.1)),
            "high": lambda: self.high(beyond),
            "low": lambda: self.low(beyond),
        }
        shift = one(*(make[kind]() for kind in kinds))
        assert tuple(np.isinf(shift.interval)) == open_ends
        assert shift.octaves is None
        assert (shift.first is None, shift.second is None) == tuple(k != "found" for k in kinds)
        assert shift.verdict != "did not move"
        assert "was not found" in shift.sentence()

    def test_a_bound_can_show_that_it_moved(self):
        found, above = optimum(normal(3.5, 0.1)), self.high(400)
        shift = one(found, above)
        # All draws beyond the edge at 7: by 3.5 octaves at least.
        assert shift.interval[0] == pytest.approx(3.5, abs=0.3)
        assert shift.verdict == "moved"
        assert one(above, found).verdict == "moved"

    def test_where_the_bound_does_not_exclude_it_nothing_is_said(self):
        assert one(optimum(normal(6.8, 0.2)), self.high()).verdict == "inconclusive"
        assert one(self.high(), self.high()).verdict == "inconclusive"

    def test_one_seed_has_no_interval(self):
        shift = one(optimum([np.nan] * 200, at=3), optimum(normal(3, 0.1)))
        assert shift.interval == (-np.inf, np.inf)
        assert shift.verdict == "inconclusive"


TRIALS = 100
# Three standard errors of a share of 95 % in so many trials.
LEAST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / TRIALS)


@pytest.fixture(scope="module", params=[0.0, 0.6])
def trials(request):
    """The true shift, and what many pairs of studies say of it."""
    rng = np.random.default_rng(41)
    shifts = [
        one(planted(3.4, rng), planted(3.4 + request.param, rng), tolerance=1.0)
        for _ in range(TRIALS)
    ]
    return request.param, shifts


@pytest.mark.slow
class TestPlanted:
    """Two studies of noisy scores: is the true shift inside the interval?"""

    def coverage(self, true, intervals):
        return np.mean([low <= true <= high for low, high in intervals])

    def test_intervals_cover(self, trials):
        true, shifts = trials
        assert self.coverage(true, [s.interval for s in shifts]) >= LEAST

    def test_intervals_half_as_wide_would_not(self, trials):
        true, shifts = trials
        halved = [
            np.mean(s.interval) + 0.25 * np.ptp(s.interval) * np.array([-1, 1]) for s in shifts
        ]
        assert self.coverage(true, halved) < LEAST

    def test_a_false_verdict_is_rare(self, trials):
        true, shifts = trials
        verdicts = [s.verdict for s in shifts]
        if true == 0.0:
            assert verdicts.count("moved") <= (1 - LEAST) * TRIALS
        # A shift of 0.6 octaves lies within the tolerance of 1.
        assert verdicts.count("did not move") > 0

    def test_a_shift_beyond_the_tolerance_is_seldom_called_none(self):
        rng = np.random.default_rng(42)
        shifts = [one(planted(3.4, rng), planted(4.4, rng), tolerance=0.5) for _ in range(60)]
        assert all(s.verdict != "did not move" for s in shifts)
        assert sum(s.verdict == "moved" for s in shifts) > 30


class TestWidths:
    def test_common_ones_in_ascending_order(self):
        a, b = optimum(normal(2, 0.1)), optimum(normal(3, 0.1))
        shifts = compare_optima({4.0: a, 1.0: a, 8.0: a}, {1.0: b, 2.0: b, 4.0: b})
        assert [s.widening_factor for s in shifts] == [1.0, 4.0]

    def test_none_in_common(self):
        a = optimum(normal(2, 0.1))
        with pytest.raises(InputError, match="got 1 in the first and none in the second"):
            compare_optima({1.0: a}, {})

    @pytest.mark.parametrize("tolerance", [0.0, -1.0, math.inf, math.nan])
    def test_a_tolerance_that_is_none(self, tolerance):
        a = optimum(normal(2, 0.1))
        with pytest.raises(InputError, match="tolerance must be positive"):
            one(a, a, tolerance=tolerance)

    @pytest.mark.parametrize("confidence", [0.0, 1.0])
    def test_a_confidence_that_is_none(self, confidence):
        a = optimum(normal(2, 0.1))
        with pytest.raises(InputError, match=r"confidence must lie in \(0, 1\)"):
            one(a, a, confidence=confidence)


def shift(verdict, octaves=0.1, **changes):
    return OptimumShift(
        **{
            "widening_factor": 2.0,
            "first": 4.0,
            "second": 4.3,
            "octaves": octaves,
            "interval": (-0.2, 0.4),
            "verdict": verdict,
            "tolerance": 0.5,
            "confidence": 0.95,
            **changes,
        }
    )


class TestSentences:
    def test_of_a_width(self):
        assert shift("did not move").sentence() == (
            "At widening factor 2 the optimum did not move by more than 0.5 octaves: "
            "+0.10 octaves (95 % interval -0.20 to +0.40)."
        )

    def test_of_a_censored_width(self):
        censored = shift("moved", None, second=None, interval=(1.5, math.inf))
        assert censored.sentence() == (
            "At widening factor 2 the optimum moved: (95 % interval +1.50 to +inf); the second "
            "was not found."
        )

    def test_of_all_widths(self):
        shifts = [shift("did not move"), shift("did not move"), shift("inconclusive")]
        assert summarize_shifts(shifts) == (
            "Of 3 widths compared, the optimum did not move by more than 0.5 octaves at 2, "
            "the data do not decide whether the optimum moved at 1."
        )
