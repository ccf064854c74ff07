"""Noise-scale formulas: values by hand, round trips, broadcasting, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import widthwise as ww
from widthwise.errors import InputError
from widthwise.theory.noise import batch_size_for, learning_rate_for, momentum_for

RATES = st.floats(1e-6, 1e3)
BATCHES = st.integers(1, 10**6)
# Nearer to 1, 1 − m itself has fewer than 12 digits.
MOMENTA = st.floats(0.0, 0.999)
VARIANCES = st.floats(1e-6, 1e3)


def close(value):
    return pytest.approx(value, rel=1e-12)


class TestByHand:
    def test_plain(self):
        assert ww.noise_scale(0.5, 4) == close(0.125)

    def test_momentum_divides_by_one_minus_m(self):
        assert ww.noise_scale(0.5, 4, momentum=0.75) == close(0.5)

    def test_with_the_training_set(self):
        assert ww.noise_scale(0.5, 4, momentum=0.75, num_train=100) == close(50.0)

    def test_normalized(self):
        # 0.5 / (4 · 0.25) / (2 / 8)
        assert ww.normalized_noise_scale(0.5, 4, 0.75, init_variance=2 / 8) == close(2.0)

    def test_the_normalized_scale_is_not_the_plain_one(self):
        plain = ww.noise_scale(0.5, 4, 0.75)
        assert ww.normalized_noise_scale(0.5, 4, 0.75, init_variance=0.25) != close(plain)

    def test_scalars_give_plain_floats(self):
        assert type(ww.noise_scale(1, 2)) is float
        assert type(ww.normalized_noise_scale(1, 2, init_variance=1)) is float


class TestRoundTrips:
    @given(RATES, BATCHES, MOMENTA, VARIANCES)
    def test_learning_rate(self, rate, batch, momentum, variance):
        scale = ww.normalized_noise_scale(rate, batch, momentum, init_variance=variance)
        found = learning_rate_for(scale, batch, momentum, init_variance=variance)
        again = ww.normalized_noise_scale(found, batch, momentum, init_variance=variance)
        assert again == close(scale)
        assert found == close(rate)

    @given(RATES, BATCHES, MOMENTA, VARIANCES)
    def test_batch_size(self, rate, batch, momentum, variance):
        scale = ww.normalized_noise_scale(rate, batch, momentum, init_variance=variance)
        assert batch_size_for(scale, rate, momentum, init_variance=variance) == close(batch)

    @given(st.floats(1e-9, 1e3), BATCHES, MOMENTA, VARIANCES)
    def test_momentum(self, rate, batch, momentum, variance):
        scale = ww.normalized_noise_scale(rate, batch, momentum, init_variance=variance)
        found = momentum_for(scale, rate, batch, init_variance=variance)
        again = ww.normalized_noise_scale(rate, batch, found, init_variance=variance)
        assert again == close(scale)
        assert found == pytest.approx(momentum, abs=1e-12)

    def test_momentum_of_tiny_scales(self):
        assert momentum_for(1e-9, 1e-10, 1, init_variance=1.0) == close(0.9)
        with pytest.raises(InputError, match="no momentum"):
            momentum_for(1e-10, 1e-9, 1, init_variance=1.0)

    @given(st.integers(2, 8), RATES)
    def test_only_the_ratio_of_rate_and_batch_matters(self, factor, rate):
        assert ww.noise_scale(factor * rate, factor * 16) == close(ww.noise_scale(rate, 16))

    def test_the_comparison_notices_a_wrong_formula(self):
        scale = ww.normalized_noise_scale(0.1, 8, 0.9, init_variance=0.5)
        without_momentum = learning_rate_for(scale, 8, init_variance=0.5)
        assert without_momentum != close(0.1)


class TestBroadcasting:
    def test_rates_against_batches(self):
        scales = ww.noise_scale(np.array([[0.1], [0.2]]), [1, 2, 4])
        assert scales.shape == (2, 3)
        np.testing.assert_allclose(scales[1], [0.2, 0.1, 0.05], rtol=1e-12)

    def test_variances_of_several_widths(self):
        scales = ww.normalized_noise_scale(0.5, 4, init_variance=[2.0, 1.0, 0.5])
        np.testing.assert_allclose(scales, [0.0625, 0.125, 0.25], rtol=1e-12)

    def test_momenta(self):
        np.testing.assert_allclose(ww.noise_scale(0.1, 1, [0.0, 0.9]), [0.1, 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, ∞\), got 0.0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"learning_rate": [0.1, np.inf]}, "learning_rate"),
        ({"batch_size": 0}, r"batch_size must lie in \[1, ∞\), got 0"),
        ({"batch_size": [4, 0.5]}, "batch_size"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, "momentum"),
        ({"num_train": 0}, "num_train"),
        ({"num_train": 3}, "batch_size must not exceed num_train=3, got 4; use a smaller batch"),
    ],
)
def test_out_of_range(arguments, message):
    with pytest.raises(InputError, match=message):
        ww.noise_scale(**{"learning_rate": 0.1, "batch_size": 4, **arguments})


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan])
def test_init_variance_is_positive(variance):
    with pytest.raises(InputError, match="init_variance"):
        ww.normalized_noise_scale(0.1, 4, init_variance=variance)


def test_momentum_that_cannot_exist():
    with pytest.raises(InputError, match=r"without momentum it is already 0\.1"):
        momentum_for(0.05, 0.1, 1, init_variance=1.0)


def test_an_integer_that_no_float_holds():
    with pytest.raises(InputError, match="learning_rate must be a number that a float holds"):
        ww.noise_scale(10**400, 8)
