"""Largest stable learning rates whose law is known. Nothing is trained."""

import math

import numpy as np

from widthwise.probes import StableLearningRate

WIDTHS = (1.0, 2.0, 4.0, 8.0)


def rates(exponent, *, widths=WIDTHS, spread=0.03, at_one=20.0, censored=False):
    """ε_max = at_one · w^−exponent, each with an interval of ± 2·spread in its logarithm."""
    rng = np.random.default_rng(7)
    made = []
    for width in widths:
        value = at_one * width**-exponent
        samples = math.log(value) + spread * rng.standard_normal(2000)
        low, high = np.exp(np.quantile(samples, [0.025, 0.975]))
        made.append(
            StableLearningRate(
                value=value,
                interval=(float(low), math.inf if censored else float(high)),
                confidence=0.95,
                widening_factor=width,
                batch_size=64,
                momentum=0.0,
                steps=200,
                seeds=10,
                share=0.9,
                curvature=None,
                learning_rates=(value, 1.1 * value),
                shares=(1.0, 0.5),
                samples=np.full(2000, np.nan) if censored else samples,
            )
        )
    return tuple(made)
