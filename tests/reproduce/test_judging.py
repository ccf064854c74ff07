"""Every judge against planted truth, row by row; a control that must fail, fails."""

import math

import pytest
from planted import equal_scales, evidence, row, study
from planted_rates import rates

from widthwise.reproduce.judging import (
    Judgement,
    judge_bounded,
    judge_ceiling,
    judge_collapse,
    judge_growing,
    judge_not_proportional,
    judge_proportional,
    judge_resistance,
)

# Judge, planted exponent of ḡ_opt → what must come out.
LAW_TABLE = [
    (judge_proportional, 1.0, "confirmed"),
    (judge_proportional, 0.0, "contradicted"),  # the control: the optimum does not move
    (judge_proportional, 0.5, "contradicted"),
    (judge_growing, 1.0, "confirmed"),
    (judge_growing, 0.5, "confirmed"),
    (judge_growing, 0.0, "contradicted"),
    (judge_not_proportional, 0.0, "confirmed"),
    (judge_not_proportional, 0.5, "confirmed"),
    (judge_not_proportional, 1.0, "contradicted"),
]


class TestLaw:
    @pytest.mark.parametrize(("judge", "exponent", "verdict"), LAW_TABLE)
    def test_planted(self, judge, exponent, verdict):
        found = judge(study(exponent))
        assert found.verdict == verdict
        low, high = found.interval
        assert low - 0.05 <= exponent <= high + 0.05
        assert found.value == pytest.approx(exponent, abs=0.1)
        assert found.would_decide is None

    @pytest.mark.parametrize("judge", [judge_proportional, judge_growing, judge_not_proportional])
    def test_too_noisy_to_tell(self, judge):
        found = judge(study(0.6, noise=0.05, seeds=3, widths=(1.0, 2.0)))
        assert found.verdict == "inconclusive"
        assert found.would_decide

    @pytest.mark.parametrize("judge", [judge_proportional, judge_growing, judge_not_proportional])
    def test_optima_outside_what_was_run(self, judge):
        # Best at ḡ = 0.001·w, below every setting (the lowest is 4/(2·64) = 0.03).
        found = judge(study(1.0, optimum_at_one=0.001, search_end="budget spent"))
        assert found.verdict == "inconclusive"
        assert found.value is None
        assert found.measured() == "not measured"
        assert "lower noise" in found.would_decide
        assert "w = 1, 2, 4 and 8" in found.would_decide
        assert "limit of runs" in found.would_decide

    def test_what_excludes_proportionality_contradicts_it_even_if_it_may_be_constant(self):
        found = judge_proportional(study(0.25, noise=0.004))
        low, high = found.interval
        assert low < 0.25 < high < 0.75
        assert (found.verdict, found.would_decide) == ("contradicted", None)

    @pytest.mark.parametrize("exponent", [0.0, 1.0])
    def test_optima_that_noise_cuts_off_have_an_exponent(self, exponent):
        # The peak lies an octave beyond what trains, at every width.
        found = judge_proportional(study(exponent, optimum_at_one=0.2, cliff_at_one=0.1))
        low, high = found.interval
        assert low <= exponent <= high
        assert high - low < 1.0
        assert "bounded from above by divergence" in found.sentence
        if exponent == 0.0:
            assert found.verdict == "contradicted"
        if found.verdict == "inconclusive":
            assert "between the highest that trains" in found.would_decide

    def test_the_number_of_runs_that_would_decide(self):
        found = judge_proportional(study(0.95, noise=0.02, seeds=4))
        assert found.verdict == "inconclusive"
        assert "times the runs" in found.would_decide


class TestCollapse:
    def test_only_the_noise_scale_matters(self):
        found = judge_collapse(equal_scales(lambda rate: 0.0))
        assert (found.verdict, found.value) == ("confirmed", 8.0)
        assert found.measured() == "agrees up to ε = 8"

    def test_it_breaks_at_the_largest_learning_rate(self):
        found = judge_collapse(equal_scales(lambda rate: 0.05 * (rate == 8.0)))
        assert (found.verdict, found.value) == ("confirmed", 4.0)
        assert "from ε = 8" in found.sentence

    def test_broken(self):
        found = judge_collapse(equal_scales(lambda rate: 0.03 * math.log2(rate)))
        assert (found.verdict, found.value) == ("contradicted", 2.0)
        assert "broken" in found.sentence
        assert "begin to differ" in found.quantity

    def test_broken_by_divergence(self):
        found = judge_collapse(equal_scales(lambda rate: 0.0, diverges_from=2.0))
        assert found.verdict == "contradicted"

    def test_too_noisy_to_tell(self):
        found = judge_collapse(equal_scales(lambda rate: 0.0, noise=0.03, seeds=4))
        assert found.verdict == "inconclusive"
        assert "seeds" in found.would_decide

    def test_nothing_to_compare(self):
        rows = [row(1.0, 1.0, b, s, 0.7 + 0.001 * s) for b in (1, 2, 4) for s in range(3)]
        found = judge_collapse(evidence(rows))
        assert found.verdict == "inconclusive"
        assert found.would_decide == "settings of equal ḡ at different ε, two seeds each"


class TestBounded:
    @pytest.mark.parametrize(
        ("exponent", "spread", "verdict"),
        [
            (0.0, 0.03, "confirmed"),
            (1.0, 0.03, "confirmed"),
            (-0.4, 0.03, "contradicted"),
            (-0.2, 0.4, "inconclusive"),
        ],
    )
    def test_planted(self, exponent, spread, verdict):
        found = judge_bounded(evidence_of_rates(rates(exponent, spread=spread)))
        assert found.verdict == verdict
        assert (found.would_decide is None) == (verdict != "inconclusive")

    def test_nothing_ever_failed(self):
        found = judge_bounded(evidence_of_rates(rates(0.0, censored=True)))
        assert found.verdict == "inconclusive"
        assert found.value is None


def evidence_of_rates(made):
    return study(1.0, seeds=2, widths=(1.0, 2.0), rates=made)


class TestCeiling:
    # NTK: σ² = 2 at every width, so the ceiling goes as w^(−q − s).
    @pytest.mark.parametrize(
        ("optimum", "rate", "verdict"),
        [
            (1.0, 0.0, "confirmed"),
            (0.5, 0.5, "confirmed"),
            (0.4, 0.0, "contradicted"),
            (0.0, 0.0, "contradicted"),
        ],
    )
    def test_planted(self, optimum, rate, verdict):
        found = judge_ceiling(study(optimum, rates=rates(rate)))
        assert found.verdict == verdict
        assert found.value == pytest.approx(-optimum - rate, abs=0.1)

    def test_without_optima(self):
        rows = [row(1.0, 1.0, b, s, 0.7) for b in (1, 2) for s in range(2)]
        found = judge_ceiling(evidence(rows, rates=rates(0.0, widths=(1.0,))))
        assert found.verdict == "inconclusive"
        assert "w = 1" in found.would_decide

    def test_optima_that_are_bounds(self):
        found = judge_ceiling(study(1.0, optimum_at_one=0.001, rates=rates(0.0)))
        assert found.verdict == "inconclusive"
        assert "lower noise" in found.would_decide


class TestResistance:
    @pytest.mark.parametrize(
        ("exponent", "gain", "verdict"),
        [
            (1.0, 0.02, "confirmed"),
            (1.0, 0.0, "contradicted"),  # no better
            (0.0, 0.02, "contradicted"),  # better, at the same noise
        ],
    )
    def test_planted(self, exponent, gain, verdict):
        found = judge_resistance(study(exponent, gain=gain))
        assert found.verdict == verdict
        # Three octaves of width, in points.
        assert found.value == pytest.approx(300.0 * gain, abs=0.2)

    def test_too_noisy_to_tell(self):
        found = judge_resistance(study(0.5, gain=0.002, noise=0.05, seeds=3, widths=(1.0, 2.0)))
        assert found.verdict == "inconclusive"
        assert "for the noise" in found.would_decide

    def test_one_width(self):
        found = judge_resistance(study(1.0, widths=(2.0,)))
        assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (None, None, "not measured"),
        (0.5, None, "s = 0.5"),
        (0.5, (0.25, math.inf), "s at least 0.25"),
        (0.5, (-0.25, 0.75), "s = 0.50 (−0.25 to 0.75)"),
    ],
)
def test_measured(value, interval, text):
    judged = Judgement(
        symbol="s",
        quantity="exponent",
        value=value,
        interval=interval,
        verdict="inconclusive",
        sentence="",
    )
    assert judged.measured() == text
