"""Wilson's interval, against SciPy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from widthwise.analysis.proportion import wilson_interval

COUNTS = st.integers(1, 5000).flatmap(lambda num: st.tuples(st.integers(0, num), st.just(num)))


@given(COUNTS, st.sampled_from([0.6827, 0.9, 0.95]))
def test_is_scipys(counts, confidence):
    right, num = counts
    expected = binomtest(right, num).proportion_ci(confidence, method="wilson")
    assert wilson_interval(right / num, num, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


def test_all_right_is_not_certain():
    low, high = wilson_interval(1.0, 1000)
    assert (low, high) == (pytest.approx(0.996173, abs=1e-6), 1.0)
    assert wilson_interval(0.0, 1000) == (0.0, pytest.approx(0.003827, abs=1e-6))


@given(COUNTS)
def test_holds_the_share(counts):
    right, num = counts
    low, high = wilson_interval(right / num, num)
    assert 0.0 <= low <= right / num <= high <= 1.0
    assert high - low > 0.0
