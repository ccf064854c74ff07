"""The largest stable learning rate: measured a width, and as a power law of width."""

from widthwise.probes.hessian import top_hessian_eigenvalue
from widthwise.probes.stability import max_stable_learning_rate
from widthwise.probes.stability_law import StabilityLaw, fit_stability_law
from widthwise.probes.stable_rate import StableLearningRate

__all__ = [
    "StabilityLaw",
    "StableLearningRate",
    "fit_stability_law",
    "max_stable_learning_rate",
    "top_hessian_eigenvalue",
]
