"""The tests of a distribution: by hand, and at their stated rate."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from widthwise.inspection.fit import Sample, fits, resolution
from widthwise.inspection.schemes import TRUNCATED_STD
from widthwise.inspection.values import sample

STD = 0.05
# A normal distribution of this parent σ, cut at ±2 of it, has the standard deviation STD.
PARENT = STD / 0.87962566


def draw(distribution, n, dtype=torch.float32, scale=1.0):
    values = torch.empty(n, dtype=dtype)
    with torch.no_grad():
        if distribution == "normal":
            values.normal_(0.0, scale * STD)
        elif distribution == "uniform":
            values.uniform_(-scale * STD * math.sqrt(3), scale * STD * math.sqrt(3))
        else:
            parent = scale * PARENT
            torch.nn.init.trunc_normal_(values, 0.0, parent, -2 * parent, 2 * parent)
    return sample(values)


def of(*values):
    return Sample.of(np.array(values, dtype=np.float64), rounding=1e-16)


DISTRIBUTIONS = ("normal", "uniform", "truncated")
SETTINGS = [
    (distribution, n, dtype)
    for distribution in DISTRIBUTIONS
    for n in (3, 60, 3000)
    for dtype in (torch.float32, torch.bfloat16)
]


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "n", "dtype"), SETTINGS)
def test_a_true_distribution_is_kept_at_the_stated_rate(distribution, n, dtype):
    """150 samples at 90 %; so few are kept once in 1,000 times if the rate is 90 %."""
    torch.manual_seed(1)
    kept = sum(fits(draw(distribution, n, dtype), distribution, STD, 0.9) for _ in range(150))
    assert kept >= stats.binom.ppf(0.001, 150, 0.9)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_rate_is_not_kept_by_keeping_everything(distribution):
    """The three other tests are exact too: at most 10 %, but some, of true ones are rejected."""
    torch.manual_seed(2)
    kept = sum(fits(draw(distribution, 400), distribution, STD, 0.9) for _ in range(300))
    assert kept < 300


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_default_confidence_holds(distribution):
    """1,000 samples at 99.9 %: at most 5 rejected, but for once in 1,000 times."""
    torch.manual_seed(3)
    kept = sum(fits(draw(distribution, 300), distribution, STD, 0.999) for _ in range(1000))
    assert kept >= stats.binom.ppf(0.001, 1000, 0.999)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_ten_percent_off_is_rejected(distribution, scale):
    """With 4,000 values σ is known to 1.1 %: 10 % is 9 standard errors."""
    torch.manual_seed(4)
    for _ in range(50):
        assert not fits(draw(distribution, 4000, scale=scale), distribution, STD, 0.999)


@pytest.mark.parametrize("true", DISTRIBUTIONS)
@pytest.mark.parametrize("other", DISTRIBUTIONS)
def test_shapes_of_equal_scale_are_told_apart(true, other):
    torch.manual_seed(5)
    kept = sum(fits(draw(true, 3000), other, STD, 0.999) for _ in range(20))
    assert kept == (20 if true == other else 0)


# One value x against U(−1, 1), σ = 1/√3: F = (x + 1)/2.
# x = 0.5: bounds 2·min(|x|, 1 − |x|) = 1; F = 0.75: mean and shape 2·(1 − F) = 0.5; scale 1: kept.
# x = 0.999: bounds 0.002; F = 0.9995: mean and shape 0.001, scale 0.002. The smallest decides, at a
# quarter of the level: rejected if 1 − confidence > 4 · 0.001.
# x = 1.1: outside.
ONE_VALUE = [
    (0.5, 0.9, True),
    (0.999, 1 - 4 * 0.00099, True),
    (0.999, 1 - 4 * 0.00101, False),
    (1.1, 0.999999, False),
]


@pytest.mark.parametrize(("value", "confidence", "kept"), ONE_VALUE)
def test_one_value_by_hand(value, confidence, kept):
    assert fits(of(value), "uniform", 1 / math.sqrt(3), confidence) is kept


def test_two_normal_values_by_hand():
    """x = (3, 3), σ = 1: Kolmogorov's distance is Φ(3), whose p is 2·(1 − Φ(3))² = 3.6e-6 for two
    values; the mean's is 2·Φ(−3√2) = 2.2e-5, the scale's 2·exp(−9) = 2.5e-4, the largest's 1.1e-2.
    """
    smallest = 2 * stats.norm.sf(3) ** 2
    assert fits(of(3.0, 3.0), "normal", 1.0, 1 - 4 * 0.99 * smallest)
    assert not fits(of(3.0, 3.0), "normal", 1.0, 1 - 4 * 1.01 * smallest)


def test_rounding_to_the_bound_is_not_held_against_a_scheme():
    """U(±1/8) in bfloat16: of 1,000 values about two are rounded to the bound itself."""
    torch.manual_seed(8)
    drawn = (torch.empty(1000).uniform_(-0.125, 0.125).bfloat16() for _ in range(200))
    kept = sum(fits(sample(values), "uniform", 0.125 / math.sqrt(3), 0.9) for values in drawn)
    assert kept >= stats.binom.ppf(0.001, 200, 0.9)


@pytest.mark.parametrize(("shift", "kept"), [(0.09, True), (0.125, False)])
def test_a_small_shift_is_for_the_mean_to_find(shift, kept):
    """1,000 quantiles of N(0, 1), shifted: Σz/√n is 2.8 (p = 4e-3) or 4.0 (p = 8e-5), against a
    level of 2.5e-4. The other three see less: Kolmogorov's √n·D is 1.6 (p = 0.01) at most.
    """
    quantiles = stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    assert fits(of(*(quantiles + shift)), "normal", 1.0, 0.999) is kept


def test_a_mean_that_is_not_zero_is_rejected():
    torch.manual_seed(6)
    shifted = sample(torch.randn(2000) * STD + STD / 4)  # 11 standard errors
    assert not fits(shifted, "normal", STD, 0.999)


def test_the_truncated_deviation():
    """Of N(0, 1) cut at ±2: 1 − 4φ(2)/(2Φ(2) − 1)."""
    variance = 1 - 4 * stats.norm.pdf(2) / (2 * stats.norm.cdf(2) - 1)
    assert math.sqrt(variance) == pytest.approx(TRUNCATED_STD, rel=1e-12)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_deviation_off_by_twice_the_resolution_is_rejected(distribution):
    torch.manual_seed(7)
    off = 1.0 + 2.0 * resolution(500, distribution, 0.999)
    kept = sum(
        fits(draw(distribution, 500, scale=off), distribution, STD, 0.999) for _ in range(50)
    )
    assert kept <= 3
