import numpy as np
import pytest

from widthwise.data.preprocessing import fit_center_scale, to_float
from widthwise.errors import InputError


def test_center_scale_matches_a_plain_calculation():
    rng = np.random.default_rng(0)
    # More rows than one block, so that the blocks are summed.
    inputs = rng.normal(3.0, 2.0, size=(5000, 2, 3)).astype(np.float32)
    transform = fit_center_scale(inputs)
    exact = inputs.astype(np.float64)
    mean = exact.mean(axis=0)
    scale = np.sqrt(np.mean((exact - mean) ** 2))
    np.testing.assert_allclose(transform.mean, mean, rtol=1e-12)
    assert transform.scale == pytest.approx(scale, rel=1e-12)
    np.testing.assert_allclose(transform(inputs), (exact - mean) / scale, rtol=1e-5, atol=1e-6)


def test_bytes_are_divided_by_255_and_other_types_are_not():
    assert to_float(np.array([[51]], dtype=np.uint8)).tolist() == [[np.float32(0.2)]]
    assert to_float(np.array([[51]], dtype=np.int16)).tolist() == [[51.0]]
    assert to_float(np.asfortranarray(np.zeros((3, 2)))).flags.c_contiguous


def test_equal_examples_cannot_be_scaled():
    with pytest.raises(InputError, match="inputs that differ"):
        fit_center_scale(np.ones((4, 3), dtype=np.float32))
