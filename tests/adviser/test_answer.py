"""The answer in at most 15 lines, and what it never does: set a rate that is not known to be
stable.
"""

import math
import re

import pytest
from adviser_samples import MeasuredRate, law, widen
from hypothesis import given
from hypothesis import strategies as st

from widthwise import adviser
from widthwise.adviser import Network, Stability, Training
from widthwise.adviser.answer import MOST_LINES, WIDTH
from widthwise.adviser.own_studies import own_studies
from widthwise.adviser.solving import KEEPS, NEEDS_MAX_STABLE
from widthwise.errors import InputError
from widthwise.theory.parameterization import PARAMETERIZATIONS

KEEP_ALL = "Keep ε, B and m. Should ε turn unstable, lower ε and B together."
NTK = {"parameterization": "ntk"}
STANDARD = {"parameterization": "standard"}
# Worked by hand: ε/(B(1−m)) must go as w^(s+e), e = −1 (standard, default, mup) or 0 (ntk); ε at
# most the largest that is known to be stable; B the whole number below that, and ε solved for it.
# what is given -> ε, B, m, factor on ε/(B(1−m)), a line of the answer
CASES = {
    # B = 32 at any width
    "default": (
        {"parameterization": "default"},
        (0.1, 32, 0.0, 1.0),
        KEEP_ALL,
    ),
    "standard with momentum": (
        {**STANDARD, "momentum": 0.9, "widening_factor": 16},
        (0.1, 32, 0.9, 1.0),
        KEEP_ALL,
    ),
    "mup": ({"parameterization": "mup"}, (0.1, 32, 0.0, 1.0), "Evidence: extrapolated. The paper"),
    # 32/4
    "ntk": (NTK, (0.1, 8, 0.0, 4.0), "Take a smaller batch: B = 8. Keep ε and m."),
    # 32/3 = 10.67; ε = 0.1 · 3 · 10/32
    "ntk, a batch that does not divide": (
        {**NTK, "widening_factor": 3},
        (0.09375, 10, 0.0, 3.0),
        "Set ε = 0.09375 and B = 10. Keep m.",
    ),
    # 128/8, whatever is stable at the base
    "ntk, stable to 0.2 at the base": (
        {**NTK, "widening_factor": 8, "batch_size": 128, "max_stable_learning_rate": 0.2},
        (0.1, 16, 0.0, 8.0),
        "Take a smaller batch: B = 16. Keep ε and m.",
    ),
    # A quarter of 1.6 is 0.4, which B = 32 needs.
    "ntk, stable to 1.6 at the target": (
        {**NTK, "max_stable_learning_rate": 1.6, "max_stable_at": 4},
        (0.4, 32, 0.0, 4.0),
        "Set ε = 0.4. Keep B and m.",
    ),
    # ε_max = 0.8/4 = 0.2 at the target; the base is at 1/8, so a quarter: 0.05, half the base's.
    "standard, a falling limit": (
        {**STANDARD, "max_stable_learning_rate": 0.8, "stability_exponent": 1.0},
        (0.05, 16, 0.0, 1.0),
        "Set ε = 0.05 and B = 16. Keep m.",
    ),
    # B = 2/16 < 1: B = 1 at ε = 0.1 has twice the noise of B = 2, an eighth of 16 times.
    "ntk, no batch is small enough": (
        {**NTK, "widening_factor": 16, "batch_size": 2},
        (0.1, 1, 0.0, 2.0),
        "× 2, 12.5 % of the rule's",
    ),
    # w^(s+e) = 16^0.5 = 4 (16^0.25 = 2 to 16^0.75 = 8): B = 8 (16 to 4)
    "ntk, an exponent of one's own": (
        {**NTK, "widening_factor": 16, "law": law()},
        (0.1, 8, 0.0, 4.0),
        "batch size B      32        8       (4 to 16)",
    ),
    # w^(s+e) = 16^−0.5 = 1/4: less noise, from a smaller ε
    "standard, an exponent of one's own": (
        {**STANDARD, "widening_factor": 16, "law": law()},
        (0.025, 32, 0.0, 0.25),
        "Evidence: measured by your study.",
    ),
    "ntk, the batch kept": (
        {**NTK, "keep": "batch_size"},
        (0.4, 32, 0.0, 4.0),
        "Evidence: extrapolated. A learning rate of 0.4 is above 0.1, the largest that",
    ),
}


def ask(**changes):
    tuned = {"learning_rate": 0.1, "batch_size": 32, "widening_factor": 4}
    return widen(**{**tuned, **changes})


@pytest.mark.parametrize("name", CASES)
def test_worked_by_hand(name):
    facts, (rate, batch, momentum, grown), line = CASES[name]
    plan = ask(**facts)
    assert plan.learning_rate == pytest.approx(rate, rel=1e-12)
    assert (plan.batch_size, plan.momentum) == (batch, momentum)
    assert plan.noise_ratio == pytest.approx(grown, rel=1e-12)
    text = str(plan)
    assert line in text
    assert len(text.splitlines()) <= MOST_LINES == 15


POOR = {
    "extrapolated": (
        {"parameterization": "mup"},
        "Extrapolated: keep ε, B and m. Should ε turn unstable, lower ε and B together.",
    ),
    "contradicted by published work": (
        {**STANDARD, "normalization": "batch", "convolutional": True, "weight_decay": 5e-4},
        "The rule's answer, which published work contradicts: keep ε, B and m.",
    ),
    "extrapolated, a smaller batch": (
        {**NTK, "epochs": 5},
        "Extrapolated: take a smaller batch, B = 8. Keep ε and m.",
    ),
}


@pytest.mark.parametrize("name", POOR)
def test_a_poor_grade_stands_before_what_to_set(name):
    facts, headline = POOR[name]
    plan = ask(**facts)
    assert plan.evidence == name.partition(",")[0]
    assert str(plan).splitlines()[1].startswith(headline)
    assert plan.explain().splitlines()[2] == f"Evidence: {plan.evidence}."


@pytest.mark.parametrize("facts", [NTK, STANDARD])
def test_a_good_one_stands_below(facts):
    second = str(ask(**facts)).splitlines()[1]
    assert second.startswith(("Keep ", "Take "))


def test_there_are_twelve():
    assert len(CASES) == 12


def test_the_last_line_says_where_the_reasons_are():
    assert str(ask(**NTK)).endswith("plan.explain(); all: plan.to_dict().")


def test_our_own_studies_are_those_of_the_parameterization_at_hand():
    assert "Warning: Widthwise's own studies of NTK networks" in str(ask(**NTK))
    assert "own studies" not in str(ask(**STANDARD))  # they agree
    assert "NTK" not in ask(**STANDARD).explain()


rates, batches = st.floats(1e-4, 10.0), st.integers(1, 4096)
parameterizations = st.sampled_from(sorted(PARAMETERIZATIONS))
EVERYTHING = {
    "base": st.fixed_dictionaries(
        {"learning_rate": rates, "batch_size": batches, "momentum": st.floats(0.0, 0.99)}
    ),
    "w": st.floats(0.1, 64.0),
    "parameterization": parameterizations,
    "study": st.none() | st.floats(-0.5, 1.5).map(lambda s: law(s, (s - 0.2, s + 0.2))),
    "stable": st.none() | st.tuples(rates, st.sampled_from(["base", "target", "exponent"])),
}


def stability(stable, w):
    """What is given of the largest stable rate, and what that says of it at the target."""
    if stable is None:
        return {}, None
    value, how = stable
    if how == "base":
        at_target = value if w == 1.0 else None
        return {"max_stable_learning_rate": value}, at_target
    if how == "target":
        return {"max_stable_learning_rate": value, "max_stable_at": w}, value
    return {"max_stable_learning_rate": value, "stability_exponent": 0.5}, value * w**-0.5


@pytest.mark.slow
@given(**EVERYTHING, keep=st.sampled_from(KEEPS))
def test_no_rate_above_the_largest_that_is_known_to_be_stable(
    base, w, parameterization, study, stable, keep
):
    facts, at_target = stability(stable, w)
    if keep in NEEDS_MAX_STABLE and at_target is None:
        return
    plan = widen(
        **base, **facts, widening_factor=w, parameterization=parameterization, law=study, keep=keep
    )
    known = max(base["learning_rate"], at_target or 0.0)
    above = plan.learning_rate > known * (1.0 + 1e-9)
    if keep == "batch_size" and at_target is None:
        # Whoever insists gets it, with that warning first.
        name = "learning rate not known to be stable"
        assert above == (name in [finding.condition for finding in plan.findings])
        if above and not plan.changes:
            assert "largest that is known to be stable" in plan.warnings[0]
            assert plan.evidence != "supported by the paper"
    else:
        assert not above
    if at_target is not None:
        assert plan.learning_rate <= at_target * (1.0 + 1e-9)


@pytest.mark.slow
@given(
    **EVERYTHING,
    keep=st.sampled_from(sorted(set(KEEPS) - NEEDS_MAX_STABLE)),
    normalization=st.sampled_from([None, "none", "batch", "layer"]),
    weight_decay=st.sampled_from([0.0, 1e-4]),
    epochs=st.sampled_from([None, 5.0, 100.0]),
    schedule=st.sampled_from(["constant", "cosine"]),
)
def test_it_is_never_longer(base, w, parameterization, study, stable, **options):
    facts, _ = stability(stable, w)
    plan = widen(
        **base,
        **facts,
        **options,
        widening_factor=w,
        parameterization=parameterization,
        law=study,
        depth_changed=study is not None,
        num_train=8192,
    )
    lines = str(plan).splitlines()
    assert len(lines) <= MOST_LINES
    commands = ("Settle it: ", "Is ε stable there? ")
    assert all(len(line) <= WIDTH + 8 or line.startswith(commands) for line in lines)
    if plan.changes:  # what gave way is never left out
        assert any(line.startswith("Warning: ") for line in lines)


class TestWhatIsGiven:
    def test_ratios_only_where_neither_family_nor_law_is_known(self):
        plan = ask(**NTK)
        assert (plan.normalized_noise_scale, plan.base_normalized_noise_scale) == (None, None)
        assert plan.normalized_noise_ratio == 4.0
        assert "normalized noise scale ḡ" in plan.explain()

    def test_a_family_says_what_its_noise_scale_is(self):
        class Family:
            parameterization = "standard"

            def init_variance(self, widening_factor):
                return 2.0 / widening_factor

        plan = adviser.widen(learning_rate=0.1, batch_size=32, widening_factor=4, network=Family())
        assert plan.parameterization == "standard"
        assert plan.base_normalized_noise_scale == pytest.approx(0.1 / 32 / 2.0)
        assert plan.normalized_noise_scale == pytest.approx(0.1 / 32 / 0.5)

    def test_a_measured_rate_or_law_or_number_is_enough(self):
        given = {"learning_rate": 0.1, "batch_size": 32, "widening_factor": 4, **NTK}
        rate = MeasuredRate(value=1.6, interval=(1.6, 1.6), widening_factor=4.0)
        assert adviser.widen(**given, stability=rate).learning_rate == pytest.approx(0.4)
        assert adviser.widen(**given, stability=0.2).batch_size == 8

    def test_single_facts_of_earlier_releases_still_work(self):
        given = {"learning_rate": 0.1, "batch_size": 32, "widening_factor": 4, **NTK}
        with pytest.warns(DeprecationWarning, match=r"single facts \(epochs\).*into training"):
            old = adviser.widen(**given, epochs=5)
        assert old == adviser.widen(**given, training=Training(epochs=5))

    def test_a_single_fact_beside_its_value_is_an_error(self):
        with pytest.raises(InputError, match="epochs belong into training"):
            ask(**NTK, num_train=64, widening_factor=2) and adviser.widen(
                learning_rate=0.1, batch_size=32, training=Training(num_train=64), epochs=5
            )

    def test_unknown_names(self):
        with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
            adviser.widen(learning_rate=0.1, batch_size=32, epoch=5)

    @pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
    def test_a_variance_is_positive(self, value):
        with pytest.raises(InputError, match="init_variance must be positive"):
            Network(init_variance=value)


def test_rounding_is_no_change():
    """ε is solved for 1 − m, which rounds; what stays is said to stay."""
    plan = ask(**NTK, momentum=0.9, keep="learning_rate_and_batch_size")
    assert plan.learning_rate == pytest.approx(0.1, rel=1e-12)
    assert "Set m = 0.975. Keep ε and B." in str(plan)
    assert "from 0.1 to 0.1" not in plan.explain()


def test_a_batch_of_one_is_not_lowered():
    assert "lower ε: B can go no lower." in str(ask(**STANDARD, batch_size=1))


@pytest.mark.parametrize("rate", [1e-9, 1.58114e-6, 123456.0])
@pytest.mark.parametrize("momentum", [0.0, 0.999])
def test_no_noise_is_so_far_off_that_its_line_is_too_wide(rate, momentum):
    plan = ask(
        **NTK,
        learning_rate=123.456,
        momentum=momentum,
        widening_factor=1e6,
        max_stable_learning_rate=rate,
        max_stable_at=1e6,
    )
    assert plan.noise_reached < 1e-2
    lines = str(plan).splitlines()
    assert all(len(line) <= WIDTH for line in lines if not line.startswith("Settle it"))


@pytest.mark.parametrize("interval", [(-math.inf, 0.75), (0.25, math.inf), (-math.inf, math.inf)])
def test_open_ends_are_said_in_words(interval):
    plan = ask(**NTK, law=law(0.5, interval))
    assert not {"inf", "-inf", "nan", "None"} & set(re.findall(r"[\w-]+", plan.explain()))


def test_a_limit_that_grows_with_width_has_one_sign():
    plan = ask(**NTK, max_stable_learning_rate=0.8, stability_exponent=-0.5)
    assert "ε_max ∝ w^0.5" in plan.ceiling.why
    falls = ask(**NTK, max_stable_learning_rate=0.8, stability_exponent=0.5)
    assert "ε_max ∝ w^−0.5" in falls.ceiling.why


def test_whether_the_rate_is_stable_is_asked_at_the_batch_of_the_plan():
    asked = {"learning_rate": 0.5, "batch_size": 32, "widening_factor": 4}
    lines = str(widen(**asked, parameterization="ntk")).splitlines()
    probe = "widthwise probe SPEC.toml --widths 1,4 --batch-size 8"
    assert f"Is ε stable there? Not known: {probe}" in lines
    at_target = Stability(max_stable_learning_rate=4.0, stability_exponent=0.0)
    known = str(widen(**asked, parameterization="ntk", stability=at_target))
    assert "stable there" not in known


def test_a_rate_that_rises_says_how_near_the_limit_it_comes():
    at_target = Stability(max_stable_learning_rate=25.0, max_stable_at=4)
    asked = {"learning_rate": 1, "batch_size": 256, "widening_factor": 4}
    said = str(widen(**asked, parameterization="ntk", stability=at_target))
    assert "Set ε = 4. Keep B and m. ε is 16 % of the largest stable one." in said
    assert "largest stable one" not in str(widen(**asked, parameterization="ntk"))


class TestOwnStudies:
    """Where our own studies disagree with the paper, what they would set stands beside the plan."""

    def test_their_range_is_that_of_their_exponents(self):
        plan = ask(**NTK, learning_rate=2.0, batch_size=64, widening_factor=4)
        exponents = [study.exponent for study in own_studies("ntk")]
        noise = [each.noise_scale / plan.base_noise_scale for each in plan.by_own_studies]
        # A whole-numbered batch has the noise to 1/(2B), B = 64/4^s.
        assert noise == pytest.approx([4 ** min(exponents), 4 ** max(exponents)], rel=0.03)
        low, high = sorted(each.batch_size for each in plan.by_own_studies)
        (row,) = (line for line in str(plan).splitlines() if line.startswith("  batch size"))
        assert row.split()[-3:] == [str(low), "to", str(high)]
        assert "by our studies" in str(plan)
        assert "which would set" not in str(plan)
        assert f"which would set B = {low} to {high}" in " ".join(plan.explain().split())

    @pytest.mark.parametrize(
        "given",
        [
            {"parameterization": "standard"},  # they agree
            {"parameterization": "mup"},  # there are none
            {"parameterization": "ntk", "widening_factor": 1},
            # The plan has less noise than is asked for, and so might theirs.
            {"parameterization": "ntk", "widening_factor": 1e4, "max_stable_learning_rate": 0.2},
        ],
    )
    def test_no_column_says_nothing(self, given):
        plan = ask(**{"widening_factor": 4, "learning_rate": 0.1, "batch_size": 32, **given})
        assert "by our studies" not in str(plan)

    def test_a_law_of_the_users_own_replaces_them(self):
        plan = ask(**NTK, learning_rate=2.0, widening_factor=4, law=law(0.5))
        assert plan.by_own_studies is None
