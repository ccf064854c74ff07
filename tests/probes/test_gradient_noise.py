"""tr(Σ)/|G|² where both are known, on modules of every kind, and left as they were."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise import families
from widthwise.data import Dataset
from widthwise.errors import FitError, InputError
from widthwise.probes.gradient_noise import HOW_IT_DIFFERS, estimate, gradient_noise_scale
from widthwise.probes.gradients import GradientSource


def mean_output(output, targets):
    return output.mean()


def planted(num_examples, dimension, mean, seed=0):
    """A module whose gradients are its inputs, N(mean, 1) in every coordinate."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((num_examples, dimension)) + mean
    return nn.Linear(dimension, 1, bias=False).double(), inputs, np.zeros(num_examples)


def sums(gradients):
    return np.square(gradients).sum(1), gradients @ gradients.sum(0)


def of(gradients, **options):
    return estimate(*sums(np.asarray(gradients, dtype=np.float64)), **options)


class TestByHand:
    # Eight gradients (3, ±1): the mean is (3, 0); the second coordinate's variance is 8/7.
    # |G|² without bias: |mean|² − tr/8 = 9 − 1/7.
    GRADIENTS = ((3.0, 1.0), (3.0, -1.0)) * 4

    def test_parts_and_ratio(self):
        result = of(self.GRADIENTS)
        assert result.trace == pytest.approx(8 / 7, rel=1e-12)
        assert result.squared_norm == pytest.approx(9 - 1 / 7, rel=1e-12)
        assert result.value == pytest.approx((8 / 7) / (62 / 7), rel=1e-12)
        assert result.num_examples == 8
        assert result.bounded

    def test_of_batches(self):
        """A batch's covariance is that of an example divided by its size; the mean is the same."""
        result = of(self.GRADIENTS, batch_size=4)
        assert result.trace == pytest.approx(32 / 7, rel=1e-12)
        assert result.squared_norm == pytest.approx(62 / 7, rel=1e-12)
        assert result.num_examples == 32

    def test_is_the_two_batch_size_estimator(self):
        """Appendix A.1 with B_small = 1, B_big = n, from the definition."""
        gradients = np.random.default_rng(1).standard_normal((20, 3)) + 0.5
        small, big = np.square(gradients).sum(1).mean(), np.square(gradients.mean(0)).sum()
        result = of(gradients)
        assert result.squared_norm == pytest.approx((20 * big - small) / 19, rel=1e-12)
        assert result.trace == pytest.approx((small - big) / (1 - 1 / 20), rel=1e-12)

    def test_jackknife_is_that_of_leaving_each_out(self):
        """|G|²'s interval by definition; the quantile of Student's t_9 at 0.975 is 2.262157."""
        gradients = np.random.default_rng(2).standard_normal((10, 3)) + 2.0
        left_out = [of(np.delete(gradients, i, 0)).squared_norm for i in range(10)]
        variance = 9 / 10 * np.square(left_out - np.mean(left_out)).sum()
        low, high = of(gradients).squared_norm_interval
        assert (high - low) / 2 == pytest.approx(2.262157 * variance**0.5, rel=1e-6)

    def test_no_signal(self):
        result = of([(1.0,), (-1.0,)] * 5)
        assert result.squared_norm < 0
        assert result.value == math.inf
        assert result.interval[1] == math.inf
        assert not result.bounded

    def test_no_noise(self):
        result = of([(2.0, 0.0)] * 10)
        assert result.value == pytest.approx(0.0, abs=1e-12)
        assert result.interval == pytest.approx((0.0, 0.0), abs=1e-12)


@pytest.mark.slow
@given(
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
    mean=st.floats(0.0, 2.0),
    order=st.randoms(),
)
def test_neither_the_loss_scale_nor_the_order_matters(scale, seed, mean, order):
    gradients = np.random.default_rng(seed).standard_normal((12, 3)) + mean
    result = of(gradients)
    rows = list(gradients * scale)
    order.shuffle(rows)
    other = of(rows)
    assert other.value == pytest.approx(result.value, rel=1e-6)
    assert other.interval == pytest.approx(result.interval, rel=1e-6)
    assert other.squared_norm == pytest.approx(scale**2 * result.squared_norm, rel=1e-6, abs=1e-12)
    low, high = result.interval
    assert 0 <= low <= result.value <= high


class TestCoverage:
    RUNS = 1000
    # Five standard errors of a share of 0.95 among RUNS.
    TOLERANCE = 5 * math.sqrt(0.95 * 0.05 / RUNS)

    def share_covered(self, dimension, mean, num_gradients, *, confidence=0.95, truth=None):
        rng = np.random.default_rng(4)
        truth = 1 / mean**2 if truth is None else truth  # d / (d · mean²)
        hits = 0
        for _ in range(self.RUNS):
            gradients = rng.standard_normal((num_gradients, dimension)) + mean
            low, high = of(gradients, confidence=confidence).interval
            hits += low <= truth <= high
        return hits / self.RUNS

    @pytest.mark.slow
    @pytest.mark.parametrize(("dimension", "mean", "n"), [(5, 1.0, 100), (20, 0.3, 200)])
    def test_intervals_hold_the_truth_as_often_as_they_say(self, dimension, mean, n):
        assert self.share_covered(dimension, mean, n) == pytest.approx(0.95, abs=self.TOLERANCE)

    @pytest.mark.slow
    def test_weak_signals_are_covered_by_open_intervals(self):
        assert self.share_covered(100, 0.05, 200) > 0.95 - self.TOLERANCE

    def test_no_signal_is_seldom_taken_for_one(self):
        assert self.share_covered(20, 0.0, 100, truth=math.inf) > 0.95 - self.TOLERANCE

    def test_the_check_notices_intervals_that_are_too_short(self):
        assert self.share_covered(5, 1.0, 100, confidence=0.8) < 0.95 - self.TOLERANCE


class TestModules:
    def test_a_linear_model_whose_gradients_are_known(self):
        """d = 6, mean ½: tr Σ = 6, |G|² = 1.5, ratio 4. Tolerance: five standard errors, from the
        variances 2d/n of the trace and (4|G|² + …)/n of |G|² at n = 20,000: 0.03 and 0.02."""
        result = gradient_noise_scale(
            *planted(20_000, 6, 0.5), loss=mean_output, num_examples=20_000
        )
        assert result.trace == pytest.approx(6.0, abs=5 * math.sqrt(12 / 20_000))
        assert result.squared_norm == pytest.approx(1.5, abs=5 * math.sqrt(6 / 20_000))
        assert result.interval[0] < 4.0 < result.interval[1]
        assert result.value == pytest.approx(4.0, rel=0.1)

    def test_more_examples_shorten_the_interval_as_their_square_root(self):
        widths = []
        for n in (500, 8000):
            planted_case = planted(8000, 6, 0.5)
            low, high = gradient_noise_scale(
                *planted_case, loss=mean_output, num_examples=n
            ).interval
            widths.append(high - low)
        assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.25)

    @pytest.mark.parametrize("loss", ["cross-entropy", "mean-squared-error"])
    @pytest.mark.parametrize("kind", ["mapped", "looped"])
    def test_against_gradients_one_by_one(self, loss, kind):
        class Branching(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = families.mlp((5,), 3, base_width=4).build(1).double()

            def forward(self, x):
                return self.inner(x) if x.sum() < 1e9 else x  # vmap refuses it

        module = families.mlp((5,), 3, base_width=4).build(1).double()
        inputs = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(30) % 3
        functions = {
            "cross-entropy": functional.cross_entropy,
            "mean-squared-error": lambda y, t: functional.mse_loss(
                y, functional.one_hot(t, 3).to(y.dtype)
            ),
        }
        gradients = []
        for x, y in zip(inputs, targets, strict=True):
            module.zero_grad()
            functions[loss](module(x[None]), y[None]).backward()
            gradients.append(torch.cat([p.grad.flatten() for p in module.parameters()]).numpy())
        expected = of(np.array(gradients))
        given_module = module if kind == "mapped" else Branching()
        source = GradientSource.prepare(
            given_module, inputs, targets, loss=loss, batch_size=None, seed=0
        )
        assert source.mapped == (kind == "mapped")
        measured = gradient_noise_scale(given_module, inputs, targets, loss=loss)
        assert measured.value == pytest.approx(expected.value, rel=1e-10)
        assert measured.interval == pytest.approx(expected.interval, rel=1e-10)

    def test_frozen_parameters_do_not_count(self):
        module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        x, y = torch.randn(20, 3), torch.arange(20) % 2
        whole = gradient_noise_scale(module, x, y)
        module[0].requires_grad_(False)
        assert gradient_noise_scale(module, x, y).trace < whole.trace

    def test_batch_norm_in_training_takes_batches(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        x, y = torch.randn(512, 4), torch.arange(512) % 2
        result = gradient_noise_scale(module, x, y)
        assert (result.batch_size, result.num_examples) == (32, 512)
        with pytest.raises(InputError, match=r"batch norm in training mode.*module\.eval\(\)"):
            gradient_noise_scale(module, x, y, batch_size=1)
        assert gradient_noise_scale(module.eval(), x, y).batch_size == 1

    @pytest.mark.slow
    def test_batches_and_examples_estimate_the_same(self):
        case = planted(8000, 6, 0.5)
        for batch_size in (1, 8):
            result = gradient_noise_scale(
                *case, loss=mean_output, num_examples=8000, batch_size=batch_size
            )
            assert result.value == pytest.approx(4.0, rel=0.15)

    @pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(8)])
    def test_leaves_module_and_generator_as_they_were(self, layer):
        module = nn.Sequential(nn.Linear(4, 8), layer, nn.ReLU(), nn.Linear(8, 2))
        before = copy.deepcopy(module.state_dict())
        x, y = torch.randn(300, 4), torch.arange(300) % 2
        state = torch.get_rng_state()
        first = gradient_noise_scale(module, x, y, seed=3)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
        assert all(p.grad is None for p in module.parameters())
        assert module.training
        assert gradient_noise_scale(module, x, y, seed=3) == first
        assert gradient_noise_scale(module, x, y, seed=4) != first

    def test_masks_of_dropout_come_from_the_seed_alone(self):
        module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        x, y = torch.randn(50, 4), torch.arange(50) % 2
        torch.manual_seed(1)
        first = gradient_noise_scale(module, x, y)
        torch.manual_seed(2)
        assert gradient_noise_scale(module, x, y) == first

    def test_both_passes_see_the_same_gradients(self):
        """One positive gradient a batch, so that Σ_i g_i·Σ_j g_j = (Σ_i |g_i|)²."""

        class Counting(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
                self.register_buffer("count", torch.ones(1, dtype=torch.float64))

            def forward(self, x):
                self.count = self.count + 1
                return x * self.weight * self.count

        source = GradientSource.prepare(
            Counting(), np.ones((20, 1)), np.zeros(20), loss=mean_output, batch_size=2, seed=0
        )
        norms, products = source.squared_norms_and_products(20)
        assert len(set(norms)) == 10  # every batch has another gradient
        assert products.sum() == pytest.approx(np.sqrt(norms).sum() ** 2, rel=1e-12)

    def test_a_data_set(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((40, 3)), np.arange(40) % 2
        data = Dataset.from_arrays(x, y, x[:4], y[:4])
        module = families.mlp((3,), 2, base_width=4).build(1)
        result = gradient_noise_scale(module, data)
        by_arrays = gradient_noise_scale(module, data.train_inputs, data.train_labels)
        assert result == by_arrays


class TestWords:
    def test_sentence_says_what_it_is_not(self):
        result = of(np.random.default_rng(0).standard_normal((50, 2)) + 1.0)
        assert result.sentence().startswith(
            "Gradient noise scale: 0.807 examples (95 % interval 0.521 to"
        )
        assert HOW_IT_DIFFERS in result.sentence()
        assert "ḡ" in HOW_IT_DIFFERS

    def test_open_interval_says_so(self):
        text = of([(1.0,), (-1.0,)] * 20).sentence()
        assert "cannot be told from 0" in text
        assert "measure on more" in text

    def test_json(self):
        fields = json.loads(json.dumps(of([(1.0,), (-1.0,)] * 20).to_dict(), allow_nan=False))
        assert fields["value"] is None
        assert fields["interval"][1] is None
        assert fields["bounded"] is False

    def test_plain_values(self):
        found = of([(1.0,), (3.0,)] * 20)
        assert found.to_dict() == {
            "value": found.value,
            "interval": list(found.interval),
            "trace": found.trace,
            "squared_norm": found.squared_norm,
            "squared_norm_interval": list(found.squared_norm_interval),
            "num_examples": 40,
            "batch_size": 1,
            "confidence": 0.95,
            "bounded": True,
            "how_it_differs": HOW_IT_DIFFERS,
        }


X, Y = torch.ones(20, 3), torch.arange(20) % 2
NETWORK = nn.Linear(3, 2)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "options", "match"),
        [
            ((X, Y), {"num_examples": 7}, r"num_examples must lie in \[8, 20\].*got 7"),
            ((X, Y), {"num_examples": 21}, r"num_examples must lie in \[8, 20\].*got 21"),
            ((X, Y), {"batch_size": 0}, "batch_size must be at least 1"),
            ((X, Y), {"batch_size": 3}, r"must lie in \[24, 20\]"),
            ((X, Y), {"loss": "hinge"}, "loss must be one of cross-entropy, mean-squared-error"),
            ((X, Y), {"confidence": 1.0}, r"confidence must lie in \(0, 1\)"),
            ((X, None), {}, "targets must come with inputs"),
            ((X, Y[:5]), {}, r"same examples, got shapes \(20, 3\) and \(5,\)"),
            ((X, Y + 1), {}, r"classes in \[0, 2\), got 1 to 2"),
            ((X, Y * 1.0), {}, "whole numbers"),
            ((X[:, :2], Y), {}, "computing it raised RuntimeError"),
        ],
    )
    def test_input(self, arguments, options, match):
        with pytest.raises(InputError, match=match):
            gradient_noise_scale(NETWORK, *arguments, **options)

    def test_nothing_to_train(self):
        with pytest.raises(InputError, match="parameters to train"):
            gradient_noise_scale(nn.Flatten(), X, Y)

    def test_targets_beside_a_data_set(self):
        data = Dataset.from_arrays(X.numpy(), Y.numpy(), X.numpy(), Y.numpy())
        with pytest.raises(InputError, match="targets come with the data set"):
            gradient_noise_scale(NETWORK, data, Y)

    def test_diverged(self):
        module = copy.deepcopy(NETWORK)
        with torch.no_grad():
            module.weight.fill_(math.nan)
        with pytest.raises(FitError, match=r"must be finite.*diverged"):
            gradient_noise_scale(module, X, Y)

    def test_all_gradients_zero(self):
        with pytest.raises(FitError, match="every gradient is 0"):
            gradient_noise_scale(NETWORK, X, Y, loss=lambda output, _: 0.0 * output.sum())

    @pytest.mark.parametrize(
        ("norms", "dots", "match"), [([1.0] * 7, [1.0] * 7, "n ≥ 8"), ([1.0] * 9, [1.0] * 8, "one")]
    )
    def test_estimate_needs_gradients(self, norms, dots, match):
        with pytest.raises(InputError, match=match):
            estimate(norms, dots)

    def test_estimate_needs_finite_ones(self):
        with pytest.raises(FitError, match="must be finite"):
            estimate([math.inf] * 8, [1.0] * 8)
