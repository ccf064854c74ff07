"""The power law of the largest stable learning rate on planted measurements."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.errors import FitError, InputError
from widthwise.probes import StableLearningRate, fit_stability_law


def measured(value, width, spread=0.02, draws=400, **changes):
    rng = np.random.default_rng([round(1000 * width), 1])
    samples = math.log(value) + spread * rng.standard_normal(draws)
    low, high = np.exp(np.quantile(samples, [0.025, 0.975]))
    content = {
        "value": value,
        "interval": (float(low), float(high)),
        "confidence": 0.95,
        "widening_factor": width,
        "batch_size": 64,
        "momentum": 0.0,
        "steps": 200,
        "seeds": 10,
        "share": 0.9,
        "curvature": None,
        "learning_rates": (),
        "shares": (),
        "samples": samples,
    }
    return StableLearningRate(**{**content, **changes})


def censored(width):
    return measured(9.0, width, interval=(9.0, math.inf), samples=np.full(400, np.nan))


@pytest.mark.slow
@given(exponent=st.floats(-1.0, 2.0), level=st.floats(0.01, 10.0))
def test_a_planted_exponent_is_found(exponent, level):
    widths = [1, 2, 4, 8]
    law = fit_stability_law(widths, [measured(level * w**-exponent, w) for w in widths])
    assert law.exponent == pytest.approx(exponent, abs=0.03)
    assert law.interval[0] <= exponent <= law.interval[1]
    value, (low, high) = law.predict(16)
    assert value == pytest.approx(level * 16**-exponent, rel=0.08)
    assert low < value < high


def test_the_interval_follows_from_the_draws():
    """Two widths, w = 1 and e, each with spread 0.02: q has spread 0.02·√2."""
    law = fit_stability_law([1, math.e], [measured(1.0, 1.0), measured(0.5, math.e)])
    half = (law.interval[1] - law.interval[0]) / 2
    assert half == pytest.approx(1.96 * 0.02 * math.sqrt(2), rel=0.15)
    assert law.lack_of_fit is None


def test_what_is_no_power_law_widens_the_interval():
    widths = [1, 2, 4, 8]
    straight = fit_stability_law(widths, [measured(1.0 / w, w) for w in widths])
    bent = fit_stability_law(
        widths, [measured(v, w) for v, w in zip([1, 1, 0.3, 0.1], widths, strict=True)]
    )
    assert straight.lack_of_fit > 0.05
    assert bent.lack_of_fit < 1e-6
    assert np.ptp(bent.interval) > 5 * np.ptp(straight.interval)
    assert "scatter about the line" in bent.sentence()
    assert "scatter" not in straight.sentence()


def test_a_width_where_nothing_failed_is_left_out():
    law = fit_stability_law([1, 2, 4], [measured(1.0, 1), measured(0.5, 2), censored(4)])
    assert law.widening_factors == (1.0, 2.0)
    assert law.num_censored == 1
    assert law.exponent == pytest.approx(1.0, abs=0.05)
    assert "1 more left out" in law.sentence()
    assert law.to_dict()["num_censored"] == 1


def test_plain_values():
    law = fit_stability_law([1, 2, 4], [measured(1 / w, w) for w in (1, 2, 4)], confidence=0.9)
    assert law.to_dict() == {
        "exponent": law.exponent,
        "interval": list(law.interval),
        "intercept": law.intercept,
        "confidence": 0.9,
        "widening_factors": [1.0, 2.0, 4.0],
        "num_censored": 0,
        "lack_of_fit": law.lack_of_fit,
    }
    assert censored(4).to_dict() == {
        "value": 9.0,
        "interval": [9.0, math.inf],
        "confidence": 0.95,
        "widening_factor": 4,
        "batch_size": 64,
        "momentum": 0.0,
        "nesterov": False,
        "steps": 200,
        "seeds": 10,
        "share": 0.9,
        "censored": True,
        "curvature": None,
        "curvature_bound": None,
        "learning_rates": [],
        "shares": [],
    }


def test_the_sentence():
    law = fit_stability_law([1, 2, 4], [measured(1 / w, w) for w in (1, 2, 4)])
    assert str(law).startswith("The largest stable learning rate goes as w^−q with q = ")
    assert str(law).endswith("from 3 widths, w = 1 to 4.")


@pytest.mark.parametrize(
    ("widths", "rates", "kind", "message"),
    [
        ([1, 2, 4], [measured(1.0, 1), measured(1.0, 2)], InputError, "one factor for each"),
        ([1, -2], [measured(1.0, 1), measured(1.0, 2)], InputError, "must be positive"),
        ([1, 2], [measured(1.0, 1), measured(1.0, 2, momentum=0.9)], InputError, "must agree"),
        ([1, 2], [measured(1.0, 1), censored(2)], FitError, "at least 2 widths, got 1 of 2"),
        ([2, 2], [measured(1.0, 2), measured(1.0, 2)], FitError, "at least 2 widths"),
    ],
)
def test_what_is_refused(widths, rates, kind, message):
    with pytest.raises(kind, match=message):
        fit_stability_law(widths, rates)


def test_bad_confidence_and_width_are_refused():
    rates = [measured(1.0, 1), measured(0.5, 2)]
    with pytest.raises(InputError, match="confidence must lie in"):
        fit_stability_law([1, 2], rates, confidence=1.0)
    with pytest.raises(InputError, match="widening_factor must be positive"):
        fit_stability_law([1, 2], rates).predict(0)
