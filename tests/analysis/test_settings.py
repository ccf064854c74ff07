"""The noise of the measured settings, above all where settings have different seeds."""

import numpy as np
import pytest

from widthwise.analysis.settings import merge_settings
from widthwise.errors import InputError

NOISE = 0.003
SHARED = 0.05  # what a seed adds to all settings; none of it is noise between settings


def settings_of(num_seeds, *, shared, seed=0):
    """Settings an octave apart, the first seeds of each."""
    rng = np.random.default_rng(seed)
    most = max(num_seeds)
    common = shared * rng.standard_normal(most)
    scores = 0.8 + common + NOISE * rng.standard_normal((len(num_seeds), most))
    ran = np.arange(most) < np.array(num_seeds)[:, None]
    return merge_settings(
        2.0 ** np.arange(len(num_seeds)), np.where(ran, scores, np.nan), limits=None, ran=ran
    )


def mean_seed_variance(num_seeds, *, shared, problems=200):
    """Over independent problems, relative to the planted variance; shape (settings,)."""
    found = [settings_of(num_seeds, shared=shared, seed=i).seed_variances for i in range(problems)]
    return np.mean(found, axis=0) / NOISE**2


# The mean of 200 problems with at least 3 degrees of freedom each scatters by 6 % or less. Taking
# off a median of five takes a tenth of the noise with it; where two settings lack the seed, what
# is taken off is too little, and the variance up to two fifths too large.
LEAST, MOST = 0.7, 1.6


@pytest.mark.parametrize("num_seeds", [(8, 8, 8, 8, 8), (3, 8, 8, 8, 3), (3, 8, 8, 8, 8)])
def test_what_all_settings_share_is_not_noise_whatever_the_number_of_seeds(num_seeds):
    assert (SHARED / NOISE) ** 2 > 100 * MOST
    relative = mean_seed_variance(num_seeds, shared=SHARED)
    assert np.all((relative > LEAST) & (relative < MOST))


def test_seeds_that_only_one_setting_ran_keep_their_noise():
    relative = mean_seed_variance((3, 3, 24, 3, 3), shared=0.0)
    assert relative[2] > LEAST


def test_a_setting_with_few_seeds_says_less_of_the_noise_than_its_neighbor():
    scores = np.full((3, 20), np.nan)
    scores[0, :2] = [0.0, 0.4]  # two seeds far apart
    scores[1] = np.tile([0.49, 0.51], 10)
    scores[2] = np.tile([0.51, 0.49], 10)
    ran = np.isfinite(scores)
    found = merge_settings([1.0, 2.0, 4.0], scores, limits=None, ran=ran).seed_variances
    alone = 0.08
    assert found[1] < alone / 20


def test_the_variance_of_a_mean_falls_with_its_own_seeds():
    settings = settings_of((4, 8, 16), shared=0.0)
    np.testing.assert_allclose(
        settings.variances * settings.counts, settings.seed_variances, rtol=1e-12
    )


@pytest.mark.parametrize("which", ["noise_scale", "scores", "ran", "effective_rate"])
def test_masked_values_are_refused(which):
    given = {
        "noise_scale": 2.0 ** np.arange(4),
        "scores": np.full((4, 2), 0.5),
        "ran": np.ones((4, 2), bool),
        "effective_rate": np.ones(4),
    }
    assert merge_settings(limits=None, **given).num_usable == 4
    mask = np.zeros(given[which].shape, bool)
    mask[1] = True
    given[which] = np.ma.array(given[which], mask=mask)
    with pytest.raises(InputError, match=r"must not be masked.* pass scores\.filled"):
        merge_settings(limits=None, **given)


@pytest.mark.parametrize("which", ["noise_scale", "scores"])
@pytest.mark.parametrize("kind", [complex, str, "datetime64[s]"])
def test_what_is_no_real_number_is_refused(which, kind):
    given = {"noise_scale": np.arange(1, 5), "scores": np.ones((4, 2), int)}
    assert merge_settings(limits=None, ran=None, **given).num_usable == 4
    given[which] = given[which].astype(kind)
    with pytest.raises(InputError, match=r"must be real numbers, got dtype"):
        merge_settings(limits=None, ran=None, **given)
