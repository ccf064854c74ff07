"""Every rule of the adviser in numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from adviser_samples import Comparison, MeasuredRate, MeasuredRateLaw, law, widen
from torch import nn

from widthwise import adviser
from widthwise.adviser import AdviceRefusedError
from widthwise.analysis.curve import Curve
from widthwise.errors import InputError
from widthwise.theory.noise import normalized_noise_scale

# The base throughout: ε = 0.1, B = 32. g = 0.1/32 = 0.003125 at m = 0 and 0.03125 at m = 0.9.
# At w = 4 the rule wants g = 0.003125 (standard, default, mup: σ² ∝ 1/w) or 0.0125 (ntk), or ten
# times that at m = 0.9. ε_max of the target, where given, is for w = 4; that of the base is then
# not known, so that a plan goes up to a quarter of it, and keep="largest_batch" to all of it.
RULES = [
    # parameterization, keep, m, ε_max at w = 4  ->  ε, B, m, g, and ḡ = g/σ², before and after
    ("standard", "batch_size", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.003125, 0.0125),
    ("standard", "batch_size", 0.9, None, 0.1, 32, 0.9, 0.03125, 0.03125, 0.125),
    ("standard", "learning_rate", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.003125, 0.0125),
    ("standard", "learning_rate_and_batch_size", 0.9, None, 0.1, 32, 0.9, 0.03125, 0.03125, 0.125),
    ("standard", "momentum", 0.0, 0.8, 0.2, 64, 0.0, 0.003125, 0.003125, 0.0125),
    ("standard", "momentum", 0.9, 0.8, 0.2, 64, 0.9, 0.03125, 0.03125, 0.125),
    ("standard", "largest_batch", 0.0, 0.8, 0.8, 256, 0.0, 0.003125, 0.003125, 0.0125),
    # PyTorch's default: σ² = 1/3 at the base, 1/12 at w = 4.
    ("default", "batch_size", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.009375, 0.0375),
    ("default", "batch_size", 0.9, None, 0.1, 32, 0.9, 0.03125, 0.09375, 0.375),
    ("default", "learning_rate", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.009375, 0.0375),
    (
        "default",
        "learning_rate_and_batch_size",
        0.0,
        None,
        0.1,
        32,
        0.0,
        0.003125,
        0.009375,
        0.0375,
    ),
    ("default", "momentum", 0.0, 0.4, 0.1, 32, 0.0, 0.003125, 0.009375, 0.0375),
    ("default", "largest_batch", 0.9, 0.4, 0.4, 128, 0.9, 0.03125, 0.09375, 0.375),
    ("mup", "batch_size", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.003125, 0.0125),
    ("mup", "batch_size", 0.9, None, 0.1, 32, 0.9, 0.03125, 0.03125, 0.125),
    ("mup", "learning_rate", 0.9, None, 0.1, 32, 0.9, 0.03125, 0.03125, 0.125),
    ("mup", "learning_rate_and_batch_size", 0.0, None, 0.1, 32, 0.0, 0.003125, 0.003125, 0.0125),
    ("mup", "momentum", 0.0, 1.6, 0.4, 128, 0.0, 0.003125, 0.003125, 0.0125),
    ("mup", "largest_batch", 0.0, 0.2, 0.2, 64, 0.0, 0.003125, 0.003125, 0.0125),
    ("ntk", "batch_size", 0.0, None, 0.4, 32, 0.0, 0.0125, 0.003125, 0.0125),
    ("ntk", "batch_size", 0.9, None, 0.4, 32, 0.9, 0.125, 0.03125, 0.125),
    ("ntk", "learning_rate", 0.0, None, 0.1, 8, 0.0, 0.0125, 0.003125, 0.0125),
    ("ntk", "learning_rate", 0.9, None, 0.1, 8, 0.9, 0.125, 0.03125, 0.125),
    # m = 1 − (1 − m)/4
    ("ntk", "learning_rate_and_batch_size", 0.0, None, 0.1, 32, 0.75, 0.0125, 0.003125, 0.0125),
    ("ntk", "learning_rate_and_batch_size", 0.9, None, 0.1, 32, 0.975, 0.125, 0.03125, 0.125),
    # ε = 0.8/4; B = 0.2/0.0125
    ("ntk", "momentum", 0.0, 0.8, 0.2, 16, 0.0, 0.0125, 0.003125, 0.0125),
    ("ntk", "momentum", 0.9, 0.8, 0.2, 16, 0.9, 0.125, 0.03125, 0.125),
    ("ntk", "largest_batch", 0.0, 0.8, 0.8, 64, 0.0, 0.0125, 0.003125, 0.0125),
    ("ntk", "largest_batch", 0.9, 0.8, 0.8, 64, 0.9, 0.125, 0.03125, 0.125),
    # 0.81/0.0125 = 64.8: rounded down, and ε = 64 · 0.0125.
    ("ntk", "largest_batch", 0.0, 0.81, 0.8, 64, 0.0, 0.0125, 0.003125, 0.0125),
    # 0.88/4 = 0.22 and 0.22/0.0125 = 17.6: rounded down as well, and ε = 17 · 0.0125.
    ("ntk", "momentum", 0.0, 0.88, 0.2125, 17, 0.0, 0.0125, 0.003125, 0.0125),
    # A quarter of ε_max that does not bind changes nothing.
    ("standard", "batch_size", 0.0, 2.0, 0.1, 32, 0.0, 0.003125, 0.003125, 0.0125),
    ("ntk", "batch_size", 0.0, 1.6, 0.4, 32, 0.0, 0.0125, 0.003125, 0.0125),
    ("ntk", "learning_rate", 0.9, 0.4, 0.1, 8, 0.9, 0.125, 0.03125, 0.125),
    ("ntk", "learning_rate_and_batch_size", 0.0, 0.4, 0.1, 32, 0.75, 0.0125, 0.003125, 0.0125),
    # One that binds: B is the whole number below (ε_max/4)/((1 − m) g), and ε is solved for it.
    ("standard", "batch_size", 0.0, 0.2, 0.05, 16, 0.0, 0.003125, 0.003125, 0.0125),
    ("standard", "batch_size", 0.9, 0.2, 0.05, 16, 0.9, 0.03125, 0.03125, 0.125),
    ("default", "batch_size", 0.0, 0.2, 0.05, 16, 0.0, 0.003125, 0.009375, 0.0375),
    ("mup", "learning_rate", 0.0, 0.2, 0.05, 16, 0.0, 0.003125, 0.003125, 0.0125),
    ("ntk", "batch_size", 0.0, 0.6, 0.15, 12, 0.0, 0.0125, 0.003125, 0.0125),
    # 0.16/0.0125 = 12.8
    ("ntk", "batch_size", 0.9, 0.64, 0.15, 12, 0.9, 0.125, 0.03125, 0.125),
    ("ntk", "learning_rate", 0.0, 0.2, 0.05, 4, 0.0, 0.0125, 0.003125, 0.0125),
    # m = 0.75; ε = 0.0125 · 16 · 0.25
    ("ntk", "learning_rate_and_batch_size", 0.0, 0.2, 0.05, 16, 0.75, 0.0125, 0.003125, 0.0125),
]
# NTK, w = 4, where not even B = 1 is enough. The rule wants g = 0.0125/(1 − m of the base), for
# which B = 1 needs ε = 0.0125, at the base's m, whatever that is.
# keep, m, ε_max at w = 4  ->  ε, m, reached
BEYOND = [
    ("batch_size", 0.0, 0.04, 0.01, 0.0, 0.8),
    ("batch_size", 0.9, 0.04, 0.01, 0.9, 0.8),
    ("learning_rate", 0.0, 0.02, 0.005, 0.0, 0.4),
    ("momentum", 0.0, 0.04, 0.01, 0.0, 0.8),
    ("largest_batch", 0.0, 0.01, 0.01, 0.0, 0.8),
    # m = 0.75 follows, for which B = 1 needs 0.0125 · 0.25 = 0.003125.
    ("learning_rate_and_batch_size", 0.0, 0.01, 0.0025, 0.75, 0.8),
    # Just enough: a quarter of 0.05, and all of 0.0125.
    ("batch_size", 0.0, 0.05, 0.0125, 0.0, 1.0),
    ("momentum", 0.0, 0.05, 0.0125, 0.0, 1.0),
    ("largest_batch", 0.0, 0.0125, 0.0125, 0.0, 1.0),
]


@pytest.mark.parametrize(
    (
        "parameterization",
        "keep",
        "momentum",
        "stable",
        "rate",
        "batch",
        "m",
        "g",
        "before",
        "after",
    ),
    RULES,
)
def test_rule(parameterization, keep, momentum, stable, rate, batch, m, g, before, after):
    plan = widen(
        learning_rate=0.1,
        batch_size=32,
        momentum=momentum,
        widening_factor=4,
        parameterization=parameterization,
        keep=keep,
        max_stable_learning_rate=stable,
        max_stable_at=4,
        init_variance=1.0 / 3.0 if parameterization == "default" else 1.0,
    )
    assert plan.batch_size == batch
    assert type(plan.batch_size) is int
    assert plan.learning_rate == pytest.approx(rate, rel=1e-12)
    assert plan.momentum == pytest.approx(m, abs=1e-12)
    assert plan.noise_scale == pytest.approx(g, rel=1e-12)
    assert plan.base_normalized_noise_scale == pytest.approx(before, rel=1e-12)
    assert plan.normalized_noise_scale == pytest.approx(after, rel=1e-12)
    assert plan.normalized_noise_ratio == pytest.approx(after / before, rel=1e-12)
    assert plan.noise_reached == 1.0


def ask(**changes):
    given = {
        "learning_rate": 0.1,
        "batch_size": 32,
        "widening_factor": 4,
        "parameterization": "ntk",
        "keep": "batch_size",
        "init_variance": 1.0,
    }
    return widen(**{**given, **changes})


def settled(plan):
    return plan.learning_rate, plan.batch_size, plan.momentum


@pytest.mark.parametrize(("keep", "momentum", "stable", "rate", "m", "reached"), BEYOND)
def test_not_even_a_batch_of_one(keep, momentum, stable, rate, m, reached):
    plan = ask(keep=keep, momentum=momentum, max_stable_learning_rate=stable, max_stable_at=4)
    assert settled(plan) == pytest.approx((rate, 1, m), rel=1e-12)
    assert plan.noise_reached == pytest.approx(reached, rel=1e-12)
    wanted = 0.0125 / (1.0 - momentum)
    assert plan.noise_scale == pytest.approx(reached * wanted, rel=1e-12)
    assert plan.normalized_noise_scale == plan.noise_scale  # NTK: σ² = 1
    # The ceiling is that of the wanted noise.
    assert plan.ceiling.exact_batch_size == pytest.approx(stable / ((1.0 - m) * wanted))


class TestUsableShare:
    """NTK, w = 4, g = 0.0125: B is the usable ε over it."""

    @pytest.mark.parametrize(
        ("base_stable", "q", "share", "rate", "batch"),
        [
            (1.6, 0.0, 0.25, 0.4, 32),  # the base is at 1/16: a quarter of 1.6 does not bind
            (0.8, 0.0, 0.25, 0.2, 16),  # the base is at 1/8
            (0.2, 0.0, 0.5, 0.1, 8),  # the base is at a half: so is the plan
            (0.2, 1.0, 0.5, 0.025, 2),  # half of 0.2/4
            (0.125, 0.0, 0.8, 0.1, 8),
            (0.05, 0.0, 1.0, 0.05, 4),  # the base is above it: up to all of it, not beyond
        ],
    )
    def test_a_quarter_or_the_bases(self, base_stable, q, share, rate, batch):
        plan = ask(max_stable_learning_rate=base_stable, stability_exponent=q)
        assert plan.usable_share == pytest.approx(share)
        assert settled(plan) == pytest.approx((rate, batch, 0.0))

    def test_at_the_target_alone_the_base_is_not_known(self):
        plan = ask(max_stable_learning_rate=0.2, max_stable_at=4)
        assert plan.usable_share == 0.25
        assert settled(plan) == pytest.approx((0.05, 4, 0.0))

    @pytest.mark.parametrize(
        ("measured_at", "share", "batch"),
        [
            (32, 0.5, 8),  # 0.1/0.2; half of 0.2 over 0.0125
            (64, 0.5, 8),  # larger batches bear no less
            (24, 0.375, 6),  # at the base's 32 up to 0.2 · 32/24 is stable: 0.5 · 24/32
            (8, 0.25, 4),  # 0.5/4 is less than a quarter
        ],
    )
    def test_measured_at_smaller_batches_than_the_bases(self, measured_at, share, batch):
        rate = MeasuredRate(value=0.2, interval=(0.2, 0.2), batch_size=measured_at)
        plan = ask(max_stable_learning_rate=rate, stability_exponent=0)
        assert plan.usable_share == pytest.approx(share)
        assert plan.batch_size == batch

    def test_a_base_above_a_limit_of_smaller_batches_is_no_contradiction(self):
        # 0.1 is twice 0.05, but at B = 32 up to 0.05 · 32/8 may be stable.
        small = MeasuredRate(value=0.05, interval=(0.05, 0.05), batch_size=8)
        same = MeasuredRate(value=0.05, interval=(0.05, 0.05), batch_size=32)
        name = "base above the stable range"
        for rate, found in ((small, False), (same, True)):
            plan = ask(max_stable_learning_rate=rate, stability_exponent=0)
            assert (name in [f.condition for f in plan.findings]) is found

    def test_the_largest_batch_has_no_margin(self):
        plan = ask(keep="largest_batch", max_stable_learning_rate=0.2, max_stable_at=4)
        assert settled(plan) == pytest.approx((0.2, 16, 0.0))
        assert "no margin is left" in next(
            r.text for r in plan.reasons if r.quantity == "learning_rate"
        )

    def test_what_the_text_says(self):
        at_quarter = ask(max_stable_learning_rate=0.8, stability_exponent=0).changes[0]
        assert "0.4, above 0.2, 25% of the largest stable one" in at_quarter
        assert "lowered to 16, which has the same noise" in at_quarter
        at_all = ask(max_stable_learning_rate=0.05, stability_exponent=0).changes[0]
        assert "0.4, above 0.05, the largest stable one" in at_all


class TestWhatCannotBeKept:
    """g = 0.05 at the base ε = 0.1, B = 2; w = 16 with NTK wants 0.8."""

    def test_a_batch_below_one(self):
        stable = {"max_stable_learning_rate": 4.0, "max_stable_at": 16}  # a quarter is 1
        plan = ask(batch_size=2, widening_factor=16, keep="learning_rate", **stable)
        assert settled(plan) == pytest.approx((0.8, 1, 0.0))
        assert "would have to be 0.125, and 1 is the smallest" in plan.changes[0]
        assert plan.evidence == "extrapolated"

    def test_a_batch_below_one_where_no_larger_rate_is_known_to_be_stable(self):
        plan = ask(batch_size=2, widening_factor=16, keep="learning_rate")
        assert settled(plan) == pytest.approx((0.1, 1, 0.0))
        assert plan.noise_reached == pytest.approx(0.125)
        assert "above 0.1, the tuned one, which is the largest that is known" in plan.changes[1]

    def test_nor_a_usable_rate_so_that_noise_is_missing(self):
        # A quarter of 1.6 is 0.4, half of the 0.8 that B = 1 needs. Momentum stays.
        plan = ask(
            batch_size=2,
            widening_factor=16,
            keep="learning_rate",
            max_stable_learning_rate=1.6,
            max_stable_at=16,
        )
        assert settled(plan) == pytest.approx((0.4, 1, 0.0))
        assert plan.noise_reached == pytest.approx(0.5)
        assert plan.evidence == "extrapolated"
        below_one, too_fast = plan.changes
        assert "would have to be 0.125, and 1 is the smallest" in below_one
        assert "0.8, above 0.4, 25% of the largest stable one" in too_fast
        assert "No batch size is small enough." in too_fast
        assert "learning rate 0.4, and the noise 50 % of what the rule asks for" in too_fast
        reason = next(r.text for r in plan.reasons if r.quantity == "noise_scale")
        assert "should change by a factor of 16; 50 % of that is reached" in reason

    def test_only_what_changed_is_named(self):
        # B = 1 needs 0.1 · 16 = 1.6; a quarter of 1.6 is a quarter of that.
        plan = ask(batch_size=1, widening_factor=16, max_stable_learning_rate=1.6, max_stable_at=16)
        assert settled(plan) == pytest.approx((0.4, 1, 0.0))
        assert plan.noise_reached == pytest.approx(0.25)
        assert any("to give way: learning rate." in finding.text for finding in plan.findings)

    def test_the_batch_goes_first(self):
        # B = 2 needs 0.1 · 16 = 1.6, B = 1 half of it; a quarter of 0.8 is 0.2.
        plan = ask(batch_size=2, widening_factor=16, max_stable_learning_rate=0.8, max_stable_at=16)
        assert settled(plan) == pytest.approx((0.2, 1, 0.0))
        assert plan.noise_reached == pytest.approx(0.25)
        (text,) = plan.changes
        assert "even 1 would need 0.8. The batch size is 1" in text
        (finding,) = plan.findings
        assert "to give way: batch size, learning rate." in finding.text
        assert finding.effect == "extrapolated"

    def test_however_little_is_stable_there_is_a_plan(self):
        # A quarter of 8 · 10⁻⁵ is 2 · 10⁻⁵ of the 0.8 that B = 1 needs.
        plan = ask(
            batch_size=2, widening_factor=16, max_stable_learning_rate=8e-5, max_stable_at=16
        )
        assert plan.noise_reached == pytest.approx(2.5e-5)
        assert "the noise 0.0025 % of" in plan.changes[0]

    def test_a_negative_momentum(self):
        # Half as wide wants half the noise: m = 1 − 1/0.5 = −1.
        plan = ask(widening_factor=0.5, keep="learning_rate_and_batch_size")
        assert settled(plan) == pytest.approx((0.05, 32, 0.0))
        assert "not even plain SGD is quiet enough" in plan.changes[0]

    def test_a_momentum_too_near_one(self):
        # m = 1 − 1/2000 = 0.9995 > 0.999; ε = 0.1 · 2000 · 0.001
        keep = "learning_rate_and_batch_size"
        stable = {"max_stable_learning_rate": 1.0, "max_stable_at": 2000}
        plan = ask(widening_factor=2000, keep=keep, **stable)
        assert settled(plan) == pytest.approx((0.2, 32, 0.999))
        assert "0.9995" in plan.changes[0]
        # Where 0.1 is the largest rate that is known to be stable, half the batch.
        unknown = ask(widening_factor=2000, keep=keep)
        assert settled(unknown) == pytest.approx((0.1, 16, 0.999))

    @pytest.mark.parametrize("limit", ["max_batch_size", "num_train"])
    def test_a_batch_beyond_its_limit(self, limit):
        # A quarter as wide at the same ε wants B = 128.
        plan = ask(widening_factor=0.25, keep="learning_rate", **{limit: 64})
        assert settled(plan) == pytest.approx((0.05, 64, 0.0))
        assert "would have to be 128, above the limit of 64" in plan.changes[0]

    def test_nothing_is_said_where_nothing_gave_way(self):
        assert ask().changes == ()


class TestRounding:
    def test_half_goes_up_and_the_rate_follows(self):
        # 32/3 = 10.67 -> 11; ε = 0.1 · 3 · 11/32
        stable = {"max_stable_learning_rate": 1.0, "max_stable_at": 3}
        plan = ask(widening_factor=3, keep="learning_rate", **stable)
        assert settled(plan) == pytest.approx((0.103125, 11, 0.0), rel=1e-12)

    def test_down_where_the_rate_that_follows_is_not_known_to_be_stable(self):
        # ε = 0.1 · 3 · 10/32
        plan = ask(widening_factor=3, keep="learning_rate")
        assert settled(plan) == pytest.approx((0.09375, 10, 0.0), rel=1e-12)
        assert plan.changes == ()

    @pytest.mark.parametrize(
        ("keep", "stable", "batch"),
        [("largest_batch", 0.81, 64), ("momentum", 0.88, 17)],  # 0.81/0.0125, 0.22/0.0125 = 17.6
    )
    def test_what_comes_from_a_limit_goes_down_without_a_warning(self, keep, stable, batch):
        plan = ask(keep=keep, max_stable_learning_rate=stable, max_stable_at=4)
        assert plan.batch_size == batch
        assert plan.changes == ()

    def test_halves(self):
        given = {"batch_size": 5, "widening_factor": 2, "keep": "learning_rate"}
        assert ask(**given, max_stable_learning_rate=1.0, max_stable_at=2).batch_size == 3
        assert ask(**given).batch_size == 2


class TestCeiling:
    def test_closed_forms(self):
        # NTK, q = 1/2: ε_max = 0.8/√4 = 0.4; ceiling 0.4/0.0125 = 32. At the base it is
        # 0.8/0.003125 = 256 and falls as w^−1.5: 32 at 8^(2/3) = 4, 1 at 256^(2/3).
        # ε_max = 0.1 at (0.8/0.1)² = 64.
        ceiling = ask(max_stable_learning_rate=0.8, stability_exponent=0.5).ceiling
        assert ceiling.max_stable_learning_rate == pytest.approx(0.4)
        assert ceiling.exact_batch_size == pytest.approx(32.0)
        assert ceiling.batch_size == 32
        assert ceiling.binds_from == pytest.approx(4.0)
        assert ceiling.exhausted_from == pytest.approx(256.0 ** (2.0 / 3.0))
        assert ceiling.learning_rate_binds_from == pytest.approx(64.0)
        assert ceiling.interval is None
        assert ceiling.measure is None

    @pytest.mark.parametrize(
        ("parameterization", "q", "momentum", "binds", "exhausted", "rate_binds"),
        [
            ("standard", 1.0, 0.0, 8.0, 256.0, 8.0),  # falls as 1/w
            ("standard", 0.0, 0.0, None, None, None),  # does not fall
            ("standard", -1.0, 0.0, None, None, None),  # rises
            ("ntk", 0.0, 0.0, 8.0, 256.0, None),
            ("ntk", 1.0, 0.9, math.sqrt(8.0), 16.0, 8.0),  # falls as w^−2; m cancels
        ],
    )
    def test_widths(self, parameterization, q, momentum, binds, exhausted, rate_binds):
        ceiling = ask(
            parameterization=parameterization,
            momentum=momentum,
            max_stable_learning_rate=0.8,
            stability_exponent=q,
        ).ceiling
        found = (ceiling.binds_from, ceiling.exhausted_from, ceiling.learning_rate_binds_from)
        for value, expected in zip(found, (binds, exhausted, rate_binds), strict=True):
            assert value == (None if expected is None else pytest.approx(expected))

    def test_unknown_says_what_to_measure(self):
        ceiling = ask(momentum=0.9, build="nets.py:mlp").ceiling
        assert ceiling.exact_batch_size is None
        assert ceiling.batch_size is None
        assert ceiling.measure == (
            "widthwise probe nets.py:mlp --spec SPEC.toml --widths 1,4 --batch-size 32 "
            "--momentum 0.9"
        )
        assert "max_stable_learning_rate" in ceiling.why

    def test_a_base_value_alone_says_nothing_of_the_target(self):
        ceiling = ask(max_stable_learning_rate=0.8).ceiling
        assert ceiling.max_stable_learning_rate is None
        assert "stability_exponent" in ceiling.why

    def test_measured_values_carry_their_width_and_interval(self):
        # 0.3 at w = 4: 0.3/0.0125 = 24; its interval 0.2 to 0.4: 16 to 32.
        rate = MeasuredRate(value=0.3, interval=(0.2, 0.4), widening_factor=4.0)
        ceiling = ask(max_stable_learning_rate=rate).ceiling
        assert ceiling.exact_batch_size == pytest.approx(24.0)
        assert ceiling.interval == pytest.approx((16.0, 32.0))
        assert ceiling.binds_from is None
        assert (ceiling.max_stable_batch_size, ceiling.max_stable_momentum) == (32, 0.0)

    def test_it_says_that_it_takes_the_limit_to_be_the_same_at_every_batch_size(self):
        ceiling = ask(max_stable_learning_rate=0.3, max_stable_at=4).ceiling
        assert "the same at every batch size, which holds for large batches only" in ceiling.why
        assert (ceiling.max_stable_batch_size, ceiling.max_stable_momentum) == (None, None)

    def test_a_value_at_the_target_and_an_exponent_give_the_base(self):
        # 0.4 · 4^0.5 = 0.8 at the base, as in the closed forms above.
        ceiling = ask(max_stable_learning_rate=0.4, max_stable_at=4, stability_exponent=0.5).ceiling
        assert ceiling.binds_from == pytest.approx(4.0)

    def test_interval_of_the_exponent(self):
        # 0.8 at the base; w^−q at w = 4 with q in (0, 1): 0.25 to 1.
        rate = MeasuredRate(value=0.8, interval=(0.4, 1.6))
        exponent = MeasuredRateLaw(exponent=0.5, interval=(0.0, 1.0))
        ceiling = ask(max_stable_learning_rate=rate, stability_exponent=exponent).ceiling
        assert ceiling.max_stable_interval == pytest.approx((0.1, 1.6))

    def test_a_law_alone_is_enough(self):
        ceiling = ask(stability_exponent=MeasuredRateLaw(exponent=0.5, interval=(0, 1))).ceiling
        assert ceiling.max_stable_learning_rate == pytest.approx(0.4)
        assert ceiling.max_stable_interval == pytest.approx((0.2, 0.8))
        assert ceiling.binds_from == pytest.approx(4.0)

    def test_none_is_small_enough(self):
        # 0.01/0.0125 = 0.8 < 1
        ceiling = ask(max_stable_learning_rate=0.01, max_stable_at=4).ceiling
        assert ceiling.exact_batch_size == pytest.approx(0.8)
        assert ceiling.batch_size == 0


def bent_law():
    """Local exponent 1 at w = 1, falling evenly in log w to 0 at w = 16."""
    end = math.log(16)
    curve = Curve(level=end / 2, exponent=0.0, fall=1 / end, start=0.0, end=end)
    draws = replace(curve, **{k: np.full(3, getattr(curve, k)) for k in _DRAWN})
    return replace(law(0.5, (0.4, 0.6)), bend=1.0, curve=curve, curve_samples=draws)


_DRAWN = ("level", "exponent", "fall")


class TestLaw:
    def test_a_plan_follows_a_bent_law(self):
        plan = widen(
            learning_rate=1.0,
            batch_size=64,
            widening_factor=4,
            parameterization="ntk",
            law=bent_law(),
        )
        # From 1 to 1/2 over two octaves: 3/4 on the average.
        assert plan.exponent == pytest.approx(0.75)
        assert plan.noise_ratio == pytest.approx(4**0.75)
        assert "whose exponent goes from 1.00 at w = 1 to 0.50 at w = 4" in plan.explain().replace(
            "\n  ", " "
        )
        wider = widen(
            learning_rate=1.0,
            batch_size=64,
            widening_factor=256,
            parameterization="ntk",
            law=bent_law(),
        )
        assert wider.noise_ratio == pytest.approx(4.0)  # flat since w = 16

    """s = 0.5 (0.25 to 0.75) at w = 16: w^s = 4 (2 to 8), and w^(s−1) = 1/4 (1/8 to 1/2)."""

    def test_the_rate_follows(self):
        plan = ask(widening_factor=16, law=law())
        assert plan.learning_rate == pytest.approx(0.4)
        assert plan.learning_rate_interval == pytest.approx((0.2, 0.8))
        assert plan.batch_size_interval == (32.0, 32.0)
        # ḡ = 0.003125 · 4 (2 to 8)
        assert plan.normalized_noise_scale == pytest.approx(0.0125)
        assert plan.normalized_noise_scale_interval == pytest.approx((0.00625, 0.025))

    def test_the_batch_follows(self):
        plan = ask(widening_factor=16, law=law(), keep="learning_rate")
        assert plan.batch_size == 8
        assert plan.batch_size_interval == (4.0, 16.0)
        assert plan.learning_rate_interval == pytest.approx((0.1, 0.1))

    def test_standard(self):
        plan = ask(widening_factor=16, law=law(), parameterization="standard")
        assert plan.learning_rate == pytest.approx(0.025)
        assert plan.learning_rate_interval == pytest.approx((0.0125, 0.05))

    def test_the_interval_of_the_stable_rate_counts(self):
        # ε_max = 0.2 to 0.4 and g = 0.00625 to 0.025 (0.0125): B = 8 to 64, at the point 24.
        rate = MeasuredRate(value=0.3, interval=(0.2, 0.4), widening_factor=16.0)
        plan = ask(
            widening_factor=16, law=law(), keep="largest_batch", max_stable_learning_rate=rate
        )
        assert plan.batch_size == 24
        assert plan.batch_size_interval == (8.0, 64.0)
        assert plan.learning_rate_interval == pytest.approx((0.2, 0.4))
        assert plan.ceiling.interval == pytest.approx((8.0, 64.0))

    def test_an_open_stable_rate_opens_the_plan(self):
        rate = MeasuredRate(value=0.3, interval=(0.2, math.inf), widening_factor=4.0)
        plan = ask(keep="largest_batch", max_stable_learning_rate=rate)
        assert plan.batch_size_interval == (16.0, math.inf)
        # A quarter of 0.2 over g = 0.0125 is 4. With no limit the batch could stay: 32.
        assert ask(max_stable_learning_rate=rate).batch_size_interval == (4.0, 32.0)

    def test_the_noise_that_is_missing_widens_the_interval_of_the_noise(self):
        # g = 0.0125 (0.00625 to 0.025) is wanted; a quarter of 0.04 is 0.01, at B = 1 all that can
        # be had: g = 0.01 of 0.0125 and of 0.025, but 0.00625 can be had.
        plan = ask(widening_factor=16, law=law(), max_stable_learning_rate=0.04, max_stable_at=16)
        assert plan.noise_reached == pytest.approx(0.8)
        assert plan.normalized_noise_scale == pytest.approx(0.01)
        assert plan.normalized_noise_scale_interval == pytest.approx((0.00625, 0.01))

    def test_an_unbounded_exponent_gives_no_interval(self):
        plan = ask(law=law(interval=(0.1, math.inf)))
        assert plan.learning_rate_interval is None
        assert plan.evidence == "extrapolated"
        assert any("does not bound the exponent" in text for text in plan.warnings)

    def test_without_a_law_there_is_no_interval(self):
        plan = ask()
        assert plan.learning_rate_interval is None
        assert plan.batch_size_interval is None


class TestLine:
    def test_same_noise_and_marks(self):
        plan = ask(max_stable_learning_rate=0.6, max_stable_at=4, momentum=0.9)
        # g = 0.125: ε = 0.125 · B · (1 − m); at m = 0.9 usable up to B = 12, stable up to 48.
        assert {c.momentum for c in plan.choices} == {0.0, 0.9}
        assert sorted({c.batch_size for c in plan.choices}) == [1, 2, 4, 8, 12, 16, 32, 64]
        for choice in plan.choices:
            rate = 0.125 * choice.batch_size * (1.0 - choice.momentum)
            assert choice.learning_rate == pytest.approx(rate, rel=1e-12)
            assert choice.usable == (rate <= 0.15 + 1e-12)
            assert choice.stable == (rate <= 0.6 + 1e-12)
        assert [(c.batch_size, c.momentum) for c in plan.choices if c.chosen] == [(12, 0.9)]

    def test_where_noise_is_missing_it_is_the_plans_own(self):
        # B = 1 has 0.01 of the 0.0125 that the rule wants: B = 2 has as much at 0.02.
        plan = ask(max_stable_learning_rate=0.04, max_stable_at=4)
        at = {(c.batch_size, c.momentum): c for c in plan.choices}
        assert at[1, 0.0].chosen
        assert at[1, 0.0].usable
        assert at[1, 0.0].learning_rate == pytest.approx(0.01)
        assert (at[2, 0.0].usable, at[2, 0.0].stable) == (False, True)
        assert (at[8, 0.0].usable, at[8, 0.0].stable) == (False, False)

    def test_limits_and_ignorance(self):
        plan = ask(max_batch_size=32)
        assert max(c.batch_size for c in plan.choices) == 32
        assert {(c.usable, c.stable) for c in plan.choices} == {(None, None)}


class TestRivals:
    def test_numbers(self):
        # NTK, w = 4: the plan's g is 0.0125.
        rivals = {r.name: r for r in ask().rivals}
        found = {
            name: (r.learning_rate, r.batch_size, r.momentum, r.relative_noise)
            for name, r in rivals.items()
        }
        assert found == {
            "keep everything": pytest.approx((0.1, 32, 0.0, 0.25)),
            "µP": pytest.approx((0.1, 32, 0.0, 1.0)),
            "linear batch scaling": pytest.approx((0.4, 128, 0.0, 0.25)),
            "square-root batch scaling": pytest.approx((0.2, 128, 0.0, 0.125)),
            "critical batch size": pytest.approx((0.1, 32, 0.0, 0.25)),
        }
        assert dict(rivals["µP"].layer_rates) == {
            "input weights and biases": pytest.approx(0.4),
            "hidden weights": 0.1,
            "readout weights, whose output is divided by w": pytest.approx(0.4),
            "readout bias": 0.1,
        }
        assert all(r.optimizes and r.source for r in rivals.values())

    def test_with_the_standard_parameterization_keeping_everything_is_the_plan(self):
        rivals = {r.name: r for r in ask(parameterization="standard").rivals}
        assert rivals["keep everything"].relative_noise == 1.0
        assert rivals["linear batch scaling"].relative_noise == 1.0
        assert rivals["square-root batch scaling"].relative_noise == pytest.approx(0.5)

    def test_mup_under_another_law(self):
        # w^(1 − s) = 16^0.5
        rivals = {r.name: r for r in ask(widening_factor=16, law=law()).rivals}
        assert rivals["µP"].relative_noise == pytest.approx(4.0)

    def test_against_a_plan_whose_noise_is_missing(self):
        # g = 0.01, 80 % of what the rule wants; keeping everything has 0.003125, and µP's noise
        # grows as the rule wants.
        plan = ask(max_stable_learning_rate=0.04, max_stable_at=4)
        rivals = {r.name: r.relative_noise for r in plan.rivals}
        assert rivals["keep everything"] == pytest.approx(0.3125)
        assert rivals["µP"] == pytest.approx(1.25)


class TestModules:
    @pytest.fixture
    def seen(self, monkeypatch):
        """What comparing the modules is to find."""

        def see(**facts):
            comparison = Comparison(**facts)
            monkeypatch.setattr("widthwise.inspection.compare", lambda base, target: comparison)

        return see

    def read(self, **given):
        return widen(learning_rate=0.1, batch_size=32, base=object(), target=object(), **given)

    def test_facts_are_read_off(self, seen):
        seen(normalization="layer")
        plan = self.read()
        assert plan.widening_factor == 4.0
        assert plan.parameterization == "default"
        assert plan.not_widened == ("0.weight: inputs",)
        assert plan.widened == ("1.weight",)
        assert [f.condition for f in plan.findings] == ["other normalization"]
        assert "widening factor" not in " ".join(plan.assumptions)

    @pytest.mark.parametrize(
        ("given", "value"),
        [
            ("widening_factor", 3),
            ("parameterization", "ntk"),
            ("normalization", "batch"),
            ("convolutional", True),
        ],
    )
    def test_a_contradiction_is_an_error(self, seen, given, value):
        seen()
        with pytest.raises(InputError, match=f"{given} contradicts the modules"):
            self.read(**{given: value})

    def test_agreement_is_none(self, seen):
        seen()
        plan = self.read(widening_factor=4 * (1 + 1e-9), parameterization="standard")
        assert plan.parameterization == "default"

    def test_what_cannot_be_told_is_asked(self, seen):
        seen(parameterization=None, questions=("3.weight matches no scheme.",))
        with pytest.raises(
            InputError, match=r"3\.weight matches no scheme\..*Give parameterization"
        ):
            self.read()
        assert self.read(parameterization="ntk").batch_size == 8

    def test_depth_is_refused(self, seen):
        seen(depth_changed=True)
        with pytest.raises(AdviceRefusedError, match="number of layers"):
            self.read()

    def test_one_module_is_not_enough(self):
        with pytest.raises(InputError, match="give both modules"):
            widen(learning_rate=0.1, batch_size=32, base=object())


WRONG = [
    ({"learning_rate": 0.0}, "learning_rate must"),
    ({"learning_rate": math.inf}, "learning_rate must"),
    ({"learning_rate": math.nan}, "learning_rate must"),
    ({"batch_size": 0}, "batch_size must"),
    ({"batch_size": 32.5}, "batch_size must be a whole number"),
    ({"batch_size": True}, "batch_size must be a whole number"),
    ({"momentum": 1.0}, "momentum must"),
    ({"momentum": -0.1}, "momentum must"),
    ({"learning_rate": "0.1"}, "learning_rate must be a number, got '0.1'"),
    ({"learning_rate": True}, "learning_rate must be a number"),
    ({"batch_size": None}, "batch_size must be a number"),
    ({"batch_size": [32]}, "batch_size must be a number"),
    ({"momentum": "none"}, "momentum must be a number"),
    ({"widening_factor": "4"}, "widening_factor must be a number"),
    ({"widening_factor": 1e300}, r"widening_factor must lie in \[1e-09, 1e\+09\]"),
    ({"max_stable_learning_rate": "much"}, "max_stable_learning_rate must be a number"),
    ({"max_stable_batch_size": 8.5}, "max_stable_batch_size must be a whole number"),
    ({"max_stable_batch_size": math.nan}, "max_stable_batch_size must be a whole number"),
    ({"stability_exponent": "half"}, "stability_exponent must be a number"),
    ({"epochs": "many"}, "epochs must be a number"),
    ({"num_train": "all"}, "num_train must be a number"),
    ({"weight_decay": None}, "weight_decay must be a number"),
    ({"schedule": None}, "schedule must be named"),
    ({"gradient_noise": 3.0}, "gradient_noise must be a measured"),
    ({"law": 0.5}, "law must be a Law"),
    ({"build": len}, 'build must be "module:function"'),
    ({"widening_factor": 0.0}, "widening_factor must"),
    ({"widening_factor": math.inf}, "widening_factor must"),
    (
        {"widening_factor": None},
        "How many times as wide.*Give widening_factor; or both networks, base and target",
    ),
    ({"parameterization": "kaiming"}, "parameterization must be one of standard, ntk"),
    ({"parameterization": None}, "How do the initial weights.*Give parameterization"),
    ({"keep": "noise"}, "keep must be one of stability, batch_size"),
    ({"keep": "momentum"}, r"Which is it\? Give max_stable_learning_rate, .*widthwise probe"),
    ({"keep": "largest_batch", "max_stable_learning_rate": 1.0}, "stability_exponent"),
    ({"normalization": "bn"}, "normalization must be one of none, batch"),
    ({"max_stable_learning_rate": 0.0}, "max_stable_learning_rate must"),
    ({"max_stable_learning_rate": 1.0, "max_stable_at": 0}, "widening factor of max_stable"),
    ({"stability_exponent": math.nan}, "stability_exponent must"),
    ({"num_train": 16}, "batch_size must not exceed num_train=16"),
    ({"num_train": 0}, "num_train must"),
    ({"max_batch_size": 0.5}, "max_batch_size must"),
    ({"epochs": 0}, "epochs must"),
    ({"weight_decay": -1e-4}, "weight_decay must"),
    ({"optimizer": ""}, "optimizer must"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_wrong_input(given, message):
    with pytest.raises(InputError, match=message):
        ask(**given)


@pytest.mark.parametrize(
    "network", [4, (None,), "ab", nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())]
)
def test_a_network_is_a_pair_of_modules(network):
    """One module alone may be a sequence of two, which are no base and target."""
    with pytest.raises(InputError, match="network must be two modules"):
        adviser.widen(learning_rate=0.1, batch_size=32, network=network)


def test_questions_about_modules_are_sentences_and_name_no_former_argument():
    base, target = nn.Linear(10, 8), nn.Linear(10, 32)
    with pytest.raises(InputError) as raised:
        adviser.widen(learning_rate=0.1, batch_size=32, network=(base, target))
    said = str(raised.value)
    assert "off the modules. Shapes differ" in said
    assert "widening_factor. The parameterization" in said
    assert said.endswith("Give widening_factor.")
    assert {"widening_factor", "parameterization"} <= set(raised.value.fields)


def test_noise_comes_from_the_formulas():
    """The plan's ḡ is that of widthwise.theory.noise at its own σ_init²."""
    plan = ask(parameterization="standard", momentum=0.5)
    value = normalized_noise_scale(
        plan.learning_rate, plan.batch_size, plan.momentum, init_variance=1.0 / 4.0
    )
    assert plan.normalized_noise_scale == pytest.approx(value, rel=1e-12)
