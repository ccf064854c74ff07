"""What holds for every plan, whatever was tuned."""

import math

import pytest
from adviser_samples import MeasuredRate, law, widen
from hypothesis import given
from hypothesis import strategies as st

from widthwise.adviser.solving import KEEPS, MAX_MOMENTUM, NEEDS_MAX_STABLE
from widthwise.theory.noise import noise_scale
from widthwise.theory.parameterization import PARAMETERIZATIONS

rates = st.floats(1e-5, 10.0)
batches = st.integers(1, 4096)
momenta = st.floats(0.0, 0.99)
factors = st.floats(0.1, 64.0)
parameterizations = st.sampled_from(sorted(PARAMETERIZATIONS))
laws = st.none() | st.floats(-0.5, 1.5).map(lambda s: law(s, (s - 0.2, s + 0.2)))
keeps = st.sampled_from(KEEPS)


def tuned(learning_rate, batch_size, momentum):
    return {"learning_rate": learning_rate, "batch_size": batch_size, "momentum": momentum}


bases = st.builds(tuned, rates, batches, momenta)


@pytest.mark.slow
@given(
    base=bases,
    w=factors,
    parameterization=parameterizations,
    keep=keeps,
    study=laws,
    stable=rates,
    limit=st.none() | st.integers(1, 512),
)
def test_the_setting_has_the_noise_that_the_rule_asks_for(
    base, w, parameterization, keep, study, stable, limit
):
    plan = widen(
        **base,
        widening_factor=w,
        parameterization=parameterization,
        keep=keep,
        law=study,
        max_stable_learning_rate=stable,
        max_stable_at=w,
        max_batch_size=limit,
    )
    # Worked out here, from ḡ ∝ w^s and σ² ∝ w^e.
    s = 1.0 if study is None else study.exponent
    e = 0.0 if parameterization == "ntk" else -1.0
    wanted = noise_scale(**base) * w ** (s + e)
    setting = (plan.learning_rate, plan.batch_size, plan.momentum)
    had = wanted * plan.noise_reached
    assert noise_scale(*setting) == pytest.approx(had, rel=1e-12)
    assert plan.normalized_noise_ratio == pytest.approx(w**s * plan.noise_reached, rel=1e-12)
    assert plan.noise_ratio == pytest.approx(plan.noise_scale / noise_scale(**base), rel=1e-12)
    # And within its limits.
    assert isinstance(plan.batch_size, int)
    assert 1 <= plan.batch_size <= (limit or math.inf)
    if keep == "learning_rate_and_batch_size":
        assert 0.0 <= plan.momentum <= max(MAX_MOMENTUM, base["momentum"])
    else:
        assert plan.momentum == base["momentum"]
    known = 0.25 if w != 1.0 else max(0.25, base["learning_rate"] / stable)
    usable = stable * (1.0 if keep == "largest_batch" else min(1.0, known))
    assert plan.learning_rate <= usable * (1.0 + 1e-9)
    # Noise is missing only where B = 1 would need more than is usable.
    assert 0.0 < plan.noise_reached <= 1.0
    needed = wanted * (1.0 - plan.momentum)
    assert plan.noise_reached == pytest.approx(min(1.0, usable / needed), rel=1e-9)
    if plan.noise_reached < 1.0:
        assert plan.batch_size == 1
        assert plan.learning_rate == pytest.approx(usable, rel=1e-9)
        assert plan.evidence in ("extrapolated", "contradicted by published work")
    for choice in plan.choices:
        scale = noise_scale(choice.learning_rate, choice.batch_size, choice.momentum)
        assert scale == pytest.approx(had, rel=1e-12)
    assert sum(choice.chosen for choice in plan.choices) == 1


@given(base=bases, parameterization=parameterizations, keep=keeps, study=laws)
def test_no_widening_changes_nothing(base, parameterization, keep, study):
    if keep in NEEDS_MAX_STABLE:
        return  # these ask for another setting of the same noise
    plan = widen(**base, widening_factor=1, parameterization=parameterization, keep=keep, law=study)
    assert tuned(plan.learning_rate, plan.batch_size, plan.momentum) == base
    assert plan.noise_ratio == plan.normalized_noise_ratio == 1.0
    assert plan.changes == ()


@pytest.mark.slow
@given(
    base=bases,
    a=factors,
    b=factors,
    parameterization=parameterizations,
    keep=st.sampled_from(["batch_size", "learning_rate_and_batch_size"]),
    study=laws,
)
def test_widening_twice_is_widening_once(base, a, b, parameterization, keep, study):
    options = {"parameterization": parameterization, "keep": keep, "law": study}
    first = widen(**base, widening_factor=a, **options)
    then = widen(
        **tuned(first.learning_rate, first.batch_size, first.momentum),
        widening_factor=b,
        **options,
    )
    once = widen(**base, widening_factor=a * b, **options)
    assert then.noise_scale == pytest.approx(once.noise_scale, rel=1e-9)
    growth = then.normalized_noise_ratio * first.normalized_noise_ratio
    assert growth == pytest.approx(once.normalized_noise_ratio, rel=1e-9)
    if not (first.changes or then.changes or once.changes):
        assert then.batch_size == once.batch_size
        assert then.learning_rate == pytest.approx(once.learning_rate, rel=1e-9)
        # 1 − m, not m, is what is multiplied.
        assert 1.0 - then.momentum == pytest.approx(1.0 - once.momentum, rel=1e-9)


@pytest.mark.slow
@given(
    base=bases,
    w=st.sampled_from([0.5, 2.0, 4.0, 7.0]),
    parameterization=parameterizations,
    keep=keeps,
    stable=rates,
    power=st.integers(-8, 8),
)
def test_units_of_the_loss(base, w, parameterization, keep, stable, power):
    """Loss × c and ε / c is the same training: only ε, ε_max and g change, all by 1/c."""
    c = 2.0**power  # exact in binary, so that no rounding of B is decided by it
    options = {
        "widening_factor": w,
        "parameterization": parameterization,
        "keep": keep,
        "stability_exponent": 0.5,
    }
    plan = widen(**base, max_stable_learning_rate=stable, **options)
    scaled = widen(
        **{**base, "learning_rate": base["learning_rate"] / c},
        max_stable_learning_rate=stable / c,
        **options,
    )
    assert scaled.noise_reached == pytest.approx(plan.noise_reached, rel=1e-12)
    assert (scaled.batch_size, scaled.momentum) == (plan.batch_size, plan.momentum)
    assert scaled.learning_rate == plan.learning_rate / c
    assert scaled.noise_scale == pytest.approx(plan.noise_scale / c, rel=1e-12)
    ceiling, other = plan.ceiling, scaled.ceiling
    assert other.max_stable_learning_rate == ceiling.max_stable_learning_rate / c
    assert other.exact_batch_size == pytest.approx(ceiling.exact_batch_size, rel=1e-12)
    for name in ("batch_size", "binds_from", "exhausted_from", "learning_rate_binds_from"):
        assert getattr(other, name) == pytest.approx(getattr(ceiling, name), rel=1e-12)
    assert scaled.evidence == plan.evidence
    assert [f.condition for f in scaled.findings] == [f.condition for f in plan.findings]


@pytest.mark.slow
@given(
    base=bases,
    w=st.floats(1.1, 64.0),
    s=st.floats(0.0, 1.5),
    below=st.floats(0.0, 1.0),
    above=st.floats(0.0, 1.0),
    parameterization=parameterizations,
    keep=keeps,
    stable=st.none() | rates,
)
def test_intervals_hold_the_plan(base, w, s, below, above, parameterization, keep, stable):
    study = law(s, (s - below, s + above))
    options = {"parameterization": parameterization, "keep": keep, "law": study}
    options["init_variance"] = 0.5
    if stable is None and keep in NEEDS_MAX_STABLE:
        return
    if stable is not None:
        rate = MeasuredRate(value=stable, interval=(stable / 1.5, stable * 1.2), widening_factor=w)
        options["max_stable_learning_rate"] = rate
    plan = widen(**base, widening_factor=w, **options)
    for name in ("learning_rate", "batch_size", "momentum", "normalized_noise_scale"):
        low, high = getattr(plan, f"{name}_interval")
        value = getattr(plan, name)
        assert low * (1.0 - 1e-9) <= value <= high * (1.0 + 1e-9)


@pytest.mark.slow
@given(
    base=bases,
    q=st.floats(-1.0, 2.0),
    stable=rates,
    parameterization=parameterizations,
)
def test_the_ceiling_is_the_base_batch_where_it_begins_to_bind(base, q, stable, parameterization):
    """The closed form of the width, put back into the ceiling itself."""
    options = {
        "parameterization": parameterization,
        "max_stable_learning_rate": stable,
        "stability_exponent": q,
        "keep": "batch_size",
    }
    width = widen(**base, widening_factor=1, **options).ceiling.binds_from
    if width is None or not 1e-2 < width < 1e3:
        return
    there = widen(**base, widening_factor=width, **options)
    assert there.ceiling.exact_batch_size == pytest.approx(base["batch_size"], rel=1e-6)
